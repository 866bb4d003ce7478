"""How well tokens are predicted: cross-entropy, perplexity, bits per byte."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class TokenLosses(NamedTuple):
    """Of every position the cross-entropy, in nats, and whether the target was the most likely."""

    loss: Float[Array, "b l"]
    correct: Float[Array, "b l"]


def token_losses(
    states: Float[Array, "b l d"],
    table: Float[Array, "k d"],
    targets: Int[Array, "b l"],
    bias: Float[Array, "k"] | None = None,
    at_once: int = 0,
) -> TokenLosses:
    """Cross-entropy of softmax(states . table + bias) with the targets.

    Args:
      states: the network's output at each position.
      table: a vector for each token of the vocabulary.
      targets: the tokens that are right.
      bias: of each token.
      at_once: logits (b at_once k) of so many positions at once are in memory, in the backward pass
        too, which computes them again; it must divide l. 0: of all.
    """

    def some(part: tuple[Array, Array]) -> TokenLosses:
        states, targets = part
        logits = token_logits(states, table, bias)
        own = jnp.take_along_axis(logits, targets[..., None], axis=2)[..., 0]
        correct = (logits.argmax(2) == targets).astype(jnp.float32)
        return TokenLosses(jax.nn.logsumexp(logits, axis=2) - own, correct)

    b, length = targets.shape
    if not at_once or at_once == length:
        return some((states, targets))
    parts = states.reshape(b, -1, at_once, states.shape[2]), targets.reshape(b, -1, at_once)
    parts = jax.tree.map(lambda x: x.swapaxes(0, 1), parts)  # rows stay on their devices
    found = jax.lax.map(jax.checkpoint(some), parts)
    return TokenLosses(*(x.swapaxes(0, 1).reshape(b, length) for x in found))


def token_logits(
    states: Float[Array, "b l d"],
    table: Float[Array, "k d"],
    bias: Float[Array, "k"] | None = None,
) -> Float[Array, "b l k"]:
    """states . table + bias, in float32."""
    table = table.astype(states.dtype)
    logits = jnp.einsum("bld,kd->blk", states, table, preferred_element_type=jnp.float32)
    return logits if bias is None else logits + bias


def weighted_mean(
    x: Float[Array, "b l"], weights: Float[Array, "b l"], eps: float = 0.0
) -> Float[Array, ""]:
    """sum(weights x) / (sum(weights) + eps). BERT's eps is 1e-5."""
    return jnp.sum(weights * x) / (jnp.sum(weights) + eps)


def perplexity(loss: Float[Array, ""]) -> Float[Array, ""]:
    """e^loss: among how many tokens, equally likely, a loss in nats per token would choose."""
    return jnp.exp(loss)


def bits_per_byte(
    loss: Float[Array, ""] | float, tokens: Array | float, text_bytes: Array | float
) -> Float[Array, ""] | float:
    """loss tokens / (bytes ln 2): the only number to compare between tokenizers.

    Bytes that are all equally likely have 8.

    Args:
      loss: nats per token.
      tokens: that it is the mean of.
      text_bytes: of UTF-8, that these tokens stand for.
    """
    return loss * tokens / (text_bytes * math.log(2))
