"""Retrieval: the right sound for a film, the right film for a text, a film of the same class.

Ranks count from 0. How ties are ranked is part of a protocol and has a name, because a collapsed
network makes nothing but ties: 'optimistic' (the right answer first) calls it perfect,
'pessimistic' (last), 'mean' (the middle: what a random order gives on average), 'index' (the order
of the gallery).
"""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Float, Int, Real

from ssl_jax.data.record import Source
from ssl_jax.evals import ridge
from ssl_jax.evals.knn import nearest, unit
from ssl_jax.evals.probe import classes_of, finite_rows, standardise


def ranks(
    similarity: Float[np.ndarray, "q g"],
    right: Int[np.ndarray, "q"],
    ties: str = "mean",
    tolerance: float = 0.0,
) -> Float[np.ndarray, "q"]:
    """How many gallery items stand before query i's right one, item `right[i]`.

    Similarities within `tolerance` of the right item's are ties. ValueError on NaN or an unknown
    tie policy.
    """
    if np.isnan(similarity).any():
        raise ValueError("similarities hold NaN: such a query has no rank")
    similarity = similarity.astype(np.float64)
    own = np.take_along_axis(similarity, right[:, None], axis=1)
    before = np.sum(similarity > own + tolerance, axis=1)
    tied = np.abs(similarity - own) <= tolerance
    tied[np.arange(len(right)), right] = False
    match ties:
        case "optimistic":
            return before.astype(np.float64)
        case "pessimistic":
            return before + np.sum(tied, axis=1, dtype=np.float64)
        case "mean":
            return before + np.sum(tied, axis=1) / 2
        case "index":
            earlier = np.arange(similarity.shape[1]) < right[:, None]
            return before + np.sum(tied & earlier, axis=1, dtype=np.float64)
    raise ValueError(f"ties={ties!r}: must be optimistic, pessimistic, mean or index")


def recall_at(rank: Float[np.ndarray, "q"], k: int) -> float:
    """Share of queries whose right answer is among the first k."""
    return float(np.mean(rank < k))


def median_rank(rank: Float[np.ndarray, "q"]) -> float:
    """Median place of the right answer, where the best place is 1."""
    return float(np.median(rank) + 1)


def ndcg(
    relevance: Real[np.ndarray, "q g"],
    similarity: Float[np.ndarray, "q g"],
    k: int,
    gain: str = "linear",
) -> Float[np.ndarray, "q"]:
    """Normalised discounted cumulative gain of each query's first k items (Järvelin & Kekäläinen).

    DCG = sum over places i = 1..k of gain(relevance) / log2(i + 1), divided by the DCG of the best
    order of the *whole* gallery; 0 where nothing is relevant. `gain` is 'linear' (the relevance) or
    'exponential' (2^relevance - 1). Ties go to the earlier item. With graded relevance chance is
    far from 0: compare with random similarities. To leave an item out of a query's gallery (itself,
    say), give it relevance 0 and similarity -inf.
    """
    if gain not in ("linear", "exponential"):
        raise ValueError(f"gain={gain!r}: must be linear or exponential")
    if (relevance < 0).any():
        raise ValueError("relevance must not be negative: shift it")
    worth = relevance.astype(np.float64)
    if gain == "exponential":
        worth = 2**worth - 1
    discount = 1 / np.log2(np.arange(min(k, worth.shape[1])) + 2)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(worth, order, axis=1) @ discount
    best = -np.sort(-worth, axis=1)[:, :k] @ discount
    return np.divide(found, best, out=np.zeros_like(best), where=best > 0)


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
        for start in range(0, len(members), 1024):  # bounds the matrix of similarities
            right = np.arange(start, min(start + 1024, len(members)))
            similarity = queries[members[right]] @ gallery[members].T
            result[members[right]] = ranks(similarity, right, ties, tolerance)
    return result


@dataclasses.dataclass(frozen=True)
class CrossModalRetrieval:
    """Finds record i in one modality, given record i in the other, by cosine.

    Yields for every query layer '<layer>/R@k' and '<layer>/median_rank', and 'chance/R@k', what a
    random order gives on average with galleries of these sizes.

    map='none' compares `layer` of both modalities: the joint embedding of a method that has one.
    map='ridge' needs no joint space: on `train` it fits a ridge regression from each query layer to
    the gallery's `layer`, both standardised by train, and compares predictions with what is there.
    So any two layers can be compared, and the query's 'input' gives the baseline of raw pixels.

    Attributes:
      test: source of the pairs. Records lacking either modality cannot be in it.
      query, gallery: modalities.
      layer: of the gallery; with map='none' of the query too.
      ks: places for recall.
      within_groups: candidates are only the records of the query's group (one game, one film),
        so that telling the groups apart does not help.
      ties: see the module.
      clips: clips of a record whose features are averaged.
      pool: 'max' or 'avg', how large maps are made smaller.
      map: 'none' or 'ridge'.
      train: source of the pairs that map='ridge' is fitted to.
      layers: of the query, for map='ridge'; () is all.
      l2: strengths for map='ridge', chosen by cosine on a held-out fifth of train.
      seed: of the held-out fifth.
      every: steps between runs during training; 0 is only at the end.
    """

    test: Source
    query: str = "vision"
    gallery: str = "audio"
    layer: str = "embedding"
    ks: tuple[int, ...] = (1, 5, 10)
    within_groups: bool = False
    ties: str = "mean"
    clips: int = 1
    pool: str = "max"
    map: str = "none"
    train: Source | None = None
    layers: tuple[str, ...] = ()
    l2: tuple[float, ...] = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0)
    seed: int = 0
    every: int = 0

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """`frozen`: a trained network, `ssl_jax.frozen.Frozen`. ValueError on NaN features."""
        match self.map:
            case "none":
                pairs = self._joint(frozen)
            case "ridge" if self.train is None:
                raise ValueError(
                    "map='ridge' is fitted to other pairs than it is tested on: train="
                )
            case "ridge":
                pairs = self._mapped(frozen)
            case _:
                raise ValueError(f"map={self.map!r}: must be none or ridge")
        for layer, queries, gallery, groups in pairs:
            groups = groups if self.within_groups else np.zeros_like(groups)
            found = matching_ranks(queries, gallery, groups, self.ties)
            for k in self.ks:
                yield f"{layer}/R@{k}", recall_at(found, k)
            yield f"{layer}/median_rank", median_rank(found)
        _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
        for k in self.ks:
            yield f"chance/R@{k}", float(np.mean(np.minimum(k / counts, 1)[group]))

    def _joint(self, frozen) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
        """(layer, queries, gallery, groups), as the network gives them."""
        queries, gallery = (
            frozen.features(self.test, modality, (self.layer,), self.clips, self.pool)
            for modality in (self.query, self.gallery)
        )
        names = (f"{self.query} {self.layer}", f"{self.gallery} {self.layer}")
        rows = finite_rows(names[0], queries.layers[self.layer], queries.indices)
        answers = finite_rows(names[1], gallery.layers[self.layer], gallery.indices)
        if rows.shape != answers.shape:
            raise ValueError(
                f"{names[0]} has {rows.shape[1]} features and {names[1]} {answers.shape[1]}: they "
                "share no space; use map='ridge'"
            )
        yield self.layer, rows, answers, queries.groups

    def _mapped(self, frozen) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
        """(layer, predicted, true, groups): the gallery's features, standardised by train."""
        train, test = (
            frozen.features(source, self.query, self.layers, self.clips, self.pool)
            for source in (self.train, self.test)
        )
        target, answers = (
            frozen.features(source, self.gallery, (self.layer,), self.clips, self.pool)
            for source in (self.train, self.test)
        )
        name = f"{self.gallery} {self.layer}"
        known = finite_rows(f"train, {name}", target.layers[self.layer], target.indices)
        asked = finite_rows(f"test, {name}", answers.layers[self.layer], answers.indices)
        known, true = standardise(known, asked)
        for layer, values in train.layers.items():
            name = f"{self.query} {layer}"
            x = finite_rows(f"train, {name}", values, train.indices)
            new = finite_rows(f"test, {name}", test.layers[layer], test.indices)
            predicted = predict_features(*standardise(x, new), known, self.l2, self.seed)
            yield layer, predicted, true, test.groups


def predict_features(
    x: Float[np.ndarray, "n d"],
    new: Float[np.ndarray, "m d"],
    y: Float[np.ndarray, "n e"],
    l2: tuple[float, ...],
    seed: int,
) -> Float[np.ndarray, "m e"]:
    """y for `new`, by ridge regression fitted to the pairs (x, y); all come standardised.

    The strength is the one whose predictions have the highest mean cosine with the truth on a
    random fifth of the pairs; then all pairs are fitted.
    """

    def fit(x, y, new, l2):
        return jax.device_get(ridge.predict(*jax.device_put((x, y, new, np.asarray(l2, x.dtype)))))

    best = max(l2)
    if len(l2) > 1:
        if len(x) < 5:
            raise ValueError(f"train has {len(x)} pairs, too few to choose l2: give a single one")
        held = np.zeros(len(x), bool)
        held[np.random.default_rng(seed).permutation(len(x))[: len(x) // 5]] = True
        grid = fit(x[~held], y[~held], x[held], l2)
        cosine = [np.mean(np.sum(unit(each) * unit(y[held]), axis=1)) for each in grid]
        best = max(zip(cosine, l2, strict=True))[1]
    return fit(x, y, new, (best,))[0]


@dataclasses.dataclass(frozen=True)
class ClassRetrieval:
    """Clip retrieval: is a training film of the same class among the k nearest of a test film?

    The protocol of Büchler et al. 2018 and Xu et al. 2019 (Clip Order Prediction), by cosine: query
    test, gallery train, on every layer. Called recall there, it is a hit rate. Yields
    '<layer>/hit@k', and 'chance/hit@k', what k random films give on average.

    Attributes:
      train, test: labelled sources.
      layers: names; () is all of them, and 'input' is the raw input.
      clips: clips of a film whose features are averaged; the papers average ten.
      pool: 'max' or 'avg', how large maps are made smaller.
      ks: numbers of neighbours.
      centre: what is taken from features before they are normalised: 'none', 'train_mean', or
        'own_mean', each set's own. The last lets the test set help itself (CoCLR does so).
      every: steps between runs during training; 0 is only at the end.
    """

    train: Source
    test: Source
    modality: str = "vision"
    layers: tuple[str, ...] = ()
    clips: int = 10
    pool: str = "max"
    ks: tuple[int, ...] = (1, 5, 10, 20, 50)
    centre: str = "none"
    every: int = 0

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """`frozen`: a trained network, `ssl_jax.frozen.Frozen`. ValueError without labels."""
        if self.centre not in ("none", "train_mean", "own_mean"):
            raise ValueError(f"centre={self.centre!r}: must be none, train_mean or own_mean")
        train, test = (
            frozen.features(source, self.modality, self.layers, self.clips, self.pool)
            for source in (self.train, self.test)
        )
        classes, labels, truth = classes_of(train, test)
        for layer, values in train.layers.items():
            gallery = finite_rows(f"train, layer {layer}", values, train.indices)
            queries = finite_rows(f"test, layer {layer}", test.layers[layer], test.indices)
            if self.centre != "none":
                source = gallery if self.centre == "train_mean" else queries
                queries = queries - source.mean(axis=0)
                gallery = gallery - gallery.mean(axis=0)
            _, rows = nearest(queries, gallery, max(self.ks))
            hit = labels[rows] == truth[:, None]
            for k in self.ks:
                yield f"{layer}/hit@{k}", float(np.mean(hit[:, :k].any(axis=1)))
        others = len(labels) - np.bincount(labels, minlength=len(classes))
        others = np.where(truth >= 0, others[truth], len(labels))
        for k in self.ks:
            drawn = np.arange(k)
            miss = (others[:, None] - drawn).clip(min=0) / (len(labels) - drawn)
            yield f"chance/hit@{k}", float(np.mean(1 - miss.prod(axis=1)))
