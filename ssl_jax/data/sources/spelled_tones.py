"""Synthetic speech: words whose letters are tones. For tests and `:tiny` variants."""

import dataclasses
import zlib

import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.audio import cut
from ssl_jax.data.record import Caption, Record
from ssl_jax.knobs import above, ascending, at_least

LETTER, WORD = 0.04, 0.15  # seconds of silence, on average, behind a letter and behind a word
SPEAKERS = 4


@dataclasses.dataclass(frozen=True)
class SpelledTones:
    """Audio of random words: each letter is a tone of its own pitch, with silence behind it.

    Record i is a pure function of (seed, i). Its caption is the text. Tones and silences differ in
    length, tones also in loudness; four speakers, the label and extra['speaker'], differ in pitch
    by 4 % each (letters by 50 %), and there is noise. So letters can be told by their pitch, but
    not by their place.

    Attributes:
      size: number of records.
      letters: each is a pitch, the first of 300 Hz.
      words, length: fewest and most words of a record and letters of a word.
      seconds: of a tone, on average.
      sample_rate: in Hz.
      seed: another seed is another set: take one for training and another for testing.
    """

    size: int = 256
    letters: str = "abcd"
    words: tuple[int, int] = (1, 2)
    length: tuple[int, int] = (1, 3)
    seconds: float = 0.08
    sample_rate: int = 8000
    seed: int = 0

    def __post_init__(self):
        at_least(self, 0, "size", "seed")
        at_least(self, 1, "words", "length", "sample_rate")
        above(self, 0, "seconds")
        ascending(self, "words")
        ascending(self, "length")
        if 300 * 1.5 ** len(self.letters) > self.sample_rate / 2 or not self.letters:
            raise ConfigError(
                f"letters={self.letters!r}: give some, and a sample_rate beyond twice 300 Hz times "
                "1.5 for each"
            )

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < self.size:
            raise IndexError(index)
        speaker = index % SPEAKERS
        text, wave = self._spoken(index, speaker)
        return Record(
            name=f"spelled tones {index}",
            index=int(index),
            num_frames=0,
            fps=0.0,
            audio=lambda start, stop: cut(wave, self.sample_rate, start, stop),
            sample_rate=self.sample_rate,
            duration=len(wave) / self.sample_rate,
            captions=(Caption(text),),
            label=speaker,
            extra={"speaker": str(speaker)},
        )

    def _spoken(self, index: int, speaker: int) -> tuple[str, np.ndarray]:
        rng = np.random.default_rng(zlib.crc32(f"{self.seed}/{index}".encode()))
        pitches = 300 * 1.5 ** np.arange(len(self.letters)) * (1 + 0.04 * speaker)
        words, parts = [], []
        for _ in range(rng.integers(self.words[0], self.words[1] + 1)):
            count = rng.integers(self.length[0], self.length[1] + 1)
            word = rng.integers(len(self.letters), size=count)
            words.append("".join(self.letters[number] for number in word))
            for number in word:
                times = np.arange(self._samples(self.seconds, rng)) / self.sample_rate
                tone = np.sin(2 * np.pi * (pitches[number] * times + rng.random()))
                parts += [rng.uniform(0.2, 0.6) * tone, np.zeros(self._samples(LETTER, rng))]
            parts.append(np.zeros(self._samples(WORD, rng)))
        wave = np.concatenate(parts)
        wave = wave + 0.02 * rng.standard_normal(len(wave))
        return " ".join(words), wave.astype(np.float32)

    def _samples(self, seconds: float, rng: np.random.Generator) -> int:
        return round(seconds * self.sample_rate * rng.uniform(0.7, 1.3))
