"""Objectives that draw matching embeddings together and push others apart.

All are written on global arrays: every row of the whole batch, on whichever device, is a negative
for every other, and gradients flow through both sides. All compute in float32 whatever comes in,
and have finite gradients at zero vectors.

Those that compare all n rows with all n rows hold n * n similarities. With `chunk` they hold
n * chunk at once, and their backward pass makes them again: same loss, same gradients, and memory
that grows with n alone, for up to five matrix products where there were three. `chunk` must divide
n and is best a multiple of the number of devices; a batch of up to `chunk` rows is not chunked.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ssl_jax.config import ConfigError

Metrics = dict[str, Float[Array, ""]]

# Finite, because infinities make NaN of 0 * inf; exp of it is 0 all the same.
MASKED = -1e9


def unit(x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """Rows divided by their length, in float32. A zero row stays zero, with a finite gradient.

    As TensorFlow's l2_normalize: rows shorter than 1e-6 are divided by 1e-6; the squares of rows
    longer than 1e19 overflow, and such rows become 0.
    """
    x = x.astype(jnp.float32)
    squares = jnp.sum(x * x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))


def products(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """Scalar products of all rows with all rows, in true float32 also on TPU and GPU."""
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    return jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)


def info_nce(
    queries: Float[Array, "n d"],
    keys: Float[Array, "n d"],
    temperature: float | Float[Array, ""] = 1.0,
    symmetric: bool = True,
    cosine: bool = True,
    extra: Float[Array, "n m d"] | None = None,
    chunk: int = 0,
) -> tuple[Float[Array, ""], Metrics]:
    """Picks for every query its own key among all keys (van den Oord et al. 2018).

        s_ij = cos(query_i, key_j) / temperature
        loss = mean_i [log sum_j exp(s_ij) - s_ii],
               symmetric: averaged with the same of the transpose (which query has key j?)

    Args:
      queries, keys: row i of one belongs to row i of the other.
      temperature: divides the similarities; may be learnt.
      symmetric: both directions, each with weight 1/2.
      cosine: the similarity is the cosine; False: the plain scalar product.
      extra: m more keys for each query that are not its own, seen by that query alone.
      chunk: keys compared at once; 0: all.

    Returns:
      The loss, and {'accuracy': fraction of queries whose own key is the most similar}.

    Raises:
      ConfigError: chunk does not divide n.
    """
    if cosine:
        queries, keys = unit(queries), unit(keys)
        extra = unit(extra) if extra is not None else None
    queries, keys = queries.astype(jnp.float32) / temperature, keys.astype(jnp.float32)
    own = jnp.sum(queries * keys, axis=-1)
    logs, most, similarity = log_sums(queries, keys, chunk)
    hits = most == jnp.arange(len(queries))
    if extra is not None and extra.shape[1]:
        more = jnp.sum(queries[:, None] * extra.astype(jnp.float32), axis=-1)
        logs = jnp.logaddexp(logs, jax.nn.logsumexp(more, axis=1))
        hits &= similarity >= jnp.max(more, axis=1)
    loss = jnp.mean(logs - own)
    if symmetric:
        loss = (loss + jnp.mean(log_sums(keys, queries, chunk)[0] - own)) / 2
    return loss, {"accuracy": jnp.mean(hits.astype(jnp.float32))}


def nt_xent(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    temperature: float | Float[Array, ""],
    chunk: int = 0,
) -> tuple[Float[Array, ""], Metrics]:
    """SimCLR's loss (Chen et al. 2020): each of 2n views finds its partner among the 2n - 1 others.

    With the cosine as similarity, divided by the temperature; the mean over all 2n rows, as in the
    paper (the authors' code sums both halves, which is twice that). Collapsed embeddings give
    log(2n - 1).

    Args:
      z1, z2: row i of one and of the other are views of the same.
      temperature: divides the similarities; may be learnt.
      chunk: rows of each kind compared with at once; 0: all.

    Returns:
      The loss, and {'contrastive_accuracy': fraction of first views whose partner is the most
      similar among the second views}, as the authors report it.

    Raises:
      ConfigError: chunk does not divide n.
    """
    z1, z2 = unit(z1), unit(z2)
    scaled1, scaled2 = z1 / temperature, z2 / temperature
    own = jnp.sum(scaled1 * z2, axis=-1)
    # Four blocks, not one array of 2n rows: stacking the views would move rows between devices.
    across1, most, _ = log_sums(scaled1, z2, chunk)
    across2, _, _ = log_sums(scaled2, z1, chunk)
    within1, _, _ = log_sums(scaled1, z1, chunk, others_only=True)
    within2, _, _ = log_sums(scaled2, z2, chunk, others_only=True)
    logs = jnp.logaddexp(across1, within1) + jnp.logaddexp(across2, within2)
    hits = most == jnp.arange(len(z1))
    return jnp.mean(logs / 2 - own), {"contrastive_accuracy": jnp.mean(hits.astype(jnp.float32))}


def mil_nce(
    videos: Float[Array, "n d"],
    captions: Float[Array, "n k d"],
    temperature: float | Float[Array, ""] = 1.0,
    cosine: bool = False,
    positives_twice: bool = False,
    chunk: int = 0,
) -> tuple[Float[Array, ""], Metrics]:
    """MIL-NCE (Miech et al. 2020): a video has k captions, of which any may be the right one.

        s_ijk = video_i . caption_jk / temperature
        P_i   = sum_k exp(s_iik)
        N_i   = sum over j != i and k of exp(s_ijk) + exp(s_jik)
        loss  = mean_i -log [P_i / (P_i + N_i)]

    All-equal similarities give log(2n - 1).

    Args:
      videos, captions: row i of one belongs to row i of the other.
      temperature: divides the similarities; may be learnt.
      cosine: the similarity is the cosine; False: the plain scalar product, as in the paper.
      positives_twice: the denominator is 2 P_i + N_i, as in the authors' code; then the loss does
        not fall below log 2.
      chunk: rows compared with at once, of each of the k captions; 0: all.

    Returns:
      The loss, and {'accuracy': fraction of videos whose most similar caption is one of their own}.

    Raises:
      ConfigError: chunk does not divide n.
    """
    if cosine:
        videos, captions = unit(videos), unit(captions)
    videos, captions = videos.astype(jnp.float32) / temperature, captions.astype(jnp.float32)
    own = jnp.sum(videos[:, None] * captions, axis=-1)
    each = jnp.moveaxis(captions, 1, 0)
    logs, most, similarity = zip(*(log_sums(videos, c, chunk) for c in each), strict=True)
    back = [log_sums(c, videos, chunk, others_only=not positives_twice)[0] for c in each]
    denominators = jax.nn.logsumexp(jnp.stack([*logs, *back]), axis=0)
    loss = jnp.mean(denominators - jax.nn.logsumexp(own, axis=1))
    best = jnp.argmax(jnp.stack(similarity), axis=0)
    found = jnp.take_along_axis(jnp.stack(most), best[None], axis=0)[0]
    hits = found == jnp.arange(len(videos))
    return loss, {"accuracy": jnp.mean(hits.astype(jnp.float32))}


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
    rows = len(queries)
    if chunk and rows > chunk:
        if chunk < 0 or rows % chunk:
            raise ConfigError(f"chunk={chunk} must divide the {rows} rows of the batch (0: off)")
        logs, most, similarity = _chunked_log_sums(queries, keys, chunk, others_only)
    else:
        itself = jnp.eye(rows, dtype=bool) if others_only else None
        similarities = _similarities(queries, keys, itself)
        logs = jax.nn.logsumexp(similarities, axis=1)
        most, similarity = jnp.argmax(similarities, axis=1), jnp.max(similarities, axis=1)
    return logs, most, jax.lax.stop_gradient(similarity)


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


def cross_and_learn(
    r1: Float[Array, "n d"],
    f1: Float[Array, "n d"],
    r2: Float[Array, "n d"],
    f2: Float[Array, "n d"],
    weight: float = 0.5,
    eps: float = 1e-4,
) -> tuple[Float[Array, ""], Metrics]:
    """Cross and Learn (Sayed et al. 2018): streams of one video agree, videos differ.

        d(a, b) = 1 - a.b / (sqrt(a.a + eps) sqrt(b.b + eps))
        cross   = mean of [d(r1, f1) + d(r2, f2)] / 2
        div     = - mean of [d(r1, r2) + d(f1, f2)] / 2
        loss    = 2 [weight cross + (1 - weight) div],   at weight 1/2: cross + div

    There is no margin: features after a ReLU have distances in 0..1, hence a loss in -1..1; it is 0
    where everything is the same.

    Args:
      r1, f1: frame and motion features of the first video of each item.
      r2, f2: of the second video.
      weight: of drawing streams together against telling videos apart.
      eps: added to squared lengths.

    Returns:
      The loss, and {'cross', 'div'}. If both approach 0, the features have collapsed.
    """
    cross = jnp.mean(_distance(r1, f1, eps) + _distance(r2, f2, eps)) / 2
    div = -jnp.mean(_distance(r1, r2, eps) + _distance(f1, f2, eps)) / 2
    return 2 * (weight * cross + (1 - weight) * div), {"cross": cross, "div": div}


def _distance(a: Float[Array, "n d"], b: Float[Array, "n d"], eps: float) -> Float[Array, "n"]:
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    lengths = jnp.sqrt(jnp.sum(a * a, axis=-1) + eps) * jnp.sqrt(jnp.sum(b * b, axis=-1) + eps)
    return 1 - jnp.sum(a * b, axis=-1) / lengths


def match(
    anchors: Float[Array, "n d"],
    own: Float[Array, "n d"],
    other: Float[Array, "n d"],
    scale: Float[Array, ""],
    bias: Float[Array, ""],
) -> tuple[Float[Array, ""], Metrics]:
    """AVE-Net's loss (Arandjelovic, Zisserman 2018): match or not, from the distance alone.

    The probability of a match is sigmoid(bias - scale |a - b|) for unit vectors a and b: the
    paper's 2-way softmax of a linear function of the distance, of which only the difference of the
    two logits counts. Start with scale > 0, so that short distances mean a match.

    Returns:
      The mean cross-entropy over the n matching and the n other pairs, and {'accuracy'} over them.
    """
    matching = _match_logits(anchors, own, scale, bias)
    mismatching = _match_logits(anchors, other, scale, bias)
    loss = (jnp.mean(jax.nn.softplus(-matching)) + jnp.mean(jax.nn.softplus(mismatching))) / 2
    hits = (jnp.mean((matching > 0) * 1.0) + jnp.mean((mismatching <= 0) * 1.0)) / 2
    return loss, {"accuracy": hits}


def _match_logits(a, b, scale, bias) -> Float[Array, "n"]:
    squares = jnp.sum((unit(a) - unit(b)) ** 2, axis=-1)
    # Inside the root, whose slope at 0 is infinite.
    return bias - scale * jnp.sqrt(squares + 1e-12)
