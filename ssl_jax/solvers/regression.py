"""Ridge regression from frozen features to numbers: to other features, to places in an image."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float

from ssl_jax.config import ConfigError
from ssl_jax.solvers import ridge


def regress(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "n e"],
    new: Float[np.ndarray, "m d"],
    l2: tuple[float, ...],
    seed: int,
    error: Callable[[np.ndarray, np.ndarray], float],
) -> tuple[Float[np.ndarray, "m e"], float]:
    """y for `new` by ridge regression fitted to the pairs (x, y), and its strength; bias free.

    The strength is the one whose predictions for a random fifth of the pairs have the smallest
    `error(predicted, true)`, the larger of equals; then all pairs are fitted. Features come
    standardised. ConfigError of fewer than five pairs, unless a single strength is given.
    """

    def fit(x, y, new, l2):
        everything = np.ones((1, len(x)), np.float32)
        placed = jax.device_put((x, y, everything, np.float32(l2)))
        weights, biases = jax.device_get(ridge.solve(*placed))
        return [new @ w + b for w, b in zip(weights[0], biases[0], strict=True)]

    if not l2:
        raise ConfigError("l2 is empty: give at least one strength")
    y = np.asarray(y, np.float32)
    best = max(l2)
    if len(l2) > 1:
        if len(x) < 5:
            raise ConfigError(f"train has {len(x)} pairs, too few to choose l2: give a single one")
        held = np.zeros(len(x), bool)
        held[np.random.default_rng(seed).permutation(len(x))[: len(x) // 5]] = True
        grid = fit(x[~held], y[~held], x[held], l2)
        errors = [(error(each, y[held]), -one) for each, one in zip(grid, l2, strict=True)]
        best = -min(errors)[1]
    return fit(x, y, new, (best,))[0], best
