"""Sums of exponentials of all scalar products of rows with rows, whole or chunk by chunk.

Of n queries and m keys whole sums hold n * m products; chunks of keys hold n * chunk at once, and
the backward pass makes them again.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ssl_jax.config import ConfigError

# Finite, because infinities make NaN of 0 * inf; exp of it is 0 all the same.
MASKED = -1e9


def products(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """Scalar products of all rows with all rows, in true float32 also on TPU and GPU."""
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    return jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)


def log_sums(
    queries: Float[Array, "n d"], keys: Float[Array, "n d"], chunk: int, others_only: bool = False
) -> tuple[Float[Array, "n"], Int[Array, "n"], Float[Array, "n"]]:
    """log sum_j exp(query_i . key_j) for every query; `others_only` leaves j = i out.

    Returns:
      The logarithms, and for each query the number of the most similar key (the first of equals)
      and its similarity, both without gradient.

    Raises:
      ConfigError: chunk does not divide n.
    """
    if _chunked(len(queries), chunk):
        logs, most, similarity = _chunked_log_sums(queries, keys, chunk, others_only)
    else:
        itself = jnp.eye(len(queries), dtype=bool) if others_only else None
        similarities = _similarities(queries, keys, itself)
        logs = jax.nn.logsumexp(similarities, axis=1)
        most, similarity = jnp.argmax(similarities, axis=1), jnp.max(similarities, axis=1)
    return logs, most, jax.lax.stop_gradient(similarity)


def both_log_sums(
    queries: Float[Array, "n d"],
    keys: Float[Array, "m d"],
    chunk: int,
    owners: Int[Array, "m"] | None = None,
) -> tuple[Float[Array, "n"], Int[Array, "n"], Float[Array, "n"], Float[Array, "m"]]:
    """`log_sums` of the queries over all keys, and back, from the same products.

    Returns:
      The three of `log_sums`, and for every key j: log sum_i exp(query_i . key_j), without
      i = owners_j if they are given.

    Raises:
      ConfigError: chunk does not divide n.
    """
    if _chunked(len(queries), chunk):
        logs, most, similarity, back = _chunked_both(queries, keys, owners, chunk)
    else:
        similarities = products(queries, keys)
        logs = jax.nn.logsumexp(similarities, axis=1)
        most, similarity = jnp.argmax(similarities, axis=1), jnp.max(similarities, axis=1)
        back = jax.nn.logsumexp(_others(similarities, owners), axis=0)
    return logs, most, jax.lax.stop_gradient(similarity), back


def _chunked(rows: int, chunk: int) -> bool:
    if chunk and rows > chunk and (chunk < 0 or rows % chunk):
        raise ConfigError(f"chunk={chunk} must divide the {rows} rows of the batch (0: off)")
    return bool(chunk) and rows > chunk


def _others(similarities, owners) -> Float[Array, "n m"]:
    if owners is None:
        return similarities
    return jnp.where(jnp.arange(len(similarities))[:, None] == owners, MASKED, similarities)


def _similarities(rows, others, itself) -> Float[Array, "n m"]:
    found = products(rows, others)
    return found if itself is None else jnp.where(itself, MASKED, found)


def _blocks(x: Array, chunk: int) -> Array:
    """(n, ...) -> (n / chunk, chunk, ...).

    Every block has rows from all over the batch, so that all devices hold an equal part of it and
    splitting moves nothing.
    """
    return x.reshape(chunk, -1, *x.shape[1:]).swapaxes(0, 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _chunked_log_sums(queries, keys, chunk, others_only):
    """As `log_sums`, one block of keys after the other, the sum so far relative to its largest."""
    rows = jnp.arange(len(queries))

    def step(so_far, block):
        total, most, largest = so_far
        numbers, some = block
        itself = rows[:, None] == numbers if others_only else None
        found = _similarities(queries, some, itself)
        best, place = jnp.max(found, axis=1), numbers[jnp.argmax(found, axis=1)]
        new = jnp.maximum(largest, best)
        total = total * jnp.exp(largest - new) + jnp.sum(jnp.exp(found - new[:, None]), axis=1)
        first = (best > largest) | ((best == largest) & (place < most))
        return (total, jnp.where(first, place, most), new), None

    blocks = _blocks(rows, chunk), _blocks(keys, chunk)
    start = jnp.zeros(len(rows)), rows, jnp.full(len(rows), 2 * MASKED)
    (total, most, largest), _ = jax.lax.scan(step, start, blocks)
    return jnp.log(total) + largest, most, largest


def _chunked_forward(queries, keys, chunk, others_only):
    results = _chunked_log_sums(queries, keys, chunk, others_only)
    return results, (queries, keys, results[0])


def _chunked_backward(chunk, others_only, saved, cotangents):
    queries, keys, logs = saved
    weights, _, _ = cotangents
    rows = jnp.arange(len(queries))

    def to_queries(total, block):
        numbers, some = block
        itself = rows[:, None] == numbers if others_only else None
        found = _similarities(queries, some, itself)
        return total + products(weights[:, None] * jnp.exp(found - logs[:, None]), some.T), None

    # Once more with the roles changed, instead of within the same loop: so each device sums what
    # its own keys are due, and no sum has to be taken over the devices in every step.
    def to_keys(total, block):
        numbers, some, log, weight = block
        itself = rows[:, None] == numbers if others_only else None
        found = _similarities(keys, some, itself)
        return total + products(weight * jnp.exp(found - log), some.T), None

    key_blocks = tuple(_blocks(x, chunk) for x in (rows, keys))
    query_blocks = tuple(_blocks(x, chunk) for x in (rows, queries, logs, weights))
    zeros = jnp.zeros_like(queries)
    by_query, _ = jax.lax.scan(to_queries, zeros, key_blocks)
    by_key, _ = jax.lax.scan(to_keys, zeros, query_blocks)
    return by_query, by_key


_chunked_log_sums.defvjp(_chunked_forward, _chunked_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _chunked_both(queries, keys, owners, chunk):
    """As `both_log_sums`; of a block of keys all queries are there, so its way back is whole."""
    rows = jnp.arange(len(queries))

    def step(so_far, block):
        total, most, largest = so_far
        numbers, some, own = block
        found = products(queries, some)
        best, place = jnp.max(found, axis=1), numbers[jnp.argmax(found, axis=1)]
        new = jnp.maximum(largest, best)
        total = total * jnp.exp(largest - new) + jnp.sum(jnp.exp(found - new[:, None]), axis=1)
        first = (best > largest) | ((best == largest) & (place < most))
        back = jax.nn.logsumexp(_others(found, own), axis=0)
        return (total, jnp.where(first, place, most), new), back

    blocks = _key_blocks(chunk, jnp.arange(len(keys)), keys, owners)
    start = jnp.zeros(len(rows)), jnp.full_like(rows, len(keys)), jnp.full(len(rows), 2 * MASKED)
    (total, most, largest), back = jax.lax.scan(step, start, blocks)
    return jnp.log(total) + largest, most, largest, _unblocked(back)


def _both_forward(queries, keys, owners, chunk):
    results = _chunked_both(queries, keys, owners, chunk)
    return results, (queries, keys, owners, results[0], results[3])


def _both_backward(chunk, saved, cotangents):
    queries, keys, owners, logs, back = saved
    weights, _, _, back_weights = cotangents

    def step(by_query, block):
        some, own, log, weight = block
        found = products(queries, some)
        slopes = weights[:, None] * jnp.exp(found - logs[:, None])
        slopes += weight * jnp.exp(_others(found, own) - log)
        return by_query + products(slopes, some.T), products(slopes.T, queries.T)

    blocks = _key_blocks(chunk, keys, owners, back, back_weights)
    by_query, by_key = jax.lax.scan(step, jnp.zeros_like(queries), blocks)
    return by_query, _unblocked(by_key), None


_chunked_both.defvjp(_both_forward, _both_backward)


def _key_blocks(chunk: int, *arrays: Array | None) -> tuple[Array | None, ...]:
    return tuple(None if x is None else _blocks(x, chunk) for x in arrays)


def _unblocked(x: Array) -> Array:
    """The inverse of `_blocks`."""
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])
