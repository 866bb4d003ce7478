"""Softmax cross-entropy, the objective of every task whose target is one of k classes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def classification(
    logits: Float[Array, "*n k"], labels: Int[Array, "*n"]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Mean cross-entropy in nats and the share of rows whose largest logit is the label's.

        loss = mean_i [log sum_j exp(logits_ij) - logits_i,label(i)]

    An untrained network's loss is about log k. Computed in float32 whatever the logits are.

    Returns:
      The loss, and {'accuracy': in 0..1}.
    """
    logits = logits.astype(jnp.float32)
    own = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    loss = jnp.mean(jax.nn.logsumexp(logits, axis=-1) - own)
    hits = jnp.argmax(logits, axis=-1) == labels
    return loss, {"accuracy": jnp.mean(hits.astype(jnp.float32))}
