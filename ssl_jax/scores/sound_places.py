"""Scores of where a sound comes from: consensus intersection over union, cIoU.

Senocak et al. 2018, as Chen et al. 2021 ("Localizing Visual Sounds the Hard Way") compute it.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float


def consensus_iou(
    heat: Float[np.ndarray, "h w"],
    truth: Float[np.ndarray, "h w"],
    unknown: Bool[np.ndarray, "h w"] | None = None,
) -> float:
    """Of a map and of how much annotators agree on each pixel (0 to 1; of one: 0 or 1).

    The map's upper half answers: pixels strictly above the one in the middle of the sorted map.
    Of them, those in the truth count as much as annotators agree; the rest, and all of the truth,
    stand below. A flat map answers nothing. nan without any truth.

    Args:
      unknown: pixels that do not count, whatever is answered; None: none.
    """
    if not truth.sum() > 0:
        return float("nan")
    answers = heat > np.sort(heat, axis=None)[heat.size // 2]
    if unknown is not None:
        answers &= ~unknown
    right = truth[answers].sum()
    return float(right / (truth.sum() + np.sum(answers & (truth == 0))))


def share_and_area(scores: Sequence[float]) -> tuple[float, float]:
    """The share of images whose cIoU is 0.5 or more, and the area below such shares.

    The thresholds of the area are i / 20. Those of the paper's code are 0.05 i, a little above some
    of these, so that a score of exactly 0.6 misses its own there.
    """
    thresholds = np.arange(21) / 20
    shares = [(np.asarray(scores) >= threshold).mean() for threshold in thresholds]
    return float((np.asarray(scores) >= 0.5).mean()), float(np.trapezoid(shares, thresholds))
