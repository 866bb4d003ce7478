"""The objective of VGAN, a generative adversarial network of videos (Vondrick et al. 2016)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.objectives.reconstruction import adversarial

Metrics = dict[str, Float[Array, ""]]


def video_generation(
    real: Float[Array, "b 2"],
    generated: Float[Array, "b 2"],
    fooled: Float[Array, "b 2"],
    mask: Float[Array, "b t h w 1"],
    mask_weight: float,
) -> tuple[Float[Array, ""], Metrics]:
    """The losses of both players, added, which reach disjoint weights.

        discriminator = (CE(real clips, 'real') + CE(generated clips, 'generated')) / 2
        generator     = CE(generated clips, 'real')
        loss          = discriminator + generator + mask_weight * mean |mask|

    At logits of 0 the discriminator and the generator have log 2 each.

    Args:
      real: logits of real clips, for 'real' and for 'generated', in this order.
      generated: those of generated clips, behind which no gradient may reach the generator.
      fooled: the same logits, with gradients to the generator and none to the discriminator.
      mask: where the foreground is shown, 0..1. The penalty is a mean over all its entries.

    Returns:
      The loss, and {'discriminator', 'generator', 'mask': its mean, 'discriminator_accuracy'}.
    """
    margins = (x.astype(jnp.float32)[:, 0] - x[:, 1] for x in (real, generated, fooled))
    critic, generator, more = adversarial(*margins)
    discriminator, mask = critic / 2, jnp.mean(jnp.abs(mask))
    metrics = {
        "discriminator": discriminator,
        "generator": generator,
        "mask": mask,
        "discriminator_accuracy": more["critic_accuracy"],
    }
    return discriminator + generator + mask_weight * mask, metrics
