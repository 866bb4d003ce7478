"""Features of frames by a random projection, where none of a network are at hand."""

import dataclasses

import numpy as np

from ssl_jax.data.image import square
from ssl_jax.data.record import Record, Source
from ssl_jax.knobs import above, at_least

SIDE = 8  # pixels of the small frame that is projected


@dataclasses.dataclass(frozen=True)
class RandomFeatures:
    """Records of a source with extra['features'], (t width): a row for every 1 / rate seconds.

    A row is a random projection of a small frame: colours at coarse positions, which is enough to
    try a method of features out, and no evidence of anything.

    Attributes:
      source: records with frames.
      width: numbers in a row.
      rate: rows per second.
      seed: of the projection.
    """

    source: Source
    width: int = 64
    rate: float = 1.0
    seed: int = 0

    def __post_init__(self):
        at_least(self, 1, "width")
        above(self, 0, "rate")
        at_least(self, 0, "seed")

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        record = self.source[index]
        count = max(1, int(record.duration * self.rate + 1e-6))
        times = ((np.arange(count) + 0.5) / self.rate).tolist()
        frames = record.need_frames()([record.frame_at(time) for time in times])
        small = square(frames, SIDE).reshape(count, -1) / 255 - 0.5
        shape = (small.shape[1], self.width)
        projection = np.random.default_rng(self.seed).normal(size=shape)
        rows = (small @ projection / np.sqrt(len(projection))).astype(np.float32)
        return dataclasses.replace(record, extra={**record.extra, "features": rows})
