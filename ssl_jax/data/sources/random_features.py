"""Features of frames by a random projection, where none of a network are at hand."""

import dataclasses

import numpy as np
from jaxtyping import Float32
from numpy.lib.stride_tricks import sliding_window_view

from ssl_jax.config import ConfigError
from ssl_jax.data.image import square
from ssl_jax.data.record import Record, Source
from ssl_jax.knobs import above, at_least

SIDE = 8  # pixels of the small frame that is projected


@dataclasses.dataclass(frozen=True)
class RandomFeatures:
    """Records of a source with extra['features'], (t width): a row for every 1 / rate seconds.

    A row is a random projection of a small frame: colours at coarse positions, which is enough to
    try a method of features out, and no evidence of anything. With `filters` it is the largest
    answer over the frame of each of `width` random filters, which says what is seen, wherever.

    Attributes:
      source: records with frames.
      width: numbers in a row.
      rate: rows per second.
      seed: of the projection, or of the filters.
      filters: their side in pixels; 0: the projection.
    """

    source: Source
    width: int = 64
    rate: float = 1.0
    seed: int = 0
    filters: int = 0

    def __post_init__(self):
        at_least(self, 1, "width")
        above(self, 0, "rate")
        at_least(self, 0, "seed", "filters")

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        record = self.source[index]
        count = max(1, int(record.duration * self.rate + 1e-6))
        times = ((np.arange(count) + 0.5) / self.rate).tolist()
        frames = record.need_frames()([record.frame_at(time) for time in times])
        seen = square(frames, min(frames.shape[1:3]) if self.filters else SIDE)
        rows = self._rows(np.float32(seen) / 255 - 0.5)
        return dataclasses.replace(record, extra={**record.extra, "features": rows})

    def _rows(self, frames: Float32[np.ndarray, "t h h 3"]) -> Float32[np.ndarray, "t width"]:
        """The maximum, over patches at every second place, of their random projections."""
        side = self.filters or SIDE
        if side > frames.shape[1]:
            raise ConfigError(f"filters={side}: the frames have {frames.shape[1]} pixels")
        patches = sliding_window_view(frames, (side, side), axis=(1, 2))[:, ::2, ::2]
        patches = np.moveaxis(patches, 3, -1).reshape(len(frames), -1, 3 * side**2)
        projection = np.random.default_rng(self.seed).normal(size=(3 * side**2, self.width))
        projection = (projection / np.sqrt(len(projection))).astype(np.float32)
        return (patches @ projection).max(axis=1)
