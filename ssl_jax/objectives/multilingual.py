"""Clips with what is said in them in two languages: contrasts within and between the three.

All compute in float32, on global arrays. Of memory and `chunk` see `contrastive`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ssl_jax.objectives.log_sums import both_log_sums
from ssl_jax.ops.unit import unit

Metrics = dict[str, Float[Array, ""]]

# Added to the products of what is absent. Beside cosines divided by a temperature its exponential
# is 0; as a power of two it is exact in any precision.
ABSENT = -(2.0**14)


class Embedded(NamedTuple):
    """What a network makes of n clips and their texts; row i of all belongs together.

    Attributes:
      clips: of the clips as they are.
      noised_clips: of the same with parts left out.
      texts: of the texts in the first language.
      noised_texts: of the same with words hidden.
      others: of the same texts in another language; None: there are none.
      texts_seen, others_seen: of the texts of both, read together with the clip; None likewise.
    """

    clips: Float[Array, "n d"]
    noised_clips: Float[Array, "n d"]
    texts: Float[Array, "n d"]
    noised_texts: Float[Array, "n d"]
    others: Float[Array, "n d"] | None = None
    texts_seen: Float[Array, "n d"] | None = None
    others_seen: Float[Array, "n d"] | None = None


def present_nce(
    queries: Float[Array, "n d"],
    keys: Float[Array, "n d"],
    there: Bool[Array, "n"],
    temperature: float = 0.05,
    chunk: int = 0,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """InfoNCE both ways, summed, among the rows that are there.

        s_ij = cos(query_i, key_j) / temperature
        loss = mean_i [log sum_j exp(s_ij) - s_ii] + [log sum_j exp(s_ji) - s_ii]

    i and j run over the rows that are there; the others are nobody's keys and count nowhere. If
    none is there the loss is 0. With all of them it is twice `contrastive.info_nce`.

    Args:
      queries, keys: row i of one belongs to row i of the other.
      there: which rows have both.
      temperature: divides the cosines.
      chunk: keys compared at once; 0: all.

    Returns:
      The loss, and the fraction of queries whose own key is the most similar.

    Raises:
      ConfigError: chunk does not divide n.
    """
    queries, keys = unit(queries) / temperature, unit(keys)
    own = jnp.sum(queries * keys, axis=-1)
    # Two more numbers a row add ABSENT to every product with a row that is not there.
    absent, one = jnp.where(there, 0.0, ABSENT)[:, None], jnp.ones((len(own), 1))
    queries = jnp.concatenate([queries, one, absent], axis=-1)
    keys = jnp.concatenate([keys, absent, one], axis=-1)
    # Where the cut that leaves these two out of the gradients is fused with their sum over devices,
    # TPUs' compiler (libtpu 0.0.42.1) crashes (`python -m ssl_jax.compile`, v5e:2x2).
    queries, keys = jax.lax.optimization_barrier((queries, keys))
    logs, most, _, back = both_log_sums(queries, keys, chunk)
    share = there / jnp.maximum(there.sum(), 1)
    hits = most == jnp.arange(len(own))
    return jnp.sum(share * jnp.where(there, logs + back - 2 * own, 0.0)), jnp.sum(share * hits)


def multilingual_nce(
    found: Embedded,
    translated: Bool[Array, "n"] | None = None,
    temperature: float = 0.05,
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
    chunk: int = 0,
) -> tuple[Float[Array, ""], Metrics]:
    """The loss of multilingual multimodal pre-training (Huang et al. 2021).

    With x a text, y the same in another language, v the clip, x' and v' with parts hidden, and x|v
    a text read together with the clip:

        inter       = NCE(x, v) + NCE(y, v)
        intra       = NCE(x, x') + NCE(v, v')
        conditional = NCE(x|v, y|v)

    and their weighted sum; NCE is `present_nce`. Rows without y have no part in what has y.

    Args:
      found: without `others` only x and v, and no conditional part.
      translated: which rows have y; None: all.
      temperature: of all parts.
      weights: of inter, intra and conditional.
      chunk: rows compared at once; 0: all.

    Returns:
      The loss, and {'inter', 'intra', 'conditional'} without their weights, {'accuracy': fraction
      of texts whose own clip is the most similar, 'other_accuracy': the same of the other language,
      'language_accuracy': fraction of x|v whose own y|v is}, and 'translated', the share of rows
      that have y. Of these 'conditional' and the last three only with `others`.

    Raises:
      ConfigError: chunk does not divide n.
    """
    inter, intra, conditional = weights
    every = jnp.ones(len(found.clips), bool)

    def nce(a, b, there):
        return present_nce(a, b, there, temperature, chunk)

    between, accuracy = nce(found.texts, found.clips, every)
    within = nce(found.texts, found.noised_texts, every)[0]
    within += nce(found.clips, found.noised_clips, every)[0]
    metrics = {"inter": between, "intra": within, "accuracy": accuracy}
    if found.others is None:
        return inter * between + intra * within, metrics
    both = every if translated is None else translated
    more, other_accuracy = nce(found.others, found.clips, both)
    joint, language_accuracy = nce(found.texts_seen, found.others_seen, both)
    loss = inter * (between + more) + intra * within + conditional * joint
    return loss, {
        **metrics,
        "inter": between + more,
        "conditional": joint,
        "other_accuracy": other_accuracy,
        "language_accuracy": language_accuracy,
        "translated": both.mean(),
    }
