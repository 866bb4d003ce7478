"""Objectives of bidirectional GANs and of latent regressors (Donahue et al. 2017)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Logits = tuple[Float[Array, "b"], Float[Array, "b"]]  # of real and of generated pairs


def discriminator_loss(logits: Logits) -> Float[Array, ""]:
    """Half the cross-entropies, in nats, of taking real pairs for real and generated for generated.

        (mean softplus(-real) + mean softplus(generated)) / 2

    log 2 at logits of 0.
    """
    real, generated = (x.astype(jnp.float32) for x in logits)
    return (jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(generated))) / 2


def inverse_loss(logits: Logits) -> Float[Array, ""]:
    """The same with the answers exchanged: what encoder and generator minimise.

    Not the discriminator's loss with a minus, whose gradient vanishes while it wins. The real pairs
    train the encoder, the generated ones the generator. log 2 at logits of 0.
    """
    real, generated = logits
    return discriminator_loss((-real, -generated))


def right_answers(logits: Logits) -> Float[Array, ""]:
    """The share of pairs, half of them real, of which the discriminator knows the kind."""
    real, generated = logits
    return (jnp.mean((real > 0) * 1.0) + jnp.mean((generated <= 0) * 1.0)) / 2


def latent_cross_entropy(
    logits: Float[Array, "b z"], latents: Float[Array, "b z"]
) -> Float[Array, ""]:
    """Mean cross-entropy, in nats, of sigmoid(logits) with (latents + 1) / 2, latents in -1..1.

    log 2 at logits of 0. Latents have an entropy of their own, below which it cannot fall: of
    uniform ones half a nat in the mean.
    """
    logits, target = logits.astype(jnp.float32), (latents.astype(jnp.float32) + 1) / 2
    return jnp.mean(jax.nn.softplus(logits) - target * logits)
