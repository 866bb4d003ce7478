"""Chromatic aberration: a lens magnifies one colour more than another."""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float, UInt8

from ssl_jax.cues.cue import looks_at, per_image, sees_images, with_frames
from ssl_jax.data.record import Record
from ssl_jax.knobs import above

ROUNDS = 3  # of estimating a magnification from the slope of the green plane
LEAST = 0.1  # pixels at the corner; less is noise
MOST = 0.05  # as a share of the distance from the middle; more is no lens
ALIKE = 0.3  # correlation of two planes below which their displacement cannot be told


@dataclasses.dataclass(frozen=True)
class Aberration:
    """Red and blue displaced against green, the farther from the middle the more.

    It tells where in an image a patch lay (Doersch, Gupta and Efros 2015).

    Removed: red and blue are magnified back, by what fits them best to green. Control: all three
    planes are magnified as much as red was, so that the displacement stays.

    Attributes:
      pixels: by which a planted cue displaces red at the corners.
    """

    pixels: float = 1.5
    name: ClassVar[str] = "aberration"
    level: ClassVar[str] = "record"
    sense: ClassVar[str] = "vision"

    def __post_init__(self):
        above(self, 0, "pixels")

    applies = staticmethod(sees_images)

    def remove(self, record: Record, rng: np.random.Generator) -> Record:
        by = magnifications(looks_at(record))
        return self._magnified(record, (1 / (1 + by[0]) - 1, 0.0, 1 / (1 + by[1]) - 1))

    def control(self, record: Record, rng: np.random.Generator) -> Record:
        by = magnifications(looks_at(record))
        back = 1 / (1 + max(by, key=abs)) - 1
        return self._magnified(record, (back, back, back))

    def plant(self, record: Record, rng: np.random.Generator) -> Record:
        """Red is magnified."""
        h, w = looks_at(record).shape[1:3]
        return self._magnified(record, (2 * self.pixels / float(np.hypot(h, w)), 0.0, 0.0))

    def statistic(self, x: Float[np.ndarray, "b *n h w 3"]) -> Float[np.ndarray, "b d"]:
        """By how many pixels red and blue lie to the right of and below green, in each image."""

        def measure(image):
            red, green, blue = np.moveaxis(np.asarray(image, np.float64), -1, 0)
            return np.concatenate([displacement(red, green), displacement(blue, green)])

        return per_image(x, measure)

    @staticmethod
    def _magnified(record: Record, by: tuple[float, float, float]) -> Record:
        if not any(by):
            return record

        def change(frames, numbers):
            frames = frames.copy()
            for channel, share in enumerate(by):
                if share:
                    for frame in frames:
                        frame[..., channel] = magnified(frame[..., channel], share)
            return frames

        return with_frames(record, change)


def magnified(plane: UInt8[np.ndarray, "h w"], by: float) -> UInt8[np.ndarray, "h w"]:
    """A plane magnified by 1 + `by` about its middle; edges go on as they end."""
    import cv2

    h, w = plane.shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    middle_y, middle_x = (h - 1) / 2, (w - 1) / 2
    from_x = (middle_x + (x - middle_x) / (1 + by)).astype(np.float32)
    from_y = (middle_y + (y - middle_y) / (1 + by)).astype(np.float32)
    return cv2.remap(plane, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def magnifications(frames: UInt8[np.ndarray, "t h w 3"]) -> tuple[float, float]:
    """By how much red and blue are magnified against green, as far as frames show it; else 0."""
    h, w = frames.shape[1:3]
    reach = float(np.hypot(h, w)) / 2
    found = []
    for channel in (0, 2):
        total = 0.0
        for _ in range(ROUNDS):
            back = 1 / (1 + total) - 1
            planes = [magnified(f[..., channel], back) if back else f[..., channel] for f in frames]
            step = _slope(np.stack(planes), frames[..., 1])
            total = (1 + total) * (1 + step) - 1
        found.append(total if LEAST / reach < abs(total) < MOST else 0.0)
    return found[0], found[1]


def _slope(plane: np.ndarray, green: np.ndarray) -> float:
    """The magnification k of plane(p) = a green(p / (1 + k)) + b, of first order; 0 if unlike."""
    plane, green = plane.astype(np.float64), green.astype(np.float64)
    if min(green.shape[1:]) < 6 or not _alike(plane, green):
        return 0.0
    down, right = np.gradient(green, axis=(1, 2))
    h, w = green.shape[1:]
    y, x = np.mgrid[:h, :w]
    outwards = right * (x - (w - 1) / 2) + down * (y - (h - 1) / 2)
    inner = (slice(None), slice(2, -2), slice(2, -2))
    columns = [green[inner].ravel(), np.ones(green[inner].size), outwards[inner].ravel()]
    scale, _, against = np.linalg.lstsq(np.stack(columns, 1), plane[inner].ravel(), rcond=None)[0]
    # k / (1 + k) = -against / scale
    share = -against / scale if scale else 0.0
    return share / (1 - share) if abs(share) < 0.5 else 0.0


def displacement(
    plane: Float[np.ndarray, "h w"], green: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "2"]:
    """By how many pixels a plane lies (to the right of, below) green; zeros if they are unlike."""
    if min(green.shape) < 6 or not _alike(plane, green):
        return np.zeros(2)
    down, right = np.gradient(green)
    inner = (slice(2, -2), slice(2, -2))
    columns = [green[inner], np.ones_like(green[inner]), right[inner], down[inner]]
    columns = np.stack([column.ravel() for column in columns], 1)
    scale, _, *against = np.linalg.lstsq(columns, plane[inner].ravel(), rcond=None)[0]
    return np.clip(-np.array(against) / scale, -3, 3) if abs(scale) > 1e-3 else np.zeros(2)


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    a, b = a - a.mean(), b - b.mean()
    return bool((a * b).sum() > ALIKE * np.sqrt((a * a).sum() * (b * b).sum()) > 0)
