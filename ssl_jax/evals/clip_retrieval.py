"""Clip retrieval: is a training film of the same class among the k nearest of a test film?"""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ssl_jax.data.record import Source
from ssl_jax.evals import knn
from ssl_jax.evals.probe import classes_of, finite_rows
from ssl_jax.evals.retrieval import recall_by_chance


@functools.partial(jax.jit, static_argnames="k")
def _block(queries: Float[Array, "m d"], gallery: Float[Array, "n d"], k: int):
    products = jnp.matmul(queries, gallery.T, precision="highest")
    # The nearest have the smallest |g|^2 / 2 - q g; of equals the earlier comes first.
    return jax.lax.top_k(products - jnp.square(gallery).sum(axis=1) / 2, k)[1]


def nearest_by_distance(
    queries: Float[np.ndarray, "m d"], gallery: Float[np.ndarray, "n d"], k: int
) -> tuple[Float[np.ndarray, "m k"], Int[np.ndarray, "m k"]]:
    """Euclidean distances and row numbers of each query's k nearest, nearest first.

    Ties go to the earlier row. ValueError if the gallery has fewer than k rows.
    """
    if not 1 <= k <= len(gallery):
        raise ValueError(f"{k} neighbours asked of {len(gallery)} records; choose a smaller k")
    # Distances do not change with the origin, and near it the squares lose least to rounding.
    origin = gallery.mean(axis=0)
    placed = jax.device_put(gallery - origin)
    size = min(max(knn.BLOCK // len(gallery), 1), len(queries))
    padded = np.pad(queries - origin, ((0, -len(queries) % size), (0, 0)))
    blocks = [
        jax.device_get(_block(jax.device_put(padded[start : start + size]), placed, k))
        for start in range(0, len(padded), size)
    ]
    rows = np.concatenate(blocks)[: len(queries)]
    distances = [np.linalg.norm(gallery[r] - q, axis=1) for q, r in zip(queries, rows, strict=True)]
    return np.stack(distances), rows


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
    modality: str = "vision"
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
            nearest = knn.nearest if self.distance == "cosine" else nearest_by_distance
            _, rows = nearest(queries, gallery, max(self.ks))
            hit = labels[rows] == truth[:, None]
            for k in self.ks:
                yield f"{layer}/hit@{k}", float(np.mean(hit[:, :k].any(axis=1)))
        same = np.bincount(labels, minlength=len(classes))
        same = np.where(truth >= 0, same[truth], 0)
        for k in self.ks:
            chance = recall_by_chance(same, len(labels) - same, k)
            yield f"chance/hit@{k}", float(np.mean(chance))
