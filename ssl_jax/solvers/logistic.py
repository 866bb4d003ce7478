"""Multinomial logistic regression on frozen features: convex, so there is one right answer.

    minimise over W, b   mean_i cross_entropy(x_i W + b, y_i) + l2 / 2 * ||W||^2

The bias is free. This is scikit-learn's LogisticRegression with C = 1 / (n * l2) from three classes
on; for two classes it fits one logit instead of two, whose penalty is half ours: C = 2 / (n * l2).
Unlike a probe trained by SGD it has no learning rate, schedule or seed to tune, so the difference
between two layers is a difference between the layers.

Solved by `newton.py`. In float32, the default, objectives are right to about 1e-7; inside
`jax.enable_x64(True)` weights agree with scikit-learn's to 1e-6.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.solvers import newton


@dataclasses.dataclass(frozen=True)
class CrossEntropy:
    """Softmax cross-entropy with one-hot targets; a `newton.Loss`."""

    def slope(self, z: Array, target: Array) -> Array:
        return jax.nn.softmax(z, axis=1) - target

    def bend(self, z: Array, target: Array, move: Array) -> Array:
        del target
        p = jax.nn.softmax(z, axis=1)
        return p * (move - jnp.sum(p * move, axis=1, keepdims=True))

    def spread(self, z: Array, target: Array) -> Array:
        del target
        p = jax.nn.softmax(z, axis=1)
        return p * (1 - p)

    def value(self, z: Array, target: Array) -> Array:
        own = jnp.sum(z * target, axis=1, keepdims=True)
        return jax.nn.logsumexp(z - own, axis=1)

    def change(self, z: Array, target: Array, move: Array) -> Array:
        ahead = move - jnp.sum(move * target, axis=1, keepdims=True)
        return jnp.log1p(jnp.sum(jax.nn.softmax(z, axis=1) * jnp.expm1(ahead), axis=1))


def fit(
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, "n"],
    use: Bool[np.ndarray, "f n"],
    l2: tuple[float, ...],
    classes: int,
    mesh: Mesh | None = None,
    tolerance: float = 1e-9,
) -> tuple[Float[np.ndarray, "f g d k"], Float[np.ndarray, "f g k"]]:
    """Weights and biases for every choice of rows in `use` and every strength.

    Choices are solved together, strengths one after another: a weak one takes several times the
    steps of a strong one, which together would wait for it.
    Large problems have their rows split over the mesh. ConfigError for an impossible strength.
    """
    if not l2 or not all(np.isfinite(one) and one >= 0 for one in l2):
        raise ConfigError(f"l2={l2}: strengths must be given, finite and at least 0")
    target = (y == np.arange(classes)[:, None])[None]
    share = use / use.sum(axis=1, keepdims=True)
    features = newton.rows(x, mesh)
    solved = [
        newton.minimise(
            features, CrossEntropy(), target, share, np.full(len(use), one), tolerance=tolerance
        )
        for one in l2
    ]
    weight, bias = (np.stack(part, axis=1) for part in zip(*solved, strict=True))
    return weight, bias
