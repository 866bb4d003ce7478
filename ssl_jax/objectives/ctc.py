"""Connectionist temporal classification: a text is learnt without knowing when its letters fall."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

Metrics = dict[str, Float[Array, ""]]


def ctc(
    logits: Float[Array, "b t k"], steps: Int[Array, "b"], target: Int[Array, "b l"]
) -> tuple[Float[Array, ""], Metrics]:
    """The mean over rows of -ln p(text), p summed over all alignments (Graves et al. 2006).

    An alignment has one class for each step; repeats are merged, then blanks (class 0) left out. So
    a text needs a step for each letter and one between two that are equal. Rows without an
    alignment have no part in the mean.

    Args:
      steps: of each row; those behind are passed over.
      target: classes of letters, followed by zeros.

    Metrics: 'unaligned', the share of rows without an alignment; 'blank', the share of steps whose
    likeliest class is the blank. It rises to 1 first, and falls once letters are learnt.
    """
    there = jnp.arange(logits.shape[1]) < steps[:, None]
    losses = optax.ctc_loss(
        logits, 1.0 - there, target, (target == 0).astype(logits.dtype), blank_id=0
    )
    possible = alignable(steps, target)
    weight = possible / jnp.maximum(possible.sum(), 1)
    blank = (logits.argmax(-1) == 0) & there
    metrics = {
        "unaligned": 1.0 - possible.mean(),
        "blank": blank.sum() / jnp.maximum(there.sum(), 1),
    }
    # Their loss is a large number; times zero it would still be one of NaN or infinity.
    return jnp.sum(jnp.where(possible, losses, 0.0) * weight), metrics


def alignable(steps: Int[Array, "b"], target: Int[Array, "b l"]) -> Bool[Array, "b"]:
    """Whether a row has steps enough for its text."""
    letters = (target > 0).sum(1)
    repeats = ((target[:, 1:] == target[:, :-1]) & (target[:, 1:] > 0)).sum(1)
    return (steps > 0) & (letters + repeats <= steps)
