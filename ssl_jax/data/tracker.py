"""What moves by itself in a video, and where a patch of it goes."""

import itertools

import numpy as np
from jaxtyping import Bool, Int, UInt8

from ssl_jax.data.flow import optical_flow
from ssl_jax.data.image import resize
from ssl_jax.data.stabilise import motion

MOVES = 0.5  # pixels a frame, beyond the camera's own motion (Wang and Gupta 2015)
LOOKED_AT = 48  # pixels of a patch's side to which frames are shrunk for following it


def moving(
    frame: UInt8[np.ndarray, "h w 3"], after: UInt8[np.ndarray, "h w 3"]
) -> Bool[np.ndarray, "h w"]:
    """Which pixels move by more than half a pixel to the next frame, beyond the camera's motion.

    Optical flow is compared with the shift, rotation and zoom that most of the frame's corners
    follow.
    """
    flow = optical_flow(np.stack([frame, after]))[0]
    height, width = flow.shape[:2]
    matrix = motion(frame, after)
    rows, columns = np.mgrid[:height, :width]
    places = np.stack([columns, rows], axis=-1)
    camera = places @ matrix[:, :2].T + matrix[:, 2] - places
    return np.hypot(*np.moveaxis(flow - camera, -1, 0)) > MOVES


def follow(
    frames: UInt8[np.ndarray, "t h w 3"], corner: tuple[int, int], size: int, reach: int
) -> tuple[Int[np.ndarray, "t 2"], float]:
    """Upper left corners (y, x) of a square patch in all frames, from where it is in the first.

    From frame to frame the patch goes to where it correlates most with what it was. Large patches
    are followed in frames that are shrunk, so corners are a few pixels off.

    Args:
      corner: in the first frame.
      size: of the square, in pixels.
      reach: pixels to each side that it may go from a frame to the next.

    Returns:
      The corners, and the lowest of the correlations, in -1..1; 1 for a patch without any contrast.
    """
    import cv2

    shrink = max(1, size // LOOKED_AT)
    h, w = frames.shape[1:3]
    grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY)[..., None] for f in frames]
    grey = resize(np.stack(grey), (h // shrink, w // shrink))[..., 0]
    side, step = size // shrink, -(-reach // shrink)
    y, x = (min(c // shrink, n - side) for c, n in zip(corner, grey.shape[1:], strict=True))
    corners, lowest = [corner], 1.0
    for before, after in itertools.pairwise(grey):
        patch = before[y : y + side, x : x + side]
        top, left = max(0, y - step), max(0, x - step)
        found = cv2.matchTemplate(
            after[top : y + side + step, left : x + side + step], patch, cv2.TM_CCOEFF_NORMED
        )
        _, likeness, _, (right, down) = cv2.minMaxLoc(found)
        if found[y - top, x - left] >= likeness - 1e-6:  # of places alike, where it was
            right, down = x - left, y - top
        y, x, lowest = top + down, left + right, min(lowest, likeness)
        corners.append((min(y * shrink, h - size), min(x * shrink, w - size)))
    return np.array(corners), float(lowest)
