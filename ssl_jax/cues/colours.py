"""The colours of a record: a tint that all its frames and views share."""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from ssl_jax.cues.cue import images_of, looks_at, sees_images, with_frames
from ssl_jax.data.record import Record
from ssl_jax.knobs import above, within

MEAN, DEVIATION = 127.5, 64.0  # to which every channel of a record is brought
LEVELS = 4  # a channel, of the histogram


@dataclasses.dataclass(frozen=True)
class ColourHistogram:
    """Two views of an image have the same colours, and few other images have.

    Contrastive learning from crops alone uses little else (Chen et al. 2020).

    Removed: every channel of a record has the same mean and deviation as that of any other.
    Control: all three channels are changed alike, by the mean of these changes, so that a tint
    stays.

    Attributes:
      tint: by which share a planted tint raises or lowers a channel at most.
    """

    tint: float = 0.5
    name: ClassVar[str] = "colours"
    level: ClassVar[str] = "record"
    sense: ClassVar[str] = "vision"

    def __post_init__(self):
        above(self, 0, "tint")
        within(self, 0, 1, "tint")

    applies = staticmethod(sees_images)

    def remove(self, record: Record, rng: np.random.Generator) -> Record:
        gains, offsets = _to_common(looks_at(record))
        return _changed(record, gains, offsets)

    def control(self, record: Record, rng: np.random.Generator) -> Record:
        gains, offsets = _to_common(looks_at(record))
        return _changed(record, np.full(3, gains.mean()), np.full(3, offsets.mean()))

    def plant(self, record: Record, rng: np.random.Generator) -> Record:
        """A tint for each record."""
        return _changed(record, 1 + self.tint * rng.uniform(-1, 1, 3), np.zeros(3))

    def statistic(self, x: Float[np.ndarray, "b *n h w 3"]) -> Float[np.ndarray, "b d"]:
        """The histogram of a row's images, 4 x 4 x 4."""
        bins = np.clip((LEVELS * images_of(x)).astype(int), 0, LEVELS - 1)
        numbers = (bins @ (LEVELS**2, LEVELS, 1)).reshape(len(x), -1)
        return np.stack([np.bincount(row, minlength=LEVELS**3) / len(row) for row in numbers])


def _to_common(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = frames.mean((0, 1, 2), dtype=np.float64)
    deviation = np.maximum(frames.std((0, 1, 2), dtype=np.float64), 8.0)  # plain images stay plain
    gains = DEVIATION / deviation
    return gains, MEAN - gains * mean


def _changed(record: Record, gains: np.ndarray, offsets: np.ndarray) -> Record:
    gains, offsets = gains.astype(np.float32), offsets.astype(np.float32)

    def change(frames, numbers):
        return np.clip(np.rint(frames * gains + offsets), 0, 255).astype(np.uint8)

    return with_frames(record, change)
