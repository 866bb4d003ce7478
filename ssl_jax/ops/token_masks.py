"""Tokens left out of a text: BERT's masked words and T5's spans, of counts known beforehand.

And padding, by a text's end.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Masked(NamedTuple):
    """A text with some tokens hidden, and what was there.

    Attributes:
      text: what the network sees.
      places: of the tokens that are predicted, ascending; those that only fill up come last.
      target: the tokens that are right there.
      weight: 1, and 0 of places that only fill up.
    """

    text: Int[Array, "b l"]
    places: Int[Array, "b m"]
    target: Int[Array, "b m"]
    weight: Float[Array, "b m"]


def up_to_end(tokens: Int[Array, "b l"], end: int) -> Bool[Array, "b l"]:
    """Which tokens are of a text, up to its first `end`; what comes after it is padding."""
    ends = tokens == end
    return ends.cumsum(1) - ends == 0


def masked_counts(length: int, share: float, most: int) -> Int[np.ndarray, "l"]:
    """How many tokens of a text of 0, 1, ..., `length` are predicted: at least 1, at most `most`.

    A half is rounded to the even number, as in BERT's code.
    """
    return np.array([min(most, max(1, round(share * n))) for n in range(length + 1)], np.int32)


def masked_words(
    key: Array,
    text: Int[Array, "b l"],
    there: Bool[Array, "b l"],
    special: Bool[Array, "b l"],
    counts: Int[np.ndarray, "_"],
    mask: int,
    vocabulary: int,
) -> Masked:
    """Hides tokens as BERT does (Devlin et al. 2019).

    Of those chosen 80 % become `mask`, 10 % a token drawn from the whole vocabulary, and 10 % stay.

    Args:
      key: of the draws.
      text: the tokens.
      there: which places hold any; of a row's number of them `counts` says how many are chosen.
      special: which are never chosen.
      counts: by `masked_counts`.
      mask: the token that hides others.
      vocabulary: its size.
    """
    order, kind, other = jax.random.split(key, 3)
    allowed = there & ~special
    ranks = jnp.where(allowed, jax.random.uniform(order, text.shape), 2.0)
    most = int(counts.max())
    wanted = jnp.minimum(jnp.asarray(counts)[there.sum(1)], allowed.sum(1))
    weight = jnp.arange(most) < wanted[:, None]
    places = jnp.argsort(ranks, axis=1)[:, :most]
    # Ascending, with those that fill up at the end.
    places = jnp.sort(jnp.where(weight, places, places + text.shape[1]), axis=1) % text.shape[1]
    target = jnp.take_along_axis(text, places, axis=1)
    draw = jax.random.uniform(kind, places.shape)
    drawn = jax.random.randint(other, places.shape, 0, vocabulary)
    new = jnp.where(draw < 0.8, mask, jnp.where(draw < 0.9, drawn, target))
    new = jnp.where(weight, new, target)
    rows = jnp.arange(len(text))[:, None]
    hidden = text.at[rows, places].set(new.astype(text.dtype))
    return Masked(hidden, places.astype(jnp.int32), target, weight.astype(jnp.float32))


def noise_counts(length: int, share: float, mean: float) -> tuple[int, int]:
    """How many of `length` tokens are noise, and in how many spans (Raffel et al. 2020)."""
    noise = min(max(round(length * share), 1), length - 1)
    return noise, min(max(round(noise / mean), 1), noise, length - noise)


def noise_spans(
    key: Array, rows: int, length: int, noise: int, spans: int
) -> Bool[Array, "rows length"]:
    """Which tokens are noise, with these exact counts; every way to place the spans is as likely.

    A row begins with what is kept and ends with noise, and no spans touch.
    """
    keys = jax.random.split(key)
    lost = _partition(keys[0], rows, noise, spans)
    kept = _partition(keys[1], rows, length - noise, spans)
    ends = jnp.cumsum(jnp.stack([kept, lost], axis=2).reshape(rows, -1), axis=1)
    return (jnp.arange(length)[:, None] >= ends[:, None]).sum(2) % 2 == 1


def _partition(key: Array, rows: int, items: int, parts: int) -> Int[Array, "rows parts"]:
    """Sizes, at least 1, of so many parts of so many items."""
    ranks = jnp.argsort(jax.random.uniform(key, (rows, items - 1)), axis=1)[:, : parts - 1]
    cuts = jnp.sort(ranks, axis=1) + 1
    return jnp.diff(cuts, axis=1, prepend=0, append=items)


def collapsed(
    text: Int[Array, "b l"], hidden: Bool[Array, "b l"], sentinel: int, length: int
) -> Int[Array, "b length"]:
    """A text in which each run of hidden tokens is one sentinel.

    Args:
      text: the tokens.
      hidden: with as many hidden, in as many runs, in each row.
      sentinel: of the first run; that of each next one is a number less.
      length: of what remains.
    """
    first = hidden & ~jnp.pad(hidden, ((0, 0), (1, 0)))[:, :-1]
    marked = jnp.where(first, sentinel + 1 - jnp.cumsum(first, axis=1), text)
    stays = jnp.argsort(hidden & ~first, axis=1, stable=True)[:, :length]
    return jnp.take_along_axis(marked, stays, axis=1).astype(text.dtype)
