"""How like the true envelopes of a sound predicted ones are."""

import numpy as np
from jaxtyping import Float, Int

STILL = 1e-3  # a band whose envelope varies less does nothing


def correlation_in_time(
    predicted: Float[np.ndarray, "n t k"], true: Float[np.ndarray, "n t k"], shift: int = 0
) -> float:
    """Mean over bands of the mean over windows of the correlation over time.

    Windows in which a band does nothing do not count for it; predictions that do nothing have the
    correlation 0. NaN if no band ever does anything.

    Args:
      shift: up to so many steps the prediction may be late or early; of every window that shift
        counts which has the highest mean correlation.
    """
    steps = true.shape[1]
    tried = []
    for by in range(-shift, shift + 1):
        first, last = max(0, by), min(steps, steps + by)
        tried.append(_correlations(predicted[:, first:last], true[:, first - by : last - by]))
    each = np.stack(tried)  # (shifts n k), NaN where nothing happens
    counts = np.isfinite(each)
    sums = np.where(counts, each, 0.0).sum(axis=2)
    means = sums / np.maximum(counts.sum(axis=2), 1)
    best = each[means.argmax(axis=0), np.arange(each.shape[1])]
    there = np.isfinite(best)
    bands = there.any(axis=0)
    if not bands.any():
        return float("nan")
    totals = np.where(there, best, 0.0).sum(axis=0)[bands]
    return float(np.mean(totals / there.sum(axis=0)[bands]))


def _correlations(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, "n k"]:
    """Of a with b over time; NaN where b is still, 0 where only a is."""
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (np.float64(a), np.float64(b)))
    sizes = [np.sqrt(np.mean(x**2, axis=1)) for x in (a, b)]
    moves = [size > least for size, least in zip(sizes, (1e-6, STILL), strict=True)]
    product = np.where(moves[0] & moves[1], sizes[0] * sizes[1], 1.0)
    found = np.where(moves[0], np.mean(a * b, axis=1) / product, 0.0)
    return np.where(moves[1], found, np.nan)


def own_ranks(
    predicted: Float[np.ndarray, "n t k"],
    true: Float[np.ndarray, "n t k"],
    groups: Int[np.ndarray, "n"],
) -> tuple[Float[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """At which place, from 0, the true sound stands among those of its group, and how many these.

    By the cosine of both, less the mean true sound of the group: a prediction that only knows the
    group, say the game, says nothing, and all its places are the middle.
    """
    places, sizes = np.zeros(len(true)), np.zeros(len(true), int)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        mean = true[rows].mean(axis=0, dtype=np.float64)
        asked, found = (_unit((x[rows] - mean).reshape(len(rows), -1)) for x in (predicted, true))
        similarity = np.round(asked @ found.T, 9)
        own = np.diagonal(similarity)[:, None]
        places[rows] = (similarity > own).sum(1) + ((similarity == own).sum(1) - 1) / 2
        sizes[rows] = len(rows)
    return places, sizes


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
