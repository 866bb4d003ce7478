"""One long video decoded by several threads, a stretch between key frames each."""

import collections
import concurrent.futures
import itertools
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import UInt8

from ssl_jax.data import decode
from ssl_jax.data.media import Limits, Media

SHORTEST = 64  # frames: to seek and to start a decoder costs as much as some frames do
MOST_BYTES = 512 << 20  # of frames that wait for their turn


def frames_by_stretches(
    media: Media,
    first: int,
    last: int,
    limits: Limits,
    change: Callable[[UInt8[np.ndarray, "1 h w 3"]], UInt8[np.ndarray, "1 h2 w2 3"]],
    threads: int,
) -> Iterator[UInt8[np.ndarray, "1 h2 w2 3"]]:
    """`change` of the frames first..last - 1, in order; the same whatever the number of threads.

    What cannot be parted (images, no key frames within, frames too large to wait) is decoded by one
    thread.
    """

    def changed(begin: int, end: int) -> Iterator[np.ndarray]:
        for frame in decode.frames_in_order(media, begin, end, limits):
            yield change(frame[None])

    edges = _edges(media, first, last)
    longest = max(end - begin for begin, end in itertools.pairwise(edges))
    if threads > 1 and len(edges) > 2:
        size = change(decode.frames_of(media, [first], limits)).nbytes
        threads = min(threads, MOST_BYTES // (longest * size))
    if threads < 2 or len(edges) == 2:
        yield from changed(first, last)
        return
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        left = itertools.pairwise(edges)
        waiting = collections.deque(
            pool.submit(lambda pair: list(changed(*pair)), pair)
            for pair in itertools.islice(left, threads)
        )
        try:
            while waiting:
                frames = waiting.popleft().result()
                for pair in itertools.islice(left, 1):
                    waiting.append(pool.submit(lambda pair: list(changed(*pair)), pair))
                yield from frames
        finally:  # an error in one stretch: the others need not begin
            for future in waiting:
                future.cancel()


def _edges(media: Media, first: int, last: int) -> list[int]:
    """Where stretches begin, and `last`: key frames at least SHORTEST apart."""
    edges = [first]
    index = media.video_index
    if index is not None and not index.counted:
        for number in np.searchsorted(index.pts, index.keys).tolist():
            if edges[-1] + SHORTEST <= number <= last - SHORTEST:
                edges.append(number)
    return [*edges, last]
