"""Linear support vector machines: squared hinge, L2, one class against the rest.

    minimise over w, b   1/2 (||w||^2 + b^2) + C sum_i weight_i max(0, 1 - y_i (w x_i + b))^2

for y in {-1, +1}: liblinear's objective (Fan et al. 2008), scikit-learn's LinearSVC as it comes,
whose bias is penalised like a weight. Smooth enough for Newton's method (Keerthi & DeCoste 2005),
which solves all classes, folds and costs at once: in float32 to 1e-6 of the lowest objective or
better for C from 1e-3 to 1e3, also where rows are separable.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.solvers import newton

# Problems at once: with rows, so many scores (a quarter of a gigabyte), several times.
SCORES = 2**26


@dataclasses.dataclass(frozen=True)
class SquaredHinge:
    """max(0, 1 - target * z)^2 with targets -1 and +1; a `newton.Loss`."""

    def slope(self, z: Array, target: Array) -> Array:
        return -2 * target * jnp.maximum(0, 1 - target * z)

    def bend(self, z: Array, target: Array, move: Array) -> Array:
        return self.spread(z, target) * move

    def spread(self, z: Array, target: Array) -> Array:
        return 2.0 * (target * z < 1).astype(z.dtype)

    def value(self, z: Array, target: Array) -> Array:
        return jnp.sum(jnp.square(jnp.maximum(0, 1 - target * z)), axis=1)

    def change(self, z: Array, target: Array, move: Array) -> Array:
        before = jnp.maximum(0, 1 - target * z)
        after = jnp.maximum(0, 1 - target * (z + move))
        return jnp.sum((after - before) * (after + before), axis=1)


def fit(
    x: Float[np.ndarray, "n d"],
    presence: Int[np.ndarray, "n k"],
    use: Bool[np.ndarray, "f n"] | Bool[np.ndarray, "f n k"],
    costs: Float[np.ndarray, "g #k"],
    positive_weight: float = 1.0,
    mesh: Mesh | None = None,
    tolerance: float = 1e-9,
) -> tuple[Float[np.ndarray, "f g d k"], Float[np.ndarray, "f g k"]]:
    """Weights and biases of each class's machine, for every choice of rows and every C.

    Args:
      presence: 1 where a row shows a class, -1 where not, 0 where it is left out for this class.
      use: rows to train on; the same for all classes, or its own for each.
      costs: C, likewise.
      positive_weight: of the rows that show the class; others have 1.
      tolerance: as of `newton.minimise`.

    Raises ConfigError for an impossible cost, or a class without a positive or a negative to learn
    from.
    """
    if not costs.size or not (np.isfinite(costs) & (costs > 0)).all():
        raise ConfigError(f"costs={tuple(costs[:, 0].tolist())}: at least one, finite and above 0")
    (n, d), k = x.shape, presence.shape[1]
    use = use[..., None] if use.ndim == 2 else use
    taught = np.where(use, presence, 0)
    for sign, name in ((1, "shows"), (-1, "lacks")):
        without = np.argwhere(~(taught == sign).any(axis=1))
        if len(without):
            raise ConfigError(
                f"class {without[0, 1]}: no training record {name} it (in part {without[0, 0]} of "
                f"{len(use)}); choose fewer folds, or records of every class"
            )
    # Fewer rows than features can be separated. A slack of about 1 / C is left, which is less than
    # float32 can tell from a score of 1.
    precise = n <= min(d, newton.SPAN)
    with jax.enable_x64(precise or jax.config.jax_enable_x64):
        features = newton.rows(x.astype(np.float64) if precise else x, mesh)
        # So strong that hardly a row's score is beyond its corner.
        far = float(np.square(x, dtype=np.float64).sum() / n) + 1
        grid = len(use), len(costs)
        weight, bias = np.zeros((*grid, d, k), x.dtype), np.zeros((*grid, k), x.dtype)
        together = max(1, SCORES // (n * len(use) * len(costs)))
        for start in range(0, k, together):
            part = slice(start, min(start + together, k))
            target = presence[:, part]
            count = target.shape[1]
            # One problem a fold, cost and class, in this order; each has a score of its own.
            share = np.abs(taught[:, :, part]) * np.where(target == 1, positive_weight, 1.0)
            share = np.moveaxis(share, 2, 1)[:, None]  # (f, 1, k, n)
            rows = np.abs(taught[:, :, part]).sum(axis=1)[:, None]  # (f, 1, k)
            strength = 1 / (np.broadcast_to(costs, (len(costs), k))[:, part] * rows)
            shape = (*grid, count, n)
            found, offset = newton.minimise(
                features,
                SquaredHinge(),
                np.broadcast_to(target.T, shape).reshape(-1, 1, n),
                np.broadcast_to(share / rows[..., None], shape).reshape(-1, n),
                strength.ravel(),
                bias=1.0,
                first_l2=far,
                tolerance=tolerance,
            )
            weight[..., part] = np.moveaxis(found[..., 0].reshape(*grid, count, d), 2, 3)
            bias[..., part] = offset[..., 0].reshape(*grid, count)
    return weight, bias
