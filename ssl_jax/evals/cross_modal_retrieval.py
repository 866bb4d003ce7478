"""Retrieval across streams: the right audio for a video, the right video for an audio."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.annotations import shown_fact
from ssl_jax.data.labels import check_labelled, label_names
from ssl_jax.data.record import MediaError, Source
from ssl_jax.features import Features, labelled
from ssl_jax.knobs import at_least, given, one_of
from ssl_jax.ops.probe_pooling import POOLS
from ssl_jax.scores.label_tree import relevance_by_tree
from ssl_jax.scores.retrieval import (
    QUERIES,
    TIES,
    matching_positions,
    median_rank,
    ndcg,
    ndcg_by_chance,
    rank,
    recall_at,
)
from ssl_jax.solvers.probe import finite_rows, standardise, unit
from ssl_jax.solvers.regression import regress


@dataclasses.dataclass(frozen=True)
class CrossModalRetrieval:
    """Finds record i in one stream, given record i in the other, by cosine.

    Yields for every query layer '<layer>/R@k' and '<layer>/median_rank', and 'chance/R@k', what a
    random order gives on average with galleries of these sizes.

    map='none' compares `layer` of both streams: the joint embedding of a method that has one.
    map='ridge' needs no joint space: on `train` it fits a ridge regression from each query layer to
    the gallery's `layer`, both standardised by train, and compares predictions with what is there.
    So any two layers can be compared, and the query's 'input' gives the baseline of raw pixels.

    Attributes:
      test: source of the pairs. Records lacking either stream cannot be in it.
      query, gallery: streams.
      layer: of the gallery; with map='none' of the query too.
      ks: of recall, R@k.
      within_groups: candidates are only the records of the query's group (one game, one video),
        so that telling the groups apart does not help.
      ties: see `retrieval`.
      clips: clips of a record whose features are averaged.
      pool: 'max' or 'avg', how large maps are made smaller.
      map: 'none' or 'ridge'.
      train: source of the pairs that map='ridge' is fitted to.
      layers: of the query, for map='ridge'; () is all.
      l2: strengths for map='ridge', chosen by cosine on a held-out fifth of train.
      seed: of the held-out fifth.
    """

    test: Source
    query: str = "vision"
    gallery: str = "audio"
    layer: str = "embedding"
    ks: tuple[int, ...] = (1, 5, 10)
    within_groups: bool = False
    ties: str = TIES[0]
    clips: int = 1
    pool: str = "max"
    map: str = "none"
    train: Source | None = None
    layers: tuple[str, ...] = ()
    l2: tuple[float, ...] = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0)
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        given(self, "ks", "l2")
        at_least(self, 1, "ks", "clips")
        at_least(self, 0, "l2", "seed")
        one_of(self, "ties", TIES)
        one_of(self, "pool", POOLS)
        one_of(self, "map", ("none", "ridge"))
        if self.map == "ridge" and self.train is None:
            raise ConfigError("map='ridge' is fitted to other pairs than it is tested on: train=")

    def check(self, frozen) -> None:
        """ConfigError for unknown streams or layers."""
        asked = (self.layer,) if self.map == "none" else self.layers
        frozen.check_layers(self.query, asked, self.test)
        frozen.check_layers(self.gallery, (self.layer,), self.test)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """FloatingPointError on NaN features."""
        pairs = self._joint(frozen) if self.map == "none" else self._mapped(frozen)
        for layer, queries, gallery, groups in pairs:
            groups = groups if self.within_groups else np.zeros_like(groups)
            found = matching_positions(queries, gallery, groups)
            for k in self.ks:
                yield f"{layer}/R@{k}", recall_at(found, k, self.ties)
            yield f"{layer}/median_rank", median_rank(rank(found, self.ties))
        _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
        for k in self.ks:
            yield f"chance/R@{k}", float(np.mean(np.minimum(k / counts, 1)[group]))

    def _joint(self, frozen) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
        """(layer, queries, gallery, groups), as the network gives them."""
        queries, gallery = paired(
            *(
                frozen.features(self.test, stream, (self.layer,), self.clips, self.pool)
                for stream in (self.query, self.gallery)
            )
        )
        names = (f"{self.query} {self.layer}", f"{self.gallery} {self.layer}")
        rows = finite_rows(names[0], queries.layers[self.layer], queries.indices)
        answers = finite_rows(names[1], gallery.layers[self.layer], gallery.indices)
        if rows.shape[1] != answers.shape[1]:
            raise ConfigError(
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
        (train, target), (test, answers) = paired(train, target), paired(test, answers)
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


@dataclasses.dataclass(frozen=True)
class GradedRetrieval:
    """nDCG of all records of a stream ordered by cosine to a query of the same or another one.

    The protocol of Arandjelovic and Zisserman 2018 (AVE-Net, "Objects that Sound"), who report it
    for all four pairs of image and audio, k=30; any two records of related classes count as
    matches, the more the closer. A record is never in its own query's gallery. Yields
    '<layer>/nDCG@k' and 'chance/nDCG@k', the mean of random orders.

    Attributes:
      test: labelled source.
      query, gallery: streams, which may be the same.
      layer: of both.
      k: first items that count.
      gain: 'exponential' (2^relevance - 1) or 'linear'.
      relevance: AudioSet's `ontology.json`: relevance is 20 less the distance of two classes in
        that tree, as in the paper. Or a text file of a square table of numbers: row a, column b,
        how relevant a record of class b is to a query of class a. '': 1 within a class, else 0. Of
        records with several classes (extra['labels']) the best pair counts.
      ties: 'mean' or 'index'; see `retrieval.ndcg`.
      clips: clips of a record whose features are averaged.
      pool: 'max' or 'avg', how large maps are made smaller.
    """

    test: Source
    query: str = "vision"
    gallery: str = "audio"
    layer: str = "embedding"
    k: int = 30
    gain: str = "exponential"
    relevance: str = ""
    ties: str = "mean"
    clips: int = 1
    pool: str = "max"
    every: int = 0

    def __post_init__(self):
        at_least(self, 1, "k", "clips")
        one_of(self, "gain", ("exponential", "linear"))
        one_of(self, "ties", ("mean", "index"))
        one_of(self, "pool", POOLS)

    def check(self, frozen) -> None:
        """ConfigError for unknown streams or layers, or sources without labels."""
        for stream in (self.query, self.gallery):
            frozen.check_layers(stream, (self.layer,), self.test)
        if not has_several(self.test):
            check_labelled(self.test)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError without labels."""
        queries, gallery = paired(
            *(
                frozen.features(
                    *(self.test, stream, (self.layer,), self.clips, self.pool), facts=shown_fact
                )
                for stream in (self.query, self.gallery)
            )
        )
        # As `labelled` looks for labels, and one of several will do.
        shown = queries.facts["shown"]
        queries = labelled(dataclasses.replace(queries, labels=shown[:, 0].astype(np.int64)))
        gallery = gallery.rows(np.flatnonzero(np.isin(gallery.indices, queries.indices)))
        shown = queries.facts["shown"]
        shown = shown[:, (shown >= 0).any(axis=0)]
        if not self.relevance:  # numbers may be as large as they like
            classes = np.unique(shown[shown >= 0])
            shown = np.where(shown >= 0, np.searchsorted(classes, shown), -1)
        table = self._table(int(shown.max()) + 1)
        asked, found = (
            unit(
                finite_rows(f"{name} {self.layer}", x.layers[self.layer], x.indices).astype(
                    np.float64
                )
            )
            for name, x in ((self.query, queries), (self.gallery, gallery))
        )
        if asked.shape[1] != found.shape[1]:
            raise ConfigError(
                f"layer '{self.layer}' has {asked.shape[1]} features in {self.query} and "
                f"{found.shape[1]} in {self.gallery}: they share no space"
            )
        scores, chance = [], []
        for start in range(0, len(asked), QUERIES):
            rows = np.arange(start, min(start + QUERIES, len(asked)))
            # What is closer than float32's rounding is a tie.
            similarity = np.round(asked[rows] @ found.T, 6)
            similarity[np.arange(len(rows)), rows] = -np.inf
            relevance = np.stack([best_pair(table, shown[row], shown) for row in rows])
            relevance[np.arange(len(rows)), rows] = 0
            scores.append(ndcg(relevance, similarity, self.k, self.gain, self.ties))
            others = relevance[np.arange(len(shown)) != rows[:, None]].reshape(len(rows), -1)
            chance.append(ndcg_by_chance(others, self.k, self.gain))
        yield f"{self.layer}/nDCG@{self.k}", float(np.mean(np.concatenate(scores)))
        yield f"chance/nDCG@{self.k}", float(np.mean(np.concatenate(chance)))

    def _table(self, classes: int) -> Float[np.ndarray, "k k"]:
        if not self.relevance:
            return np.eye(classes)
        if self.relevance.endswith(".json"):
            names = label_names(self.test)
            if len(names) < classes:
                raise ConfigError(
                    f"relevance={self.relevance}: the source names {len(names)} of {classes} "
                    "classes"
                )
            return relevance_by_tree(self.relevance, names[:classes])
        try:
            lines = paths.read_text(self.relevance).read().splitlines()
            rows = [re.sub(r"[,;]", " ", line).split() for line in lines if line.strip()]
            table = np.array(rows, np.float64).reshape(len(rows), -1)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"relevance={self.relevance}: no table of numbers ({error})"
            ) from error
        if table.shape[0] != table.shape[1] or len(table) < classes:
            raise ConfigError(
                f"relevance={self.relevance}: a table of {table.shape[0]}x{table.shape[1]} does "
                f"not cover {classes} classes"
            )
        return table


def has_several(source: Source) -> bool:
    """Whether the first record that can be read has several labels."""
    for number in range(len(source)):
        with contextlib.suppress(MediaError):
            return "labels" in source[number].extra
    return False


def best_pair(
    table: Float[np.ndarray, "k k"], asked: Int[np.ndarray, "l"], shown: Int[np.ndarray, "n l"]
) -> Float[np.ndarray, "n"]:
    """How relevant records of the classes `shown` are to one of the classes `asked`; -1 is none."""
    most = table[asked[asked >= 0]].max(axis=0)
    return np.where(shown >= 0, most[shown], 0).max(axis=1)


def predict_features(
    x: Float[np.ndarray, "n d"],
    new: Float[np.ndarray, "m d"],
    y: Float[np.ndarray, "n e"],
    l2: tuple[float, ...],
    seed: int,
) -> Float[np.ndarray, "m e"]:
    """y for `new`, by ridge regression fitted to the pairs (x, y); all come standardised.

    The strength is the one whose predictions have the highest mean cosine with the truth on a
    random fifth of the pairs; see `regression`.
    """

    def error(predicted, true):
        return -float(np.mean(np.sum(unit(predicted) * unit(true), axis=1)))

    return regress(x, y, new, l2, seed, error)[0]


def paired(a: Features, b: Features) -> tuple[Features, Features]:
    """The records that both have: of a video whose audio is broken, the frames may have been read.

    Raises ConfigError if there is none.
    """
    _, mine, theirs = np.intersect1d(a.indices, b.indices, return_indices=True)
    if not len(mine):
        raise ConfigError("no record could be read in both streams")
    return a.rows(mine), b.rows(theirs)
