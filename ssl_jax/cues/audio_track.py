"""Cues of audio: windows on the grid of frames, silence and padding, loudness."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from ssl_jax.cues.cue import Arrays, hears, with_audio
from ssl_jax.data.record import Record
from ssl_jax.knobs import above
from ssl_jax.method import Method

SHORTEST = 0.005  # seconds of exact zeros that are no part of a tone
FLOOR = 1e-3  # of full scale: noise in place of silence


@dataclasses.dataclass(frozen=True)
class FrameGrid:
    """Audio windows that start exactly with a frame tell that they belong to one.

    With windows of other videos drawn at any time, correspondence rose from 81.9 to 87.6 % by it,
    and retrieval fell (Arandjelovic and Zisserman 2018).

    Removed: every window starts up to half a frame earlier or later. Control: it starts a whole
    frame earlier or later, so that a grid stays one.
    """

    name: ClassVar[str] = "frame_grid"
    level: ClassVar[str] = "record"
    sense: ClassVar[str] = "audio"

    @staticmethod
    def applies(method: Method, record: Record, batch: Arrays) -> bool:
        return record.num_frames > 0 and hears(method, record, batch)

    def remove(self, record: Record, rng: np.random.Generator) -> Record:
        return _moved(record, rng, lambda own: own.uniform(-0.5, 0.5))

    def control(self, record: Record, rng: np.random.Generator) -> Record:
        return _moved(record, rng, lambda own: own.choice((-1, 1)))

    def plant(self, record: Record, rng: np.random.Generator) -> Record:
        """A click at every frame, so that the grid is heard."""

        def change(wave, start):
            times = start + np.arange(len(wave)) / record.sample_rate
            clicks = (times * record.fps + 1e-6) % 1 < 0.05
            return (wave + 0.5 * clicks).astype(np.float32)

        return with_audio(record, change)


@dataclasses.dataclass(frozen=True)
class Silence:
    """Runs of exact zeros, as of padding at a video's ends or of a track that is shorter.

    Removed: they are filled with faint noise. Control: as many samples elsewhere get that noise.
    """

    name: ClassVar[str] = "silence"
    level: ClassVar[str] = "record"
    sense: ClassVar[str] = "audio"

    applies = staticmethod(hears)

    def remove(self, record: Record, rng: np.random.Generator) -> Record:
        return self._noisy(record, rng, elsewhere=False)

    def control(self, record: Record, rng: np.random.Generator) -> Record:
        return self._noisy(record, rng, elsewhere=True)

    def _noisy(self, record: Record, rng: np.random.Generator, elsewhere: bool) -> Record:
        seed = int(rng.integers(2**31))

        def change(wave, start):
            zeros = _silent(wave, round(SHORTEST * record.sample_rate))
            own = np.random.default_rng([seed, round(abs(start) * 1e6)])
            if elsewhere:
                others = np.flatnonzero(~zeros)
                count = min(int(zeros.sum()), len(others))
                first = int(own.integers(len(others) - count + 1))
                zeros = np.zeros_like(zeros)
                zeros[others[first : first + count]] = True
            return (wave + zeros * own.normal(0, FLOOR, len(wave))).astype(np.float32)

        return with_audio(record, change)

    def plant(self, record: Record, rng: np.random.Generator) -> Record:
        """The second half of the record is silent."""
        half = record.duration / 2

        def change(wave, start):
            times = start + np.arange(len(wave)) / record.sample_rate
            return np.where(times < half, wave, 0).astype(np.float32)

        return with_audio(record, change)

    def statistic(self, x: Float[np.ndarray, "b *n s"]) -> Float[np.ndarray, "b d"]:
        """Of each window: the share of zeros at its beginning, at its end, and in all."""
        rows = x.reshape(len(x), -1, x.shape[-1])

        def measure(wave):
            heard = np.flatnonzero(wave)
            if not len(heard):
                return [1.0, 1.0, 1.0]
            length = len(wave)
            return [heard[0] / length, (length - 1 - heard[-1]) / length, np.mean(wave == 0)]

        return np.array([np.concatenate([measure(wave) for wave in row]) for row in rows])


@dataclasses.dataclass(frozen=True)
class Loudness:
    """How loud a window is.

    Removed: all windows are equally loud. Control: those of a record are made louder or softer
    together, so that their average is as loud.

    Attributes:
      level_rms: root mean square, of full scale.
    """

    level_rms: float = 0.1
    name: ClassVar[str] = "loudness"
    level: ClassVar[str] = "record"
    sense: ClassVar[str] = "audio"

    def __post_init__(self):
        above(self, 0, "level_rms")

    applies = staticmethod(hears)

    def remove(self, record: Record, rng: np.random.Generator) -> Record:
        return with_audio(
            record, lambda wave, start: (wave * (self.level_rms / _rms(wave))).astype(np.float32)
        )

    def control(self, record: Record, rng: np.random.Generator) -> Record:
        begin, end = record.audible
        gain = self.level_rms / _rms(record.need_audio()(begin, end))
        return with_audio(record, lambda wave, start: (wave * gain).astype(np.float32))

    def plant(self, record: Record, rng: np.random.Generator) -> Record:
        """It gets louder."""

        def change(wave, start):
            times = start + np.arange(len(wave)) / record.sample_rate
            return (wave * (0.05 + times / record.duration)).astype(np.float32)

        return with_audio(record, change)

    def statistic(self, x: Float[np.ndarray, "b *n s"]) -> Float[np.ndarray, "b d"]:
        """The logarithm of each window's root mean square."""
        rows = x.reshape(len(x), -1, x.shape[-1])
        return np.log(np.sqrt((rows.astype(np.float64) ** 2).mean(2)) + 1e-6)


def _moved(
    record: Record, rng: np.random.Generator, drawn: Callable[[np.random.Generator], float]
) -> Record:
    """The record with every window moved by so many frames, the same whenever it is asked for.

    A window that would leave the track is moved the other way, or where neither fits, not at all.
    """
    before, seed = record.need_audio(), int(rng.integers(2**31))
    begin, end = record.audible

    def audio(start, stop):
        own = np.random.default_rng([seed, round(abs(start) * 1e6)])
        by = float(drawn(own)) / record.fps
        for shift in (by, -by):
            if begin <= start + shift and stop + shift <= end:
                return before(start + shift, stop + shift)
        return before(start, stop)

    return Record(**{**vars(record), "audio": audio})


def _silent(wave: np.ndarray, shortest: int) -> np.ndarray:
    """Which samples lie in runs of at least so many exact zeros."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (wave == 0).astype(np.int8), [0]])))
    silent = np.zeros(len(wave), bool)
    for first, last in edges.reshape(-1, 2):
        if last - first >= shortest:
            silent[first:last] = True
    return silent


def _rms(wave: np.ndarray) -> float:
    return max(float(np.sqrt((wave.astype(np.float64) ** 2).mean())), 1e-4)
