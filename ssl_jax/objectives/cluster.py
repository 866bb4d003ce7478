"""k-means, for methods whose targets are the clusters of features."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

EXACT = lax.Precision.HIGHEST
ROWS = 4096  # compared with the centres at once


def k_means(
    key: Key[Array, ""], x: Float[Array, "n d"], clusters: int, iterations: int = 50
) -> tuple[Float[Array, "k d"], Int[Array, "n"]]:
    """Lloyd's algorithm from a k-means++ start (Arthur & Vassilvitskii 2007).

    A cluster that lost all its rows begins anew at the row that lies farthest from its centre (the
    next at the second farthest, ...), so that none stays empty unless rows repeat. To be jitted
    with `clusters` and `iterations` static; takes n d clusters operations an iteration.

    Returns:
      Centres, and for each row the nearest of them.

    Raises:
      ValueError: fewer rows than clusters.
    """
    n = len(x)
    if not 1 <= clusters <= n:
        raise ValueError(f"k_means: {n} rows do not make {clusters} clusters")
    x = x.astype(jnp.float32)

    def move(_, centres):
        labels, distances = nearest(x, centres)
        counts = jnp.zeros(clusters).at[labels].add(1.0)
        sums = jnp.zeros_like(centres).at[labels].add(x)
        means = sums / jnp.maximum(counts, 1.0)[:, None]
        farthest = x[lax.top_k(distances, clusters)[1]]
        empty = counts == 0
        return jnp.where(empty[:, None], farthest[jnp.cumsum(empty) - 1], means)

    centres = lax.fori_loop(0, iterations, move, spread_centres(key, x, clusters))
    return centres, nearest(x, centres)[0]


def spread_centres(
    key: Key[Array, ""], x: Float[Array, "n d"], clusters: int
) -> Float[Array, "k d"]:
    """k-means++: rows drawn one by one, each as likely as its squared distance from those drawn."""
    first = x[jax.random.randint(key, (), 0, len(x))]

    def add(number, drawn):
        centres, distances = drawn
        # Where all rows have been drawn, as far as they differ, any may be drawn again.
        weights = jnp.log(jnp.maximum(distances, 1e-30))
        row = x[jax.random.categorical(jax.random.fold_in(key, number), weights)]
        closer = jnp.minimum(distances, jnp.sum((x - row) ** 2, axis=1))
        return centres.at[number].set(row), closer

    start = jnp.zeros((clusters, x.shape[1])).at[0].set(first)
    distances = jnp.sum((x - first) ** 2, axis=1)
    return lax.fori_loop(1, clusters, add, (start, distances))[0]


def nearest(
    x: Float[Array, "n d"], centres: Float[Array, "k d"]
) -> tuple[Int[Array, "n"], Float[Array, "n"]]:
    """For each row its nearest centre, and the squared distance to it."""
    squares = jnp.sum(centres * centres, axis=1)

    def one(row):
        away = squares - 2 * jnp.matmul(centres, row, precision=EXACT)
        best = jnp.argmin(away)
        return best, jnp.sum((row - centres[best]) ** 2)

    return lax.map(one, x, batch_size=min(ROWS, len(x)))


def used_clusters(labels: Int[Array, "n"], clusters: int) -> Float[Array, ""]:
    """exp of the entropy of the cluster sizes: k if all are as large, 1 if one has everything."""
    share = jnp.zeros(clusters).at[labels].add(1.0) / len(labels)
    return jnp.exp(-jnp.sum(share * jnp.log(jnp.maximum(share, 1e-30))))
