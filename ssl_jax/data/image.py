"""Images and videos on the host: cut and resized to a fixed size, nothing else.

All take and give uint8 (t, h, w, c) with c of 1 or 3. Shrinking averages over the pixels that
vanish, so that fine texture does not alias into false patterns.
"""

import functools

import numpy as np
from jaxtyping import UInt8


@functools.cache
def _cv2():
    import cv2

    # The loader's own threads keep the cores busy; OpenCV's would only wait for one another.
    cv2.setNumThreads(0)
    return cv2


def resize(
    frames: UInt8[np.ndarray, "t h w c"], size: tuple[int, int]
) -> UInt8[np.ndarray, "t h2 w2 c"]:
    """Resizes to `size` = (height, width) in pixels, whatever that does to the proportions."""
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"cannot resize to {height}x{width} pixels: both must be at least 1")
    if frames.shape[1:3] == (height, width):
        return frames
    cv2 = _cv2()
    # cv2's averaging works only where both sides shrink, so shrink first and enlarge after it.
    small = (min(width, frames.shape[2]), min(height, frames.shape[1]))
    resized = np.empty((len(frames), height, width, frames.shape[3]), np.uint8)
    for target, frame in zip(resized, frames, strict=True):
        if small == (width, height) and frame.shape[2] > 1:
            cv2.resize(frame, small, target, interpolation=cv2.INTER_AREA)
            continue
        frame = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
        if small != (width, height):
            frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        target[...] = frame.reshape(target.shape)  # cv2 drops a single channel
    return resized


def resize_short(frames: UInt8[np.ndarray, "t h w c"], size: int) -> UInt8[np.ndarray, "t h2 w2 c"]:
    """Resizes so that the shorter side has `size` pixels and the proportions stay."""
    height, width = frames.shape[1:3]
    short = min(height, width)
    return resize(frames, (round(height * size / short), round(width * size / short)))


def crop(
    frames: UInt8[np.ndarray, "t h w c"], top: int, left: int, height: int, width: int
) -> UInt8[np.ndarray, "t h2 w2 c"]:
    """The window of (height, width) pixels whose upper left corner is (top, left).

    ValueError if the window leaves the image.
    """
    h, w = frames.shape[1:3]
    if not (0 <= top <= top + height <= h and 0 <= left <= left + width <= w):
        raise ValueError(
            f"a window of {height}x{width} at ({top}, {left}) leaves the image of {h}x{w}; "
            "resize first or cut less"
        )
    return frames[:, top : top + height, left : left + width]


def center_crop(
    frames: UInt8[np.ndarray, "t h w c"], size: tuple[int, int]
) -> UInt8[np.ndarray, "t h2 w2 c"]:
    """The middle window of `size` = (height, width). ValueError if the image is smaller."""
    height, width = size
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    return crop(frames, top, left, height, width)


def square(frames: UInt8[np.ndarray, "t h w c"], size: int) -> UInt8[np.ndarray, "t size size c"]:
    """The largest middle square, resized to `size` pixels: shorter side first, then the cut."""
    return center_crop(resize_short(frames, size), (size, size))


def cover(
    frames: UInt8[np.ndarray, "t h w c"], size: tuple[int, int]
) -> UInt8[np.ndarray, "t h2 w2 c"]:
    """The largest middle window of the proportions of `size` = (height, width), resized to it."""
    height, width = size
    h, w = frames.shape[1:3]
    scale = max(height / h, width / w)
    whole = (max(height, round(h * scale)), max(width, round(w * scale)))
    return center_crop(resize(frames, whole), size)


def ten_crops(frames: UInt8[np.ndarray, "t h w c"], size: int) -> UInt8[np.ndarray, "10 t s s c"]:
    """Squares of `size` pixels: the middle, four corners, and the five mirrored.

    The corners are upper left, upper right, lower left and lower right. ValueError if the image
    is smaller.
    """
    middle = center_crop(frames, (size, size))
    down, right = frames.shape[1] - size, frames.shape[2] - size
    places = [(0, 0), (0, right), (down, 0), (down, right)]
    five = np.stack([middle, *(crop(frames, top, left, size, size) for top, left in places)])
    return np.concatenate([five, five[..., ::-1, :]])
