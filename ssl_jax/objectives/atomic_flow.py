"""Future motion as classes of which one, no motion, is far more frequent than all others."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ssl_jax.objectives.balanced_accuracy import balanced_accuracy


def atomic_flow(
    logits: Float[Array, "b n h w 2 k"],
    target: Int[Array, "b n h w 2"],
    seen: Int[Array, "b h w 2"],
    weights: Float[Array, "2 k"],
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Mean over n steps, cells and both axes of weight * cross-entropy, in nats.

    Args:
      target: bins of u and v, see `data.atomic_flow.flow_bins`.
      seen: those of the last motion that was seen.
      weights: of each bin of either axis; with those of `colour.rebalancing` chance is log k.

    Returns:
      The loss, and balanced accuracies: {'balanced_accuracy': of the logits, 'copied': of taking
      what was seen for all steps, 'still': of no motion}.
    """
    logits, k = logits.astype(jnp.float32), logits.shape[-1]
    own = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
    entropy = jax.nn.logsumexp(logits, axis=-1) - own
    loss = jnp.mean(weights[jnp.arange(2), target] * entropy)

    def balanced(answers: Array) -> Array:
        return balanced_accuracy(answers.reshape(-1, k), target.reshape(-1))

    copied = jnp.broadcast_to(seen[:, None], target.shape)
    return loss, {
        "balanced_accuracy": balanced(logits),
        "copied": balanced(jax.nn.one_hot(copied, k)),
        "still": balanced(jax.nn.one_hot(jnp.full_like(target, k // 2), k)),
    }
