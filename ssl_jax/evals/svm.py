"""Support vector machines on frozen features: VOC07's classes, and audio by folds."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import FoldFact, labels_fact, presence
from ssl_jax.data.labels import check_common_class, check_labelled, label_names
from ssl_jax.data.record import Source
from ssl_jax.evaluator import Read
from ssl_jax.features import presence_as
from ssl_jax.knobs import above, at_least, given, one_of
from ssl_jax.scores.average_precision import KINDS, TIES, average_precision, mean_average_precision
from ssl_jax.solvers import squared_hinge
from ssl_jax.solvers.probe import (
    chance,
    classes_of,
    finite_rows,
    held_folds,
    rows_of,
    standardise,
    top_hits,
)

NORMALISATIONS = ("length", "standard", "none")


def normalised(
    how: str, train: Float[np.ndarray, "n d"], *others: Float[np.ndarray, "_ d"]
) -> list[Float[np.ndarray, "_ d"]]:
    """Rows as the machines see them: of length one, standardised by `train`, or as they are."""
    if how not in NORMALISATIONS:
        raise ConfigError(f"normalise={how!r}: must be one of {NORMALISATIONS}")
    if how == "standard":
        return standardise(train, *others)
    if how == "none":
        return [train, *others]
    # The published recipe's: a row of zeros stays one.
    lengths = (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-5 for rows in (train, *others))
    return [rows / length for rows, length in zip((train, *others), lengths, strict=True)]


def choose_costs(
    x: Float[np.ndarray, "n d"],
    shown: Int[np.ndarray, "n k"],
    held: Bool[np.ndarray, "f n"] | Bool[np.ndarray, "f n k"],
    fit,
    costs: tuple[float, ...],
) -> Float[np.ndarray, "k"]:
    """Each class's C with the best mean average precision ('step') over folds; the first of equals.

    Args:
      held: rows that each fold holds out, of all classes or of each.
      fit: `squared_hinge.fit` but for the settings.
    """
    if len(costs) == 1:
        return np.full(shown.shape[1], costs[0])
    weight, bias = fit(x, shown, ~held, np.array(costs)[:, None])
    held = np.broadcast_to(held if held.ndim == 3 else held[..., None], (len(held), *shown.shape))
    scores = np.zeros((len(held), len(costs), shown.shape[1]))
    for fold, rows in enumerate(held):
        answers = x @ weight[fold] + bias[fold][:, None]
        for k, own in enumerate(rows.T):
            own = own & (shown[:, k] != 0)
            target = shown[own, k] == 1
            # A fold without a positive says nothing about any C.
            if target.any():
                for i, answer in enumerate(answers):
                    scores[fold, i, k] = average_precision(target, answer[own, k], "step")
    return np.array(costs)[scores.mean(axis=0).argmax(axis=0)]


def answers_with(
    x: Float[np.ndarray, "n d"],
    shown: Int[np.ndarray, "n k"],
    new: Float[np.ndarray, "m d"],
    fit,
    costs: Float[np.ndarray, "k"],
) -> Float[np.ndarray, "m k"]:
    """What machines trained on all rows say of `new`, each class's with its own C."""
    weight, bias = fit(x, shown, np.ones((1, len(x)), bool), costs[None])
    return new @ weight[0, 0] + bias[0, 0]


@dataclasses.dataclass(frozen=True)
class VocSvm:
    """Mean average precision of a machine a class, on records that may show several.

    The recipe of Goyal et al. 2019 (Scaling and Benchmarking) for VOC07: rows of length one, C by
    cross-validation for each class, positives weigh twice. Labels are those of `data.annotations`.
    Yields 'conv3', the mean over classes in the test set, for the first of `kinds`, and
    'conv3/eleven', 'conv3/step' for others; 'chance' is the share of positives, mean over classes.

    Attributes:
      train, test: sources; a 'difficult' class of a test record does not count. Where both name
        their classes, names decide which is which.
      read: what is read of every record.
      classes: how many; 0 for those that occur in train.
      costs: C's to choose from, by average precision without an envelope.
      folds: of the choice.
      positive_weight: how much more a positive counts.
      normalise: 'length', 'standard' (by train) or 'none'.
      difficult: what such a class of a training record is: 'negative', as in the published code, or
        'left_out'.
      kinds, ties: as of `average_precision`.
    """

    train: Source
    test: Source
    read: Read = Read(pool="windows")
    classes: int = 0
    costs: tuple[float, ...] = (0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0)
    folds: int = 3
    positive_weight: float = 2.0
    normalise: str = "length"
    difficult: str = "negative"
    kinds: tuple[str, ...] = KINDS
    ties: str = TIES[0]
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        given(self, "costs", "kinds")
        at_least(self, 1, "folds")
        at_least(self, 0, "classes", "seed")
        above(self, 0, "costs", "positive_weight")
        one_of(self, "normalise", NORMALISATIONS)
        one_of(self, "difficult", ("negative", "left_out"))
        one_of(self, "kinds", KINDS)
        one_of(self, "ties", TIES)

    def check(self, frozen) -> None:
        """ConfigError for sources without a class in common."""
        del frozen
        check_common_class(self.test, self.train)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError for a class without records to learn or test."""
        train, test = (
            self.read.features(frozen, source, facts=labels_fact)
            for source in (self.train, self.test)
        )
        shown = presence(train.facts, self.classes)
        truth = presence_as(test, label_names(self.train), shown.shape[1])
        if self.difficult == "negative":
            shown = np.where(shown == 0, -1, shown)
        fit = functools.partial(
            squared_hinge.fit, positive_weight=self.positive_weight, mesh=frozen.mesh
        )
        held = np.stack([held_folds(column, self.folds, self.seed) for column in shown.T], axis=-1)
        for layer in train.layers:
            x, new = rows_of(train, test, layer)
            x, new = normalised(self.normalise, x, new)
            costs = choose_costs(x, shown, held, fit, self.costs)
            scores = answers_with(x, shown, new, fit, costs)
            for place, kind in enumerate(self.kinds):
                value = mean_average_precision(truth, scores, kind, self.ties)
                yield f"{layer}/{kind}" if place else layer, value
        yield "chance", float(np.mean([np.mean(c[c != 0] == 1) for c in truth.T]))


@dataclasses.dataclass(frozen=True)
class Svm:
    """Accuracy of a machine a class where every record shows one: ESC-50, DCASE, UCF101.

    Every clip of a record is a row with its record's label, and a record's answer is the sum of its
    clips' (Arandjelović & Zisserman 2017; Korbar et al. 2018). Yields 'conv3' and 'chance'; over
    folds the mean, and 'conv3/std', the deviation.

    Attributes:
      train: a labelled source.
      test: another; or None, and the folds that the set comes with, say ESC-50's five
        (`record.extra[fold_key]`), are held out in turn. Never draw them at random: windows of one
        recording would lie on both sides.
      read: what is read of every record; by default ten clips of audio, each a row.
      costs: C's to choose from, by accuracy within the training records.
      folds: of the choice where the set has none of its own.
      normalise: 'standard' (by the training rows), 'length' or 'none'.
    """

    train: Source
    test: Source | None = None
    read: Read = Read(stream="audio", clips=10)
    fold_key: str = "fold"
    costs: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    folds: int = 3
    normalise: str = "standard"
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        given(self, "costs")
        at_least(self, 1, "folds")
        at_least(self, 0, "seed")
        above(self, 0, "costs")
        one_of(self, "normalise", NORMALISATIONS)

    def check(self, frozen) -> None:
        """ConfigError for sources without labels, or without a class in common."""
        del frozen
        check_labelled(self.train if self.test is None else self.test, self.train)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError without labels."""
        facts = FoldFact(self.fold_key) if self.test is None else None
        test = self.train if self.test is None else self.test
        train, test = self.read.comparable(frozen, self.train, test, False, facts)
        classes, labels, truth = classes_of(train, test)
        if self.test is None:
            own = train.facts["fold"]
            if len(np.unique(own)) < 2:
                raise ConfigError(f"all records are of fold {own[0]}: give a test source")
            parts = [(own != fold, own == fold) for fold in np.unique(own)]
        else:
            own = None
            parts = [(np.ones(len(labels), bool), np.ones(len(truth), bool))]
        fit = functools.partial(squared_hinge.fit, mesh=frozen.mesh)
        for layer in train.layers:
            accuracies = []
            for inner, outer in parts:
                # The choice keeps the set's own folds together too.
                marks = (
                    held_folds(labels[inner], self.folds, self.seed)
                    if own is None or len(np.unique(own[inner])) < 2
                    else np.unique(own[inner])[:, None] == own[inner]
                )
                x = windows_of("train", train, layer, inner)
                new = windows_of("test", test, layer, outer)
                decisions = _decisions(x, labels[inner], new, marks, self, len(classes), fit)
                accuracies.append(np.mean(top_hits(decisions, truth[outer], 1)))
            yield layer, float(np.mean(accuracies))
            if len(parts) > 1:
                yield f"{layer}/std", float(np.std(accuracies, ddof=1))
        yield "chance", chance(labels, truth)


def windows_of(
    name: str, features, layer: str, rows: Bool[np.ndarray, "n"]
) -> Float[np.ndarray, "m w d"]:
    """The windows of the chosen records. FloatingPointError naming a record that is not finite."""
    values = features.layers[layer][rows]
    flat = finite_rows(f"{name}, layer {layer}", values, features.indices[rows])
    return flat.reshape(*values.shape[:2], -1)


def summed(decisions: Float[np.ndarray, "m k"], windows: int) -> Float[np.ndarray, "n k"]:
    """Each record's answer: the sum over its windows, which are consecutive."""
    return decisions.reshape(-1, windows, decisions.shape[1]).sum(axis=1)


def _decisions(x, labels, new, held, knobs: Svm, classes: int, fit) -> Float[np.ndarray, "m k"]:
    """Answers for records `new` (m w d) of machines trained on the windows of others (n w d)."""
    windows = x.shape[1]
    x, new = (rows.reshape(-1, rows.shape[2]) for rows in (x, new))
    x, new = normalised(knobs.normalise, x, new)
    shown = np.where(labels[:, None] == np.arange(classes), 1, -1)
    shown, held = np.repeat(shown, windows, axis=0), np.repeat(held, windows, axis=1)
    best = knobs.costs[0]
    if len(knobs.costs) > 1:
        weight, bias = fit(x, shown, ~held, np.array(knobs.costs)[:, None])
        hits = np.zeros(len(knobs.costs))
        for fold, rows in enumerate(held):
            own = shown[rows].argmax(axis=1)[::windows]
            answers = x[rows] @ weight[fold] + bias[fold][:, None]
            hits += [np.sum(top_hits(summed(one, windows), own, 1)) for one in answers]
        best = knobs.costs[hits.argmax()]  # of equals the first
    return summed(answers_with(x, shown, new, fit, np.full(classes, best)), windows)
