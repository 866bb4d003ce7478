"""What encoders leave in time: frames shown twice, and key frames sharper than those between."""

import dataclasses
import itertools
from typing import ClassVar

import numpy as np
from jaxtyping import Float, UInt8

from ssl_jax.cues.cue import images_of, looks_at, per_image, sees_videos, with_frames
from ssl_jax.data.record import Record
from ssl_jax.knobs import at_least

REACH = 5  # frames within which another one is looked for
SHARPEST = 3.0  # by how much a frame's detail is raised at most


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Frames that are exactly the one before, as where a video was brought to a higher rate.

    They tell how fast a video plays, and which frames are neighbours.

    Removed: a frame that is the one before becomes the mean of it and the next other one. Control:
    as many others become such means. What stands still for five frames stays as it is.

    Attributes:
      every: of a planted cue: every so many-th frame is the one before.
    """

    every: int = 2
    name: ClassVar[str] = "duplicates"
    level: ClassVar[str] = "record"
    sense: ClassVar[str] = "vision"

    def __post_init__(self):
        at_least(self, 2, "every")

    applies = staticmethod(sees_videos)

    def remove(self, record: Record, rng: np.random.Generator) -> Record:
        return self._blended(record, None)

    def control(self, record: Record, rng: np.random.Generator) -> Record:
        return self._blended(record, int(rng.integers(2**31)))

    def _blended(self, record: Record, seed: int | None) -> Record:
        before, last = record.need_frames(), record.num_frames - 1
        share = _share_of_duplicates(record) if seed is not None else 0.0

        def same(frame: np.ndarray, number: int) -> bool:
            return np.array_equal(frame, before([number])[0])

        def is_chosen(number: int, frame: np.ndarray) -> bool:
            first = number
            while first > 0 and number - first < REACH and same(frame, first - 1):
                first -= 1
            if seed is None:
                return first < number
            # All frames of a run or none, so that they stay alike, whenever they are asked for.
            return np.random.default_rng([seed, first]).random() < share

        def blended(number: int, frame: np.ndarray) -> np.ndarray:
            later = range(number + 1, min(number + REACH, last + 1))
            earlier = range(number - 1, max(number - REACH, -1), -1)
            for near in (*later, *earlier):
                if not same(frame, near):
                    other = before([near])[0]
                    return ((frame.astype(np.uint16) + other + 1) // 2).astype(np.uint8)
            return frame

        def change(frames, numbers):
            pairs = zip(np.asarray(numbers).tolist(), frames, strict=True)
            return np.stack([blended(k, f) if is_chosen(k, f) else f for k, f in pairs])

        return with_frames(record, change)

    def plant(self, record: Record, rng: np.random.Generator) -> Record:
        before = record.need_frames()

        def frames(frames, numbers):
            numbers = np.asarray(numbers)
            again = (numbers % self.every == self.every - 1) & (numbers > 0)
            return before(numbers - again)

        return with_frames(record, frames)

    def statistic(self, x: Float[np.ndarray, "b *n h w 3"]) -> Float[np.ndarray, "b d"]:
        """For each two neighbouring images, whether they are the same."""
        rows = images_of(x)
        return (rows[:, 1:] == rows[:, :-1]).all((2, 3, 4)).astype(np.float64)


@dataclasses.dataclass(frozen=True)
class KeyFrames:
    """Detail that comes and goes from frame to frame, as between an encoder's key frames.

    Their distance from one another tells how fast a video plays, their sharpness where a clip
    begins.

    Removed: the fine detail of each frame is brought to the record's own median. Control: it is
    changed as much, frame by frame at random.

    Attributes:
      every: of a planted cue: every so many-th frame is sharp, all others are blurred.
    """

    every: int = 4
    name: ClassVar[str] = "key_frames"
    level: ClassVar[str] = "record"
    sense: ClassVar[str] = "vision"

    def __post_init__(self):
        at_least(self, 2, "every")

    applies = staticmethod(sees_videos)

    def remove(self, record: Record, rng: np.random.Generator) -> Record:
        wanted = float(np.median(_detail(looks_at(record))))

        def change(frames, numbers):
            return _sharpened(frames, wanted / np.maximum(_detail(frames), 1e-3))

        return with_frames(record, change)

    def control(self, record: Record, rng: np.random.Generator) -> Record:
        seen = _detail(looks_at(record))
        gains = float(np.median(seen)) / np.maximum(seen, 1e-3)
        seed = int(rng.integers(2**31))

        def change(frames, numbers):
            drawn = [np.random.default_rng([seed, int(k)]).choice(gains) for k in numbers]
            return _sharpened(frames, np.array(drawn))

        return with_frames(record, change)

    def plant(self, record: Record, rng: np.random.Generator) -> Record:
        def change(frames, numbers):
            sharp = (np.asarray(numbers) % self.every == 0)[:, None, None, None]
            return np.where(sharp, frames, _blurred(frames))

        return with_frames(record, change)

    def statistic(self, x: Float[np.ndarray, "b *n h w 3"]) -> Float[np.ndarray, "b d"]:
        """The detail of each image, 0 to 1."""
        return per_image(x, lambda image: _detail(np.asarray(image[None], np.float32)))


def _share_of_duplicates(record: Record) -> float:
    """Of pairs of neighbouring frames from all over a record, those that are the same."""
    count = min(16, record.num_frames - 1)
    if not count:
        return 0.0
    numbers = np.linspace(1, record.num_frames - 1, count).round().astype(int)
    pairs = record.need_frames()([*itertools.chain(*((k - 1, k) for k in numbers.tolist()))])
    return float((pairs[::2] == pairs[1::2]).all((1, 2, 3)).mean())


def _blurred(frames: np.ndarray) -> np.ndarray:
    import cv2

    return np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in frames])


def _detail(frames: np.ndarray) -> np.ndarray:
    """Root mean square of what a blur takes away, per frame."""
    fine = frames.astype(np.float32) - _blurred(frames)
    return np.sqrt((fine**2).mean((1, 2, 3), dtype=np.float64))


def _sharpened(
    frames: UInt8[np.ndarray, "t h w 3"], gains: Float[np.ndarray, "t"]
) -> UInt8[np.ndarray, "t h w 3"]:
    gains = np.clip(gains, 1 / SHARPEST, SHARPEST).astype(np.float32)[:, None, None, None]
    smooth = _blurred(frames).astype(np.float32)
    changed = smooth + gains * (frames.astype(np.float32) - smooth)
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)
