"""A loss in which what is far off hardly counts more than what is off."""

import jax.numpy as jnp
from jaxtyping import Array, Float

EPSILON = 1 / 25**2


def log_distance(
    predicted: Float[Array, "b t k"], target: Float[Array, "b t k"], epsilon: float = EPSILON
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Mean over steps of log(epsilon + r^2), r the Euclidean distance of a step, in float32.

    Owens et al., "Visually Indicated Sounds", CVPR 2016. The gradient is steepest at a distance of
    sqrt(epsilon), 0.04. Predictions that are right have a negative loss, log(epsilon) = -6.44 at
    best. Also gives 'distance', the mean of r.
    """
    difference = predicted.astype(jnp.float32) - target.astype(jnp.float32)
    squared = jnp.sum(difference**2, axis=-1)
    return jnp.mean(jnp.log(epsilon + squared)), {"distance": jnp.mean(jnp.sqrt(squared))}
