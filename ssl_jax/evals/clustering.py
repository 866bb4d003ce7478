"""Clustering of frozen features, scored against the classes: what shows without any training?"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from ssl_jax.config import ConfigError
from ssl_jax.data.labels import check_labelled
from ssl_jax.data.record import Source
from ssl_jax.evaluator import Read
from ssl_jax.features import labelled
from ssl_jax.knobs import at_least, one_of
from ssl_jax.scores import clusters as scores
from ssl_jax.solvers.k_means import k_means
from ssl_jax.solvers.probe import finite_rows, standardise, unit
from ssl_jax.solvers.whitening import whitened


@dataclasses.dataclass(frozen=True)
class Clustering:
    """Clusters the features of each layer by k-means and compares the clusters with the classes.

    Labels are looked at only for scoring. Yields for every layer 'nmi' (arithmetic mean of the
    entropies), 'nmi_geometric', 'nmi_max', 'ami' (adjusted for chance), 'ari', 'purity',
    'cluster_purity' and 'cluster_entropy' (means over clusters), 'used' (how many clusters of equal
    size would have the entropy of the clusters' sizes: 1 when everything is in one), and with as
    many clusters as classes 'accuracy' (Hungarian matching). 'chance/...' are those of random
    clusters. The protocol of DeepCluster (Caron et al. 2018): whiten=256, scale='unit',
    restarts=1, iterations=20.

    Attributes:
      source: labelled records.
      read: what is read of every record.
      clusters: how many; 0: as many as there are classes.
      whiten: principal components to keep, each scaled to variance 1; 0: features as they are.
      scale: of each row after it: 'unit' length, or 'none'; 'features': instead each feature is
        standardised.
      restarts, iterations, seed: of k-means.
    """

    source: Source
    read: Read = Read()
    clusters: int = 0
    whiten: int = 0
    scale: str = "unit"
    restarts: int = 5
    iterations: int = 100
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        at_least(self, 0, "clusters", "whiten", "seed")
        at_least(self, 1, "restarts", "iterations")
        one_of(self, "scale", ("unit", "none", "features"))

    def check(self, frozen) -> None:
        """ConfigError for sources without labels."""
        del frozen
        check_labelled(self.source, role="source")

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError without labels."""
        found = labelled(self.read.features(frozen, self.source), "source")
        classes = len(np.unique(found.labels))
        if classes < 2:  # most scores would call it perfect agreement
            raise ConfigError(
                "source: all records have the same label; agreement needs two classes"
            )
        clusters = self.clusters or classes
        for layer, values in found.layers.items():
            x = finite_rows(f"layer {layer}", values, found.indices)
            if self.whiten:
                x = whitened(x, self.whiten)
            if self.scale == "unit":
                x = unit(x)
            elif self.scale == "features":
                (x,) = standardise(x)
            labels, *_ = k_means(
                frozen.mesh, x, clusters, self.restarts, self.iterations, self.seed
            )
            for name, value in agreement(labels, found.labels, clusters == classes).items():
                yield f"{layer}/{name}", value
        random = np.arange(len(found.labels)) % clusters
        random = np.random.default_rng(self.seed).permutation(random)
        for name, value in agreement(random, found.labels, clusters == classes).items():
            yield f"chance/{name}", value


def agreement(
    clusters: Int[np.ndarray, "n"], classes: Int[np.ndarray, "n"], matched: bool
) -> dict[str, float]:
    """All scores by name; 'accuracy' only if `matched`."""
    sizes = scores.contingency(clusters, classes).sum(axis=1)
    numbers = {
        "nmi": scores.nmi(clusters, classes),
        "nmi_geometric": scores.nmi(clusters, classes, "geometric"),
        "nmi_max": scores.nmi(clusters, classes, "max"),
        "ami": scores.adjusted_mutual_information(clusters, classes),
        "ari": scores.adjusted_rand_index(clusters, classes),
        "purity": scores.purity(clusters, classes),
        "cluster_purity": scores.mean_cluster_purity(clusters, classes),
        "cluster_entropy": scores.mean_cluster_entropy(clusters, classes),
        "used": float(np.exp(scores.entropy(sizes))),
    }
    return numbers | ({"accuracy": scores.matched_accuracy(clusters, classes)} if matched else {})
