"""Attention, its masks, and relative positions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


def attend(
    query: Float[Array, "b l n d"],
    key: Float[Array, "b m n d"],
    value: Float[Array, "b m n d"],
    mask: Bool[Array, "_ _ _ m"] | None = None,
    bias: Float[Array, "_ n l m"] | None = None,
    causal: bool = False,
    scaled: bool = True,
    dropout: float = 0.0,
    rng: Array | None = None,
) -> Float[Array, "b l n d"]:
    """softmax(query . key / sqrt(d) + bias) . value, of n heads; the softmax is float32.

    A position that attends to nothing gets the mean of all values, never NaN.

    Args:
      mask: which keys are attended to: (b or 1, n or 1, l or 1, m). None: all.
      causal: a position attends to those up to itself.
      scaled: divide products by sqrt(d).
      dropout: rate, on the weights; needs `rng`.
    """
    scale = 1 / math.sqrt(query.shape[-1]) if scaled else 1.0
    if not dropout:
        return jax.nn.dot_product_attention(
            query, key, value, bias, mask, scale=scale, is_causal=causal
        )
    # The library's attention has no dropout.
    logits = jnp.einsum("blnd,bmnd->bnlm", query, key, preferred_element_type=jnp.float32) * scale
    logits = logits if bias is None else logits + bias
    least = jnp.finfo(jnp.float32).min / 2
    if causal:
        logits = jnp.where(jnp.tri(*logits.shape[2:], dtype=bool), logits, least)
    logits = logits if mask is None else jnp.where(mask, logits, least)
    weights = jax.nn.softmax(logits)
    kept = jax.random.bernoulli(rng, 1 - dropout, weights.shape)
    weights = jnp.where(kept, weights / (1 - dropout), 0.0).astype(value.dtype)
    # Where the dropout of GPT-2 or T5 is fused into the product, TPUs' compiler (libtpu 0.0.42.1)
    # crashes (`python -m ssl_jax.compile`, v5e:2x2).
    weights = jax.lax.optimization_barrier(weights)
    return jnp.einsum("bnlm,bmnd->blnd", weights, value)


def seen(
    there: Bool[Array, "b m"] | None, documents: Int[Array, "b m"] | None = None
) -> Bool[Array, "b 1 _ m"] | None:
    """The mask of `attend`: positions that are not padding, and of several documents the own one.

    None, which is all, if both are.
    """
    mask = None if there is None else there[:, None, None, :]
    if documents is None:
        return mask
    own = (documents[:, :, None] == documents[:, None, :])[:, None]
    return own if mask is None else own & mask


def relative_buckets(
    queries: int, keys: int, buckets: int, farthest: int, causal: bool
) -> Int[np.ndarray, "queries keys"]:
    """How far each key lies from each query, as the number of a bucket (Raffel et al. 2020).

    Half of the buckets are for single distances, the other half grow with their logarithm up to
    `farthest`, and the last has all beyond. Unless `causal`, the second half of all buckets is for
    keys that come after the query; with it these share bucket 0. `buckets` is at least 4, or 2 if
    `causal`, and `farthest` more than a quarter of it, or a half.
    """
    ahead = np.arange(keys)[None, :] - np.arange(queries)[:, None]
    half = buckets if causal else buckets // 2
    distance = np.maximum(-ahead, 0) if causal else np.abs(ahead)
    single = half // 2
    share = np.log(np.maximum(distance, 1) / single) / np.log(farthest / single)
    # What is whole by the formula may come out a little less.
    far = single + np.floor(share * (half - single) + 1e-6).astype(int)
    found = np.where(distance < single, distance, np.minimum(far, half - 1))
    return found if causal else found + half * (ahead > 0)
