"""Weighted nearest neighbours on frozen features: a probe with nothing to train.

Wu et al. 2018 (Instance Discrimination): with cosine similarities s, the k training records
nearest to a test record vote for their classes with weight exp(s / temperature).
"""

import dataclasses
import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.data.labels import check_labelled
from ssl_jax.data.record import Source
from ssl_jax.evaluator import Read
from ssl_jax.knobs import above, at_least
from ssl_jax.solvers.probe import chance, classes_of, rows_of, top_hits, unit

# Similarities held at once, 64 MiB, and blocks of them that are worked through in one go: memory
# that is allocated again for every block costs as much as sorting it.
BLOCK, BLOCKS = 2**24, 16


@functools.partial(jax.jit, static_argnames=("k", "count", "width"))
def _blocks(
    queries: Float[Array, "blocks m d"],
    gallery: Float[Array, "n d"],
    less: Float[Array, "n"] | None,
    k: int,
    count: int,
    width: int,
):
    def block(queries):
        scores = jnp.matmul(queries, gallery.T, precision="highest")
        scores = scores if less is None else scores - less
        scores = jnp.where(scores == 0, 0.0, scores)  # top_k puts -0.0 behind 0.0
        return _top(scores.at[:, count:].set(-jnp.inf), k, width)

    return jax.lax.map(block, queries)


def _top(scores: Float[Array, "m n"], k: int, width: int):
    """lax.top_k, of equals the earlier first. Only the k groups with the highest maxima are sorted.

    They hold the k highest: no other group's maximum is above any of theirs, and where it is as
    high it comes later.
    """
    m, n = scores.shape
    groups = scores.reshape(m, n // width, width)
    _, found = jax.lax.top_k(groups.max(axis=2), k)
    found = jnp.sort(found, axis=1)
    candidates = jnp.take_along_axis(groups, found[:, :, None], axis=1).reshape(m, -1)
    highest, places = jax.lax.top_k(candidates, k)
    return highest, jnp.take_along_axis(found, places // width, axis=1) * width + places % width


def _highest(
    queries: Float[np.ndarray, "m d"],
    gallery: Float[np.ndarray, "n d"],
    less: Float[np.ndarray, "n"] | None,
    k: int,
) -> tuple[Float[np.ndarray, "m k"], Int[np.ndarray, "m k"]]:
    """The k highest of a query's products with the gallery, less each row's number; their rows."""
    count = len(gallery)
    check_neighbours(k, count)
    width = math.isqrt(count // k)  # two lists of about sqrt(count k): maxima, then candidates
    extra = -count % width
    if extra:
        gallery = np.pad(gallery, ((0, extra), (0, 0)))
        less = less if less is None else np.pad(less, (0, extra))
    gallery, less = jax.device_put((gallery, less))
    size = max(BLOCK // len(gallery), 1)
    turns = -(-len(queries) // (size * BLOCKS))
    blocks = -(-len(queries) // (size * turns))
    size = -(-len(queries) // (blocks * turns))
    # Every turn has the same shape, so it compiles once; the last one's padding is cut off.
    padded = np.pad(queries, ((0, -len(queries) % (blocks * size)), (0, 0)))
    parts = [
        jax.device_get(_blocks(jax.device_put(turn), gallery, less, k, count, width))
        for turn in padded.reshape(-1, blocks, size, queries.shape[1])
    ]
    scores, rows = (
        np.concatenate(part).reshape(-1, k)[: len(queries)] for part in zip(*parts, strict=True)
    )
    return scores, rows


def nearest(
    queries: Float[np.ndarray, "m d"], gallery: Float[np.ndarray, "n d"], k: int
) -> tuple[Float[np.ndarray, "m k"], Int[np.ndarray, "m k"]]:
    """Cosine similarities and row numbers of each query's k nearest, nearest first.

    Ties go to the earlier row. ConfigError if the gallery has fewer than k rows; FloatingPointError
    on NaN.
    """
    _check(queries, gallery)
    return _highest(unit(queries), unit(gallery), None, k)


def nearest_by_distance(
    queries: Float[np.ndarray, "m d"], gallery: Float[np.ndarray, "n d"], k: int
) -> tuple[Float[np.ndarray, "m k"], Int[np.ndarray, "m k"]]:
    """As `nearest`, with Euclidean distances in place of similarities.

    The order is that of exact distances, also where rows lie far from one another.
    """
    _check(queries, gallery)
    check_neighbours(k, len(gallery))
    # Distances do not change with the origin, and near it the squares lose least to rounding.
    origin = np.median(gallery[:: 1 + len(gallery) // 10_000], axis=0).astype(np.float64)
    moved, asked = gallery - origin, queries - origin
    largest = max(np.abs(part).max(initial=0) for part in (moved, asked)) or 1
    moved, asked = moved / largest, asked / largest  # or squares could overflow
    squares = np.square(moved).sum(axis=1)
    # The nearest have the smallest |g|^2 / 2 - q g. So many more than k are looked at exactly.
    count = min(max(2 * k, k + 32), len(gallery))
    less = np.float32(squares / 2)
    rounding = 2 * np.finfo(np.float32).eps * (4 + math.sqrt(gallery.shape[1]))
    lows, rows = _highest(np.float32(asked), np.float32(moved), less, count)
    rows.sort(axis=1)  # so that ties go to the earlier row
    distances, chosen = np.empty((len(rows), k)), np.empty((len(rows), k), rows.dtype)
    for i, (q, some) in enumerate(zip(asked, rows, strict=True)):
        away = np.linalg.norm(moved[some] - q, axis=1)
        # A row that was left out may be nearer by as much as float32 can be wrong.
        reach = np.sort(away)[k - 1] + 2 * np.linalg.norm(q)  # farther from the origin is none
        wrong = rounding * min(squares.max() + q @ q, reach**2)
        if count < len(gallery) and np.sort(away)[k - 1] ** 2 > q @ q - 2 * lows[i, -1] - wrong:
            some = np.arange(len(gallery))
            away = np.linalg.norm(moved - q, axis=1)
        order = np.argsort(away, kind="stable")[:k]
        distances[i], chosen[i] = away[order], some[order]
    return np.float32(distances * largest), chosen


def check_neighbours(k: int, records: int) -> None:
    """ConfigError unless so many records have k neighbours."""
    if not 1 <= k <= records:
        raise ConfigError(f"{k} neighbours asked of {records} records; choose another k")


def _check(*parts: Float[np.ndarray, "_ d"]) -> None:
    for rows in parts:
        if not np.isfinite(rows).all():
            raise FloatingPointError("features are NaN or infinite: nothing is near to them")


def log_votes(
    similarity: Float[np.ndarray, "m k"],
    labels: Int[np.ndarray, "m k"],
    classes: int,
    temperature: float,
) -> Float[np.ndarray, "m c"]:
    """Logarithm of each class's votes, float64; -inf for a class without a neighbour."""
    # As logarithms, since a small temperature would overflow or leave far neighbours without vote.
    total = np.full((len(labels), classes), -np.inf)
    logs = similarity.astype(np.float64) / temperature
    np.logaddexp.at(total, (np.arange(len(labels))[:, None], labels), logs)
    return total


@dataclasses.dataclass(frozen=True)
class Knn:
    """Accuracy of weighted nearest neighbours per layer.

    Yields 'conv3' (top-1), 'conv3/top5' with more than five classes, and 'chance', which always
    answers with the most frequent class of train. A class without a neighbour is never a hit, so
    that with k=1 top-5 is top-1. Features are L2-normalised, nothing else.

    Attributes:
      train, test: labelled sources.
      read: what is read of every record.
      k: neighbours; the papers use 200 for many labels, DINO 20.
      temperature: of the votes.
    """

    train: Source
    test: Source
    read: Read = Read()
    k: int = 20
    temperature: float = 0.07
    every: int = 0

    def __post_init__(self):
        at_least(self, 1, "k")
        above(self, 0, "temperature")

    def check(self, frozen) -> None:
        """ConfigError for more neighbours than records, or sources without labels in common."""
        del frozen
        check_labelled(self.test, self.train)
        check_neighbours(self.k, len(self.train))

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError without labels."""
        train, test = self.read.comparable(frozen, self.train, self.test)
        classes, labels, truth = classes_of(train, test)
        for layer in train.layers:
            gallery, queries = rows_of(train, test, layer)
            similarity, rows = nearest(queries, gallery, self.k)
            votes = log_votes(similarity, labels[rows], len(classes), self.temperature)
            yield layer, float(np.mean(top_hits(votes, truth, 1)))
            if len(classes) > 5:
                yield f"{layer}/top5", float(np.mean(top_hits(votes, truth, 5)))
        yield "chance", chance(labels, truth)
