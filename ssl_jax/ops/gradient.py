"""What passes on to the weights below."""

import jax
from jaxtyping import Array, Float


def scaled_gradient(x: Float[Array, "..."], factor: float) -> Float[Array, "..."]:
    """The same numbers; their gradient is multiplied by `factor`."""
    return jax.lax.stop_gradient(x) + factor * (x - jax.lax.stop_gradient(x))
