"""Negative sampling for word vectors (Mikolov et al. 2013), with the released code's details."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ssl_jax.ops.word_windows import mirrored, offsets

HIGHEST = jax.lax.Precision.HIGHEST  # an accelerator's default would round factors to bfloat16
BLOCK = 64  # predictions of a row whose scores are computed at once


class Groups(NamedTuple):
    """Predictions, in groups that share noise words.

    Attributes:
      places: in its row, of the vector that each prediction is made from.
      target, noise: the true word of each prediction, the noise words of each group.
      target_rate, noise_rate: which part of a score's gradient reaches these words.
      counted: which groups there are; the others are not computed.
    """

    places: Int[Array, "b g q"]
    target: Int[Array, "b g q"]
    noise: Int[Array, "b g k"]
    target_rate: Float[Array, "b g q"]
    noise_rate: Float[Array, "b g k"]
    counted: Bool[Array, "b g"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def context_mean(
    x: Float[Array, "b t d"], context: Bool[Array, "b t n"], undivided: bool
) -> Float[Array, "b t d"]:
    """CBOW's hidden layer: the mean over the context words of each position, 0 where none are.

    Args:
      x: the word vectors of rows of text.
      context: which of the neighbours, in the order of `neighbours`, are context.
      undivided: whether each context word receives the whole gradient of the mean, as in
        word2vec.c, in place of its share of it.
    """
    del undivided  # the way back has it
    return _context_sum(x, context) / _context_size(context)


def _context_forward(x, context, undivided):
    return context_mean(x, context, undivided), context


def _context_backward(undivided, context, due):
    share = due if undivided else due / _context_size(context)
    return _context_sum(share, mirrored(context)), None


context_mean.defvjp(_context_forward, _context_backward)


def _context_size(context: Bool[Array, "b t n"]) -> Int[Array, "b t 1"]:
    return jnp.maximum(context.sum(-1, keepdims=True), 1)


def _context_sum(x: Float[Array, "b t d"], context: Bool[Array, "b t n"]) -> Float[Array, "b t d"]:
    length, window = x.shape[1], context.shape[2] // 2
    wide = jnp.pad(x, ((0, 0), (window, window), (0, 0)))
    # Else XLA finds out once for every number of a vector what is context and where a row ends.
    wide, context = jax.lax.optimization_barrier((wide, context))
    parts = [
        jnp.where(context[:, :, number, None], wide[:, window + step : window + step + length], 0.0)
        for number, step in enumerate(offsets(window))
    ]
    return sum(parts)


@jax.custom_vjp
def scores(
    hidden: Float[Array, "b t d"], table: Float[Array, "v d"], groups: Groups
) -> tuple[Float[Array, "b g q"], Float[Array, "b g q k"]]:
    """Scalar products of hidden vectors with those of true words and of noise words.

    In groups that are not counted they are 0. The whole gradient reaches `hidden`; see `Groups` for
    the words' part. A few groups at a time are computed: the vectors of all noise words take many
    times the memory of the table.
    """

    def step(found, where, some):
        ours, true, noise = _vectors(hidden, table, some)
        # As a product, since a CPU is slow to add up along the last axis.
        positive = jnp.dot(ours * true, jnp.ones(ours.shape[-1]), precision=HIGHEST)
        negative = jnp.einsum("bgqd,bgkd->bgqk", ours, noise, precision=HIGHEST)
        of_true, of_noise = found
        return _put(of_true, where, positive), _put(of_noise, where, negative)

    shape = groups.places.shape
    return _by_blocks(step, (jnp.zeros(shape), jnp.zeros((*shape, groups.noise.shape[2]))), groups)


def _scores_forward(hidden, table, groups):
    return scores(hidden, table, groups), (hidden, table, groups)


def _scores_backward(given, slopes):
    hidden, table, groups = given
    # The rows of a device have a sum of their own: of one for all, devices would exchange what is
    # new after every block.
    parts = math.gcd(len(hidden), jax.device_count())

    def add(sums, words, more):
        words, more = (x.reshape(parts, -1, *x.shape[1:]) for x in (words, more))
        return _add(sums, words, more)

    def step(due, where, some):
        ours, true, noise = _vectors(hidden, table, some)
        of_true, of_noise = (_pick(x, where) for x in slopes)
        rated = of_true * some.target_rate, of_noise * some.noise_rate[:, :, None]
        # Else XLA looks them up once for every number of a vector.
        of_true, of_noise, rated = jax.lax.optimization_barrier((of_true, of_noise, rated))
        to_ours = jnp.einsum("bgqk,bgkd->bgqd", of_noise, noise, precision=HIGHEST)
        to_ours += of_true[..., None] * true
        to_noise = jnp.einsum("bgqk,bgqd->bgkd", rated[1], ours, precision=HIGHEST)
        to_hidden, to_table = due
        to_table = add(to_table, some.target, rated[0][..., None] * ours)
        return _add(to_hidden, some.places, to_ours), add(to_table, some.noise, to_noise)

    start = jnp.zeros_like(hidden), jnp.zeros((parts, *table.shape))
    to_hidden, to_table = _by_blocks(step, start, groups)
    return to_hidden, to_table.sum(0), None


scores.defvjp(_scores_forward, _scores_backward)


def _by_blocks(step, state, groups: Groups):
    """`step(state, where, some)`, again and again, with the next few counted groups of all rows.

    `where` they stand is beyond the end once a row has no more of them.
    """
    rows, size = groups.counted.shape
    block = max(1, BLOCK // groups.places.shape[2])
    end = -(-size // block) * block
    place = jnp.where(groups.counted, jnp.cumsum(groups.counted, 1) - 1, end)
    numbers = jnp.full((rows, end), size)
    numbers = _put(numbers, place, jnp.broadcast_to(jnp.arange(size), place.shape))

    def body(count, state):
        where = jax.lax.dynamic_slice_in_dim(numbers, count * block, block, axis=1)
        return step(state, where, jax.tree.map(lambda x: _pick(x, where), groups))

    blocks = -(-groups.counted.sum(1).max() // block)
    return jax.lax.fori_loop(0, blocks, body, state)


def _vectors(hidden, table, groups: Groups):
    return _pick(hidden, groups.places), table[groups.target], table[groups.noise]


# In each row: what stands at places, and the row with something put there or added.
_pick = jax.vmap(lambda x, at: x.at[at].get(mode="fill", fill_value=0))
_put = jax.vmap(lambda x, at, new: x.at[at].set(new, mode="drop"))
_add = jax.vmap(lambda x, at, more: x.at[at].add(more))


def clipped_softplus(x: Float[Array, "..."], clip: float) -> Float[Array, "..."]:
    """log(1 + e^x) whose slope is 0 below -clip and 1 above clip; clip=0: log(1 + e^x) itself.

    Its slope is the logistic function as word2vec.c has it, in a table that ends at ±6.
    """
    if not clip:
        return jax.nn.softplus(x)
    edge = jnp.clip(x, -clip, clip)
    return jax.nn.softplus(edge) + jnp.maximum(x - clip, 0.0)


def negative_sampling(
    positive: Float[Array, "b g q"],
    negative: Float[Array, "b g q k"],
    counted: Bool[Array, "b g q"],
    wrong: Bool[Array, "b g q k"],
    clip: float,
) -> Float[Array, "b g q"]:
    """-log s(positive) - sum of log s(-negative) of each prediction; 0 where it is not counted.

    Args:
      positive: scores of true words.
      negative: scores of noise words.
      counted: which predictions there are.
      wrong: which noise words are not the true word. The others are skipped, not drawn again.
      clip: of the scores; see `clipped_softplus`.
    """
    noise = jnp.where(wrong, clipped_softplus(negative, clip), 0.0).sum(-1)
    return jnp.where(counted, clipped_softplus(-positive, clip) + noise, 0.0)


def scale_gradient(x: Float[Array, "*b d"], factor: Float[Array, "*b"]) -> Float[Array, "*b d"]:
    """`x`, of whose gradient only a part `factor` passes."""
    passed = x * factor[..., None]
    return passed + jax.lax.stop_gradient(x - passed)
