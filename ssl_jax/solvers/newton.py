"""Newton's method for linear models with a convex loss: many problems on the same rows at once.

    minimise over W, b   sum_i share_i loss(x_i W + b, y_i) + l2 / 2 * (||W||^2 + bias * ||b||^2)

One product of all features with a narrow matrix serves every problem (a fold, a cost) and class.
Each step solves its linear system by conjugate gradients (Nocedal & Wright, Numerical Optimization,
ch. 7), which see the features' principal directions scaled to about the same curvature: otherwise
the few directions in which features vary most, and which are long settled, would dictate the pace.
"""

import functools
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Shaped

from ssl_jax.devices.sharding import by_rows, put_same, replicated

# Up to so many rows, if fewer than features, a fit is kept to the rows' span. One of more than
# that many features scales only so many principal directions: the rest hardly vary.
SPAN, DIRECTIONS = 1000, 128
# A problem on the way to another is solved to this part of its objective.
ROUGHLY = 1e-2


@runtime_checkable
class Loss(Protocol):
    """Of every row's scores z (p k n) and what they should be, `target`, broadcast to the same."""

    def slope(self, z: Array, target: Array) -> Array:
        """The gradient, (p k n)."""

    def bend(self, z: Array, target: Array, move: Array) -> Array:
        """The second derivative times `move`, (p k n)."""

    def spread(self, z: Array, target: Array) -> Array:
        """The second derivative's diagonal, (p k n)."""

    def value(self, z: Array, target: Array) -> Array:
        """The loss, (p n)."""

    def change(self, z: Array, target: Array, move: Array) -> Array:
        """loss(z + move) - loss(z), (p n), right to the last digits also where it is small."""


class Rows(NamedTuple):
    """Features made ready by `rows`: problems share them.

    Attributes:
      x: rows, or their coordinates in their own span; rows of zeros at the end fill up.
      directions: of largest variance; None where x's columns are uncorrelated.
      variance: along each direction, and the mean of all others'; or each column's.
      basis: brings weights for x back to the features; None where x has the features themselves.
      mesh: what x lies on.
    """

    x: Float[Array, "n r"]
    directions: Float[Array, "r q"] | None
    variance: Float[Array, "_"]
    basis: Float[Array, "r d"] | None
    mesh: Mesh | None


def rows(x: Float[np.ndarray, "n d"], mesh: Mesh | None = None) -> Rows:
    """Features for `minimise`; many rows are split over the mesh."""
    n, d = x.shape
    if n <= min(d, SPAN):
        # The best weights are a sum of training rows: a problem of n rows and n features.
        vectors, lengths, basis = span(x)
        variance = lengths**2 / n
        parts = (vectors * lengths).astype(x.dtype), variance.astype(x.dtype), basis
        coordinates, variance, basis = jax.device_put(parts)
        return Rows(coordinates, None, variance, basis, None)
    split = split_rows(x, mesh)
    directions, variance = _principal(split, n, mesh)
    return Rows(split, *put_whole((directions, variance), mesh), None, mesh)


def minimise(
    features: Rows,
    loss: Loss,
    target: Shaped[np.ndarray, "#p k n"],
    share: Float[np.ndarray, "#p n"],
    l2: Float[np.ndarray, "p"],
    bias: float = 0.0,
    first_l2: float = 0.0,
    max_steps: int = 200,
    tolerance: float = 1e-9,
    report: bool = True,
) -> tuple[Float[np.ndarray, "p d k"], Float[np.ndarray, "p k"]]:
    """Weights and biases of p problems, with k scores each.

    A fit ends when the last step promised to lower the objective by less than `tolerance` of what
    it is, when it cannot be lowered any more (all that the number format can give), or after
    `max_steps`.

    Args:
      share: of each row in the loss; 0 keeps a row out.
      bias: how much of l2 the bias pays.
      report: whether fits that ran out of steps are logged.
      first_l2: a problem of a smaller l2 is solved roughly with this one, then with a tenth of it,
        and so on down to its own. For losses with a corner, where a step from afar crosses many.
    """
    dtype = features.x.dtype
    extra = len(features.x) - share.shape[-1]
    # The rows' axis, here the last, is split as the features' is.
    target, share = (
        split_rows(np.moveaxis(np.asarray(part, dtype), -1, 0), features.mesh, extra)
        for part in (target, share)
    )
    l2 = put_whole(np.asarray(l2, dtype), features.mesh)
    theta, live = _newton(
        *features[:3], jnp.moveaxis(target, 0, -1), jnp.moveaxis(share, 0, -1), l2,
        jnp.maximum(l2, first_l2), loss, bias, max_steps, tolerance,
    )  # fmt: skip
    theta, live = put_whole((theta, live), features.mesh)
    if report and (unfinished := int(np.sum(jax.device_get(live)))):
        logging.warning(
            "%d of %d fits have not converged in %d steps; their numbers are near the best ones "
            "only", unfinished, len(l2), max_steps
        )  # fmt: skip
    weight, offset = theta[..., :-1], theta[..., -1]
    if features.basis is not None:
        weight = jnp.matmul(weight, features.basis, precision="highest")
    weight, offset = jax.device_get((weight, offset))
    return weight.swapaxes(1, 2), offset


def put_whole(tree, mesh: Mesh | None):
    """Arrays on every device of the mesh; without one on the default device."""
    return put_same(tree, replicated(mesh)) if mesh else jax.device_put(tree)


def split_rows(
    array: Shaped[np.ndarray, "n ..."], mesh: Mesh | None, extra: int | None = None
) -> Shaped[Array, "m ..."]:
    """Rows split over the mesh's devices, filled up by zeros until these divide them."""
    if mesh is None:
        return jax.device_put(array)
    extra = -len(array) % mesh.size if extra is None else extra
    if extra:
        array = np.pad(array, [(0, extra)] + [(0, 0)] * (array.ndim - 1))
    return put_same(array, by_rows(mesh))


def span(
    x: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "n"], Float[np.ndarray, "n d"]]:
    """The singular value decomposition of few rows: x = (vectors * lengths) @ basis.

    Directions too short for the number format have a basis row of zeros.
    """
    # Twice the digits, as these are squares. Asking LAPACK for it takes a hundred times as long.
    wide = x.astype(np.float64)
    values, vectors = np.linalg.eigh(wide @ wide.T)
    lengths = np.sqrt(np.maximum(values, 0))
    kept = lengths > 1e-6 * lengths.max(initial=0)
    lengths = np.where(kept, lengths, 0)
    inverse = np.divide(1, lengths, out=np.zeros_like(lengths), where=kept)
    return vectors, lengths, ((vectors * inverse).T @ wide).astype(x.dtype)


def _principal(
    x: Float[Array, "n d"], count: int, mesh: Mesh | None
) -> tuple[Float[np.ndarray, "d q"], Float[np.ndarray, "_"]]:
    """About the directions of largest variance, that along each, and the mean of all others'.

    By subspace iteration from random directions (Halko, Martinsson & Tropp 2011).
    """
    d = x.shape[1]
    directions = np.random.default_rng(0).normal(size=(min(d, DIRECTIONS), d)).astype(x.dtype)
    for _ in range(2):
        products = _times_covariance(x, put_whole(directions, mesh))
        sketch, total = jax.device_get(put_whole(products, mesh))
        _, lengths, directions = span(sketch)
    variance = lengths / count
    rest = max(total / count - variance.sum(), 0) / max(d - np.count_nonzero(variance), 1)
    return directions.T, np.append(variance, rest).astype(x.dtype)


@jax.jit
def _times_covariance(x: Float[Array, "n d"], directions: Float[Array, "q d"]):
    with jax.default_matmul_precision("highest"):
        return (x @ directions.T).T @ x, jnp.vdot(x, x)


@functools.partial(jax.jit, static_argnames=("loss", "bias", "max_steps", "tolerance"))
def _newton(
    x: Float[Array, "n d"],
    directions: Float[Array, "d q"] | None,
    variance: Float[Array, "_"],
    target: Float[Array, "#p k n"],
    share: Float[Array, "#p n"],
    l2: Float[Array, "p"],
    first_l2: Float[Array, "p"],
    loss: Loss,
    bias: float,
    max_steps: int,
    tolerance: float,
) -> tuple[Float[Array, "p k d+1"], Bool[Array, "p"]]:
    """Weights with the bias as last feature, and whether `max_steps` ended the fit."""
    (n, d), p, k = x.shape, len(l2), target.shape[1]
    share = share[:, None]
    shares = jnp.append(jnp.ones(d, x.dtype), bias)
    tiny, eps = jnp.finfo(x.dtype).tiny, jnp.finfo(x.dtype).eps

    # Arrays are (p, k, d + 1) in weights and (p, k, n) in scores: long axes last, x never turned.
    def scores(theta):
        flat = jnp.matmul(x, theta[..., :-1].reshape(-1, d).T, precision="highest").T
        return flat.reshape(p, k, n) + theta[..., -1:]

    def pulled_back(slopes):
        flat = jnp.matmul(slopes.reshape(-1, n), x, precision="highest")
        return jnp.concatenate([flat.reshape(p, k, d), slopes.sum(-1, keepdims=True)], axis=-1)

    def dot(a, b):
        return jnp.sum(a * b, axis=(1, 2))

    def scaled(gradient, spread, strength):
        """`gradient` over the curvature that each direction would have alone."""
        weight = gradient[..., :-1]
        offset = gradient[..., -1:] / (spread + bias * strength + eps)
        curvature = spread * variance + strength + eps * variance.max()
        if directions is None:
            weight = weight / curvature
        else:
            # By roots, applied twice, this stays positive where rounding is larger than 1 / own.
            own, rest = curvature[..., :-1] ** -0.5, curvature[..., -1:] ** -0.5
            for _ in range(2):
                along = jnp.matmul(weight, directions, precision="highest") * (own - rest)
                weight = weight * rest + jnp.matmul(along, directions.T, precision="highest")
        step = jnp.concatenate([weight, offset], axis=-1)
        # Adding a number to all of several scores changes nothing, so no step should try.
        return step - step.mean(1, keepdims=True) if k > 1 else step

    def solve(z, gradient, l2, before, negligible, live):
        """Conjugate gradients: the step, what it does to the scores, and the gradient's size."""
        penalty = shares * l2[:, None, None]
        spread = jnp.sum(loss.spread(z, target) * share, axis=-1, keepdims=True)

        def unfinished(carry):
            *_, count, live = carry
            return live.any() & (count < 500)

        def advance(carry):
            step, move, residual, search, size, count, live = carry
            turn = scores(search)
            bent = share * loss.bend(z, target, turn)
            image = pulled_back(bent) + penalty * search
            # Not of search and image: where that product is small it would lose all digits.
            curvature = dot(turn, bent) + dot(penalty * search, search)
            live = live & (curvature > 0)  # rounding can make it negative
            far = jnp.where(live, size / jnp.maximum(curvature, tiny), 0)[:, None, None]
            step, move, residual = step + far * search, move + far * turn, residual - far * image
            direction = scaled(residual, spread, l2[:, None, None])
            after = dot(residual, direction)
            search = direction + (after / jnp.maximum(size, tiny))[:, None, None] * search
            return step, move, residual, search, after, count + 1, live & (after > enough)

        first = scaled(-gradient, spread, l2[:, None, None])
        size = dot(-gradient, first)
        # As good as Newton's last step turned out (Eisenstat & Walker 1996): where the objective is
        # far from a parabola, a step to its exact minimum is work for nothing.
        enough = size * jnp.clip(jnp.square(size / jnp.maximum(before, tiny)), 1e-4, 0.1)
        enough = jnp.maximum(enough, negligible / 10)
        start = (jnp.zeros_like(gradient), jnp.zeros_like(z), -gradient, first, size, 0, live)
        return *jax.lax.while_loop(unfinished, advance, start)[:2], size

    def length(theta, step, z, move, slope, l2, live):
        """How far along the step the objective is lowest, about; 0 if it is lowered nowhere."""
        penalty = shares * l2[:, None, None]
        along, square = dot(penalty * theta, step), dot(penalty * step, step)

        def unfinished(carry):
            *_, count, searching = carry
            return searching.any() & (count < 30)

        def advance(carry):
            t, least, most, count, searching = carry
            here = z + t[:, None, None] * move
            rise = dot(share * loss.slope(here, target), move) + along + t * square
            bent = dot(share * loss.bend(here, target, move), move) + square
            searching = searching & (jnp.abs(rise) > 0.01 * jnp.abs(slope))
            least, most = jnp.where(rise < 0, t, least), jnp.where(rise < 0, most, t)
            after = t - rise / jnp.maximum(bent, tiny)
            inside = (after > least) & (after < most)
            after = jnp.where(inside, after, (least + most) / 2)
            return jnp.where(searching, after, t), least, most, count + 1, searching

        t = jnp.ones_like(slope)
        t = jax.lax.while_loop(unfinished, advance, (t, 0 * t, 2 * t, 0, live))[0]
        rows = loss.change(z, target, t[:, None, None] * move)
        change = jnp.sum(rows * share[:, 0], axis=-1) + t * along + t**2 / 2 * square
        return jnp.where(live & (change <= 1e-4 * t * slope), t, 0)

    def unfinished(carry):
        *_, count, live = carry
        return live.any() & (count < max_steps)

    def advance(carry):
        theta, z, now, before, count, live = carry
        penalty = shares * now[:, None, None]
        gradient = pulled_back(share * loss.slope(z, target)) + penalty * theta
        # Of the objective itself: where rows are separable it is a tiny part of what it began as.
        rows = jnp.sum(loss.value(z, target) * share[:, 0], axis=-1)
        objective = rows + dot(penalty * theta, theta) / 2
        negligible = objective * jnp.where(now > l2, ROUGHLY, tolerance)
        step, move, size = solve(z, gradient, now, before, negligible, live)
        slope = dot(gradient, step)
        t = length(theta, step, z, move, slope, now, live)
        moved = (t > 0)[:, None, None]
        theta = jnp.where(moved, theta + t[:, None, None] * step, theta)
        z = jnp.where(moved, z + t[:, None, None] * move, z)
        solved = (t == 0) | (-slope / 2 <= negligible)
        live = live & ~(solved & (now == l2))
        now, before = jnp.where(solved, jnp.maximum(now / 10, l2), now), jnp.where(solved, 0, size)
        return theta, z, now, before, count + 1, live

    theta = jnp.zeros((p, k, d + 1), x.dtype)
    start = theta, scores(theta), first_l2, jnp.zeros(p, x.dtype), 0, jnp.ones(p, bool)
    theta, *_, live = jax.lax.while_loop(unfinished, advance, start)
    return theta, live
