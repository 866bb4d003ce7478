"""Several views of every video, `extra['views']`: several cameras, or one as if it were two."""

import dataclasses
import functools
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.knobs import at_least, within


@dataclasses.dataclass(frozen=True)
class Cameras:
    """Another source's videos of the same event, joined to one record with several views.

    Videos belong together if their extra[key], such as a column of a manifest, is the same. They
    must run in step, frame by frame; what one has more than the shortest is left out. The record is
    the first of them, with the others in `extra['views']`. All records are opened once, to read
    their keys.

    Attributes:
      source: of videos.
      key: of `extra`.

    Raises:
      ConfigError: no event has two videos.
      MediaError: a video without the key.
    """

    source: Source
    key: str = "event"

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, index: int) -> Record:
        records = [self.source[number] for number in self.events[index]]
        frames = min(record.num_frames for record in records)
        extra = {**records[0].extra, "views": tuple(r.need_frames() for r in records[1:])}
        first = dataclasses.replace(records[0], index=int(index), extra=extra)
        first.num_frames = frames
        if first.times is None:
            first.duration = min(first.duration, frames / first.fps)
        else:
            first.times = first.times[:frames]
            first.duration = min(record.duration for record in records)
        return first

    @functools.cached_property
    def events(self) -> list[list[int]]:
        """The numbers of the videos of each event, in the order of the first ones."""
        found: dict[str, list[int]] = {}
        for number in range(len(self.source)):
            record = self.source[number]
            if self.key not in record.extra:
                raise MediaError(f"{record.name}: has no extra[{self.key!r}] to be joined by")
            found.setdefault(str(record.extra[self.key]), []).append(number)
        joined = [numbers for numbers in found.values() if len(numbers) > 1]
        if not joined:
            raise ConfigError(f"key={self.key!r}: no two videos of the source share one")
        return joined


@dataclasses.dataclass(frozen=True)
class SecondCamera:
    """Another source's records, with `extra['views']`: the same frames, as if from another place.

    The second view is cut from the first, turned a little, mirrored or not, and its channels are
    scaled; how, is drawn once for each record from its name. It is no second camera: nothing that
    the first does not show is seen, and there is no parallax.

    Attributes:
      source: of videos.
      cut: share of the sides that may be lost.
      turn: largest turn, in degrees.
      colour: largest change of a channel's scale.
      mirror: half of the second views are mirrored.
    """

    source: Source
    cut: float = 0.2
    turn: float = 15.0
    colour: float = 0.3
    mirror: bool = False

    def __post_init__(self):
        within(self, 0, 0.9, "cut")
        within(self, 0, 1, "colour")
        at_least(self, 0, "turn")

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        record = self.source[index]
        first = record.need_frames()
        rng = np.random.default_rng(zlib.crc32(record.name.encode()))
        zoom, angle = 1 / (1 - rng.uniform(0, self.cut)), rng.uniform(-self.turn, self.turn)
        scales = 1 + rng.uniform(-self.colour, self.colour, 3)
        shift = rng.uniform(-0.5, 0.5, 2) * self.cut
        mirrored = self.mirror and rng.random() < 0.5

        def second(numbers: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "t h w 3"]:
            import cv2

            frames = first(numbers)
            h, w = frames.shape[1:3]
            turn = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), angle, zoom)
            turn[:, 2] += shift * (w, h)
            moved = [
                cv2.warpAffine(f, turn, (w, h), borderMode=cv2.BORDER_REPLICATE) for f in frames
            ]
            seen = np.stack(moved)[:, :, :: -1 if mirrored else 1]
            return (seen * scales).clip(0, 255).round().astype(np.uint8)

        return dataclasses.replace(record, extra={**record.extra, "views": (second,)})
