"""The objective of Dense Predictive Coding: a prediction picks its own feature among all."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.objectives.contrastive import info_nce
from ssl_jax.objectives.log_sums import products

Metrics = dict[str, Float[Array, ""]]


def dense_nce(
    predicted: Float[Array, "b n s d"],
    features: Float[Array, "b n s d"],
    local: int = 0,
    chunk: int = 0,
) -> tuple[Float[Array, ""], Metrics]:
    """NCE over videos, times and places (Han, Xie and Zisserman 2019).

        loss = mean_i [log sum_j exp(predicted_i . features_j) - predicted_i . features_i]

    i and j run over all b n s cells: b videos, n future times, s places. Beside its own a
    prediction meets n - 1 cells of the same place at another time, n (s - 1) of other places, and
    those of other videos, which are easy. Plain products: neither lengths nor a temperature divide
    them. All-equal products give log(b n s).

    Args:
      local: videos are compared within groups of so many, as if each group were on a device of its
        own; 0: all with all.
      chunk: features compared with at once; 0: all.

    Returns:
      The loss, and {'accuracy': of picking among all; 'time_accuracy': among the n times of one's
      own place, 'place_accuracy': among the s places of one's own time, both of one's own video}.

    Raises:
      ConfigError: local does not divide b, or chunk the cells of a group.
    """
    b, n, s, d = predicted.shape
    group = local or b
    if b % group:
        raise ConfigError(f"local negatives: groups of {group} must divide the {b} videos")
    cells = (b // group, group * n * s, d)

    def nce(queries: Array, keys: Array) -> tuple[Array, Metrics]:
        return info_nce(queries, keys, symmetric=False, cosine=False, chunk=chunk)

    loss, metrics = jax.vmap(nce)(predicted.reshape(cells), features.reshape(cells))
    own = jax.vmap(jax.vmap(products))
    over_places = own(predicted, features)  # (b n s s)
    over_times = own(predicted.swapaxes(1, 2), features.swapaxes(1, 2))  # (b s n n)
    return loss.mean(), {
        "accuracy": metrics["accuracy"].mean(),
        "time_accuracy": _on_the_diagonal(over_times),
        "place_accuracy": _on_the_diagonal(over_places),
    }


def _on_the_diagonal(scores: Float[Array, "b m k k"]) -> Float[Array, ""]:
    hits = jnp.argmax(scores, axis=-1) == jnp.arange(scores.shape[-1])
    return jnp.mean(hits.astype(jnp.float32))
