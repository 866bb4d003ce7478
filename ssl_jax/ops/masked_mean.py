"""Means over the steps of sequences that are there."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def masked_mean(x: Float[Array, "b l d"], there: Bool[Array, "b l"]) -> Float[Array, "b d"]:
    """The mean of the positions that are there; 0 of none."""
    share = there / jnp.maximum(there.sum(1, keepdims=True), 1)
    return jnp.einsum("bl,bld->bd", share.astype(x.dtype), x)
