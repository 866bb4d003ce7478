"""Cross-entropy: of a softmax where the target is one of k classes, of sigmoids where several."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def classification(
    logits: Float[Array, "*n k"], labels: Int[Array, "*n"]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Mean cross-entropy in nats and the fraction of rows whose largest logit is the label's.

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


def classification_of_known(
    logits: Float[Array, "b k"], labels: Int[Array, "b"]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """`classification` over the rows whose label is not -1; 0 if there are none."""
    logits, known = logits.astype(jnp.float32), (labels >= 0).astype(jnp.float32)
    own = jnp.take_along_axis(logits, jnp.maximum(labels, 0)[:, None], axis=-1)[:, 0]
    total = jnp.maximum(jnp.sum(known), 1.0)
    loss = jnp.sum(known * (jax.nn.logsumexp(logits, axis=-1) - own)) / total
    hits = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    return loss, {"accuracy": jnp.sum(known * hits) / total}


def several_classes(
    logits: Float[Array, "b k"], shown: Int[Array, "b k"]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Cross-entropy in nats of a sigmoid a class, and the fraction of right answers.

        loss = mean over what counts of log(1 + exp(-shown * logit))

    Args:
      shown: 1 where a row shows a class, -1 where not, 0 where it does not count.

    Untrained it is about log 2 a class. Computed in float32 whatever the logits are.

    Returns:
      The loss, and {'accuracy': of 'shown' for logits above 0}.
    """
    logits, counts = logits.astype(jnp.float32), (shown != 0).astype(jnp.float32)
    total = jnp.maximum(jnp.sum(counts), 1.0)
    loss = jnp.sum(counts * jax.nn.softplus(-shown * logits)) / total
    right = (logits > 0) == (shown > 0)
    return loss, {"accuracy": jnp.sum(counts * right) / total}
