"""Vectors of length one."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def unit(x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """Rows divided by their length, in float32. A zero row stays zero, with a finite gradient.

    As TensorFlow's l2_normalize: rows shorter than 1e-6 are divided by 1e-6; the squares of rows
    longer than 1e19 overflow, and such rows become 0.
    """
    x = x.astype(jnp.float32)
    squares = jnp.sum(x * x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))
