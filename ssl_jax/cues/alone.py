"""How far a cue goes by itself: from numbers that describe it to the answers of puzzles."""

import numpy as np
from jaxtyping import Float, Int

from ssl_jax.solvers.ridge import fit

STRENGTH = 1.0  # of the ridge probe, on standardised numbers


def probe_accuracy(
    statistics: Float[np.ndarray, "n d"], targets: Int[np.ndarray, "n"]
) -> tuple[float, float]:
    """A ridge probe's accuracy from statistics to targets, and that of always guessing the most
    frequent one.

    Trained on the first half of the rows and tested on the second, and the other way round: rows of
    one record stand together.
    """
    names, numbers = np.unique(targets, return_inverse=True)
    hits, guesses = [], []
    first = np.arange(len(targets)) < len(targets) // 2
    for train in (first, ~first):
        mean, deviation = statistics[train].mean(0), statistics[train].std(0)
        x = (statistics - mean) / np.where(deviation > 1e-9, deviation, 1.0)
        x = np.clip(x, -10, 10).astype(np.float32)
        use = np.ones((1, int(train.sum())), bool)
        weight, bias = fit(x[train], numbers[train], use, (STRENGTH,), len(names))
        guess = (x[~train] @ weight[0, 0] + bias[0, 0]).argmax(1)
        hits.append(guess == numbers[~train])
        guesses.append(np.bincount(numbers[train]).argmax() == numbers[~train])
    return float(np.concatenate(hits).mean()), float(np.concatenate(guesses).mean())


def partners_found(first: Float[np.ndarray, "b d"], second: Float[np.ndarray, "b d"]) -> float:
    """How often the nearest of the second views is a first view's own. Chance is 1 / b."""
    both = np.concatenate([first, second])
    deviation = both.std(0)
    scale = np.where(deviation > 1e-9, deviation, 1.0)
    first, second = first / scale, second / scale
    apart = ((first[:, None] - second[None]) ** 2).sum(2)
    nearest = apart == apart.min(1, keepdims=True)
    # Among equally near ones the own is found as often as any.
    return float((np.diag(nearest) / nearest.sum(1)).mean())
