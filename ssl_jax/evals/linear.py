"""Linear probe: a linear classifier on every frozen layer.

The protocol of Zhang, Isola & Efros 2016 (Colorful Image Colorization) and those after it: each
layer's maps are pooled to about 9000 numbers and a linear classifier is trained on them. By default
that is logistic regression at its exact optimum (`solvers/logistic.py`), with nothing to tune; or
SGD with the pooling, normalisation and schedule of a paper, by its name (`solvers/sgd.py`).
Features are fixed where the papers crop and flip again in every epoch, so numbers are close to, but
not the same as, theirs.
"""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from ssl_jax.data.labels import check_labelled
from ssl_jax.data.record import Source
from ssl_jax.evaluator import Read
from ssl_jax.knobs import at_least, given, one_of
from ssl_jax.solvers import logistic, sgd
from ssl_jax.solvers.probe import (
    chance,
    check,
    classes_of,
    drawn,
    probe,
    results,
    rows_of,
    top_1_and_5,
)


@dataclasses.dataclass(frozen=True)
class Linear:
    """Accuracy of a linear classifier per layer; see `probe.probe` for the names of the results.

    Attributes:
      train, test: labelled sources.
      read: what is read of every record.
        A protocol of SGD brings its own `pool`.
      protocol: 'exact', logistic regression on standardised features; or 'fair', 'rotnet',
        'zhang', 'kolesnikov', 'simclr', 'simclr_cifar': `sgd.PROTOCOLS`.
      l2: strengths to choose from, relative to the mean loss.
        Of the exact protocol only.
      folds: of the cross-validation that chooses; 1 holds out a fifth of train once.
      labels_per_class: 0 takes all of train; else few labels, a balanced draw.
      draws: of few labels, seeded by seed, seed + 1, ...
      settings: of the protocol, in words.
    """

    train: Source
    test: Source
    read: Read = Read()
    protocol: str = "exact"
    l2: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    folds: int = 5
    labels_per_class: int = 0
    draws: int = 5
    seed: int = 0
    every: int = 0
    settings: str = dataclasses.field(init=False, default="logistic regression, standardised")

    def __post_init__(self):
        given(self, "l2")
        at_least(self, 0, "l2", "labels_per_class", "seed")
        at_least(self, 1, "folds", "draws")
        one_of(self, "protocol", ("exact", *sgd.PROTOCOLS))
        if self.protocol == "exact":
            return
        object.__setattr__(self, "settings", str(sgd.PROTOCOLS[self.protocol]))

    def check(self, frozen) -> None:
        """ConfigError for sources without labels, or without a class in common."""
        del frozen
        check_labelled(self.test, self.train)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError without labels."""
        exact = self.protocol == "exact"
        read = self.read
        if not exact:
            read = dataclasses.replace(read, pool=sgd.PROTOCOLS[self.protocol].pool)
        train, test = read.comparable(frozen, self.train, self.test)
        if not exact:
            yield from self._by_sgd(train, test, frozen.mesh)
            return
        fit = functools.partial(logistic.fit, mesh=frozen.mesh)
        few = self.labels_per_class, self.draws, self.seed
        yield from probe(train, test, fit, self.l2, *few, self.folds)

    def _by_sgd(self, train, test, mesh) -> Iterator[tuple[str, float]]:
        check(self.l2, self.draws)
        classes, labels, truth = classes_of(train, test)
        layers = {layer: rows_of(train, test, layer) for layer in train.layers}
        hits: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
        protocol = sgd.PROTOCOLS[self.protocol]
        for seed in range(self.seed, self.seed + (self.draws if self.labels_per_class else 1)):
            rows = drawn(labels, self.labels_per_class, seed)
            x = {layer: inner[rows] for layer, (inner, _) in layers.items()}
            heads = sgd.fit(x, labels[rows], len(classes), protocol, seed, mesh)
            for layer, (weight, bias) in heads.items():
                hits[layer].append(top_1_and_5(layers[layer][1] @ weight + bias, truth))
        for layer in layers:
            yield from results(layer, hits[layer], len(classes), bool(self.labels_per_class))
        yield "chance", chance(labels, truth)
