"""The loss of wav2vec 2.0 (Baevski et al. 2020): the right quantised vector among distractors."""

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Int, Num

from ssl_jax.objectives.contrastive import unit


def masked_contrast(
    context: Float[Array, "b m d"],
    targets: Float[Array, "b m d"],
    codes: Num[Array, "b m g"],
    others: Int[Array, "b m k"],
    counted: Bool[Array, "b m"],
    temperature: float = 0.1,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Each masked step has to pick its own target among those of other masked steps.

        s_ij = cos(context_i, target_j) / temperature
        loss = sum_i [log(exp s_ii + sum_(j in others_i) exp s_ij) - s_ii]

    Distractors whose codes are those of the own target are the same vector and are left out. If all
    are, a step's loss is 0, which is no success, and counts as an error.

    Args:
      context: the network's outputs at masked steps.
      targets: of the same steps, quantised.
      codes: which entries of the codebooks the targets are.
      others: the distractors of each step, as numbers of other steps of the row; several may be
        the same.
      counted: steps that are there; no distractor may be one that is not.
      temperature: divides the cosines.

    Returns:
      The sum over the steps that are counted, and {'accuracy': how often the own target is the
      nearest, 'equal': the share of distractors that are left out}, means over them.
    """
    # The temperature multiplies errors by 10, and TPUs would round the factors to bfloat16.
    cosines = jnp.einsum("bid,bjd->bij", unit(context), unit(targets), precision=Precision.HIGHEST)
    scores = cosines / temperature
    same = (codes[:, :, None] == codes[:, None]).all(-1)
    # How often each step is drawn: a sum over draws, as gathering is slow on accelerators.
    drawn = jax.nn.one_hot(others, scores.shape[2], dtype=jnp.int32).sum(2)
    kept = jnp.where(same, 0, drawn)
    own = jnp.diagonal(scores, axis1=1, axis2=2)
    there = jnp.where(kept > 0, scores + jnp.log(jnp.maximum(kept, 1)), -jnp.inf)
    nearest = jnp.where(kept > 0, scores, -jnp.inf).max(2)
    logs = jax.nn.logsumexp(jnp.concatenate([own[..., None], there], axis=2), axis=2)
    weights = counted.astype(jnp.float32)
    total = jnp.maximum(weights.sum(), 1.0)
    hits = (own > nearest) & (kept > 0).any(2)
    equal = (drawn * same).sum(2) / others.shape[2]
    return jnp.sum(weights * (logs - own)), {
        "accuracy": jnp.sum(weights * hits) / total,
        "equal": jnp.sum(weights * equal) / total,
    }


def code_diversity(
    logits: Float[Array, "b m g v"], counted: Bool[Array, "b m"]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """How far the use of the codebooks is from even: 0 if all entries are as probable.

    (g v - sum_g perplexity_g) / (g v), where a perplexity is that of the probabilities' mean over
    all steps that are counted: v if even, 1 if a single entry is used.

    Returns:
      The loss, and {'perplexity': their sum over the codebooks, 'code_perplexity': the same of how
      often each entry is the most probable}.
    """
    groups, entries = logits.shape[2:]
    total = jnp.maximum(counted.sum(), 1)

    def perplexity(shares: Float[Array, "b m g v"]) -> Float[Array, ""]:
        mean = jnp.where(counted[..., None, None], shares, 0).sum((0, 1)) / total
        return jnp.exp(-jnp.sum(mean * jnp.log(mean + 1e-7), axis=1)).sum()

    soft = perplexity(jax.nn.softmax(logits.astype(jnp.float32)))
    hard = perplexity(jax.nn.one_hot(logits.argmax(-1), entries))
    size = groups * entries
    return (size - soft) / size, {"perplexity": soft, "code_perplexity": hard}
