"""Frames of a record as squares, which is what most methods for images begin and end with."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from ssl_jax.data.image import square
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import random_frame


def random_square(
    record: Record, size: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "size size c"]:
    """Any frame, its largest centre square resized to `size` pixels. For `Method.views`.

    Raises MediaError for a record without frames.
    """
    frames = record.need_frames()
    return square(frames([random_frame(record.num_frames, rng)]), size)[0]


def squares_at(
    record: Record, size: int, times: Sequence[float]
) -> UInt8[np.ndarray, "n size size c"]:
    """The frames at these seconds, likewise. For `Method.clips`.

    Raises MediaError for a record without frames.
    """
    frames = record.need_frames()
    return square(frames([record.frame_at(time) for time in times]), size)


def clip_squares_at(
    record: Record, size: int, times: Sequence[float], count: int, rate: float
) -> UInt8[np.ndarray, "n t size size c"]:
    """`count` frames, `rate` a second, from each of these seconds on, likewise.

    Each is the frame that is seen in the middle of its own 1 / rate seconds: at their beginning,
    rounding might choose the one before.

    Raises MediaError for a record without frames.
    """
    each = np.asarray(times)[:, None] + (np.arange(count) + 0.5) / rate
    numbers = [record.frame_at(time) for time in each.ravel().tolist()]
    seen, where = np.unique(numbers, return_inverse=True)  # clips may overlap
    frames = square(record.need_frames()(seen.tolist()), size)
    return frames[where.reshape(each.shape)]
