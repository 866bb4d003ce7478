"""Objectives that draw matching embeddings together and push others apart.

All are written on global arrays: every row of the whole batch, on whichever device, is a negative
for every other, and gradients flow through both sides. All compute in float32 whatever comes in,
and have finite gradients at zero vectors.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.objectives.classification import classification

Metrics = dict[str, Float[Array, ""]]

# Finite, because infinities make NaN of 0 * inf; exp of it is 0 all the same.
MASKED = -1e9


def unit(x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """Rows divided by their length, in float32. A zero row stays zero, with a finite gradient."""
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

    Returns:
      The loss, and {'accuracy': share of queries whose own key is the most similar}.
    """
    if cosine:
        queries, keys = unit(queries), unit(keys)
        extra = unit(extra) if extra is not None else None
    forward = products(queries, keys) / temperature
    if extra is not None:
        more = jnp.sum(queries.astype(jnp.float32)[:, None] * extra.astype(jnp.float32), axis=-1)
        forward = jnp.concatenate([forward, more / temperature], axis=1)
    own = jnp.arange(len(queries))
    loss, metrics = classification(forward, own)
    if symmetric:
        # Not forward.T: turning n x n numbers over the devices costs more than the product.
        backward, _ = classification(products(keys, queries) / temperature, own)
        loss = (loss + backward) / 2
    return loss, metrics


def nt_xent(
    z1: Float[Array, "n d"], z2: Float[Array, "n d"], temperature: float | Float[Array, ""]
) -> tuple[Float[Array, ""], Metrics]:
    """SimCLR's loss (Chen et al. 2020): each of 2n views finds its partner among the 2n - 1 others.

    With the cosine as similarity, divided by the temperature; the mean over all 2n rows, as in the
    paper (the authors' code sums both halves, which is twice that). Collapsed embeddings give
    log(2n - 1).

    Returns:
      The loss, and {'contrastive_accuracy': share of first views whose partner is the most similar
      among the second views}, as the authors report it.
    """
    z1, z2 = unit(z1), unit(z2)
    itself = jnp.eye(len(z1), dtype=bool)
    partner = jnp.arange(len(z1))

    def half(own: Array, partners: Array) -> tuple[Array, Array]:
        # Blocks, not one array of 2n rows: stacking the views would move rows between devices.
        across = products(own, partners) / temperature
        within = jnp.where(itself, MASKED, products(own, own) / temperature)
        loss, _ = classification(jnp.concatenate([across, within], axis=1), partner)
        return loss, jnp.argmax(across, axis=1) == partner

    (loss1, hits), (loss2, _) = half(z1, z2), half(z2, z1)
    return (loss1 + loss2) / 2, {"contrastive_accuracy": jnp.mean(hits.astype(jnp.float32))}


def cross_and_learn(
    r1: Float[Array, "n d"],
    f1: Float[Array, "n d"],
    r2: Float[Array, "n d"],
    f2: Float[Array, "n d"],
    weight: float = 0.5,
    eps: float = 1e-4,
) -> tuple[Float[Array, ""], Metrics]:
    """Cross and Learn (Sayed et al. 2018): modalities of one film agree, films differ.

        d(a, b) = 1 - a.b / (sqrt(a.a + eps) sqrt(b.b + eps))
        cross   = mean of [d(r1, f1) + d(r2, f2)] / 2
        div     = - mean of [d(r1, r2) + d(f1, f2)] / 2
        loss    = 2 [weight cross + (1 - weight) div],   at weight 1/2: cross + div

    There is no margin: features after a ReLU have distances in 0..1, hence a loss in -1..1; it is 0
    where everything is the same.

    Args:
      r1, f1: frame and motion features of the first film of each item.
      r2, f2: of the second film.
      weight: of drawing modalities together against telling films apart.
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
