"""Places in an order: at which place are the right answers to a query, and how is that scored?

Ranks count from 0. How ties are ranked is part of a protocol and has a name, because a collapsed
network makes nothing but ties: 'optimistic' (the right answer first) calls it perfect,
'pessimistic' (last), 'mean' (the middle: what a random order gives on average), 'index' (the order
of the gallery).
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from ssl_jax.config import ConfigError
from ssl_jax.solvers.probe import unit

QUERIES = 1024  # ranked at once, which bounds the matrix of similarities


def ranks(
    similarity: Real[np.ndarray, "q g"],
    right: Int[np.ndarray, "q"],
    ties: str = "mean",
    tolerance: float = 0.0,
) -> Float[np.ndarray, "q"]:
    """How many gallery items rank before query i's right one, item `right[i]`.

    Similarities within `tolerance` of the right item's are ties. ValueError on NaN, no queries or
    an unknown tie policy.
    """
    mask = np.zeros(similarity.shape, bool)
    mask[np.arange(len(right)), right] = True
    return first_ranks(similarity, mask, ties, tolerance)


def first_ranks(
    similarity: Real[np.ndarray, "q g"],
    right: Bool[np.ndarray, "q g"],
    ties: str = "mean",
    tolerance: float = 0.0,
) -> Float[np.ndarray, "q"]:
    """How many wrong gallery items rank before the best of query i's right ones.

    The right items of a query do not count against each other. Otherwise as `ranks`; ValueError
    also if a query has no right item.
    """
    if ties not in ("optimistic", "pessimistic", "mean", "index"):
        raise ConfigError(f"ties={ties!r}: must be optimistic, pessimistic, mean or index")
    if not len(similarity):
        raise ValueError("there are no queries to rank answers for")
    if np.isnan(similarity).any():
        raise ValueError("similarities hold NaN: such a query has no rank")
    if not right.any(axis=1).all():
        raise ValueError(f"query {int(right.any(axis=1).argmin())} has no right answer to be found")
    similarity = similarity.astype(np.float64)
    own = np.where(right, similarity, -np.inf).max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # infinite similarities that are equal are ties
        ahead = np.where(similarity == own, 0.0, similarity - own)
    before = np.sum((ahead > tolerance) & ~right, axis=1, dtype=np.float64)
    tied = (np.abs(ahead) <= tolerance) & ~right
    match ties:
        case "pessimistic":
            before += tied.sum(axis=1)
        case "mean":  # r right and t wrong items in random order: t / (r + 1) wrong come first
            equals = np.sum(right & (np.abs(ahead) <= tolerance), axis=1)
            before += tied.sum(axis=1) / (equals + 1)
        case "index":
            first = (right & (np.abs(ahead) <= tolerance)).argmax(axis=1)
            before += np.sum(tied & (np.arange(right.shape[1]) < first[:, None]), axis=1)
    return before


def recall_at(rank: Float[np.ndarray, "q"], k: int) -> float:
    """Share of queries whose right answer is among the first k.

    Under ties='mean' a network that ties everything is found in the middle, hence always among
    the first k of a gallery of up to 2 k items, and never of a larger one.
    """
    return float(np.mean(rank < k))


def median_rank(rank: Float[np.ndarray, "q"]) -> float:
    """Median place of the right answer, where the best place is 1."""
    return float(np.median(rank) + 1)


def recall_by_chance(
    right: Int[np.ndarray, "q"], wrong: Int[np.ndarray, "q"], k: int
) -> Float[np.ndarray, "q"]:
    """How likely a right item is among k drawn at random from so many right and wrong ones."""
    drawn = np.arange(k)
    left = (right + wrong)[:, None] - drawn
    # Where fewer than k items are there, all are drawn and then none.
    whole = np.ones(left.shape)
    miss = np.divide((wrong[:, None] - drawn).clip(min=0), left, where=left > 0, out=whole)
    return 1 - miss.prod(axis=1)


def ndcg(
    relevance: Real[np.ndarray, "q g"],
    similarity: Real[np.ndarray, "q g"],
    k: int,
    gain: str = "linear",
    ties: str = "mean",
) -> Float[np.ndarray, "q"]:
    """Normalised discounted cumulative gain of each query's first k items (Järvelin & Kekäläinen).

    DCG = sum over places i = 1..k of gain(relevance) / log2(i + 1), divided by the DCG of the best
    order of the *whole* gallery; 0 where nothing is relevant. `gain` is 'linear' (the relevance) or
    'exponential' (2^relevance - 1). Tied items share the mean of their gains with ties='mean', as
    in a random order of them; with 'index' the earlier comes first. With graded relevance chance
    is far from 0: compare with `ndcg_by_chance`. To leave an item out of a query's gallery (itself,
    say), give it relevance 0 and similarity -inf.
    """
    if ties not in ("mean", "index"):
        raise ConfigError(f"ties={ties!r}: must be mean or index")
    if np.isnan(similarity).any():
        raise ValueError("similarities hold NaN: such a query has no order")
    gains = _gains(relevance, gain)
    order = np.argsort(-similarity, axis=1, kind="stable")
    found = np.take_along_axis(gains, order, axis=1)
    if ties == "mean":
        sorted_similarity = np.take_along_axis(similarity, order, axis=1)
        found = np.stack([_tied_means(*row) for row in zip(found, sorted_similarity, strict=True)])
    return _share(found[:, :k] @ _discount(found[:, :k]), gains, k)


def ndcg_by_chance(
    relevance: Real[np.ndarray, "q g"], k: int, gain: str = "linear"
) -> Float[np.ndarray, "q"]:
    """What `ndcg` gives on average if the gallery comes in random order."""
    gains = _gains(relevance, gain)
    return _share(gains.mean(axis=1) * _discount(gains[:, :k]).sum(), gains, k)


def _gains(relevance: np.ndarray, gain: str) -> np.ndarray:
    if gain not in ("linear", "exponential"):
        raise ConfigError(f"gain={gain!r}: must be linear or exponential")
    if not (relevance >= 0).all():
        raise ValueError("relevance must not be negative or NaN: shift it")
    gains = relevance.astype(np.float64)
    return 2**gains - 1 if gain == "exponential" else gains


def _discount(places: np.ndarray) -> np.ndarray:
    return 1 / np.log2(np.arange(places.shape[1]) + 2)


def _share(dcg: np.ndarray, gains: np.ndarray, k: int) -> np.ndarray:
    best = -np.sort(-gains, axis=1)[:, :k]
    best = best @ _discount(best)
    return np.divide(dcg, best, out=np.zeros_like(best), where=best > 0)


def _tied_means(gains: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """Gains in descending order of similarity, equals replaced by their mean."""
    starts = np.flatnonzero(np.append(True, similarity[1:] != similarity[:-1]))
    sizes = np.diff(np.append(starts, len(gains)))
    return np.repeat(np.add.reduceat(gains, starts) / sizes, sizes)


def matching_ranks(
    queries: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "n d"],
    groups: Int[np.ndarray, "n"],
    ties: str,
    tolerance: float = 1e-6,
) -> Float[np.ndarray, "n"]:
    """Rank of gallery row i for query row i by cosine, among the rows of its group.

    Cosines closer than `tolerance`, the rounding of float32 features, are ties.
    """
    queries, gallery = unit(queries.astype(np.float64)), unit(gallery.astype(np.float64))
    result = np.empty(len(queries))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        for start in range(0, len(members), QUERIES):
            rows = members[start : start + QUERIES]
            right = np.arange(start, start + len(rows))
            result[rows] = ranks(queries[rows] @ gallery[members].T, right, ties, tolerance)
    return result
