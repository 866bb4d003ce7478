"""Classes of sounds by their statistics: which of several centres, or on which sides of planes."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


def nearest_centre(x: Float[Array, "b d"], centres: Float[Array, "k d"]) -> Int[Array, "b"]:
    """The number of the nearest of the centres."""
    away = jnp.sum(centres**2, axis=1) - 2 * _product(x, centres)
    return jnp.argmin(away, axis=1).astype(jnp.int32)


def sides(x: Float[Array, "b d"], directions: Float[Array, "k d"]) -> Int[Array, "b k"]:
    """1 where a row lies on a direction's own side of the origin, else -1."""
    return jnp.where(_product(x, directions) > 0, 1, -1).astype(jnp.int32)


def _product(x: Array, y: Array) -> Array:
    # Highest precision: an accelerator's default would round the products to bfloat16.
    return jnp.matmul(x, y.T, precision=lax.Precision.HIGHEST)
