"""Windows of a video in which much moves: their frames, or their optical flow."""

import numpy as np
from jaxtyping import Float32, Int, UInt8

from ssl_jax.data.flow import flow_magnitude, flow_of
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import frame_motion, window_by_motion


def moving_frames(
    record: Record, count: int, rng: np.random.Generator, stride: int = 1, candidates: int = 0
) -> tuple[Int[np.ndarray, "t"], UInt8[np.ndarray, "t h w 3"]]:
    """`count` frames in a row, and their numbers; windows with much motion are more likely.

    Of a video that is too short the last frame is repeated.

    Args:
      stride: every how many-th frame of the video is taken.
      candidates: frames, at that stride, that are decoded to choose from, at a random place; up to
        `count`: any window is as likely as another.
    """
    decode = record.need_frames()
    numbers = _row(record.num_frames, count, rng, stride, candidates)
    frames, start = decode(numbers), 0
    if len(numbers) > count:
        start = window_by_motion(frame_motion(frames), count - 1, rng)
    chosen = slice(start, start + count)
    return numbers[chosen], frames[chosen]


def moving_flow(
    record: Record, count: int, rng: np.random.Generator, stride: int = 1, candidates: int = 0
) -> tuple[Int[np.ndarray, "t"], Float32[np.ndarray, "t h w 2"]]:
    """`count` fields of optical flow, and the numbers of the frames that they begin with.

    A window is drawn with a probability proportional to its sum of `flow_magnitude` (Sayed et al.
    2018): of the whole video where the magnitudes were stored with the record, otherwise among
    `candidates` fields at a random place, or with candidates=0 any alike. Fields are from a frame
    to the next one of the video whatever the stride. Of a video that is too short the last field is
    repeated.

    Raises MediaError for a video of one frame.
    """
    record.need_frames(2)
    if candidates and "flow_motion" in record.extra:
        motion = record.extra["flow_motion"][::stride]
        if len(motion) > count:
            start = window_by_motion(motion, count, rng)
            numbers = stride * np.arange(start, start + count)
            return numbers, flow_of(record, numbers)
    numbers = _row(record.num_frames - 1, count, rng, stride, candidates)
    flow, start = flow_of(record, numbers), 0
    if len(numbers) > count:
        start = window_by_motion(flow_magnitude(flow), count, rng)
    chosen = slice(start, start + count)
    return numbers[chosen], flow[chosen]


def _row(
    there: int, count: int, rng: np.random.Generator, stride: int, candidates: int
) -> Int[np.ndarray, "n"]:
    """`candidates` numbers below `there`, fewer if there are fewer, but `count` of them at least.

    The last is repeated where `count` do not fit.
    """
    possible = 1 + (there - 1) // stride
    taken = max(count, min(candidates, possible))
    spare = there - 1 - (taken - 1) * stride
    first = int(rng.integers(max(spare, 0) + 1))
    return np.minimum(first + stride * np.arange(taken), there - 1)
