"""Companding of waves, on the device."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def compand(wave: Float[Array, "*b s"], mu: float = 255.0) -> Float[Array, "*b s"]:
    """Raises soft samples: sign(x) ln(1 + mu |x|) / ln(1 + mu), as in telephony.

    `wave` lies in -1..1, and so does the result; what lies beyond is clipped.
    """
    x = jnp.clip(wave.astype(jnp.float32), -1.0, 1.0)
    return jnp.sign(x) * jnp.log1p(mu * jnp.abs(x)) / jnp.log1p(mu)
