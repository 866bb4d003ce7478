"""Scores of body joints: which share was found near enough (PCK, PCKh), and areas under the curve.

Joints are (x, y) in pixels. A joint whose truth is NaN was not annotated and does not count; one
whose prediction is NaN was not found and is infinitely far. 'Near enough' includes the threshold,
as in the Matlab toolkits of MPII and FLIC; other codes write '<'.
"""

import numpy as np
from jaxtyping import Bool, Float

from ssl_jax.config import ConfigError

MPII_THRESHOLDS = np.arange(51) / 100
PLAIN_THRESHOLDS = np.arange(20) / 20


def joint_distances(
    predicted: Float[np.ndarray, "n k 2"], true: Float[np.ndarray, "n k 2"]
) -> Float[np.ndarray, "n k"]:
    """Pixels between prediction and truth; NaN where not annotated, infinite where not found."""
    distance = np.linalg.norm(predicted - true, axis=-1)
    distance = np.where(np.isnan(predicted).any(axis=-1), np.inf, distance)
    return np.where(np.isnan(true).any(axis=-1), np.nan, distance)


def pck(
    distances: Float[np.ndarray, "n k"],
    scale: Float[np.ndarray, "n"],
    threshold: float,
    over: str = "joints",
) -> float:
    """Share of joints within `threshold` * scale of their truth (Yang and Ramanan 2013).

    PCKh is the same with the size of the head as scale (`head_size`), PCKh@0.5 its usual threshold.

    Args:
      scale: pixels, of each person: torso, head, box.
      over: 'joints': the mean over kinds of joint of each one's share, or 'all': every annotated
        joint counts the same.

    ConfigError if nothing is annotated, or a scale of an annotated person is not positive.
    """
    known = _annotated(distances, scale)
    near = known & (distances <= threshold * scale[:, None] * (1 + 1e-12))
    if over == "all":
        return float(near.sum() / known.sum())
    if over != "joints":
        raise ValueError(f"over={over!r}: must be joints or all")
    count = known.sum(axis=0)
    return float(np.mean(near.sum(axis=0)[count > 0] / count[count > 0]))


def auc_mpii(distances: Float[np.ndarray, "n k"], head: Float[np.ndarray, "n"]) -> float:
    """Area under PCKh over thresholds 0, 0.01, ..., 0.5 of the head, by trapezoids, in 0..1.

    What the MPII toolkit prints; every annotated joint counts the same.
    """
    curve = np.array([pck(distances, head, t, "all") for t in MPII_THRESHOLDS])
    return float(np.trapezoid(curve, MPII_THRESHOLDS / MPII_THRESHOLDS[-1]))


def auc_plain(distances: Float[np.ndarray, "n k"], pixels: float = 30.0) -> float:
    """Mean PCK over the thresholds 0, 0.05, ..., 0.95 of a fixed number of pixels, with '<'.

    What mmpose calls AUC; it is not the area of MPII.
    """
    known = _annotated(distances, np.full(len(distances), pixels))
    shares = [np.sum(known & (distances < t * pixels)) / known.sum() for t in PLAIN_THRESHOLDS]
    return float(np.mean(shares))


def head_size(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n"]:
    """0.6 times the diagonal of head boxes (x1, y1, x2, y2), as MPII defines it."""
    return 0.6 * np.hypot(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])


def body_size(joints: Float[np.ndarray, "n k 2"]) -> Float[np.ndarray, "n"]:
    """0.6 times the diagonal of the box around the annotated joints, as for JHMDB; NaN if none."""
    known = ~np.isnan(joints)
    high = np.where(known, joints, -np.inf).max(axis=1)
    low = np.where(known, joints, np.inf).min(axis=1)
    span = high - low
    return np.where((span >= 0).all(axis=1), 0.6 * np.hypot(span[:, 0], span[:, 1]), np.nan)


def _annotated(distances: np.ndarray, scale: np.ndarray) -> Bool[np.ndarray, "n k"]:
    known = ~np.isnan(distances)
    if not known.any():
        raise ConfigError("no joint is annotated: nothing can be scored")
    wrong = np.flatnonzero(known.any(axis=1) & ~(scale > 0))
    if wrong.size:
        raise ConfigError(f"the scale of person {wrong[0]} is {scale[wrong[0]]}: must be above 0")
    return known
