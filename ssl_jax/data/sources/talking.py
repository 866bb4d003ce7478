"""Talking heads that are drawn: mouths that open as wide as the voice says. For tests."""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from ssl_jax.data.record import Record
from ssl_jax.knobs import above, at_least

FPS = 25.0
PITCH = 120.0  # Hz, of the lowest voice; the highest is an octave above
FORMANT = 350.0, 2600.0  # Hz, of a closed and of an open mouth
LIPS = np.array([150, 60, 60])


@dataclasses.dataclass(frozen=True)
class TalkingSource:
    """Videos of one drawn face each, 25 frames per second, whose mouth opens and closes.

    Record i is a pure function of (seed, i). The voice is a tone with overtones of which those near
    one frequency, the formant, are loud; it is the higher the wider the mouth is open. Face, eyes,
    width of the mouth and pitch are the person's, and say nothing about when it opens. `extra`
    holds 'opening', a function of seconds: from 0, closed, to 1.

    Attributes:
      size: number of records.
      seconds: of each.
      side: of the frames, in pixels.
      sample_rate: of the audio, Hz.
      seed: another seed is another set: take one for training and another for testing.
    """

    size: int = 256
    seconds: float = 2.0
    side: int = 64
    sample_rate: int = 16000
    seed: int = 0

    def __post_init__(self):
        at_least(self, 0, "size", "seed")
        at_least(self, 16, "side")
        at_least(self, 8000, "sample_rate")
        above(self, 0, "seconds")

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < self.size:
            raise IndexError(index)
        person = _Person.draw(self, index)
        count = max(1, round(self.seconds * FPS))
        return Record(
            name=f"talking head {index}",
            index=int(index),
            num_frames=count,
            fps=FPS,
            frames=person.render,
            audio=person.voice,
            sample_rate=self.sample_rate,
            duration=count / FPS,
            extra={"opening": person.opening},
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _Person:
    source: TalkingSource
    skin: np.ndarray
    eyes: np.ndarray
    wall: np.ndarray
    mouth: float  # width as a share of the frame
    pitch: float
    rates: np.ndarray  # Hz, of the waves that open the mouth
    phases: np.ndarray

    @staticmethod
    def draw(source: TalkingSource, index: int) -> "_Person":
        rng = np.random.default_rng(zlib.crc32(f"talking/{source.seed}/{index}".encode()))
        return _Person(
            source=source,
            skin=rng.uniform((150, 100, 80), (240, 200, 180)),
            eyes=rng.uniform(20, 140, 3),
            wall=rng.uniform(30, 220, 3),
            mouth=float(rng.uniform(0.12, 0.2)),
            pitch=float(PITCH * 2 ** rng.uniform(0, 1)),
            rates=rng.uniform((0.8, 1.7, 2.6), (1.6, 2.5, 3.4)),
            phases=rng.uniform(0, 2 * np.pi, 3),
        )

    def opening(self, seconds: np.ndarray) -> np.ndarray:
        """How wide the mouth is open, 0 to 1, at these times."""
        turns = 2 * np.pi * self.rates * np.asarray(seconds)[..., None] + self.phases
        return np.clip(0.5 + 0.3 * np.sin(turns).sum(axis=-1), 0, 1)

    def render(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 (t, h, w, 3)."""
        side = self.source.side
        y, x = (np.mgrid[:side, :side] + 0.5) / side
        face = np.broadcast_to(self.wall, (side, side, 3)).copy()
        face[((y - 0.5) / 0.44) ** 2 + ((x - 0.5) / 0.34) ** 2 < 1] = self.skin
        for middle in (0.37, 0.63):
            face[(y - 0.38) ** 2 + (x - middle) ** 2 < 0.05**2] = self.eyes
        video = np.repeat(face[None], len(numbers), axis=0)
        times = (np.asarray(numbers) + 0.5) / FPS
        for frame, wide in zip(video, self.opening(times), strict=True):
            height = 0.02 + 0.11 * wide
            away = ((y - 0.7) / height) ** 2 + ((x - 0.5) / self.mouth) ** 2
            frame[away < 1] = LIPS
            frame[away < 0.5 * wide] = (40, 10, 20)
        return video.round().astype(np.uint8)

    def voice(self, start: float, stop: float) -> np.ndarray:
        """float32 (s,)."""
        rate = self.source.sample_rate
        times = start + np.arange(round((stop - start) * rate)) / rate
        low, high = FORMANT
        formant = low + (high - low) * self.opening(times)
        overtones = self.pitch * np.arange(1, int(3600 / self.pitch) + 1)
        wave = np.zeros(len(times))
        for tone in overtones:
            loud = np.exp(-(((formant - tone) / 350) ** 2)) + 0.02
            wave += loud * np.sin(2 * np.pi * tone * times)
        return (0.15 * wave).astype(np.float32)
