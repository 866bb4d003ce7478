"""Longer videos of short ones, described by captions that come too early or too late."""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from ssl_jax.data.record import Caption, MediaError, Record, Source
from ssl_jax.knobs import at_least


@dataclasses.dataclass(frozen=True)
class Narrated:
    """Videos of `parts` records one after another, each described by its first caption.

    As a narrator does, captions stray in time: each is moved by so many seconds at random, at most
    `jitter`, so that what is said belongs to what is seen a little before or after. Record i is a
    pure function of (seed, i). Video alone: the parts' audio is skipped.

    Attributes:
      source: records with frames of one size and a caption; the last `len(source) % parts` of them
        are skipped.
      parts: of a video.
      jitter: seconds.
      seed: of the jitter.
    """

    source: Source
    parts: int = 6
    jitter: float = 0.0
    seed: int = 0

    def __post_init__(self):
        at_least(self, 1, "parts")
        at_least(self, 0, "jitter", "seed")

    def __len__(self) -> int:
        return len(self.source) // self.parts

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        first = int(index) * self.parts
        parts = [self.source[number] for number in range(first, first + self.parts)]
        ends = np.cumsum([part.duration for part in parts]).tolist()
        starts = [0.0, *ends[:-1]]
        rng = np.random.default_rng(zlib.crc32(f"{self.seed}/{index}".encode()))
        moves = rng.uniform(-self.jitter, self.jitter, self.parts).tolist()
        captions = []
        for part, start, end, move in zip(parts, starts, ends, moves, strict=True):
            move = min(max(move, -start), ends[-1] - end)  # no caption leaves the video
            (caption, *_) = part.need_captions()
            captions.append(Caption(caption.text, start + move, end + move, caption.language))
        times = [
            start + part.time_of(number)
            for part, start in zip(parts, starts, strict=True)
            for number in range(part.num_frames)
        ]
        return Record(
            name=f"{parts[0].name} and {self.parts - 1} more",
            index=int(index),
            num_frames=len(times),
            fps=len(times) / ends[-1],
            times=np.array(times),
            frames=lambda numbers: _frames(parts, numbers),
            duration=ends[-1],
            captions=tuple(sorted(captions, key=lambda caption: caption.start)),
        )


def _frames(parts: list[Record], numbers: Sequence[int] | np.ndarray) -> np.ndarray:
    firsts = np.cumsum([0, *(part.num_frames for part in parts)])
    asked = np.asarray(numbers, np.int64)
    owners = np.searchsorted(firsts, asked, side="right") - 1
    out = None
    for owner in np.unique(owners).tolist():
        rows = owners == owner
        seen = parts[owner].need_frames()(asked[rows] - firsts[owner])
        out = np.empty((len(asked), *seen.shape[1:]), np.uint8) if out is None else out
        if seen.shape[1:] != out.shape[1:]:
            raise MediaError(f"{parts[owner].name}: frames of another size than the video's others")
        out[rows] = seen
    return out
