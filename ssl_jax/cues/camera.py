"""Camera motion: pans and zooms of the whole frame."""

import dataclasses
import itertools
from typing import ClassVar

import numpy as np
from jaxtyping import Float, UInt8

from ssl_jax.cues.cue import images_of, sees_videos, with_frames
from ssl_jax.data.record import Record
from ssl_jax.knobs import above

CORNERS = 200  # points followed from frame to frame at most
FEWEST = 8  # points followed, of which a motion is believed
SMALLEST = 0.5  # share of a frame's sides that must remain after stabilising


@dataclasses.dataclass(frozen=True)
class CameraMotion:
    """What moves in all of the frame at once.

    People film so: three of four videos of UCF101 betray the arrow of time by it (Wei et al. 2018:
    88.3 to 75.2 % once stabilised).

    Removed: the frames of a clip are laid over its middle one and cut to what all of them show.
    Control: they are cut and resampled as much, but not moved. A clip is what the method asks for
    in one call; frames without enough structure to follow stay as they are.

    Attributes:
      zoom: by which a planted cue enlarges each frame more than the one before.
    """

    zoom: float = 0.01
    name: ClassVar[str] = "camera"
    level: ClassVar[str] = "record"
    sense: ClassVar[str] = "vision"

    def __post_init__(self):
        above(self, 0, "zoom")

    applies = staticmethod(sees_videos)

    def remove(self, record: Record, rng: np.random.Generator) -> Record:
        return with_frames(record, lambda frames, numbers: _laid_over(frames, numbers, True))

    def control(self, record: Record, rng: np.random.Generator) -> Record:
        return with_frames(record, lambda frames, numbers: _laid_over(frames, numbers, False))

    def plant(self, record: Record, rng: np.random.Generator) -> Record:
        """The camera moves in, slowly and evenly."""
        import cv2

        def change(frames, numbers):
            h, w = frames.shape[1:3]
            zooms = (1 + self.zoom) ** np.asarray(numbers, np.float64)
            turns = [cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), 0, z) for z in zooms]
            return _warped(frames, turns)

        return with_frames(record, change)

    def statistic(self, x: Float[np.ndarray, "b *n h w 3"]) -> Float[np.ndarray, "b d"]:
        """From image to image: shift to the right and down in pixels, and 100 ln of the zoom."""
        rows = np.round(255 * np.clip(images_of(x), 0, 1)).astype(np.uint8)

        def measure(row):
            moves = [motion(a, b) for a, b in itertools.pairwise(row)]
            h, w = row.shape[1:3]
            return np.concatenate([_of_the_middle(move, h, w) for move in moves])

        return np.stack([measure(row) for row in rows])


def motion(
    frame: UInt8[np.ndarray, "h w 3"], after: UInt8[np.ndarray, "h w 3"]
) -> Float[np.ndarray, "2 3"]:
    """The shift, rotation and zoom that carry most of a frame's corners to where they are after.

    The identity if too few can be followed.
    """
    import cv2

    still = np.eye(2, 3)
    grey, next_grey = (cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (frame, after))
    points = cv2.goodFeaturesToTrack(grey, CORNERS, 0.01, 3)
    if points is None or len(points) < FEWEST:
        return still
    moved, found, _ = cv2.calcOpticalFlowPyrLK(grey, next_grey, points, None)
    found = found.ravel() == 1
    if found.sum() < FEWEST:
        return still
    cv2.setRNGSeed(0)  # of RANSAC: the same frames, the same motion
    matrix, _ = cv2.estimateAffinePartial2D(
        points[found], moved[found], method=cv2.RANSAC, ransacReprojThreshold=1.0
    )
    return still if matrix is None or not 0.5 < np.hypot(*matrix[:, 0]) < 2 else matrix


def _of_the_middle(matrix: np.ndarray, h: int, w: int) -> np.ndarray:
    middle = np.array([(w - 1) / 2, (h - 1) / 2])
    shift = matrix[:, :2] @ middle + matrix[:, 2] - middle
    return np.array([*shift, 100 * np.log(np.hypot(*matrix[:, 0]))])


def _laid_over(frames: np.ndarray, numbers: np.ndarray, move: bool) -> np.ndarray:
    """Frames over the middle one in time, cut to what all show and enlarged to their old size."""
    order = np.argsort(numbers, kind="stable")
    if len(frames) < 2:
        return frames
    ordered = frames[order]
    steps = [np.vstack([motion(a, b), (0, 0, 1)]) for a, b in itertools.pairwise(ordered)]
    # places[k] carries a point of the first frame to where it is in frame k.
    places = [*itertools.accumulate(steps, lambda a, b: b @ a, initial=np.eye(3))]
    middle = places[len(places) // 2]
    turns = [(middle @ np.linalg.inv(place))[:2] for place in places]
    h, w = frames.shape[1:3]
    box = _common(turns, h, w)
    if box is None or all(np.allclose(turn, np.eye(2, 3), atol=1e-3) for turn in turns):
        return frames
    left, top, right, bottom = box
    enlarge = np.array(
        [[w / (right - left), 0, -left * w / (right - left)],
         [0, h / (bottom - top), -top * h / (bottom - top)],
         [0, 0, 1]]
    )  # fmt: skip
    whole = [enlarge @ np.vstack([turn if move else np.eye(2, 3), (0, 0, 1)]) for turn in turns]
    warped = _warped(ordered, [one[:2] for one in whole])
    return warped[np.argsort(order, kind="stable")]


def _common(turns: list[np.ndarray], h: int, w: int) -> tuple[float, float, float, float] | None:
    """The upright box (left, top, right, bottom) that every warped frame covers; None if small."""
    corners = np.array([(0, 0, 1), (w, 0, 1), (w, h, 1), (0, h, 1)], np.float64).T
    moved = np.stack([turn @ corners for turn in turns])  # (t 2 4)
    left = max(0.0, moved[:, 0, [0, 3]].max())
    right = min(float(w), moved[:, 0, [1, 2]].min())
    top = max(0.0, moved[:, 1, [0, 1]].max())
    bottom = min(float(h), moved[:, 1, [2, 3]].min())
    if right - left < SMALLEST * w or bottom - top < SMALLEST * h:
        return None
    return left, top, right, bottom


def _warped(frames: np.ndarray, turns: list[np.ndarray]) -> np.ndarray:
    import cv2

    size = (frames.shape[2], frames.shape[1])
    how = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REFLECT}
    moved = [cv2.warpAffine(f, turn, size, **how) for f, turn in zip(frames, turns, strict=True)]
    return np.stack(moved)
