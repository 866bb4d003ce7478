"""Scores of object masks as DAVIS-2017 computes them: region (J) and boundary (F).

Pont-Tuset et al. 2017; Perazzi et al. 2016. Checked against the definitions of the authors' code,
of which one thing is not kept: frames are numbered there in uint8, so that videos of more than 256
frames have a wrong decay.
"""

import functools

import numpy as np
from jaxtyping import Bool, Float, Int

VOID = 255  # pixels of the truth that are not scored


def region_similarity(predicted: Bool[np.ndarray, "h w"], true: Bool[np.ndarray, "h w"]) -> float:
    """J: intersection over union; 1 if both are empty."""
    union = np.sum(predicted | true)
    return float(np.sum(predicted & true) / union) if union else 1.0


def boundary_similarity(
    predicted: Bool[np.ndarray, "h w"], true: Bool[np.ndarray, "h w"], tolerance: float = 0.008
) -> float:
    """F: harmonic mean of the shares of boundary pixels that lie near the other's boundary.

    Near is within ceil(tolerance * diagonal) pixels, 8 at 854x480; from 1 on `tolerance` is in
    pixels. 1 if both have no boundary, 0 if one has none.
    """
    import cv2

    ours, theirs = boundary(predicted), boundary(true)
    if not ours.any() or not theirs.any():
        return float(not ours.any() and not theirs.any())
    radius = int(tolerance if tolerance >= 1 else np.ceil(tolerance * np.hypot(*true.shape)))
    near_theirs = cv2.dilate(theirs.astype(np.uint8), _disk(radius)) > 0
    near_ours = cv2.dilate(ours.astype(np.uint8), _disk(radius)) > 0
    precision = np.sum(ours & near_theirs) / ours.sum()
    recall = np.sum(theirs & near_ours) / theirs.sum()
    total = precision + recall
    return float(2 * precision * recall / total) if total else 0.0


def boundary(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels that differ from their neighbour to the right, below, or to the right below.

    One pixel wide, half a pixel towards the origin. On the last row and column only the neighbour
    that there is counts; the last corner is never a boundary.
    """
    edge = np.zeros(mask.shape, bool)
    here, right = mask[:-1, :-1], mask[:-1, 1:]
    below, across = mask[1:, :-1], mask[1:, 1:]
    edge[:-1, :-1] = (here ^ right) | (here ^ below) | (here ^ across)
    edge[-1, :-1] = mask[-1, :-1] ^ mask[-1, 1:]
    edge[:-1, -1] = mask[:-1, -1] ^ mask[1:, -1]
    return edge


@functools.cache
def _disk(radius: int) -> np.ndarray:
    reach = np.arange(-radius, radius + 1)
    return (reach[:, None] ** 2 + reach**2 <= radius**2).astype(np.uint8)


def video_scores(
    predicted: Int[np.ndarray, "t h w"], true: Int[np.ndarray, "t h w"], tolerance: float = 0.008
) -> Float[np.ndarray, "objects 6"]:
    """J and F of every object of a video: columns mean, recall and decay of J, then those of F.

    Arrays hold the number of the object at every pixel, 0 for none and in the truth 255 for pixels
    that do not count. Objects are those of the first frame's truth. The first frame, which is
    given, and the last are not scored.

    ValueError of fewer than three frames, or without an object.
    """
    if len(true) < 3:
        raise ValueError(f"{len(true)} frames: the first and last are not scored, three are needed")
    objects = [int(i) for i in np.unique(true[0]) if i not in (0, VOID)]
    if not objects:
        raise ValueError("no object in the first frame")
    rows = []
    for number in objects:
        regions, boundaries = [], []
        for ours, theirs in zip(predicted[1:-1], true[1:-1], strict=True):
            scored = theirs != VOID
            ours, theirs = (ours == number) & scored, (theirs == number) & scored
            regions.append(region_similarity(ours, theirs))
            boundaries.append(boundary_similarity(ours, theirs, tolerance))
        rows.append(
            [*series_statistics(np.array(regions)), *series_statistics(np.array(boundaries))]
        )
    return np.array(rows)


def series_statistics(values: Float[np.ndarray, "t"]) -> tuple[float, float, float]:
    """Mean, recall (share above 0.5), and decay: mean of the first quarter less that of the last.

    Neighbouring quarters share a frame.
    """
    ends = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = values[ends[0] : ends[1] + 1], values[ends[3] : ends[4] + 1]
    return float(values.mean()), float(np.mean(values > 0.5)), float(first.mean() - last.mean())
