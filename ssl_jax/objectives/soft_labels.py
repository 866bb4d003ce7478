"""Divergence of a student's answers from its teachers' soft labels."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

WEIGHTINGS = ("elements", "segments")


def divergence(
    logits: Mapping[str, Float[Array, "b n _"]],
    targets: Mapping[str, Float[Array, "b n _"]],
    weighting: str = "elements",
    factor: float = 250.0,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Mean over teachers and segments of KL(teacher || student), times a factor.

    Args:
      logits: of the student, for each teacher (by name) and each of n segments of audio.
      targets: the teachers' probabilities; 0 log 0 is 0.
      weighting: 'elements': each teacher's divergence is divided by its number of classes, as in
        SoundNet's code, whose loss is a mean over all elements; 'segments': it is not.
      factor: 250 in SoundNet's code, with 'elements'.

    Returns:
      The loss, and {'divergence': in nats a segment, 'accuracy': how often the student's likeliest
      class is the teacher's}, means over teachers.
    """
    terms, nats, hits = [], [], []
    for name, target in targets.items():
        log_q = jax.nn.log_softmax(logits[name].astype(jnp.float32), axis=-1)
        # The inner maximum: the branch that is not taken must not have a logarithm of zero.
        log_p = jnp.log(jnp.maximum(target, jnp.finfo(jnp.float32).tiny))
        each = jnp.sum(jnp.where(target > 0, target * (log_p - log_q), 0.0), axis=-1)
        nats.append(jnp.mean(each))
        terms.append(nats[-1] / (target.shape[-1] if weighting == "elements" else 1))
        hits.append(jnp.mean((log_q.argmax(-1) == target.argmax(-1)).astype(jnp.float32)))
    metrics = {"divergence": jnp.mean(jnp.stack(nats)), "accuracy": jnp.mean(jnp.stack(hits))}
    return factor * jnp.mean(jnp.stack(terms)), metrics
