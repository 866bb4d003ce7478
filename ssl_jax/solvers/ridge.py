"""Least squares with an L2 penalty in closed form, for several choices of rows and strengths."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.solvers.newton import put_whole, split_rows


@jax.jit
def solve(
    x: Float[Array, "n d"],
    y: Float[Array, "n k"],
    use: Float[Array, "f n"],
    l2: Float[Array, "g"],
) -> tuple[Float[Array, "f g d k"], Float[Array, "f g k"]]:
    """Weights and biases of x -> y for every choice of rows (1 in `use`, 0 elsewhere) and strength.

    Strengths below the rounding error of the largest eigenvalue act like that error: a smaller one
    would divide noise by nearly nothing.
    """

    def one(use):
        share = use / use.sum()
        centre, offset = share @ x, share @ y
        inner, outer = (x - centre) * use[:, None], (y - offset) * use[:, None]
        wide = x.shape[0] < x.shape[1]
        values, vectors = jnp.linalg.eigh(inner @ inner.T if wide else inner.T @ inner)
        # Rounding makes zero eigenvalues slightly negative.
        values = jnp.maximum(values, 0)
        floor = jnp.finfo(x.dtype).eps * values[-1] + jnp.finfo(x.dtype).tiny
        target = vectors.T @ (outer if wide else inner.T @ outer)
        scaled = target / (values + jnp.maximum(l2, floor)[:, None])[..., None]
        weight = vectors @ scaled
        weight = inner.T @ weight if wide else weight
        return weight, offset - centre @ weight

    with jax.default_matmul_precision("highest"):
        return jax.lax.map(one, use)


def fit(
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, "n"],
    use: Bool[np.ndarray, "f n"],
    l2: tuple[float, ...],
    classes: int,
    mesh: Mesh | None = None,
) -> tuple[Float[np.ndarray, "f g d k"], Float[np.ndarray, "f g k"]]:
    """`solve` with targets -1 and +1 for `classes` classes.

    With more rows than features the rows are split over the mesh, and products summed over it.
    ConfigError for an impossible strength.
    """
    if not all(np.isfinite(one) and one >= 0 for one in l2):
        raise ConfigError(f"l2={l2}: strengths must be finite and at least 0")
    mesh = mesh if len(x) >= x.shape[1] else None
    target = 2 * np.eye(classes, dtype=x.dtype)[y] - 1
    rows, target, use = (split_rows(part, mesh) for part in (x, target, use.T.astype(x.dtype)))
    strengths = put_whole(np.asarray(l2, x.dtype), mesh)
    return jax.device_get(put_whole(solve(rows, target, use.T, strengths), mesh))
