"""How much of what varies among the rows of a batch a regression gets right."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Num


def explained_variance(
    predicted: Float[Array, "b n"], target: Num[Array, "b n"]
) -> Float[Array, ""]:
    """1 - squared error / squared distance from the batch's mean, both summed over all numbers.

    1: every number is right. 0: no better than always the mean of the batch, which says nothing of
    the row. Where nothing varies it is 0 or less. Computed in float32.
    """
    predicted, target = predicted.astype(jnp.float32), target.astype(jnp.float32)
    spread = jnp.sum((target - target.mean(0)) ** 2)
    return 1.0 - jnp.maximum(jnp.sum((predicted - target) ** 2), 1e-9) / jnp.maximum(spread, 1e-9)
