"""Paired differences: their mean, its interval, and tests of several at once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special


class Difference(NamedTuple):
    """The mean of a - b, its 95 % interval, and the p-value of there being none (two-sided)."""

    mean: float
    low: float
    high: float
    p: float


def paired_difference(
    a: Float[np.ndarray, "n"] | Sequence[float], b: Float[np.ndarray, "n"] | Sequence[float]
) -> Difference:
    """By Student's t over pairs. Of one pair alone the interval is all numbers, and p is 1.

    Pairs that all differ by the same have an interval of no width.
    """
    differences = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    count, mean = len(differences), float(differences.mean())
    if count < 2:
        return Difference(mean, -np.inf, np.inf, 1.0)
    error = float(differences.std(ddof=1)) / np.sqrt(count)
    half = float(special.stdtrit(count - 1, 0.975)) * error  # stats.t takes seconds to import
    if error == 0:
        return Difference(mean, mean, mean, 0.0 if mean else 1.0)
    p = float(2 * special.stdtr(count - 1, -abs(mean) / error))
    return Difference(mean, mean - half, mean + half, p)


def holm(p: Sequence[float]) -> Float[np.ndarray, "k"]:
    """p-values of k tests, adjusted so that a wrong finding among all is as unlikely (Holm 1979).

    In the order in which they were given.
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p, kind="stable")
    stepwise = np.minimum(1.0, p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(stepwise)
    return adjusted
