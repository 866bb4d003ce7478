"""What is said at every moment: a linear softmax on each step's features, not averaged over time.

Van den Oord, Li and Vinyals 2018 (CPC) tell phones and speakers so.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Bool, Float, Int64

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import fingerprint
from ssl_jax.data.frame_labels import (
    NONE,
    FrameLabelFile,
    FrameLabelsBeside,
    frame_labels_of,
)
from ssl_jax.data.labels import check_labelled, label_names
from ssl_jax.data.record import Record, Source
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
class FrameLabels:
    """Accuracy of a linear classifier of single steps, per layer; 'input' is of raw features.

    Labels are read from csv files of spans, see `data.frame_labels`: phones, words, events. Or they
    are the records' own, such as who speaks, the same for all steps of a record. Steps without a
    label are left out, and how many is logged. The classifier is logistic regression on
    standardised features. Its strength is the best on a fifth of the training records that are
    held out; then it is fitted to all. 'chance' always answers with the most frequent class.

    Test records should be other utterances, and for what is no question of who speaks of other
    speakers too: neighbouring steps are nearly the same.

    Attributes:
      train, test: sources with audio.
      labels: the csv with the columns file, start, end, label; or an ending such as '.csv', of a
        csv with start, end, label beside each audio file; '': the records' own labels.
      read: `clips` windows of each record; its layers have steps (b t d), each kept whole.
      raw: what 'input' is: 'mfcc', 13 coefficients, or 'log_mel', 26 bands; 25 ms of audio about
        the middle of each step.
      frames: so many steps of train, drawn at random; 0: all.
      l2: strengths to choose from, relative to the mean loss.
      seed: of what is drawn and held out.
    """

    train: Source
    test: Source
    labels: str = ""
    read: Read = Read(stream="context", layers=("context",), clips=4)
    raw: str = "mfcc"
    frames: int = 100_000
    l2: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        one_of(self, "raw", RAW)
        at_least(self, 0, "frames", "l2", "seed")
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
        x, codes, owners = self._rows(frozen, found[0], "train", self.frames)
        new, truth, _ = self._rows(frozen, found[1], "test", 0)
        classes, y = np.unique(codes, return_inverse=True)
        if len(classes) < 2:
            raise ConfigError("train: all steps have the same label; a probe needs two classes")
        place = np.searchsorted(classes, truth).clip(max=len(classes) - 1)
        truth = np.where(classes[place] == truth, place, -1)
        if (truth < 0).all():
            raise ConfigError("test: none of its labels is one of train; names must be the same")
        held = self._held(owners)
        fit = functools.partial(logistic.fit, mesh=frozen.mesh)
        for layer, own in x.items():
            rows, tests = standardise(own, new[layer])
            several = len(self.l2) > 1
            best = best_of(fit, rows, y, len(classes), self.l2, held) if several else self.l2[0]
            scores = scores_of(fit, rows, y, tests, len(classes), best)
            yield from results(layer, [top_1_and_5(scores, truth)], len(classes), False)
        yield "chance", chance(y, truth)

    def _check_steps(self, frozen) -> None:
        method, stream = frozen.method, self.read.stream
        if not isinstance(method, Stepped):
            name = type(method).__name__
            raise ConfigError(f"FrameLabels: {name} does not say which moments its steps hear")
        if not self.read.layers:
            raise ConfigError("FrameLabels: name the layers, such as read=call(Read, layers=(...))")
        steps = len(method.step_times(stream))
        inputs, _ = frozen.inputs(self.train, stream, 1, 1)
        inputs = {name: values[:, 0] for name, values in inputs.items()}
        made = jax.eval_shape(
            lambda variables, x: method.encode(variables, stream, x), frozen.variables, inputs
        )
        for name in self.read.layers:
            shape = made[name].shape
            if len(shape) != 3 or shape[1] != steps:
                raise ConfigError(
                    f"FrameLabels: layer {name} is {shape[1:]}, not {steps} steps of features"
                )

    def _read(
        self, frozen, labels: FrameLabelFile | FrameLabelsBeside | None, source: Source
    ) -> Features:
        """Features of all steps, with the facts 'classes' (n clips t) and 'line' of the csv."""
        method, stream, clips = frozen.method, self.read.stream, self.read.clips
        names, offsets = label_names(source), np.array(method.step_times(stream))

        def facts(record: Record):
            moments = np.array(method.times(record, stream, clips))[:, None] + offsets
            none = np.full(moments.shape, NONE)
            if labels is None:
                name = names[record.label] if names else str(record.label)
                own = fingerprint(name) if record.label >= 0 else NONE
                return {"classes": none * 0 + own, "line": np.int64(NONE)}
            spans = labels.of(record)
            if spans is None:
                return {"classes": none, "line": np.int64(NONE)}
            return {"classes": spans.at(moments), "line": np.int64(spans.line)}

        wanted = ("input", *self.read.layers)
        read = dataclasses.replace(self.read, layers=wanted, pool="whole")
        return read.features(frozen, source, average=False, facts=facts)

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

    def _rows(
        self, frozen, found: Features, role: str, limit: int
    ) -> tuple[dict[str, np.ndarray], Int64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
        """Features of the labelled steps by layer, their classes, and whose steps they are."""
        codes = found.facts["classes"]
        chosen = np.flatnonzero(codes.ravel() != NONE)
        if not len(chosen):
            raise ConfigError(f"{role}: no step of {len(codes)} records has a label")
        if len(chosen) < codes.size:
            lacking = codes.size - len(chosen)
            warn_once(f"{role}: {lacking} of {codes.size} steps have no label and are left out")
        if limit and len(chosen) > limit:
            rng = np.random.default_rng(self.seed)
            chosen = np.sort(rng.choice(chosen, limit, replace=False))
        offsets = frozen.method.step_times(self.read.stream)
        waves = found.layers["input"].reshape(*codes.shape[:2], -1)
        layers = {"input": self._raw(waves, frozen.method.sample_rate, offsets)}
        layers |= {name: found.layers[name] for name in self.read.layers}
        owners = np.repeat(found.indices, codes[0].size)[chosen]
        rows = {}
        for name, values in layers.items():
            steps = values.reshape(codes.size, -1)[chosen]
            rows[name] = finite_rows(f"{role}, layer {name}", steps, owners)
        return rows, codes.ravel()[chosen], owners

    def _raw(
        self, waves: Float[np.ndarray, "n clips s"], rate: int, offsets: Sequence[float]
    ) -> Float[np.ndarray, "n clips t f"]:
        """Coefficients or bands of the 25 ms about the middle of each step."""
        fft = max(512, 1 << math.ceil(math.log2(WINDOW * rate)))
        of_wave = {"mfcc": mfcc, "log_mel": log_filterbank}[self.raw]
        settings = {"window": WINDOW, "hop": HOP, "bands": BANDS, "fft": fft}
        features = jax.jit(lambda x: of_wave(x, rate, **settings))
        first = np.asarray(features(waves[0]))
        numbers = np.round((np.array(offsets) - WINDOW / 2) / HOP).astype(int)
        numbers = numbers.clip(0, first.shape[1] - 1)
        return np.stack([np.asarray(features(wave))[:, numbers] for wave in waves])

    def _held(self, owners: Int64[np.ndarray, "n"]) -> Bool[np.ndarray, "1 n"]:
        """Marks the steps of a fifth of the records, by which the strength is chosen."""
        records = np.unique(owners)
        if len(records) < 2 and len(self.l2) > 1:
            raise ConfigError("train: one record leaves none to choose l2 on: give a single l2")
        count = max(1, round(len(records) / 5))
        chosen = np.random.default_rng(self.seed).permutation(records)[:count]
        return np.isin(owners, chosen)[None]
