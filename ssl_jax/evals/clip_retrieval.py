"""Clip retrieval: is a training film of the same class among the k nearest of a test film?"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ssl_jax.data.record import Source
from ssl_jax.evals.knn import nearest, nearest_by_distance
from ssl_jax.scores.retrieval import recall_by_chance
from ssl_jax.solvers.probe import classes_of, finite_rows


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
      distance: 'cosine', or 'euclidean' as in SeLaVi (Asano et al. 2020).
      centre: what is taken from features before they are compared: 'none', 'train_mean', or
        'own_mean', each set's own. The last lets the test set help itself (CoCLR does so).
      every: steps between runs during training; 0 is only at the end.
    """

    train: Source
    test: Source
    stream: str = "vision"
    layers: tuple[str, ...] = ()
    clips: int = 10
    pool: str = "max"
    ks: tuple[int, ...] = (1, 5, 10, 20, 50)
    distance: str = "cosine"
    centre: str = "none"
    every: int = 0

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """`frozen`: a trained network, `ssl_jax.frozen.Frozen`. ValueError without labels."""
        if self.centre not in ("none", "train_mean", "own_mean"):
            raise ValueError(f"centre={self.centre!r}: must be none, train_mean or own_mean")
        if self.distance not in ("cosine", "euclidean"):
            raise ValueError(f"distance={self.distance!r}: must be cosine or euclidean")
        train, test = (
            frozen.features(source, self.stream, self.layers, self.clips, self.pool)
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
            search = nearest if self.distance == "cosine" else nearest_by_distance
            _, rows = search(queries, gallery, max(self.ks))
            hit = labels[rows] == truth[:, None]
            for k in self.ks:
                yield f"{layer}/hit@{k}", float(np.mean(hit[:, :k].any(axis=1)))
        same = np.bincount(labels, minlength=len(classes))
        same = np.where(truth >= 0, same[truth], 0)
        for k in self.ks:
            chance = recall_by_chance(same, len(labels) - same, k)
            yield f"chance/hit@{k}", float(np.mean(chance))
