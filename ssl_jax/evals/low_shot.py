"""Low-shot: how good a representation is when only a few records have labels."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import labels_fact, presence
from ssl_jax.data.labels import check_common_class, check_labelled, label_names
from ssl_jax.data.record import Source
from ssl_jax.evals.knn import nearest_by_distance
from ssl_jax.evals.svm import NORMALISATIONS, choose_costs, normalised
from ssl_jax.evaluator import Read
from ssl_jax.features import presence_as
from ssl_jax.knobs import above, at_least, given, one_of
from ssl_jax.scores.average_precision import KINDS, TIES, mean_average_precision
from ssl_jax.solvers import logistic, ridge, squared_hinge
from ssl_jax.solvers.probe import (
    chance,
    choose,
    classes_of,
    few_labels,
    held_folds,
    results,
    rows_of,
    scores_of,
    standardise,
    top_1_and_5,
)

# With the strengths that are tried by default: for logistic relative to the mean loss, for ridge to
# the sum over records (`ridge.Ridge`'s).
CLASSIFIERS = {
    "logistic": (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
    "ridge": (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0),
    "nearest": (),
}


@dataclasses.dataclass(frozen=True)
class LowShot:
    """Accuracy with k labels a class, over many balanced draws, of every layer and of raw pixels.

    The 100-label protocol is ten a class of MNIST. Draws are seeded, so methods are compared on the
    same ones. Yields 'conv3/10 a class', and '/std' behind it, the deviation over draws; 'input' is
    always among the layers.

    Attributes:
      train, test: labelled sources; features are standardised by all of train.
      read: what is read of every record.
      shots: labels of a class.
      draws: seeded by seed, seed + 1, ...
      classifier: 'logistic', 'ridge' or 'nearest', the one neighbour (Euclidean) with a label.
      l2: strengths to choose from by cross-validation within the draw; () for those of
        `CLASSIFIERS`. With one label a class there is nothing to choose on, and the middle one is
        taken.
      folds: of the choice, at most as many as a class has labels.
    """

    train: Source
    test: Source
    read: Read = Read()
    shots: tuple[int, ...] = (10,)
    draws: int = 20
    classifier: str = "logistic"
    l2: tuple[float, ...] = ()
    folds: int = 5
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        given(self, "shots")
        at_least(self, 1, "shots", "draws", "folds")
        at_least(self, 0, "l2", "seed")
        one_of(self, "classifier", CLASSIFIERS)

    def check(self, frozen) -> None:
        """ConfigError for sources without labels, or without a class in common."""
        del frozen
        check_labelled(self.test, self.train)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError without labels, or with fewer than `shots`."""
        read = self.read
        if read.layers:
            read = dataclasses.replace(read, layers=tuple(dict.fromkeys(("input", *read.layers))))
        train, test = read.comparable(frozen, self.train, self.test)
        classes, labels, truth = classes_of(train, test)
        for layer in train.layers:
            x, new = standardise(*rows_of(train, test, layer))
            for shots in self.shots:
                hits = []
                for seed in range(self.seed, self.seed + self.draws):
                    rows = few_labels(labels, shots, seed)
                    scores = self._scores(x[rows], labels[rows], new, len(classes), shots, seed)
                    hits.append(top_1_and_5(scores, truth))
                name = f"{layer}/{shots} a class"
                for key, value in results(name, hits, len(classes), True):
                    if not key.endswith("top5") or self.classifier != "nearest":
                        yield key, value
        yield "chance", chance(labels, truth)

    def _scores(self, x, y, new, classes: int, shots: int, seed: int) -> Float[np.ndarray, "m k"]:
        if self.classifier == "nearest":
            return nearest_scores(x, y, new, classes)
        fit = logistic.fit if self.classifier == "logistic" else ridge.fit
        l2 = self.l2 or CLASSIFIERS[self.classifier]
        best = sorted(l2)[len(l2) // 2]
        if shots > 1:
            best = choose(fit, x, y, classes, l2, min(self.folds, shots), seed)
        return scores_of(fit, x, y, new, classes, best)


def nearest_scores(
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, "n"],
    new: Float[np.ndarray, "m d"],
    classes: int,
) -> Float[np.ndarray, "m k"]:
    """1 for the class of the nearest row by Euclidean distance, 0 for others; ties: the earlier."""
    _, rows = nearest_by_distance(new, x, 1)
    return np.eye(classes, dtype=np.float32)[y[rows[:, 0]]]


def few_of_each(shown: Int[np.ndarray, "n k"], shots: int, seed: int) -> Int[np.ndarray, "n k"]:
    """A small training set a class: `shots` records that show it, (k - 1) shots that do not.

    The published sampling for VOC07, but seeded. 1 and 0 for these, -1 for records that the class
    does not use. Records that show a class only difficultly (0 in `shown`) are not drawn.

    Raises ConfigError if a class has too few.
    """
    rng = np.random.default_rng(seed)
    classes = shown.shape[1]
    table = np.full(shown.shape, -1)
    for k in range(classes):
        for sign, count, value in ((1, shots, 1), (-1, shots * (classes - 1), 0)):
            rows = np.flatnonzero(shown[:, k] == sign)
            if len(rows) < count:
                raise ConfigError(
                    f"shots={shots}: {count} records that {'show' if sign == 1 else 'lack'} class "
                    f"{k} are needed, there are {len(rows)}"
                )
            table[rng.permutation(rows)[:count], k] = value
    return table


@dataclasses.dataclass(frozen=True)
class VocLowShot:
    """Mean average precision of machines trained on k positives and (classes - 1) k negatives each.

    The protocol of Goyal et al. 2019 for VOC07, on the whole test set. C is chosen by
    cross-validation within the sample ('conv3/4 shots'; with one positive it is the middle one),
    and, as they published, to be best on the test set itself ('conv3/4 shots, C by test'), which
    flatters: compare with papers by the latter only. '/std' is the deviation over samples.

    Attributes:
      shots: positives of a class.
      samples: seeded by seed, seed + 1, ...
      others: as of `svm.VocSvm`; a difficult class of a training record is left out.
    """

    train: Source
    test: Source
    read: Read = Read(pool="windows")
    classes: int = 0
    shots: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 96)
    samples: int = 5
    costs: tuple[float, ...] = (0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0)
    folds: int = 3
    positive_weight: float = 2.0
    normalise: str = "length"
    kind: str = "area"
    ties: str = TIES[0]
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        given(self, "shots", "costs")
        at_least(self, 1, "shots", "samples", "folds")
        at_least(self, 0, "classes", "seed")
        above(self, 0, "costs", "positive_weight")
        one_of(self, "normalise", NORMALISATIONS)
        one_of(self, "kind", KINDS)
        one_of(self, "ties", TIES)

    def check(self, frozen) -> None:
        """ConfigError for sources without a class in common."""
        del frozen
        check_common_class(self.test, self.train)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError for too few records."""
        train, test = (
            self.read.features(frozen, source, facts=labels_fact)
            for source in (self.train, self.test)
        )
        shown = presence(train.facts, self.classes)
        truth = presence_as(test, label_names(self.train), shown.shape[1])
        for layer in train.layers:
            x, new = rows_of(train, test, layer)
            x, new = normalised(self.normalise, x, new)
            for shots in self.shots:
                found = [
                    self._sample(x, few_of_each(shown, shots, seed), new, truth, seed)
                    for seed in range(self.seed, self.seed + self.samples)
                ]
                chosen, grids = np.array([one for one, _ in found]), np.array([g for _, g in found])
                tested = grids[:, grids.mean(axis=0).argmax()]
                for name, precision in (("", chosen), (", C by test", tested)):
                    name = f"{layer}/{shots} shots{name}"
                    yield name, float(precision.mean())
                    yield f"{name}/std", float(precision.std(ddof=min(1, self.samples - 1)))
        yield "chance", float(np.mean([np.mean(c[c != 0] == 1) for c in truth.T]))

    def _sample(self, x, table, new, truth, seed: int) -> tuple[float, Float[np.ndarray, "g"]]:
        """Precision with the C's chosen within a sample, and with each C for all classes."""
        used = (table >= 0).any(axis=1)
        # Filled up by records that no class uses to one of few sizes, for each of which compiles.
        size = min(1 << (int(used.sum()) - 1).bit_length(), len(used))
        rows = np.sort(np.argsort(~used, kind="stable")[:size])
        x = x[rows]
        shown = np.array([0, -1, 1])[table[rows] + 1]  # -1, 0, 1 in the table
        fit = functools.partial(squared_hinge.fit, positive_weight=self.positive_weight)
        grid = np.array(self.costs)[:, None]
        weight, bias = fit(x, shown, np.ones((1, len(x)), bool), grid)
        answers = new @ weight[0] + bias[0][:, None]
        costs = np.full(shown.shape[1], sorted(self.costs)[len(self.costs) // 2])
        folds = min(self.folds, int((shown == 1).sum(axis=0).min()))
        if folds > 1:
            held = np.zeros((folds, *shown.shape), bool)
            for k, column in enumerate(shown.T):
                own = column != 0
                held[:, own, k] = held_folds(column[own], folds, seed)
            costs = choose_costs(x, shown, held, fit, self.costs)
        places = [self.costs.index(cost) for cost in costs]
        scores = answers[places, :, np.arange(len(places))].T
        score = functools.partial(mean_average_precision, truth, kind=self.kind, ties=self.ties)
        return score(scores=scores), np.array([score(scores=answer) for answer in answers])
