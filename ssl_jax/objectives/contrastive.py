"""Objectives that draw matching embeddings together and push others apart.

All are written on global arrays: every row of the whole batch, on whichever device, is a negative
for every other, and gradients flow through both sides. All compute in float32 whatever comes in,
and have finite gradients at zero vectors.

Those that compare all n rows with all n rows hold n * n similarities. With `chunk` they hold
n * chunk at once, and their backward pass makes them again: same loss, same gradients, and memory
that grows with n alone, for up to five matrix products where there were three (four where a product
serves both directions). `chunk` must divide n and is best a multiple of the number of devices; a
batch of up to `chunk` rows is not chunked.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.objectives.log_sums import both_log_sums, log_sums
from ssl_jax.ops.unit import unit

Metrics = dict[str, Float[Array, ""]]


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
    if symmetric:
        logs, most, similarity, back = both_log_sums(queries, keys, chunk)
    else:
        logs, most, similarity = log_sums(queries, keys, chunk)
    hits = most == jnp.arange(len(queries))
    if extra is not None and extra.shape[1]:
        more = jnp.sum(queries[:, None] * extra.astype(jnp.float32), axis=-1)
        logs = jnp.logaddexp(logs, jax.nn.logsumexp(more, axis=1))
        hits &= similarity >= jnp.max(more, axis=1)
    loss = jnp.mean(logs - own)
    if symmetric:
        loss = (loss + jnp.mean(back - own)) / 2
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
    across1, most, _, across2 = both_log_sums(scaled1, z2, chunk)
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
      chunk: captions compared with at once; 0: all.

    Returns:
      The loss, and {'accuracy': fraction of videos whose most similar caption is one of their own}.

    Raises:
      ConfigError: chunk does not divide n.
    """
    if cosine:
        videos, captions = unit(videos), unit(captions)
    videos, captions = videos.astype(jnp.float32) / temperature, captions.astype(jnp.float32)
    # As a matrix product for each video: sums of elementwise products took a quarter of the step.
    own = jnp.einsum("nd,nkd->nk", videos, captions, precision=jax.lax.Precision.HIGHEST)
    rows, count, size = captions.shape
    owners = None if positives_twice else jnp.repeat(jnp.arange(rows), count)
    logs, most, _, back = both_log_sums(videos, captions.reshape(-1, size), chunk, owners)
    back = jax.nn.logsumexp(back.reshape(rows, count), axis=1)
    loss = jnp.mean(jnp.logaddexp(logs, back) - jax.nn.logsumexp(own, axis=1))
    hits = most // count == jnp.arange(rows)
    return loss, {"accuracy": jnp.mean(hits.astype(jnp.float32))}


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
