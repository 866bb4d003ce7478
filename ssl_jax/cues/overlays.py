"""What is laid over a video: scores, clocks, subtitles, logos."""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from ssl_jax.cues.cue import looks_at, per_image, sees_images, sees_videos, with_frames
from ssl_jax.data.annotations import overlays_of
from ssl_jax.data.image import resize
from ssl_jax.data.record import Record
from ssl_jax.knobs import above, within

Boxes = tuple[tuple[float, float, float, float], ...]  # top, left, bottom, right as shares
MIDDLE = 8  # cells a side, to which a box is reduced for its statistic


@dataclasses.dataclass(frozen=True)
class Counters:
    """Scores, clocks and subtitles: what is written over a video and changes with time.

    A clock solves every puzzle about time (Sermanet et al. 2018).

    Removed: the places where such things stand are filled with what they show on average over the
    record. These are the record's own, extra['overlays'], if its source knows them; otherwise the
    strips above and below. Control: as large a part in the middle is filled so.

    Attributes:
      strip: share of the height of each strip.
    """

    strip: float = 0.2
    name: ClassVar[str] = "counters"
    level: ClassVar[str] = "record"
    sense: ClassVar[str] = "vision"

    def __post_init__(self):
        above(self, 0, "strip")
        within(self, 0, 0.5, "strip")

    applies = staticmethod(sees_videos)

    def _boxes(self, record: Record) -> Boxes:
        known = overlays_of(record)
        strips = ((0.0, 0.0, self.strip, 1.0), (1 - self.strip, 0.0, 1.0, 1.0))
        return strips if known is None else known

    def remove(self, record: Record, rng: np.random.Generator) -> Record:
        return filled(record, self._boxes(record))

    def control(self, record: Record, rng: np.random.Generator) -> Record:
        return filled(record, to_the_middle(self._boxes(record)))

    def plant(self, record: Record, rng: np.random.Generator) -> Record:
        """The number of each frame, above at the left."""
        return with_frames(record, _numbered)

    def statistic(self, x: Float[np.ndarray, "b *n h w 3"]) -> Float[np.ndarray, "b d"]:
        """The strips of each image, coarsely."""
        boxes = ((0.0, 0.0, self.strip, 1.0), (1 - self.strip, 0.0, 1.0, 1.0))
        return per_image(x, lambda image: _coarse(image, boxes))


@dataclasses.dataclass(frozen=True)
class Watermark:
    """A logo that stands still, in a corner as a rule.

    It makes images of one origin alike: with it ResNet-50 loses 25 points on ImageNet (Li et al.
    2023).

    Removed: the corners are filled with their mean colour. Control: as large a part in the middle.

    Attributes:
      corner: share of height and width of each corner.
    """

    corner: float = 0.25
    name: ClassVar[str] = "watermark"
    level: ClassVar[str] = "record"
    sense: ClassVar[str] = "vision"

    def __post_init__(self):
        above(self, 0, "corner")
        within(self, 0, 0.5, "corner")

    applies = staticmethod(sees_images)

    @property
    def _boxes(self) -> Boxes:
        ends = ((0.0, self.corner), (1 - self.corner, 1.0))
        return tuple((top, left, bottom, right) for top, bottom in ends for left, right in ends)

    def remove(self, record: Record, rng: np.random.Generator) -> Record:
        return filled(record, self._boxes)

    def control(self, record: Record, rng: np.random.Generator) -> Record:
        return filled(record, to_the_middle(self._boxes))

    def plant(self, record: Record, rng: np.random.Generator) -> Record:
        """A pattern of its own for each record, half transparent, below at the right."""
        marks = rng.permutation(np.repeat([0, 1], 8)).reshape(4, 4, 1)

        def change(frames, numbers):
            h, w = (max(4, side // 5) for side in frames.shape[1:3])
            mark = 255.0 * marks[np.arange(h) * 4 // h][:, np.arange(w) * 4 // w]
            frames = frames.copy()
            own = frames[:, -h:, -w:]
            own[...] = (own * 0.5 + 0.5 * mark).astype(np.uint8)
            return frames

        return with_frames(record, change)

    def statistic(self, x: Float[np.ndarray, "b *n h w 3"]) -> Float[np.ndarray, "b d"]:
        """The corners of each image, coarsely."""
        return per_image(x, lambda image: _coarse(image, self._boxes))


def filled(record: Record, boxes: Boxes) -> Record:
    """The record with boxes filled, each with the mean colour that it has over the record."""
    if not boxes:
        return record
    seen = looks_at(record)
    h, w = seen.shape[1:3]
    places = [_pixels(box, h, w) for box in boxes]
    colours = [np.rint(seen[:, rows, columns].mean((0, 1, 2))) for rows, columns in places]

    def change(frames, numbers):
        frames = frames.copy()
        for (rows, columns), colour in zip(places, colours, strict=True):
            frames[:, rows, columns] = colour.astype(np.uint8)
        return frames

    return with_frames(record, change)


def to_the_middle(boxes: Boxes) -> Boxes:
    """One box in the middle, as high as wide in shares, as large as all of these together."""
    area = sum((bottom - top) * (right - left) for top, left, bottom, right in boxes)
    half = min(0.5, float(np.sqrt(area)) / 2)
    return ((0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half),) if half else ()


def _pixels(box: tuple[float, float, float, float], h: int, w: int) -> tuple[slice, slice]:
    top, left, bottom, right = box
    return (
        slice(int(np.floor(top * h)), int(np.ceil(bottom * h))),
        slice(int(np.floor(left * w)), int(np.ceil(right * w))),
    )


def _coarse(image: np.ndarray, boxes: Boxes) -> np.ndarray:
    h, w = image.shape[:2]
    grey = np.round(255 * np.clip(image.mean(-1, keepdims=True), 0, 1)).astype(np.uint8)
    parts = [grey[_pixels(box, h, w)] for box in boxes]
    small = [resize(part[None], (MIDDLE // 2, MIDDLE)) for part in parts if part.size]
    return np.concatenate([part.ravel() / 255.0 for part in small])


def _numbered(frames: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    import cv2

    frames = frames.copy()
    high = frames.shape[1] / 5
    for frame, number in zip(frames, np.asarray(numbers).tolist(), strict=True):
        cv2.putText(
            frame, f"{number:03d}", (1, round(0.9 * high)), cv2.FONT_HERSHEY_PLAIN, high / 14,
            (255, 255, 255), 1,
        )  # fmt: skip
    return frames
