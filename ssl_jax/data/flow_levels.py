"""Optical flow as a network's input: resized with its frames, and in bytes.

Bytes are 1 to 255, and 128 is no motion: without 0 the opposite of a level is exactly 256 less it.
"""

import numpy as np
from jaxtyping import Float, Int, UInt8

from ssl_jax.data.flow import flow_of, flow_to_bytes
from ssl_jax.data.image import cover, resize
from ssl_jax.data.record import Record


def flow_levels(
    flow: Float[np.ndarray, "t h w 2"], size: tuple[int, int], bound: float, stretch: bool = False
) -> UInt8[np.ndarray, "t h2 w2 2"]:
    """Flow resized to `size` = (height, width), in pixels of that size, and as bytes.

    Args:
      bound: in these pixels; what is beyond is cut to it.
      stretch: whatever that does to the proportions; otherwise the largest middle window.
    """
    height, width = size
    down, right = height / flow.shape[1], width / flow.shape[2]
    scale = (right, down) if stretch else (max(right, down),) * 2
    levels = np.maximum(flow_to_bytes(flow * np.float32(scale), bound), 1)
    return resize(levels, size) if stretch else cover(levels, size)


def flow_clips(
    record: Record,
    numbers: Int[np.ndarray, "n t"],
    size: tuple[int, int],
    bound: float,
    stretch: bool = False,
) -> UInt8[np.ndarray, "n t h w 2"]:
    """`flow_levels` of clips whose fields begin with these frames; of a last frame the one before.

    Raises MediaError for a video of one frame.
    """
    record.need_frames(2)
    flow = flow_of(record, np.minimum(numbers, record.num_frames - 2).ravel())
    levels = flow_levels(flow, size, bound, stretch)
    return levels.reshape(*numbers.shape, *levels.shape[1:])


def mirrored(levels: UInt8[np.ndarray, "*t h w 2"]) -> UInt8[np.ndarray, "*t h w 2"]:
    """Left and right swapped, which turns u round."""
    swapped = levels[..., ::-1, :].copy()
    swapped[..., 0] = 256 - swapped[..., 0].astype(np.int32)
    return swapped
