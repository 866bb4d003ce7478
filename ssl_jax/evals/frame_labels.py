"""Frame-wise linear probe: a linear softmax on each step's features, not averaged over time.

Van den Oord, Li and Vinyals 2018 (CPC) classify phones and speakers so.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int64, Shaped

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import fingerprint
from ssl_jax.data.chosen import Chosen
from ssl_jax.data.frame_labels import (
    NONE,
    FrameLabelFile,
    FrameLabelsBeside,
    frame_labels_of,
)
from ssl_jax.data.labels import check_labelled, label_names
from ssl_jax.data.record import Record, Source
from ssl_jax.data.record_batches import read_some
from ssl_jax.data.warn_once import warn_once
from ssl_jax.evaluator import Read
from ssl_jax.features import Features
from ssl_jax.knobs import at_least, given, one_of
from ssl_jax.ops.mfcc import log_filterbank, mfcc
from ssl_jax.solvers import logistic
from ssl_jax.solvers.probe import (
    best_of,
    chance,
    finite_rows,
    results,
    scores_of,
    standardise,
    top_1_and_5,
)

RAW = ("mfcc", "log_mel")
WINDOW, HOP = 0.025, 0.010  # seconds, of the raw features
BANDS = 26


@runtime_checkable
class Stepped(Protocol):
    """A method whose features of audio run in steps of time."""

    sample_rate: int

    def step_times(self, stream: str) -> tuple[float, ...]:
        """Seconds from the start of an input to the middle of what each of its steps hears."""
        ...


@dataclasses.dataclass(frozen=True)
class RawSteps:
    """Coefficients or bands of the 25 ms of audio about the middle of each step.

    Attributes:
      kind: 'mfcc' or 'log_mel'.
      sample_rate: of the waves, in Hz.
      offsets: the middles, in seconds.
    """

    kind: str
    sample_rate: int
    offsets: tuple[float, ...]

    def __call__(self, waves: Float[Array, "b s"]) -> Float[Array, "b t f"]:
        fft = max(512, 1 << math.ceil(math.log2(WINDOW * self.sample_rate)))
        of_wave = {"mfcc": mfcc, "log_mel": log_filterbank}[self.kind]
        settings = {"window": WINDOW, "hop": HOP, "bands": BANDS, "fft": fft}
        found = of_wave(waves, self.sample_rate, **settings)
        numbers = np.round((np.array(self.offsets) - WINDOW / 2) / HOP).astype(int)
        return found[:, numbers.clip(0, found.shape[1] - 1)]


@dataclasses.dataclass(frozen=True)
class LabelledSteps:
    """The steps of a source that are probed.

    Attributes:
      role: 'train' or 'test'.
      features: of all steps, whose labels are the fact 'codes' (n clips t).
      chosen: which steps, counted over all records.
      codes: their labels.
      owners: whose steps they are.
    """

    role: str
    features: Features
    chosen: Int64[np.ndarray, "m"]
    codes: Int64[np.ndarray, "m"]
    owners: Int64[np.ndarray, "m"]

    def rows(self, layer: str) -> Float32[np.ndarray, "m d"]:
        """The chosen steps' features. FloatingPointError if they are not finite."""
        count = self.features.facts["codes"].size
        values = self.features.layers[layer].reshape(count, -1)[self.chosen]
        return finite_rows(f"{self.role}, layer {layer}", values, self.owners)


@dataclasses.dataclass(frozen=True)
class FrameLabels:
    """Accuracy of a linear classifier of single steps, per layer; 'input' is of raw features.

    Labels are read from csv files of spans, see `data.frame_labels`: phones, words, events. Or they
    are the records' own, such as who speaks, the same for all steps of a record. Steps without a
    label are left out, and how many is logged; what lies behind the end of a record that is shorter
    than its window is no step at all. The classifier is logistic regression on standardised
    features. Its strength is the best on a fifth of the training records that are held out; then it
    is fitted to all. 'chance' always answers with the most frequent class.

    Test records should be other utterances and, unless the speaker is the label, by other speakers:
    neighbouring steps are nearly the same.

    Attributes:
      train, test: sources with audio.
      labels: the csv with the columns file, start, end, label; or an ending such as '.csv', of a
        csv with start, end, label beside each audio file; '': the records' own labels.
      read: `clips` windows of each record; its layers have steps (b t d), each kept whole. 'input'
        comes anyway.
      raw: what 'input' is: 'mfcc', 13 coefficients, or 'log_mel', 26 bands; 25 ms of audio about
        the middle of each step.
      frames, test_frames: so many steps of train and of test, drawn at random; 0: all.
      l2: strengths to choose from, relative to the mean loss.
      seed: of what is drawn and held out.
    """

    train: Source
    test: Source
    labels: str = ""
    read: Read = Read(stream="context", layers=("context",), clips=4)
    raw: str = "mfcc"
    frames: int = 100_000
    test_frames: int = 100_000
    l2: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        one_of(self, "raw", RAW)
        at_least(self, 0, "frames", "test_frames", "l2", "seed")
        given(self, "l2")

    def check(self, frozen) -> None:
        """ConfigError for labels that cannot be read, or a method or layer without steps."""
        self._check_steps(frozen)
        if self.labels:
            frame_labels_of(self.labels)
        else:
            check_labelled(self.test, self.train)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError without labels, or for a layer that has no steps."""
        self._check_steps(frozen)
        labels = frame_labels_of(self.labels) if self.labels else None
        found = [self._read(frozen, labels, one) for one in (self.train, self.test)]
        if isinstance(labels, FrameLabelFile):
            self._check_names(labels, np.concatenate([one.facts["line"] for one in found]))
        train = self._labelled("train", found[0], self.frames)
        test = self._labelled("test", found[1], self.test_frames)
        classes, y = np.unique(train.codes, return_inverse=True)
        if len(classes) < 2:
            raise ConfigError("train: all steps have the same label; a probe needs two classes")
        place = np.searchsorted(classes, test.codes).clip(max=len(classes) - 1)
        truth = np.where(classes[place] == test.codes, place, -1)
        if (truth < 0).all():
            raise ConfigError("test: none of its labels is one of train; names must be the same")
        held = self._held(train.owners)
        fit = functools.partial(logistic.fit, mesh=frozen.mesh)
        for layer in ("input", *self._layers):
            rows, tests = standardise(train.rows(layer), test.rows(layer))
            several = len(self.l2) > 1
            best = best_of(fit, rows, y, len(classes), self.l2, held) if several else self.l2[0]
            scores = scores_of(fit, rows, y, tests, len(classes), best)
            yield from results(layer, [top_1_and_5(scores, truth)], len(classes), False)
        yield "chance", chance(y, truth)

    @property
    def _layers(self) -> tuple[str, ...]:
        """Those of the network."""
        return tuple(name for name in self.read.layers if name != "input")

    def _check_steps(self, frozen) -> None:
        method, stream = frozen.method, self.read.stream
        if not isinstance(method, Stepped):
            name = type(method).__name__
            raise ConfigError(f"FrameLabels: {name} does not say which moments its steps hear")
        if not self.read.layers:
            raise ConfigError("FrameLabels: name the layers, such as read=call(Read, layers=(...))")
        frozen.check_layers(stream, self.read.layers, self.train)
        steps = len(method.step_times(stream))
        inputs, _ = frozen.inputs(self.train, stream, 1, 1)
        inputs = {name: values[:, 0] for name, values in inputs.items()}
        made = jax.eval_shape(
            lambda variables, x: method.encode(variables, stream, x), frozen.variables, inputs
        )
        for name in self._layers:
            shape = made[name].shape
            if len(shape) != 3 or shape[1] != steps:
                raise ConfigError(
                    f"FrameLabels: layer {name} is {shape[1:]}, not {steps} steps of features"
                )

    def _read(
        self, frozen, labels: FrameLabelFile | FrameLabelsBeside | None, source: Source
    ) -> Features:
        """Features of all steps, with the facts of `_labels`."""
        method, stream, clips = frozen.method, self.read.stream, self.read.clips
        raw = RawSteps(self.raw, method.sample_rate, tuple(method.step_times(stream)))
        settings = stream, ("input", *self._layers), clips, "whole", False
        # Without labels, so that a probe of others finds these features again.
        found = frozen.features(source, *settings, baseline=raw)
        return dataclasses.replace(found, facts=self._labels(frozen, labels, found))

    def _labels(
        self, frozen, labels: FrameLabelFile | FrameLabelsBeside | None, found: Features
    ) -> dict[str, Shaped[np.ndarray, "n ..."]]:
        """'codes' (n clips t), the steps' labels; 'heard' (n clips t), whether they lie within the
        audio; and 'line' (n) of the csv. NONE in place of a label or line that is not there.
        """
        method, stream, clips = frozen.method, self.read.stream, self.read.clips
        names, offsets = label_names(found.source), np.array(method.step_times(stream))

        def read(record: Record) -> dict[str, np.ndarray | np.generic]:
            moments = np.array(method.times(record, stream, clips))[:, None] + offsets
            heard = moments < record.audible[1]  # a window may be longer than its record
            codes, line = np.full(moments.shape, NONE), NONE
            spans = labels.of(record) if labels else None
            if spans:
                codes, line = spans.at(moments), spans.line
            elif labels is None and record.label >= 0:
                codes[:] = fingerprint(names[record.label] if names else str(record.label))
            codes = np.where(heard, codes, NONE)
            facts = {"codes": codes, "heard": heard, "line": np.int64(line)}
            return {**facts, "index": np.int64(record.index)}

        records = Chosen(found.source, tuple(found.indices.tolist()))
        facts = read_some(records, read, 0, frozen.batch_size, frozen.loading)
        place = np.searchsorted(found.indices, facts.pop("index"))
        shape = len(records), clips, len(offsets)
        facts_of_all = {
            "codes": np.full(shape, NONE),
            "heard": np.zeros(shape, bool),
            "line": np.full(len(records), NONE),
        }
        for name, values in facts.items():
            facts_of_all[name][place] = values
        return facts_of_all

    def _labelled(self, role: str, found: Features, limit: int) -> LabelledSteps:
        """The steps with labels, no more than `limit`. ConfigError if there is none."""
        codes, count = found.facts["codes"], int(found.facts["heard"].sum())
        chosen = np.flatnonzero(codes.ravel() != NONE)
        if not len(chosen):
            raise ConfigError(f"{role}: no step of {len(codes)} records has a label")
        if len(chosen) < count:
            lacking = count - len(chosen)
            warn_once(f"{role}: {lacking} of {count} steps have no label and are left out")
        if limit and len(chosen) > limit:
            rng = np.random.default_rng(self.seed)
            chosen = np.sort(rng.choice(chosen, limit, replace=False))
        owners = np.repeat(found.indices, codes[0].size)[chosen]
        return LabelledSteps(role, found, chosen, codes.ravel()[chosen], owners)

    def _check_names(self, labels: FrameLabelFile, lines: Int64[np.ndarray, "n"]) -> None:
        """Says which files of the csv are no records; ConfigError if all are none."""
        files = {spans.line: name for name, spans in labels.spans.items()}
        unknown = sorted(set(files) - set(lines.tolist()))
        if unknown:
            name = files[unknown[0]]
            line = f"{self.labels}:{unknown[0]}: file {name!r} is no record of train or test"
            if len(unknown) == len(files):
                raise ConfigError(f"{line}, nor is any other; one is called {self.train[0].name!r}")
            warn_once(f"{line}; that holds of {len(unknown)} of its {len(files)} files")

    def _held(self, owners: Int64[np.ndarray, "n"]) -> Bool[np.ndarray, "1 n"]:
        """Marks the steps of a fifth of the records, by which the strength is chosen."""
        records = np.unique(owners)
        if len(records) < 2 and len(self.l2) > 1:
            raise ConfigError("train: one record leaves none to choose l2 on: give a single l2")
        count = max(1, round(len(records) / 5))
        chosen = np.random.default_rng(self.seed).permutation(records)[:count]
        return np.isin(owners, chosen)[None]
