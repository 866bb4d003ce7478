"""The loss of wav2vec 2.0 (Baevski et al. 2020): the right quantised vector among others."""

import jax
import jax.numpy as jnp
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

    Others whose codes are those of the own target are the same vector and are left out. If all are,
    a step's loss is 0, which is no success: it counts as a miss.

    Args:
      context: what is said of each step.
      targets: of the same steps, quantised.
      codes: which entries of the codebooks the targets are.
      others: for each step the numbers of other steps of the row; several may be the same.
      counted: steps that are there; the others of no step may be one that is not.
      temperature: divides the cosines.

    Returns:
      The sum over the steps that are counted, and {'accuracy': how often the own target is the
      nearest, 'equal': the share of others that are left out}, means over them.
    """
    scores = jnp.einsum("bid,bjd->bij", unit(context), unit(targets)) / temperature
    same = (codes[:, :, None] == codes[:, None]).all(-1)
    # How often each step is drawn: a sum over draws, as gathering is slow on accelerators.
    drawn = jax.nn.one_hot(others, scores.shape[2], dtype=jnp.int32).sum(2)
    rivals = jnp.where(same, 0, drawn)
    own = jnp.diagonal(scores, axis1=1, axis2=2)
    there = jnp.where(rivals > 0, scores + jnp.log(jnp.maximum(rivals, 1)), -jnp.inf)
    nearest = jnp.where(rivals > 0, scores, -jnp.inf).max(2)
    logs = jax.nn.logsumexp(jnp.concatenate([own[..., None], there], axis=2), axis=2)
    weights = counted.astype(jnp.float32)
    total = jnp.maximum(weights.sum(), 1.0)
    hits = (own > nearest) & (rivals > 0).any(2)
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
