"""k-means on a mesh: the rows are split over the devices, the centres are on all of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key

from ssl_jax.config import ConfigError
from ssl_jax.devices.sharding import put_same

EXACT = lax.Precision.HIGHEST
# Distances that a device holds at once, an eighth of a gigabyte.
BLOCK = 2**25
MEDIAN_OF = 10_000


def k_means(
    mesh: Mesh,
    x: Float[np.ndarray, "n d"],
    clusters: int,
    restarts: int = 5,
    iterations: int = 100,
    seed: int = 0,
) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "k d"], float]:
    """Lloyd's algorithm from k-means++ starts (Arthur and Vassilvitskii 2007), the best of several.

    Ends when no row changes its cluster. A cluster that lost all its rows begins again at the row
    that lies farthest from its centre (the next at the second farthest, ...). Where rows repeat and
    fewer differ than there are clusters, some stay empty. Every host gives all rows.

    Args:
      restarts: starts, of which the one with the smallest sum of squared distances counts.
      iterations: of each start at most.

    Returns:
      Each row's cluster, the centres, and the sum of the rows' squared distances to them.

    Raises:
      ConfigError: more clusters than rows, or no restarts.
      FloatingPointError: rows that are not finite.
    """
    n = len(x)
    if not 1 <= clusters <= n:
        raise ConfigError(f"k_means: {n} rows do not make {clusters} clusters")
    if restarts < 1 or iterations < 1:
        raise ConfigError(f"k_means: restarts={restarts}, iterations={iterations}: at least one")
    if not np.isfinite(x).all():
        raise FloatingPointError("k_means: rows are NaN or infinite")
    # Near the origin the squares lose least to rounding; the scale keeps them from overflowing. The
    # median (of some rows, for speed) is where most rows are, the mean follows an outlier.
    origin = np.median(x[:: 1 + n // MEDIAN_OF], axis=0).astype(np.float32)
    scale = max(float(np.abs(x - origin).max()), float(np.finfo(np.float32).tiny))
    blocks, real = _blocks(mesh, (x - origin) / np.float32(scale), clusters)
    best = None
    for restart in range(restarts):
        key = jax.random.fold_in(jax.random.key(seed), restart)
        labels, centres, inertia = jax.device_get(
            _one(key, blocks, real, clusters, iterations, mesh)
        )
        if best is None or inertia < best[2]:
            best = labels.reshape(-1)[:n], centres, inertia
    labels, centres, inertia = best
    return labels.astype(np.int64), centres * scale + origin, float(inertia) * scale**2


def _blocks(
    mesh: Mesh, x: np.ndarray, clusters: int
) -> tuple[Float[Array, "steps r d"], Bool[Array, "steps r"]]:
    """Rows in blocks that are worked on one after another, each split over the devices.

    The last block is filled up; `real` marks the rows that are real.
    """
    most = max(BLOCK // clusters, 1) * mesh.size
    steps = -(-len(x) // most)
    rows = -(-len(x) // (steps * mesh.size)) * mesh.size
    filled = np.pad(x, ((0, steps * rows - len(x)), (0, 0))).reshape(steps, rows, -1)
    real = (np.arange(steps * rows) < len(x)).reshape(steps, rows)
    place = NamedSharding(mesh, PartitionSpec(None, mesh.axis_names))
    return put_same(np.asarray(filled, np.float32), place), put_same(real, place)


@functools.partial(jax.jit, static_argnames=("clusters", "iterations", "mesh"))
def _one(
    key: Key[Array, ""],
    blocks: Float[Array, "steps r d"],
    real: Bool[Array, "steps r"],
    clusters: int,
    iterations: int,
    mesh: Mesh,
):
    """Labels (steps r), centres (k d) and the sum of squared distances, from one start."""

    def moves(state):
        _, _, number, moved = state
        return moved & (number < iterations)

    def move(state):
        centres, before, number, _ = state
        labels, distances, sums, counts = _assign(blocks, real, centres)
        means = sums / jnp.maximum(counts, 1.0)[:, None]
        empty = counts == 0
        centres = lax.cond(
            empty.any(),
            lambda: jnp.where(empty[:, None], _farthest(blocks, distances, empty), means),
            lambda: means,
        )
        return centres, labels, number + 1, (labels != before).any()

    start = spread_centres(key, blocks, real, clusters)
    nowhere = jnp.full(real.shape, -1, jnp.int32)
    centres, *_ = lax.while_loop(moves, move, (start, nowhere, 0, True))
    labels, distances, *_ = _assign(blocks, real, centres)
    # Whole on every device, so that every host can read them.
    results = labels, centres, distances.sum()
    return lax.with_sharding_constraint(results, NamedSharding(mesh, PartitionSpec()))


def _assign(blocks, real, centres):
    """Of every row the nearest centre and the squared distance to it; of centres their rows' sum.

    Rows that are not real are in cluster 0 at distance 0 and add nothing.
    """
    squares = jnp.sum(centres * centres, axis=1)

    def one(carry, block):
        x, exists = block
        away = squares - 2 * jnp.matmul(x, centres.T, precision=EXACT)
        label = jnp.argmin(away, axis=1)
        # From the difference itself: the products above lose small distances to rounding.
        distance = jnp.sum((x - centres[label]) ** 2, axis=1)
        label, distance = jnp.where(exists, label, 0), jnp.where(exists, distance, 0.0)
        own = jax.nn.one_hot(label, len(centres)) * exists[:, None]
        sums, counts = carry
        sums = sums + jnp.matmul(own.T, x, precision=EXACT)
        return (sums, counts + own.sum(axis=0)), (label.astype(jnp.int32), distance)

    zero = (jnp.zeros_like(centres), jnp.zeros(len(centres)))
    (sums, counts), (labels, distances) = lax.scan(one, zero, (blocks, real))
    return labels, distances, sums, counts


def _farthest(blocks, distances, empty):
    """For the first empty cluster the row farthest from its centre, for the next the second, ..."""
    places = lax.top_k(distances.reshape(-1), len(empty))[1]
    places = places[jnp.cumsum(empty) - 1]
    return blocks[places // blocks.shape[1], places % blocks.shape[1]]


def spread_centres(
    key: Key[Array, ""],
    blocks: Float[Array, "steps r d"],
    real: Bool[Array, "steps r"],
    clusters: int,
) -> Float[Array, "k d"]:
    """k-means++: rows drawn one by one, each as likely as its squared distance from those drawn."""
    last = real.sum() - 1

    def draw(number, weights):
        """A place among the rows, drawn by weight; any place if no row has weight."""
        share = jax.random.uniform(jax.random.fold_in(key, number))
        total = jnp.cumsum(weights.reshape(-1))
        place = jnp.searchsorted(total, share * total[-1], side="right")
        # Rounding may point beyond all weight.
        place = jnp.minimum(place, last)
        return blocks[place // blocks.shape[1], place % blocks.shape[1]]

    def closer(distances, row):
        away = lax.map(lambda x: jnp.sum((x - row) ** 2, axis=1), blocks)
        return jnp.where(real, jnp.minimum(distances, away), 0.0)

    def add(number, drawn):
        centres, distances = drawn
        row = draw(number, distances)
        return centres.at[number].set(row), closer(distances, row)

    first = draw(0, real.astype(jnp.float32))
    start = jnp.zeros((clusters, blocks.shape[2])).at[0].set(first)
    distances = closer(jnp.where(real, jnp.inf, 0.0), first)
    return lax.fori_loop(1, clusters, add, (start, distances))[0]
