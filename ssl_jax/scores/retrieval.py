"""Ranks: at which position are the right answers to a query, and how is that scored?

Ranks count from 0. How ties are ranked is part of a protocol and has a name, because a collapsed
network makes nothing but ties: 'expected' (what a random order of the ties gives on average),
'optimistic' (the right answer first) calls it perfect, 'pessimistic' (last), 'index' (the order of
the gallery), 'mean' (the middle: as 'expected' for ranks, but a mean rank is no fair measure of
being among the first k: in a gallery of ties it is so always up to 2 k items, and never beyond).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from ssl_jax.config import ConfigError
from ssl_jax.solvers.probe import unit

QUERIES = 1024  # ranked at once, which bounds the matrix of similarities


TIES = ("expected", "optimistic", "pessimistic", "index", "mean")


class Positions(NamedTuple):
    """Where the best right answer to each query stands in the order of the gallery.

    Attributes:
      before: wrong items that are more similar.
      right: right items that tie with the best one, itself among them.
      wrong: wrong items that tie with it.
      earlier: those of `wrong` that come before the first of `right` in the gallery.
    """

    before: Float[np.ndarray, "q"]
    right: Int[np.ndarray, "q"]
    wrong: Int[np.ndarray, "q"]
    earlier: Int[np.ndarray, "q"]


def positions(
    similarity: Real[np.ndarray, "q g"],
    right: Int[np.ndarray, "q"] | Bool[np.ndarray, "q g"],
    tolerance: float = 0.0,
) -> Positions:
    """Where query i's right item stands, number `right[i]`, or the best of those that row i marks.

    The right items of a query do not count against each other. Similarities within `tolerance` of
    the best right item's are ties. ValueError on NaN, no queries, or a query without right item.
    """
    if right.ndim == 1:
        right = np.arange(similarity.shape[1]) == right[:, None]
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
    tied = np.abs(ahead) <= tolerance
    first = (tied & right).argmax(axis=1)
    earlier = tied & ~right & (np.arange(right.shape[1]) < first[:, None])
    return Positions(before, *(np.sum(m, axis=1) for m in (tied & right, tied & ~right, earlier)))


def rank(found: Positions, ties: str = "expected") -> Float[np.ndarray, "q"]:
    """How many wrong items rank before the best right one. ConfigError on an unknown policy."""
    match ties:
        case "optimistic":
            return found.before
        case "pessimistic":
            return found.before + found.wrong
        case "index":
            return found.before + found.earlier
        case "mean" | "expected":  # in random order wrong / (right + 1) wrong ones come first
            return found.before + found.wrong / (found.right + 1)
    raise ConfigError(f"ties={ties!r}: must be one of {', '.join(TIES)}")


def recall_at(found: Positions, k: int, ties: str = "expected") -> float:
    """Share of queries with a right answer among the first k; expected, in random order of ties."""
    if ties != "expected":
        return float(np.mean(rank(found, ties) < k))
    left = (k - found.before).clip(min=0)  # positions that the ties are drawn for
    return float(np.mean(1 - _missed(found.right, found.wrong, left)))


def median_rank(rank: Float[np.ndarray, "q"]) -> float:
    """Median rank of the right answer, where the best is 1."""
    return float(np.median(rank) + 1)


def mean_rank(rank: Float[np.ndarray, "q"]) -> float:
    """Mean rank of the right answer, where the best is 1."""
    return float(np.mean(rank) + 1)


def found_by_chance(
    right: Int[np.ndarray, "q"], wrong: Int[np.ndarray, "q"], tries: Int[np.ndarray, "q"]
) -> Float[np.ndarray, "g"]:
    """Share of queries with a right answer among the first 1, 2, ... items of random orders.

    Of as many `tries`, orders, of a query the best counts. All galleries are of one size.
    """
    kinds, counts = np.unique(np.stack([right, wrong, tries]), axis=1, return_counts=True)
    found = np.zeros(int(right[0] + wrong[0]))
    drawn = np.arange(len(found))
    for (own, others, orders), count in zip(kinds.T, counts, strict=True):
        missed = np.cumprod((others - drawn).clip(min=0) / (own + others - drawn))
        found += count * (1 - missed**orders)
    return found / len(right)


def recall_by_chance(
    right: Int[np.ndarray, "q"], wrong: Int[np.ndarray, "q"], k: int
) -> Float[np.ndarray, "q"]:
    """How likely a right item is among k drawn at random from so many right and wrong ones."""
    return 1 - _missed(right, wrong, np.full(len(right), k))


def _missed(right, wrong, draws) -> Float[np.ndarray, "q"]:
    """How likely all of so many draws are wrong."""
    miss, total = np.ones(len(right)), right + wrong
    for drawn in range(int(np.max(draws, initial=0))):
        # Where fewer items are there than draws, all are drawn and then none.
        more = (drawn < draws) & (drawn < total)
        miss *= np.divide(
            (wrong - drawn).clip(min=0), total - drawn, out=np.ones_like(miss), where=more
        )
    return miss


def ndcg(
    relevance: Real[np.ndarray, "q g"],
    similarity: Real[np.ndarray, "q g"],
    k: int,
    gain: str = "linear",
    ties: str = "mean",
) -> Float[np.ndarray, "q"]:
    """Normalised discounted cumulative gain of each query's first k items (Järvelin & Kekäläinen).

    DCG = sum over positions i = 1..k of gain(relevance) / log2(i + 1), divided by the best order's
    DCG of the *whole* gallery; 0 where nothing is relevant. `gain` is 'linear' (the relevance) or
    'exponential' (2^relevance - 1). Tied items share the mean of their gains with ties='mean', as
    in a random order of them; with 'index' the earlier comes first. With graded relevance chance
    is far from 0: compare with `ndcg_by_chance`. To skip an item of a query's gallery (itself,
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


def _discount(gains: np.ndarray) -> np.ndarray:
    return 1 / np.log2(np.arange(gains.shape[1]) + 2)


def _share(dcg: np.ndarray, gains: np.ndarray, k: int) -> np.ndarray:
    best = -np.sort(-gains, axis=1)[:, :k]
    best = best @ _discount(best)
    return np.divide(dcg, best, out=np.zeros_like(best), where=best > 0)


def _tied_means(gains: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """Gains in descending order of similarity, equals replaced by their mean."""
    starts = np.flatnonzero(np.append(True, similarity[1:] != similarity[:-1]))
    sizes = np.diff(np.append(starts, len(gains)))
    return np.repeat(np.add.reduceat(gains, starts) / sizes, sizes)


def joined(parts: Iterable[Positions]) -> Positions:
    """The positions of several blocks of queries as one."""
    return Positions(*map(np.concatenate, zip(*parts, strict=True)))


def matching_positions(
    queries: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "n d"],
    groups: Int[np.ndarray, "n"],
    tolerance: float = 1e-6,
) -> Positions:
    """Where gallery row i stands for query row i by cosine, among the rows of its group.

    Cosines closer than `tolerance`, the rounding of float32 features, are ties.
    """
    queries, gallery = unit(queries.astype(np.float64)), unit(gallery.astype(np.float64))
    parts, order = [], []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        for start in range(0, len(members), QUERIES):
            rows = members[start : start + QUERIES]
            right = np.arange(start, start + len(rows))
            parts.append(positions(queries[rows] @ gallery[members].T, right, tolerance))
            order.append(rows)
    back = np.argsort(np.concatenate(order))
    return Positions(*(column[back] for column in joined(parts)))
