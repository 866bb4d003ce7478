"""Joints as fractions of an image's sides, the targets of DeepPose."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def joint_squares(
    predicted: Float[Array, "b k 2"], places: Float[Array, "b k 2"]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Mean squared distance of joints to their places, in float32 (Toshev and Szegedy 2014).

        loss = mean over annotated joints of |predicted - place|^2

    A joint whose place is NaN was not annotated: it does not count and has no gradient. Without any
    annotated joint the loss is 0.

    Returns:
      The loss, and {'distance': the mean distance, in the unit of the places}.
    """
    known = ~jnp.any(jnp.isnan(places), axis=-1)
    step = predicted.astype(jnp.float32) - jnp.where(known[..., None], places, 0.0)
    squares = jnp.where(known, jnp.sum(step**2, axis=-1), 0.0)
    count = jnp.maximum(jnp.sum(known), 1)
    return jnp.sum(squares) / count, {"distance": jnp.sum(jnp.sqrt(squares)) / count}
