"""What a fine-tuned network answers to test records: classes, several labels, or places of joints.

For runs of `methods.finetune.Finetune`, whose features hold the head's answers as the layer 'head'.
Several clips (or frames, or crops) of a record are averaged, and it matters how: the softmax of
each first and then the mean, or the mean of the logits. Papers do either; both are reported.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import labels_fact, name_fact, names_of
from ssl_jax.data.labels import check_labelled, label_names, no_common_class, renumbered
from ssl_jax.data.record import Source
from ssl_jax.data.warn_once import warn_once
from ssl_jax.evals.keypoints import PoseFacts, check_scale, pose_scores, poses
from ssl_jax.features import Features, labelled, presence_as
from ssl_jax.knobs import above, at_least, given, one_of
from ssl_jax.scores.average_precision import KINDS, TIES, mean_average_precision
from ssl_jax.solvers.probe import top_hits

HEAD = "head"


def softmax(logits: Float[np.ndarray, "*n k"]) -> Float[np.ndarray, "*n k"]:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(logits: Float[np.ndarray, "*n k"]) -> Float[np.ndarray, "*n k"]:
    return 0.5 * (1 + np.tanh(0.5 * logits))  # never overflows


def answers(
    frozen, source: Source, stream: str, clips: int, facts: Callable | None = None
) -> tuple[Float[np.ndarray, "n m k"], Features]:
    """The head's answers to `clips` clips of every record, and what else was read of it.

    FloatingPointError if one is not finite.
    """
    found = frozen.features(source, stream, (HEAD,), clips, "max", False, facts=facts)
    logits = found.layers[HEAD].astype(np.float64)
    logits = logits.reshape(len(logits), clips, -1)
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=(1, 2)))
    if bad.size:
        raise FloatingPointError(
            f"test: answers to {bad.size} of {len(logits)} records are NaN or infinite, first "
            f"record {found.indices[bad[0]]}; has training diverged?"
        )
    return logits, found


@dataclasses.dataclass(frozen=True)
class Scores:
    """Every test record's scores, averaged over its clips, in the source's order."""

    names: tuple[str, ...]
    labels: Int[np.ndarray, "n"]
    softmax: Float[np.ndarray, "n k"]
    logits: Float[np.ndarray, "n k"]


@dataclasses.dataclass(frozen=True)
class Classification:
    """Accuracy over test records that show one class each, several clips a record.

    Yields 'softmax', of the mean softmax over a record's clips, and 'logits', of the mean logits,
    each with '/per_class' (mean over classes of each one's accuracy) and, beyond five classes,
    '/top5'; 'one clip', how often a single clip is right; and 'chance', the share of the most
    frequent class. Classes of equal scores share the hit.

    Attributes:
      test: a labelled source; a class that training lacks is a miss.
      stream: the trunk's name.
      clips: of a record, crops included: ten clips for UCF101 and HMDB51 (VCOP, Xu et al. 2019), 25
        frames of ten crops each in two-stream networks are 250.
    """

    test: Source
    stream: str = "vision"
    clips: int = 10
    every: int = 0

    def __post_init__(self):
        at_least(self, 1, "clips")

    def check(self, frozen) -> None:
        """ConfigError for a source without labels."""
        del frozen
        check_labelled(self.test)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError for a label that its head does not know."""
        logits, labels, _ = self._judged(frozen)
        yield from accuracies("softmax", softmax(logits).mean(axis=1), labels)
        yield from accuracies("logits", logits.mean(axis=1), labels)
        single = top_hits(logits.reshape(-1, logits.shape[-1]), np.repeat(labels, self.clips), 1)
        yield "one clip", float(np.mean(single))
        yield "chance", float(np.bincount(labels + 1)[1:].max(initial=0) / len(labels))

    def scores(self, frozen) -> Scores:
        """What `run` judges."""
        logits, labels, found = self._judged(frozen, name_fact)
        softmaxes = softmax(logits).mean(axis=1)
        return Scores(names_of(found.facts), labels, softmaxes, logits.mean(axis=1))

    def _judged(self, frozen, facts: Callable | None = None):
        """The labelled records' answers, their classes as the head numbers them, and Features."""
        logits, found = answers(frozen, self.test, self.stream, self.clips, facts)
        logits, found = logits[found.labels >= 0], labelled(found)
        return logits, head_labels(found, logits.shape[-1]), found


def head_labels(found: Features, classes: int) -> Int[np.ndarray, "n"]:
    """The labels as the head numbers its classes, -1 for a class that it was not trained on.

    Names decide where both sources have them, see `data.labels`. ConfigError naming the first
    record whose number is none of the head's, and where no class is.
    """
    own, known = label_names(found.source), found.trained_names()
    labels = renumbered(found.labels, own, known)
    if own and known:
        unknown = np.flatnonzero(labels >= len(known))
        if len(unknown) == len(labels):
            raise ConfigError(no_common_class(own, known))
        if len(unknown):
            name = own[found.labels[unknown[0]]]
            warn_once(
                f"test: {len(unknown)} of {len(labels)} records are of classes that the head was "
                f"not trained on and count as misses, first class {name}"
            )
        labels = np.where(labels < len(known), labels, -1)
    wrong = np.flatnonzero(labels >= classes)
    if wrong.size:
        first = wrong[0]
        raise ConfigError(
            f"test: {wrong.size} of {len(labels)} records have labels that are none of the head's "
            f"{classes} classes, first record {found.indices[first]} with label {labels[first]}"
        )
    return labels


def accuracies(
    name: str, scores: Float[np.ndarray, "n k"], labels: Int[np.ndarray, "n"]
) -> Iterator[tuple[str, float]]:
    """'name', 'name/per_class' and, beyond five classes, 'name/top5'."""
    hits = top_hits(scores, labels, 1)
    yield name, float(np.mean(hits))
    if scores.shape[1] > 5:
        yield f"{name}/top5", float(np.mean(top_hits(scores, labels, 5)))
    each = [np.mean(hits[labels == label]) for label in np.unique(labels)]
    yield f"{name}/per_class", float(np.mean(each))


@dataclasses.dataclass(frozen=True)
class SeveralClasses:
    """Mean average precision over test records that may show several classes (VOC07).

    Labels are those of `data.annotations`. Yields 'sigmoid', of the mean sigmoid over a record's
    clips, and 'logits', of the mean logits, each for the first of `kinds`, and 'sigmoid/eleven',
    ... for the others; 'chance' is the share of positives, mean over classes.

    Attributes:
      test: a source; a 'difficult' class of a record does not count. Where it and the source that
        the head was trained on name their classes, names decide which is which.
      stream: the trunk's name.
      clips: of a record, crops included.
      kinds, ties: as of `average_precision`.
    """

    test: Source
    stream: str = "vision"
    clips: int = 1
    kinds: tuple[str, ...] = KINDS
    ties: str = TIES[0]
    every: int = 0

    def __post_init__(self):
        at_least(self, 1, "clips")
        given(self, "kinds")
        one_of(self, "kinds", KINDS)
        one_of(self, "ties", TIES)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError for a class without a positive."""
        logits, found = answers(frozen, self.test, self.stream, self.clips, labels_fact)
        shown = presence_as(found, found.trained_names(), logits.shape[-1])
        for name, values in (("sigmoid", sigmoid(logits)), ("logits", logits)):
            for place, kind in enumerate(self.kinds):
                precision = mean_average_precision(shown, values.mean(axis=1), kind, self.ties)
                yield f"{name}/{kind}" if place else name, precision
        yield "chance", float(np.mean([np.mean(c[c != 0] == 1) for c in shown.T]))


@dataclasses.dataclass(frozen=True)
class Pose:
    """PCK, PCKh and AUC of joints that the head places, as of `keypoints.Keypoints`.

    Yields 'head/PCK@a' for each of `thresholds`, 'head/auc' and 'head/auc_plain'.

    Attributes:
      test: images with `extra['joints']`, see `data.annotations`.
      stream: the trunk's name.
      scale, torso, thresholds: as of `Keypoints`.
    """

    test: Source
    stream: str = "vision"
    scale: str = "annotated"
    torso: tuple[int, ...] = ()
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.5)
    every: int = 0

    def __post_init__(self):
        check_scale(self.scale, self.torso)
        given(self, "thresholds")
        above(self, 0, "thresholds")

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """MediaError without joints."""
        places, found = answers(frozen, self.test, self.stream, 1, PoseFacts(self.scale))
        true, sizes, scale = poses(found.facts, self.scale, self.torso)
        if places.shape[-1] != 2 * true.shape[1]:
            raise ConfigError(
                f"the head places {places.shape[-1] // 2} joints, test has {true.shape[1]}"
            )
        predicted = places.reshape(len(places), -1, 2) * sizes[:, None]
        yield from pose_scores(HEAD, predicted, true, scale, self.thresholds)
