"""Frames of a record as squares, which is what most methods for pictures begin and end with."""

import numpy as np
from jaxtyping import UInt8

from ssl_jax.data.image import square
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import even_frames, random_frame


def random_square(
    record: Record, size: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "size size c"]:
    """Any frame, its largest middle square resized to `size` pixels. For `Method.views`.

    Raises:
      MediaError: a record without pictures.
    """
    frames = record.need_frames()
    return square(frames([random_frame(record.num_frames, rng)]), size)[0]


def even_squares(record: Record, size: int, count: int) -> UInt8[np.ndarray, "count size size c"]:
    """`count` frames from the first to the last, likewise. For `Method.clips`.

    Raises:
      MediaError: a record without pictures.
    """
    frames = record.need_frames()
    return square(frames(even_frames(record.num_frames, count)), size)
