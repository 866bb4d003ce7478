"""Cuts and fades: a scene that changes, or light that comes and goes, tells the order of frames."""

import dataclasses
import itertools
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from ssl_jax.cues.cue import images_of, looks_at, sees_videos, with_frames
from ssl_jax.data.record import Record
from ssl_jax.data.shots import find_cuts, looks
from ssl_jax.knobs import above, within

MOST_FRAMES = 2000  # of a record that is searched for cuts
AT_ONCE = 64  # of these, in memory


@dataclasses.dataclass(frozen=True)
class Cuts:
    """Hard cuts between scenes.

    Removed: of each record only its longest shot is there. Control: as long a part of the record
    with a cut in it. A record without cuts stays as it is. Of one of more than 2,000 frames only
    these are searched.
    """

    name: ClassVar[str] = "cuts"
    level: ClassVar[str] = "record"
    sense: ClassVar[str] = "vision"

    applies = staticmethod(sees_videos)

    def remove(self, record: Record, rng: np.random.Generator) -> Record:
        first, last = _longest(_shots(record))
        return part(record, first, last)

    def control(self, record: Record, rng: np.random.Generator) -> Record:
        shots = _shots(record)
        first, last = _longest(shots)
        cuts = np.array([begin for begin, _ in shots[1:]])
        begins = np.arange(record.num_frames - (last - first) + 1)[:, None]
        inside = ((begins < cuts) & (cuts < begins + last - first)).any(1)
        begin = int(rng.choice(np.flatnonzero(inside))) if inside.any() else first
        return part(record, begin, begin + last - first)

    def plant(self, record: Record, rng: np.random.Generator) -> Record:
        """From the middle of the record on, every frame is a third as bright."""

        def change(frames, numbers):
            late = (2 * np.asarray(numbers) >= record.num_frames)[:, None, None, None]
            return np.where(late, frames // 3, frames)

        return with_frames(record, change)

    def statistic(self, x: Float[np.ndarray, "b *n h w 3"]) -> Float[np.ndarray, "b d"]:
        """How different neighbouring images are in colour, 0 to 1."""
        rows = np.round(255 * np.clip(images_of(x), 0, 1)).astype(np.uint8)
        seen = np.stack([looks(row) for row in rows])
        return 0.5 * np.abs(np.diff(seen, axis=1)).sum(2)


@dataclasses.dataclass(frozen=True)
class Fades:
    """A change of brightness over time.

    Removed: every frame is as bright as the record is on average. Control: all of them are made
    brighter or darker alike, by as much as the frames were on average.

    Attributes:
      slope: of a planted fade: how much brighter the last frame is than the first, as a share.
    """

    slope: float = 0.6
    name: ClassVar[str] = "fades"
    level: ClassVar[str] = "record"
    sense: ClassVar[str] = "vision"

    def __post_init__(self):
        above(self, 0, "slope")
        within(self, 0, 1, "slope")

    applies = staticmethod(sees_videos)

    def remove(self, record: Record, rng: np.random.Generator) -> Record:
        mean = _brightness(looks_at(record)).mean()
        return with_frames(
            record, lambda frames, _: _scaled(frames, mean / np.maximum(_brightness(frames), 1.0))
        )

    def control(self, record: Record, rng: np.random.Generator) -> Record:
        seen = _brightness(looks_at(record))
        size = float(np.exp(np.abs(np.log(seen.mean() / np.maximum(seen, 1.0) + 1e-6)).mean()))
        gain = size if rng.random() < 0.5 else 1 / size
        return with_frames(record, lambda frames, _: _scaled(frames, np.full(len(frames), gain)))

    def plant(self, record: Record, rng: np.random.Generator) -> Record:
        """It gets brighter."""
        last = max(1, record.num_frames - 1)

        def change(frames, numbers):
            return _scaled(frames, 1 - self.slope * (1 - np.asarray(numbers) / last))

        return with_frames(record, change)

    def statistic(self, x: Float[np.ndarray, "b *n h w 3"]) -> Float[np.ndarray, "b d"]:
        """The mean of each image."""
        return images_of(x).mean((2, 3, 4), dtype=np.float64)


def part(record: Record, first: int, last: int) -> Record:
    """A record's frames first..last - 1 and the audio with them, as a record of its own."""
    if (first, last) == (0, record.num_frames):
        return record
    frames, zero = record.need_frames(), record.time_of(first)

    def moved(decode):
        return lambda numbers: decode(np.asarray(numbers, int) + first)

    end = record.time_of(last) if last < record.num_frames else record.duration
    changes = {
        "num_frames": last - first,
        "times": None if record.times is None else record.times[first:last] - zero,
        "frames": moved(frames),
        "duration": end - zero,
        "extra": {k: v for k, v in record.extra.items() if not callable(v)},
    }
    if "views" in record.extra:
        changes["extra"]["views"] = tuple(map(moved, record.extra["views"]))
    if record.audio is not None:
        heard = record.audio
        changes["audio"] = lambda start, stop: heard(start + zero, stop + zero)
        if record.audio_span is not None:
            begins, ends = (min(max(s - zero, 0.0), end - zero) for s in record.audio_span)
            changes["audio_span"] = (begins, ends)
    return Record(**{**vars(record), **changes})


def _shots(record: Record) -> list[tuple[int, int]]:
    """First frame of each shot, and the one after its last."""
    count = min(record.num_frames, MOST_FRAMES)
    decode = record.need_frames()
    pieces = [np.arange(i, min(i + AT_ONCE, count)) for i in range(0, count, AT_ONCE)]
    cuts = find_cuts(np.concatenate([looks(decode(numbers)) for numbers in pieces]), record.fps)
    return [*itertools.pairwise([0, *cuts, record.num_frames])]


def _longest(shots: list[tuple[int, int]]) -> tuple[int, int]:
    return max(shots, key=lambda shot: shot[1] - shot[0])


def _brightness(frames: np.ndarray) -> np.ndarray:
    return frames.mean((1, 2, 3), dtype=np.float64)


def _scaled(frames: np.ndarray, gains: np.ndarray) -> np.ndarray:
    bright = frames * np.asarray(gains, np.float32)[:, None, None, None]
    return np.clip(np.rint(bright), 0, 255).astype(np.uint8)
