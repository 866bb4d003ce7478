"""Alignment of two views of one event by their nearest frames (time-contrastive networks)."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import views_of
from ssl_jax.data.record import Record, Source
from ssl_jax.evaluator import Read
from ssl_jax.knobs import at_least
from ssl_jax.scores.alignment import alignment_error, chance_alignment


@dataclasses.dataclass(frozen=True)
class Alignment:
    """How far from its own moment the nearest frame of another view is: Sermanet et al. 2018 (TCN).

    `clips` frames of every record, evenly spread, are embedded in each of its views. For every pair
    of views i < j and every frame t of i the nearest of the frames of j is found, by Euclidean
    distance; yields '<layer>', the mean of |t - its place| / clips, '<layer>/backward', the same
    from j to i, and 'chance', what a random frame has. The raw input is a layer too.

    Attributes:
      source: videos of two views or more, `extra['views']`; `SecondCamera` makes some.
      read: 'clips' is the number of frames; its 'layers' name at least one.
    """

    source: Source
    read: Read = Read(clips=20)
    every: int = 0

    def __post_init__(self):
        at_least(self, 0, "every")
        if self.read.clips < 2:
            raise ConfigError(f"read: clips={self.read.clips}: alignment takes 2 frames or more")

    def check(self, frozen) -> None:
        """ConfigError for an empty source."""
        del frozen
        if not len(self.source):
            raise ConfigError(f"the source {self.source} is empty")

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """MediaError for a record with fewer views than the first."""
        self.check(frozen)
        views = len(views_of(self.source[0], at_least=2))
        frames = self.read.clips
        named = self.read.layers
        layers = tuple(dict.fromkeys((*named, "input"))) if named else ()
        read = dataclasses.replace(self.read, layers=layers)
        seen = [
            read.features(frozen, _View(self.source, number, views), average=False).layers
            for number in range(views)
        ]
        for layer in seen[0]:
            rows = [np.asarray(one[layer]) for one in seen]
            rows = [x.reshape(len(x), frames, -1).astype(np.float64) for x in rows]
            errors = [
                (alignment_error(a, b), alignment_error(b, a))
                for i in range(views)
                for j in range(i + 1, views)
                for a, b in zip(rows[i], rows[j], strict=True)
            ]
            there, back = np.mean(errors, axis=0)
            yield layer, float(there)
            yield f"{layer}/backward", float(back)
        yield "chance", chance_alignment(frames)


@dataclasses.dataclass(frozen=True)
class _View:
    """One view of every record of a source, as a source."""

    source: Source
    number: int
    views: int

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        record = self.source[index]
        return dataclasses.replace(record, frames=views_of(record, self.views)[self.number])
