"""A random forest on what audio is like on average: the baseline of ESC-50 that learns nothing."""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import fold_of
from ssl_jax.data.audio import fit_length, resample
from ssl_jax.data.labels import check_labelled, label_names, renumbered
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.knobs import above, at_least
from ssl_jax.ops.mfcc import mfcc
from ssl_jax.solvers.probe import chance

WINDOW, HOP = 2048, 512  # samples: at 44.1 kHz a hop of 11.6 ms
BANDS, KEPT = 40, 12  # coefficients 1 to 12: the first, the energy, is left out


@dataclasses.dataclass(frozen=True)
class AudioForest:
    """Accuracy of a random forest on means and deviations of 12 MFCC and the zero crossings.

    Piczak 2015 (44.3 % on ESC-50, where listeners have 81.3 %). The network is not asked: this is
    the floor for what it has learnt of audio. The coefficients are of HTK's mel scale, without
    pre-emphasis, which moves the number by a point or so. Yields 'forest'; over folds the mean, and
    'forest/std'; 'chance'.

    Needs scikit-learn (pip install scikit-learn).

    Attributes:
      train: a labelled source.
      test: another; or None, and the folds that the set comes with are held out in turn.
      seconds: of each record, its middle; shorter ones are filled up with zeros.
      sample_rate: to which audio is resampled.
      trees: of the forest.
      seed: of the forest.
    """

    train: Source
    test: Source | None = None
    fold_key: str = "fold"
    seconds: float = 5.0
    sample_rate: int = 44100
    trees: int = 500
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        above(self, 0, "seconds")
        at_least(self, 1, "trees")
        at_least(self, WINDOW, "sample_rate")
        at_least(self, 0, "seed")

    def check(self, frozen) -> None:
        """ConfigError without scikit-learn, or for sources without labels or a common class."""
        del frozen
        _forest_of(self)
        check_labelled(self.train if self.test is None else self.test, self.train)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError if nothing can be read, or of one fold alone."""
        x, labels, folds = self._read(frozen, self.train, self.test is None)
        if self.test is None:
            if len(np.unique(folds)) < 2:
                raise ConfigError(f"all records are of fold {folds[0]}: give a test source")
            parts = [
                (folds != fold, x[folds == fold], labels[folds == fold]) for fold in set(folds)
            ]
        else:
            new, truth, _ = self._read(frozen, self.test, False)
            truth = renumbered(truth, label_names(self.test), label_names(self.train))
            parts = [(np.ones(len(x), bool), new, truth)]
        right = [
            float(np.mean(_forest_of(self).fit(x[rows], labels[rows]).predict(new) == truth))
            for rows, new, truth in parts
        ]
        yield "forest", float(np.mean(right))
        if len(right) > 1:
            yield "forest/std", float(np.std(right, ddof=1))
        yield "chance", float(np.mean([chance(labels[rows], truth) for rows, _, truth in parts]))

    def _read(
        self, frozen, source: Source, folds: bool
    ) -> tuple[Float[np.ndarray, "n 26"], Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
        """Features, labels and folds of the labelled records that can be read."""
        rows, problem = [], ""
        for index in range(len(source)):
            try:
                record = source[index]
                if record.label < 0:
                    continue
                wave = self._wave(record)
                fold = fold_of(record, self.fold_key) if folds else 0
            except MediaError as error:
                if frozen.loading.on_error == "raise":
                    raise
                problem = str(error)
                continue
            rows.append((np.asarray(average_features(wave, self.sample_rate)), record.label, fold))
        if not rows:
            raise ConfigError(f"AudioForest: no labelled record can be read: {problem}")
        features, labels, numbers = zip(*rows, strict=True)
        return np.stack(features), np.array(labels), np.array(numbers)

    def _wave(self, record: Record) -> Float[np.ndarray, "s"]:
        audio = record.need_audio()
        begin, end = record.audible
        begin = max(begin, (begin + end - self.seconds) / 2)
        wave = audio(begin, min(end, begin + self.seconds))
        wave = resample(wave, record.sample_rate, self.sample_rate)
        return fit_length(wave, round(self.seconds * self.sample_rate))


@functools.partial(jax.jit, static_argnums=1)
def average_features(wave: Float[Array, "s"], sample_rate: int) -> Float[Array, "26"]:
    """Means, then deviations over frames, of 12 coefficients and the share of zero crossings."""
    coefficients = mfcc(
        wave,
        sample_rate,
        window=WINDOW / sample_rate,
        hop=HOP / sample_rate,
        bands=BANDS,
        coefficients=KEPT + 1,
        fft=WINDOW,
        emphasis=0.0,
    )[:, 1:]
    starts = HOP * np.arange(1 + (wave.shape[0] - WINDOW) // HOP)
    frames = wave[starts[:, None] + np.arange(WINDOW)]
    crossings = jnp.mean((frames[:, 1:] >= 0) != (frames[:, :-1] >= 0), axis=1)
    rows = jnp.concatenate([coefficients[: len(starts)], crossings[:, None]], axis=1)
    return jnp.concatenate([rows.mean(axis=0), rows.std(axis=0)])


def _forest_of(knobs: AudioForest):
    try:
        from sklearn.ensemble import RandomForestClassifier
    except ImportError as error:
        raise ConfigError("AudioForest needs scikit-learn: pip install scikit-learn") from error
    return RandomForestClassifier(knobs.trees, random_state=knobs.seed)
