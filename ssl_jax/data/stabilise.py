"""Stabilising: what the whole frame does from one to the next, and taking it back."""

import itertools

import numpy as np
from jaxtyping import Float, Int, UInt8

CORNERS = 200  # points followed from frame to frame at most
FEWEST = 8  # points followed, of which a motion is believed
SMALLEST = 0.5  # share of a frame's sides that must remain after stabilising


def motion(
    frame: UInt8[np.ndarray, "h w 3"], after: UInt8[np.ndarray, "h w 3"]
) -> Float[np.ndarray, "2 3"]:
    """The shift, rotation and zoom that carry most of a frame's corners to where they are after.

    The identity if too few can be followed.
    """
    import cv2

    still = np.eye(2, 3)
    grey, next_grey = (cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (frame, after))
    points = cv2.goodFeaturesToTrack(grey, CORNERS, 0.01, 3)
    if points is None or len(points) < FEWEST:
        return still
    moved, found, _ = cv2.calcOpticalFlowPyrLK(grey, next_grey, points, None)
    found = found.ravel() == 1
    if found.sum() < FEWEST:
        return still
    cv2.setRNGSeed(0)  # of RANSAC: the same frames, the same motion
    matrix, _ = cv2.estimateAffinePartial2D(
        points[found], moved[found], method=cv2.RANSAC, ransacReprojThreshold=1.0
    )
    return still if matrix is None or not 0.5 < np.hypot(*matrix[:, 0]) < 2 else matrix


def laid_over(
    frames: UInt8[np.ndarray, "t h w 3"], numbers: Int[np.ndarray, "t"], move: bool = True
) -> UInt8[np.ndarray, "t h w 3"]:
    """Frames over the middle one in time, cut to what all show and enlarged to their old size.

    They stay as they are where there is nothing to follow, the camera rests, or less than half of
    a side would remain.

    Args:
      numbers: of the frames, which may stand in any order.
      move: False only cuts and resamples them as much, for comparison.
    """
    order = np.argsort(numbers, kind="stable")
    if len(frames) < 2:
        return frames
    ordered = frames[order]
    steps = [np.vstack([motion(a, b), (0, 0, 1)]) for a, b in itertools.pairwise(ordered)]
    # places[k] carries a point of the first frame to where it is in frame k.
    places = [*itertools.accumulate(steps, lambda a, b: b @ a, initial=np.eye(3))]
    middle = places[len(places) // 2]
    turns = [(middle @ np.linalg.inv(place))[:2] for place in places]
    h, w = frames.shape[1:3]
    box = _common(turns, h, w)
    if box is None or all(np.allclose(turn, np.eye(2, 3), atol=1e-3) for turn in turns):
        return frames
    left, top, right, bottom = box
    enlarge = np.array(
        [[w / (right - left), 0, -left * w / (right - left)],
         [0, h / (bottom - top), -top * h / (bottom - top)],
         [0, 0, 1]]
    )  # fmt: skip
    whole = [enlarge @ np.vstack([turn if move else np.eye(2, 3), (0, 0, 1)]) for turn in turns]
    placed = warped(ordered, [one[:2] for one in whole])
    return placed[np.argsort(order, kind="stable")]


def _common(turns: list[np.ndarray], h: int, w: int) -> tuple[float, float, float, float] | None:
    """The upright box (left, top, right, bottom) that every warped frame covers; None if small."""
    corners = np.array([(0, 0, 1), (w, 0, 1), (w, h, 1), (0, h, 1)], np.float64).T
    moved = np.stack([turn @ corners for turn in turns])  # (t 2 4)
    left = max(0.0, moved[:, 0, [0, 3]].max())
    right = min(float(w), moved[:, 0, [1, 2]].min())
    top = max(0.0, moved[:, 1, [0, 1]].max())
    bottom = min(float(h), moved[:, 1, [2, 3]].min())
    if right - left < SMALLEST * w or bottom - top < SMALLEST * h:
        return None
    return left, top, right, bottom


def warped(
    frames: UInt8[np.ndarray, "t h w 3"], turns: list[Float[np.ndarray, "2 3"]]
) -> UInt8[np.ndarray, "t h w 3"]:
    """Each frame shifted, turned and enlarged by a matrix of its own; borders are mirrored."""
    import cv2

    size = (frames.shape[2], frames.shape[1])
    how = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REFLECT}
    moved = [cv2.warpAffine(f, turn, size, **how) for f, turn in zip(frames, turns, strict=True)]
    return np.stack(moved)
