"""Optical flow: stored with the record, or computed by OpenCV's DIS; and flow as bytes.

Dense Inverse Search (Kroeger et al. 2016) is about a hundred times faster than the TV-L1 of most
papers and needs nothing beyond plain OpenCV. u is to the right, v is down, in pixels of the frames
given: flow of frames resized by s must be multiplied by s, and a mirrored video needs u mirrored
and negated. A cheap measure of motion without flow is `sampling.frame_motion`.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, UInt8

from ssl_jax.data.record import MediaError, Record

SMALLEST = 16  # pixels of a side; on less DIS does not work


def flow_of(record: Record, numbers: Sequence[int] | np.ndarray) -> Float32[np.ndarray, "n h w 2"]:
    """Forward flow (u, v) from frame numbers[i] to numbers[i] + 1, in pixels per frame.

    What was stored with the record (`prepare --flow`, as extra['flow']) if there is any; otherwise
    DIS on the decoded frames, at their size: milliseconds per frame of 128 x 128 pixels.

    Raises MediaError for a frame that has no next one, or frames too small for DIS.
    """
    wanted = np.asarray(numbers, np.int64).reshape(-1).tolist()
    frames = record.need_frames(max(wanted, default=0) + 2)
    if "flow" in record.extra:
        return record.extra["flow"](wanted)
    needed = sorted({*wanted, *(number + 1 for number in wanted)})
    decoded = dict(zip(needed, frames(needed), strict=True))
    if not wanted:
        return np.zeros((0, *frames([0]).shape[1:3], 2), np.float32)
    try:
        pairs = [optical_flow(np.stack([decoded[n], decoded[n + 1]]))[0] for n in wanted]
    except ValueError as error:
        raise MediaError(f"{record.name}: {error}") from error
    return np.stack(pairs)


def optical_flow(frames: UInt8[np.ndarray, "t h w c"]) -> Float32[np.ndarray, "t-1 h w 2"]:
    """Where each pixel of a frame is found in the next one: (u, v) in pixels.

    Raises:
      ValueError: frames of less than 16 pixels a side, on which DIS does not work.
    """
    import cv2

    height, width = frames.shape[1:3]
    if min(height, width) < SMALLEST:
        raise ValueError(f"frames of {height}x{width} pixels are too small for optical flow (16)")
    cv2.setNumThreads(0)  # the loader's own threads keep the cores busy
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [f[..., 0] if f.shape[2] == 1 else cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames]
    flow = np.zeros((max(0, len(frames) - 1), height, width, 2), np.float32)
    for target, (frame, after) in zip(flow, itertools.pairwise(grey), strict=True):
        target[...] = dis.calc(frame, after, None)
    return flow


def flow_magnitude(flow: Float[np.ndarray, "t h w 2"]) -> Float[np.ndarray, "t"]:
    """How much moves beyond the camera: ln(1000 mean |f - mean f| + 1), per frame.

    The sampling weight of Cross and Learn (Sayed et al. 2018).
    """
    still = flow - flow.mean((1, 2), keepdims=True)
    return np.log1p(1000 * np.sqrt((still**2).sum(-1)).mean((1, 2)))


def flow_to_bytes(flow: Float[np.ndarray, "*s"], bound: float) -> UInt8[np.ndarray, "*s"]:
    """round((f + bound) * 255 / (2 bound)), f clipped to -bound..bound; no motion becomes 128."""
    return np.rint((np.clip(flow, -bound, bound) + bound) * (255 / (2 * bound))).astype(np.uint8)


def flow_from_bytes(levels: UInt8[np.ndarray, "*s"], bound: float) -> Float32[np.ndarray, "*s"]:
    """The inverse of `flow_to_bytes`, in pixels. 128 is exactly no motion."""
    return (levels.astype(np.float32) - 128) * np.float32(2 * bound / 255)


def cover_flow(
    flow: Float32[np.ndarray, "t h w 2"], size: tuple[int, int]
) -> Float32[np.ndarray, "t h2 w2 2"]:
    """`image.cover` of flow: its largest middle window of these proportions, resized.

    u and v are scaled likewise, so that they stay displacements in pixels.
    """
    import cv2

    (height, width), (h, w) = size, flow.shape[1:3]
    if (height, width) == (h, w):
        return flow
    scale = max(height / h, width / w)
    whole = (max(height, round(h * scale)), max(width, round(w * scale)))
    shrinks = whole[0] <= h and whole[1] <= w
    kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    grown = np.array([whole[1] / w, whole[0] / h], np.float32)
    top, left = (whole[0] - height) // 2, (whole[1] - width) // 2
    fields = [cv2.resize(field, whole[::-1], interpolation=kind) for field in flow]
    cut = [field[top : top + height, left : left + width] * grown for field in fields]
    return np.stack(cut) if cut else np.zeros((0, height, width, 2), np.float32)


def mirrored_flow(flow: Float32[np.ndarray, "t h w 2"]) -> Float32[np.ndarray, "t h w 2"]:
    """Flow of the video with left and right swapped: mirrored, and u negated."""
    return flow[:, :, ::-1] * np.array([-1, 1], np.float32)


def crop_and_flip(
    frames: UInt8[np.ndarray, "t h w 3"],
    flow: Float32[np.ndarray, "n h w 2"],
    size: int,
    rng: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "t size size 3"], Float32[np.ndarray, "n size size 2"]]:
    """The same random square of frames and of their flow; in half of all cases mirrored."""
    if rng.random() < 0.5:
        frames, flow = frames[:, :, ::-1], mirrored_flow(flow)
    top, left = (int(rng.integers(side - size + 1)) for side in frames.shape[1:3])
    rows, columns = slice(top, top + size), slice(left, left + size)
    return np.ascontiguousarray(frames[:, rows, columns]), flow[:, rows, columns]
