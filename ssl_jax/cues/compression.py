"""The grid of JPEG: blocks of eight pixels, whose edges tell where in its image a patch lay."""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float, UInt8

from ssl_jax.cues.cue import looks_at, per_image, sees_images, with_frames
from ssl_jax.data.record import Record
from ssl_jax.knobs import within

BLOCK = 8
QUALITIES = (95, 85, 75, 60, 45, 30, 20, 12, 6)
FAR = (0.05, 0.1)  # shares by which the grid is stretched


@dataclasses.dataclass(frozen=True)
class JpegGrid:
    """Edges between the blocks of eight pixels in which images are compressed.

    Removed: the image is enlarged or made smaller by 5 to 10 %, so that the blocks' width fits no
    longer, and compressed again on a grid at a random place. Control: the same, but on the grid of
    the image. It is compressed as much as makes the grid as strong as it was.

    Attributes:
      planted: quality of a planted grid, 1 to 100.
    """

    planted: int = 15
    name: ClassVar[str] = "jpeg"
    level: ClassVar[str] = "record"
    sense: ClassVar[str] = "vision"

    def __post_init__(self):
        within(self, 1, 100, "planted")

    applies = staticmethod(sees_images)

    def remove(self, record: Record, rng: np.random.Generator) -> Record:
        scale, (y, x) = _drawn_scale(rng), rng.integers(1, BLOCK, 2).tolist()
        place, quality = _grid(record, scale)
        return _again(record, scale, quality, place[0] + y, place[1] + x)

    def control(self, record: Record, rng: np.random.Generator) -> Record:
        scale = _drawn_scale(rng)
        place, quality = _grid(record, scale)
        return _again(record, scale, quality, *place)

    def plant(self, record: Record, rng: np.random.Generator) -> Record:
        """The image is compressed strongly."""
        return with_frames(record, lambda frames, _: compressed(frames, self.planted))

    def statistic(self, x: Float[np.ndarray, "b *n h w 3"]) -> Float[np.ndarray, "b d"]:
        """How much neighbouring columns, then rows, differ in each of the eight places."""

        def measure(image):
            both = np.stack([_edges(image, 1), _edges(image, 0)])
            return (both / np.maximum(both.mean(1, keepdims=True), 1e-9)).ravel()

        return per_image(x, measure)


def compressed(
    frames: UInt8[np.ndarray, "t h w 3"], quality: int, y: int = 0, x: int = 0
) -> UInt8[np.ndarray, "t h w 3"]:
    """Through JPEG and back, on a grid that is moved by so many pixels down and to the right."""
    import cv2

    h, w = frames.shape[1:3]
    above, left = (-y) % BLOCK, (-x) % BLOCK
    done = []
    for frame in frames:
        padded = np.pad(frame, ((above, 0), (left, 0), (0, 0)), mode="edge")
        _, data = cv2.imencode(".jpg", padded, [cv2.IMWRITE_JPEG_QUALITY, quality])
        back = cv2.imdecode(data, cv2.IMREAD_COLOR)
        done.append(back[above : above + h, left : left + w])
    return np.stack(done)


def _drawn_scale(rng: np.random.Generator) -> float:
    far = float(rng.uniform(*FAR))
    return 1 + far if rng.random() < 0.5 else 1 - far


def _stretched(frames: np.ndarray, scale: float) -> np.ndarray:
    """About the middle; what a smaller image leaves free mirrors it."""
    import cv2

    h, w = frames.shape[1:3]
    turn = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), 0, scale)
    how = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REFLECT}
    return np.stack([cv2.warpAffine(frame, turn, (w, h), **how) for frame in frames])


def _again(record: Record, scale: float, quality: int, y: int, x: int) -> Record:
    def change(frames, numbers):
        return compressed(_stretched(frames, scale), quality, y % BLOCK, x % BLOCK)

    return with_frames(record, change)


def _grid(record: Record, scale: float) -> tuple[tuple[int, int], int]:
    """Where the grid of a record lies (down, to the right), and by which quality it comes back."""
    seen = looks_at(record)
    down, right = (_edges_of(seen, axis) for axis in (0, 1))
    place = int(down.argmax()), int(right.argmax())
    wanted = _above_others(down, place[0]) + _above_others(right, place[1])
    stretched = _stretched(seen, scale)
    for quality in QUALITIES:
        done = compressed(stretched, quality, *place)
        strength = [_above_others(_edges_of(done, axis), place[axis]) for axis in (0, 1)]
        if sum(strength) >= wanted:
            break
    return place, quality


def _above_others(edges: np.ndarray, place: int) -> float:
    """How far an edge stands out; 0 if the others differ from one another about as much."""
    others = np.delete(edges, place)
    apart = np.abs(others - np.median(others))
    return max(0.0, float(edges[place] - np.median(others) - 4 * np.median(apart)))


def _edges_of(frames: np.ndarray, axis: int) -> np.ndarray:
    return np.mean([_edges(frame, axis) for frame in frames], axis=0)


def _edges(image: np.ndarray, axis: int) -> np.ndarray:
    """Mean difference of neighbours along an axis, by the second one's place modulo 8."""
    lines = np.abs(np.diff(np.asarray(image, np.float64), axis=axis)).mean((1 - axis, 2))
    lines = np.concatenate([[0.0], lines])  # [k]: between k - 1 and k
    means = np.array([lines[k::BLOCK][1 if k == 0 else 0 :].mean() if len(lines) > BLOCK + k
                      else 0.0 for k in range(BLOCK)])  # fmt: skip
    return means
