"""Linear support vector machines: squared hinge, L2, one class against the rest.

    minimise over w, b   1/2 (||w||^2 + b^2) + C sum_i weight_i max(0, 1 - y_i (w x_i + b))^2

for y in {-1, +1}: liblinear's objective (Fan et al. 2008), scikit-learn's LinearSVC as it comes,
whose bias is penalised like a weight. Smooth enough for Newton's method (Keerthi & DeCoste 2005).

All classes, folds and costs are fitted at once in JAX's precision. That is within 1e-6 of the
lowest objective for small C; where rows are separable (as they are where features are not much
fewer than rows) and C is 100 or more, it can be a few thousandths: there the objective is a small
difference of large sums. Hence each machine is looked at in float64, and one that is not within
1e-6 is finished on the host, exactly. Of what is too large for that, it is logged how many.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.optimize
from absl import logging
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.solvers import newton

# Features of up to so many numbers are looked at in float64, and machines of which a step takes up
# to so many products (a second) are finished. That takes about five steps, at most STEPS.
NUMBERS, PRODUCTS, STEPS = 2**26, 10**10, 200
# What may be left to gain, as a part of the objective, for a machine to be left as it is.
GOOD = 5e-7
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
      mesh: what the rows are split over.
      tolerance: what may be left to gain, about, as a part of the objective.

    Raises ConfigError for an impossible cost, or a class without a positive or a negative to learn
    from.
    """
    if not costs.size or not (np.isfinite(costs) & (costs > 0)).all():
        raise ConfigError(f"costs={tuple(costs[:, 0].tolist())}: at least one, finite and above 0")
    k = presence.shape[1]
    use = use[..., None] if use.ndim == 2 else use
    taught = np.where(use, presence, 0)
    for sign, name in ((1, "shows"), (-1, "lacks")):
        without = np.argwhere(~(taught == sign).any(axis=1))
        if len(without):
            raise ConfigError(
                f"class {without[0, 1]}: no training record {name} it (in part {without[0, 0]} of "
                f"{len(use)}); choose fewer folds, or records of every class"
            )
    # One problem a fold, cost, class (and row), in this order; each has a score of its own.
    share = np.abs(taught) * np.where(presence == 1, positive_weight, 1.0)
    share = np.moveaxis(share, 2, 1)[:, None]  # (f, 1, k, n)
    costs = np.broadcast_to(costs, (len(costs), k))
    weight, bias = _together(x, presence.T, share, costs, mesh, tolerance)
    if x.size <= NUMBERS:
        weight, bias = _finished(x, presence.T, share, costs, weight, bias, tolerance)
    return np.moveaxis(weight, 2, 3).astype(x.dtype), bias.astype(x.dtype)


def _together(x, target, share, costs, mesh, tolerance):
    """Weights (f g k d) and biases (f g k) by `newton.minimise`."""
    n, d = x.shape
    grid, k = (len(share), len(costs)), len(target)
    features = newton.rows(x, mesh)
    # So strong that hardly a row's score is beyond its corner.
    far = float(np.square(x, dtype=np.float64).sum() / n) + 1
    weight, bias = np.zeros((*grid, k, d), x.dtype), np.zeros((*grid, k), x.dtype)
    together = max(1, SCORES // (n * grid[0] * grid[1]))
    for start in range(0, k, together):
        part = slice(start, min(start + together, k))
        rows = np.count_nonzero(share[:, :, part], axis=-1)  # (f, 1, k)
        shape = (*grid, part.stop - start, n)
        found, offset = newton.minimise(
            features,
            SquaredHinge(),
            np.broadcast_to(target[part], shape).reshape(-1, 1, n),
            np.broadcast_to(share[:, :, part] / rows[..., None], shape).reshape(-1, n),
            (1 / (costs[:, part] * rows)).ravel(),
            bias=1.0,
            first_l2=far,
            tolerance=tolerance,
            report=x.size > NUMBERS,  # others are finished
        )
        weight[:, :, part] = found[..., 0].reshape(*shape[:3], d)
        bias[:, :, part] = offset[..., 0].reshape(shape[:3])
    return weight, bias


def _finished(
    x: Float[np.ndarray, "n d"],
    target: Int[np.ndarray, "k n"],
    share: Float[np.ndarray, "f 1 k n"],
    costs: Float[np.ndarray, "g k"],
    weight: Float[np.ndarray, "f g k d"],
    bias: Float[np.ndarray, "f g k"],
    tolerance: float,
) -> tuple[Float[np.ndarray, "f g k d"], Float[np.ndarray, "f g k"]]:
    """Weights and biases, of which those that are not good are finished.

    Each row's loss counts `share` times its class's cost.
    """
    wide = np.column_stack([x, np.ones(len(x))]).astype(np.float64)
    theta = np.concatenate([weight, bias[..., None]], axis=-1).astype(np.float64)
    products, gaps = None, []
    for fold, cost in np.ndindex(bias.shape[:2]):
        begun, each = theta[fold, cost], costs[cost][:, None] * share[fold, 0]  # (k d), (k n)
        margin = target * (begun @ wide.T)
        lowest, left = _objective(begun, margin, wide, target, each)
        for k in np.flatnonzero(left > GOOD * lowest):
            few, many = sorted((np.count_nonzero((margin[k] < 1) & (each[k] > 0)), wide.shape[1]))
            if few**2 * many > PRODUCTS:
                gaps.append(left[k] / lowest[k])
                continue
            if products is None and len(x) < wide.shape[1]:
                products = wide @ wide.T
            used = np.flatnonzero(each[k])
            own = products if products is None else products[np.ix_(used, used)]
            parts = wide[used], own, target[k, used], each[k, used]
            begun[k] = _machine(begun[k], margin[k, used], *parts, tolerance)
    if gaps:
        logging.warning(
            "%d of %d support vector machines are too large to be finished in float64: their "
            "objectives are at most %.1g of themselves above the lowest",
            *(len(gaps), bias.size, max(gaps)),
        )
    return theta[..., :-1], theta[..., -1]


def _objective(weight, margin, x, target, cost):
    """The objective, and a bound on what is left to gain: half the gradient's squared length."""
    short = np.maximum(0, 1 - margin)
    gradient = weight - 2 * (cost * short * target) @ x
    value = np.square(weight).sum(-1) / 2 + (cost * np.square(short)).sum(-1)
    return value, np.square(gradient).sum(-1) / 2


def _machine(
    weight: Float[np.ndarray, "d"],
    margin: Float[np.ndarray, "n"],
    x: Float[np.ndarray, "n d"],
    products: Float[np.ndarray, "n n"] | None,
    target: Int[np.ndarray, "n"],
    cost: Float[np.ndarray, "n"],
    tolerance: float,
) -> Float[np.ndarray, "d"]:
    """The weights of one problem, the bias among them.

    Rows within the margin pull as in least squares, others not at all: the best weights for these
    rows are solved for, then the rows are chosen again. Goes on until a bound on what is left to
    gain is `tolerance` of the objective.

    Args:
      weight, margin: to begin with, and what the rows' margins are with it.
      products: of the rows with one another, where these were all needed.
    """
    for count in range(STEPS):
        inside = np.flatnonzero(margin < 1)
        rows, sign, twice = x[inside], target[inside], 2 * cost[inside]
        if len(inside) >= len(weight):
            system = (rows.T * twice) @ rows + np.eye(len(weight))
            best = scipy.linalg.solve(system, rows.T @ (twice * sign), assume_a="pos")
        else:
            inner = rows @ rows.T if products is None else products[np.ix_(inside, inside)]
            system = inner + np.diag(1 / twice)
            best = rows.T @ scipy.linalg.solve(system, sign.astype(float), assume_a="pos")
        move, turn = best - weight, target * (x @ best) - margin
        # Whole steps raise the objective now and then, and yet arrive in a tenth of the steps.
        far = 1.0 if count < STEPS // 2 else _lowest(weight, move, margin, turn, cost)
        weight, margin = weight + far * move, margin + far * turn
        objective, left = _objective(weight, margin, x, target, cost)
        if left <= tolerance * objective:
            return weight
    logging.warning(
        "a support vector machine of %d rows has not converged in %d steps: its objective, %g, is "
        "at most %g above the lowest", len(x), STEPS, objective, left
    )  # fmt: skip
    return weight


def _lowest(weight, move, margin, turn, cost) -> float:
    """How far along a step, at most 1, the objective is lowest: its slope, which rises, is 0."""

    def slope(t):
        pull = 2 * cost * np.maximum(0, 1 - margin - t * turn)
        return (weight + t * move) @ move - pull @ turn

    if slope(1.0) <= 0:
        return 1.0
    return float(scipy.optimize.brentq(slope, 0.0, 1.0)) if slope(0.0) < 0 else 0.0
