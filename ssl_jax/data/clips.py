"""Clips of a record at asked times, for `Method.times` and `Method.clips` of video methods."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from ssl_jax.data.record import Record
from ssl_jax.data.sampling import even_clips


def even_clip_times(record: Record, count: int, length: int, stride: int = 1) -> list[float]:
    """The seconds at which `count` evenly spread clips begin, the last ending with the video.

    A single clip is the middle one. Raises MediaError for a record without frames.
    """
    record.need_frames()
    starts = even_clips(record.num_frames, count, length, stride)[:, 0]
    return [record.time_of(number) for number in starts.tolist()]


def clip_numbers(
    record: Record, times: Sequence[float], length: int, stride: int = 1
) -> Int[np.ndarray, "n t"]:
    """The frames of clips that begin at these seconds.

    Where a clip reaches beyond the end, the last frame is repeated, so that no video is left out.
    Raises MediaError for a record without frames.
    """
    record.need_frames()
    starts = np.array([record.frame_at(time) for time in times])
    return np.minimum(starts[:, None] + stride * np.arange(length), record.num_frames - 1)
