"""Words of a text and their neighbours as word2vec draws them: what is kept, contexts, noise."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped


def offsets(window: int) -> tuple[int, ...]:
    """-window..-1, 1..window."""
    return (*range(-window, 0), *range(1, window + 1))


def neighbours(x: Shaped[Array, "b t *d"], window: int) -> Shaped[Array, "b t n *d"]:
    """Of every position the entries at distances -window..-1, 1..window; beyond the ends zeros."""
    return jnp.stack([_shifted(x, offset) for offset in offsets(window)], axis=2)


def _shifted(x: Shaped[Array, "b t *d"], offset: int) -> Shaped[Array, "b t *d"]:
    """What stands `offset` positions further, zeros where nothing does."""
    end = ((0, 0),) * (x.ndim - 2)
    padded = jnp.pad(x, ((0, 0), (max(0, -offset), max(0, offset)), *end))
    start = max(0, offset)
    return padded[:, start : start + x.shape[1]]


def contexts(
    words: Int[Array, "b t"], sentence: Int[Array, "b t"], reach: Int[Array, "b t"], window: int
) -> Bool[Array, "b t n"]:
    """Which neighbours, at distances -window..-1, 1..window, are context of each position.

    Those of its sentence within its `reach`, where there are words.
    """
    row = jnp.stack([words, sentence], axis=-1)
    near = neighbours(row, window)
    distances = jnp.abs(jnp.array(offsets(window)))
    same = near[..., 1] == sentence[..., None]
    return (near[..., 0] > 0) & same & (distances <= reach[..., None]) & (words > 0)[..., None]


def mirrored(context: Bool[Array, "b t n"]) -> Bool[Array, "b t n"]:
    """Of which neighbours each position is context; `context` says which are context of it."""
    steps = offsets(context.shape[2] // 2)
    # The neighbour at offset o has me at offset -o.
    seen = [_shifted(context[:, :, -1 - n], offset) for n, offset in enumerate(steps)]
    return jnp.stack(seen, axis=2)


def kept_words(
    key: Array, text: Int[Array, "b l"], keep: Float[Array, "v"], room: int
) -> tuple[Int[Array, "b t"], Int[Array, "b t"], Float[Array, "b"], Float[Array, "b"]]:
    """Sub-sampling: each word stays with its probability, and moves up to the front of its row.

    Args:
      key: of the draws.
      text: words; 0 is the end of a sentence, and goes.
      keep: probability of each word.
      room: for so many words of a row there is room; those beyond are dropped.

    Returns:
      The words, 0 where no more are; of each the number of its sentence; the share of each row's
      words that stayed; and of these the share for which there was no room.
    """
    rows = jnp.arange(len(text))[:, None]
    chosen = (text > 0) & (jax.random.uniform(key, text.shape) < keep[text])
    place = jnp.where(chosen, jnp.cumsum(chosen, 1) - 1, room)
    empty = jnp.zeros((len(text), room), jnp.int32)
    words = empty.at[rows, place].set(text, mode="drop")
    sentence = empty.at[rows, place].set(jnp.cumsum(text == 0, 1), mode="drop")
    kept = chosen.sum(1) / jnp.maximum((text > 0).sum(1), 1)
    dropped = 1 - (words > 0).sum(1) / jnp.maximum(chosen.sum(1), 1)
    return words, sentence, kept, dropped


def alias_draws(
    key: Array, shape: tuple[int, ...], accept: Float[Array, "v"], alias: Int[Array, "v"]
) -> Int[Array, "..."]:
    """Words drawn by an alias table; see `data.sampling.words.alias_table`."""
    size = len(accept)
    # One random number says both which and, by what is left of it, whether it stays.
    rest, drawn = jnp.divmod(jax.random.bits(key, shape, jnp.uint32), np.uint32(size))
    stays = rest < accept[drawn] * (2.0**32 / size)
    return jnp.where(stays, drawn.astype(jnp.int32), alias[drawn])


def predictions(
    context: Bool[Array, "b t n"], target: Int[Array, "b t"], together: bool
) -> Bool[Array, "b t m"]:
    """Which predictions there are: one from each context word, or one from all `together` (m=1)."""
    there = context & (target > 0)[..., None]
    return there.any(-1, keepdims=True) if together else there


def rates(
    text: Int[Array, "b t"],
    context: Bool[Array, "b t n"],
    target: Int[Array, "b t"],
    noise: Int[Array, "b g k"],
    there: Bool[Array, "b t m"],
    size: int,
    most: int,
) -> tuple[Float[Array, "b t"], Float[Array, "b t"], Float[Array, "b g k"]]:
    """`most` / how often a word is in the batch, at most 1, of each entry of text, target, noise.

    Args:
      text: words, which occur as often as they are context.
      context: which neighbours are.
      target, noise: words, which occur as often as they are asked for, by either.
      there: which predictions there are, of target and of noise, in g groups.
      size: of the vocabulary.
      most: occurrences up to which a rate is 1.
    """
    zeros = jnp.zeros(size)
    given = zeros.at[text].add(mirrored(context).sum(-1))
    per_group = there.reshape(*noise.shape[:2], -1).sum(-1, keepdims=True)
    asked = zeros.at[target].add(there.sum(-1))
    asked = asked.at[noise].add(jnp.broadcast_to(per_group, noise.shape))
    inner, outer = (jnp.minimum(1, most / jnp.maximum(n, 1)) for n in (given, asked))
    return inner[text], outer[target], outer[noise]
