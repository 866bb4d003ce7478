"""Optical flow between neighbouring frames (OpenCV's DIS), and flow as bytes.

Dense Inverse Search (Kroeger et al. 2016) is about a hundred times faster than the TV-L1 of most
papers and needs nothing beyond the plain OpenCV. u is to the right, v is down, in pixels of the
frames given: flow of frames resized by s must be multiplied by s, a mirrored film needs u mirrored
and negated. The cheap measure of motion without flow is `sampling.frame_motion`.
"""

import itertools

import numpy as np
from jaxtyping import Float, Float32, UInt8


def optical_flow(frames: UInt8[np.ndarray, "t h w c"]) -> Float32[np.ndarray, "t-1 h w 2"]:
    """Where each pixel of a frame is found in the next one: (u, v) in pixels.

    Raises:
      ValueError: frames smaller than 16 pixels, on which DIS does not work.
    """
    import cv2

    height, width = frames.shape[1:3]
    if min(height, width) < 16:
        raise ValueError(f"optical flow of {height}x{width} frames: at least 16x16 are needed")
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [f[..., 0] if f.shape[2] == 1 else cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames]
    flow = np.zeros((max(0, len(frames) - 1), height, width, 2), np.float32)
    for target, (frame, after) in zip(flow, itertools.pairwise(grey), strict=True):
        target[...] = dis.calc(frame, after, None)
    return flow


def flow_magnitude(flow: Float[np.ndarray, "t h w 2"]) -> Float[np.ndarray, "t"]:
    """How much moves, without what the camera moves: ln(1000 mean |f - mean f| + 1).

    The sampling weight of Cross and Learn (Sayed et al. 2018).
    """
    still = flow - flow.mean((1, 2), keepdims=True)
    return np.log1p(1000 * np.sqrt((still**2).sum(-1)).mean((1, 2)))


def flow_to_bytes(flow: Float[np.ndarray, "*s"], bound: float) -> UInt8[np.ndarray, "*s"]:
    """round((f + bound) * 255 / (2 bound)), f cut to -bound..bound; no motion becomes 128."""
    return np.rint((np.clip(flow, -bound, bound) + bound) * (255 / (2 * bound))).astype(np.uint8)


def flow_from_bytes(levels: UInt8[np.ndarray, "*s"], bound: float) -> Float32[np.ndarray, "*s"]:
    """Pixels of motion. 128 is exactly none: the even division of the range would move it."""
    return (levels.astype(np.float32) - 128) * np.float32(2 * bound / 255)
