"""Objectives of networks that give an image back, and of a critic that looks at it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def weighted_squares(
    predicted: Float[Array, "b *n"], target: Float[Array, "b *n"], weight: Float[Array, "..."]
) -> Float[Array, ""]:
    """Mean over all values of weight * (predicted - target)^2, in float32.

    The weight is spread to the image's shape; it is not divided out again.
    """
    difference = predicted.astype(jnp.float32) - target.astype(jnp.float32)
    return jnp.mean(weight * difference**2)


def binary_cross_entropy(
    logits: Float[Array, "b *n"], target: Float[Array, "b *n"]
) -> Float[Array, ""]:
    """Cross-entropy in nats of values in 0..1 and sigmoid(logits): summed over a row, mean of rows.

        - target log sigmoid(logit) - (1 - target) log sigmoid(-logit)

    Values between 0 and 1 have an entropy of their own, below which it cannot fall.
    """
    logits, target = logits.astype(jnp.float32), target.astype(jnp.float32)
    entropy = jax.nn.softplus(logits) - target * logits
    return jnp.mean(jnp.sum(entropy.reshape(len(entropy), -1), axis=1))


def adversarial(
    real: Float[Array, "b"], fake: Float[Array, "b"], fooled: Float[Array, "b"]
) -> tuple[Float[Array, ""], Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The two losses of a generative adversarial network (Goodfellow et al. 2014) in one go.

    Args:
      real: the critic's logits of real images; positive: it takes them for real.
      fake: its logits of generated images, behind which no gradient may reach the generator.
      fooled: the same logits, with gradients to the generator and none to the critic.

    Returns:
      The critic's loss (both errors in nats, added), the generator's (that its images should be
      taken for real, not that they should not be taken for generated: the gradient does not vanish
      while the critic wins), and {'critic_accuracy'}.
    """
    real, fake, fooled = (x.astype(jnp.float32) for x in (real, fake, fooled))
    critic = jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))
    generator = jnp.mean(jax.nn.softplus(-fooled))
    right = (jnp.mean((real > 0) * 1.0) + jnp.mean((fake <= 0) * 1.0)) / 2
    return critic, generator, {"critic_accuracy": right}
