"""Clip retrieval: is a training video of the same class among the k nearest of a test video?"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from ssl_jax.data.labels import check_labelled
from ssl_jax.data.record import Source
from ssl_jax.evals.knn import check_neighbours
from ssl_jax.evaluator import Read
from ssl_jax.knobs import at_least, given, one_of
from ssl_jax.scores.retrieval import QUERIES, joined, positions, recall_at, recall_by_chance
from ssl_jax.solvers.probe import classes_of, rows_of, unit


@dataclasses.dataclass(frozen=True)
class ClassRetrieval:
    """Clip retrieval: is a training video of the same class among the k nearest of a test video?

    The protocol of Büchler et al. 2018 and Xu et al. 2019 (Clip Order Prediction), by cosine: query
    test, gallery train, on every layer. Called recall there, it is a hit rate. Yields
    '<layer>/hit@k', of neighbours that are equally near a random order being expected, and
    'chance/hit@k', what k random videos give on average.

    Attributes:
      train, test: labelled sources.
      read: what is read of every record; by default ten clips, as in the papers.
      ks: numbers of neighbours.
      distance: 'cosine', or 'euclidean' as in SeLaVi (Asano et al. 2020).
      centre: what is taken from features before they are compared: 'none', 'train_mean', or
        'own_mean', each set's own. The last lets the test set help itself (CoCLR does so).
    """

    train: Source
    test: Source
    read: Read = Read(clips=10)
    ks: tuple[int, ...] = (1, 5, 10, 20, 50)
    distance: str = "cosine"
    centre: str = "none"
    every: int = 0

    def __post_init__(self):
        given(self, "ks")
        at_least(self, 1, "ks")
        one_of(self, "centre", ("none", "train_mean", "own_mean"))
        one_of(self, "distance", ("cosine", "euclidean"))

    def check(self, frozen) -> None:
        """ConfigError for more neighbours than records, or sources without labels in common."""
        del frozen
        check_labelled(self.test, self.train)
        check_neighbours(max(self.ks), len(self.train))

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError without labels."""
        train, test = self.read.comparable(frozen, self.train, self.test)
        check_neighbours(max(self.ks), len(train.labels))
        classes, labels, truth = classes_of(train, test)
        for layer in train.layers:
            gallery, queries = rows_of(train, test, layer)
            if self.centre != "none":
                source = gallery if self.centre == "train_mean" else queries
                queries = queries - source.mean(axis=0)
                gallery = gallery - gallery.mean(axis=0)
            # A query whose class the gallery lacks has no right neighbour: a miss.
            known = np.flatnonzero(truth >= 0)
            parts = []
            for rows in np.split(known, range(QUERIES, len(known), QUERIES)):
                near = similarity(queries[rows], gallery, self.distance)
                right = labels == truth[rows][:, None]
                parts.append(positions(near, right, 1e-6 if self.distance == "cosine" else 0.0))
            found = joined(parts)
            for k in self.ks:
                yield f"{layer}/hit@{k}", recall_at(found, k) * len(known) / len(truth)
        same = np.bincount(labels, minlength=len(classes))
        same = np.where(truth >= 0, same[truth], 0)
        for k in self.ks:
            chance = recall_by_chance(same, len(labels) - same, k)
            yield f"chance/hit@{k}", float(np.mean(chance))


def similarity(
    queries: Float[np.ndarray, "q d"], gallery: Float[np.ndarray, "g d"], by: str
) -> Float[np.ndarray, "q g"]:
    """Cosines, or distances below zero, in float64."""
    queries, gallery = queries.astype(np.float64), gallery.astype(np.float64)
    if by == "cosine":
        return unit(queries) @ unit(gallery).T
    return -cdist(queries, gallery)
