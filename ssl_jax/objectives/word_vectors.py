"""Negative sampling for word vectors (Mikolov et al. 2013), with the released code's details."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

HIGHEST = jax.lax.Precision.HIGHEST  # an accelerator's default would round factors to bfloat16
BLOCK = 16  # positions whose contexts are added up by one product of matrices


def offsets(window: int) -> tuple[int, ...]:
    """-window..-1, 1..window."""
    return (*range(-window, 0), *range(1, window + 1))


def neighbours(x: Shaped[Array, "b t *d"], window: int) -> Shaped[Array, "b t n *d"]:
    """Of every position the entries at distances -window..-1, 1..window; beyond the ends zeros."""
    return jnp.stack([_shifted(x, offset) for offset in offsets(window)], axis=2)


def mirrored(context: Bool[Array, "b t n"]) -> Bool[Array, "b t n"]:
    """Of which neighbours each position is context; `context` says which are context of it."""
    steps = offsets(context.shape[2] // 2)
    # The neighbour at offset o has me at offset -o.
    seen = [_shifted(context[:, :, -1 - n], offset) for n, offset in enumerate(steps)]
    return jnp.stack(seen, axis=2)


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
    length, window = x.shape[1], context.shape[2] // 2
    count = -(-length // BLOCK)
    x = jnp.pad(x, ((0, 0), (window, count * BLOCK - length + window), (0, 0)))
    starts = jnp.arange(count)[:, None] * BLOCK
    wide = x[:, starts + jnp.arange(BLOCK + 2 * window)]  # of each block what it reaches
    total = jnp.einsum("bcpj,bcjd->bcpd", _bands(context, count), wide, precision=HIGHEST)
    total = total.reshape(len(x), count * BLOCK, -1)[:, :length]
    mean = total / jnp.maximum(context.sum(-1, keepdims=True), 1)
    return total + jax.lax.stop_gradient(mean - total) if undivided else mean


def _bands(context: Bool[Array, "b t n"], count: int) -> Float[Array, "b c p j"]:
    """`context` of each position of a block as a row of zeros and ones over what the block reaches.

    Summing shifted copies of the vectors needs fewer operations than a product with these matrices,
    but XLA would then find out what is context once for every number of a vector.
    """
    rows, length, offset_count = context.shape
    window = offset_count // 2
    context = jnp.pad(context, ((0, 0), (0, count * BLOCK - length), (0, 0)))
    context = context.reshape(rows, count, BLOCK, offset_count)
    place, column = jnp.arange(BLOCK)[:, None], jnp.arange(BLOCK + 2 * window)
    distance = column - window - place
    number = jnp.clip(distance + window - (distance > 0), 0, offset_count - 1)
    near = (jnp.abs(distance) <= window) & (distance != 0)
    return jnp.where(near, context[:, :, place, number], False).astype(jnp.float32)


def _shifted(x: Shaped[Array, "b t *d"], offset: int) -> Shaped[Array, "b t *d"]:
    """What stands `offset` positions further, zeros where nothing does."""
    end = ((0, 0),) * (x.ndim - 2)
    padded = jnp.pad(x, ((0, 0), (max(0, -offset), max(0, offset)), *end))
    start = max(0, offset)
    return padded[:, start : start + x.shape[1]]


def scores(
    hidden: Float[Array, "*b q d"], words: Float[Array, "*b k d"], rate: Float[Array, "*b k"]
) -> Float[Array, "*b q k"]:
    """Scalar products; of the gradient a part `rate` reaches the words, and all of it `hidden`."""
    still = jax.lax.stop_gradient
    score = jnp.einsum("...qd,...kd->...qk", hidden, still(words), precision=HIGHEST)
    moving = jnp.einsum("...qd,...kd->...qk", still(hidden), words, precision=HIGHEST)  # the same
    return score + rate[..., None, :] * (moving - still(moving))


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
