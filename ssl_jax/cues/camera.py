"""Camera motion: pans and zooms of the whole frame."""

import dataclasses
import itertools
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from ssl_jax.cues.cue import images_of, sees_videos, with_frames
from ssl_jax.data.record import Record
from ssl_jax.data.stabilise import laid_over, motion, warped
from ssl_jax.knobs import above


@dataclasses.dataclass(frozen=True)
class CameraMotion:
    """What moves in all of the frame at once.

    People pan and zoom in preferred directions: three of four videos of UCF101 reveal the arrow of
    time by it (Wei et al. 2018: accuracy falls from 88.3 to 75.2 % once they are stabilised).

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
        return with_frames(record, lambda frames, numbers: laid_over(frames, numbers, True))

    def control(self, record: Record, rng: np.random.Generator) -> Record:
        return with_frames(record, lambda frames, numbers: laid_over(frames, numbers, False))

    def plant(self, record: Record, rng: np.random.Generator) -> Record:
        """The camera moves in, slowly and evenly."""
        import cv2

        def change(frames, numbers):
            h, w = frames.shape[1:3]
            zooms = (1 + self.zoom) ** np.asarray(numbers, np.float64)
            turns = [cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), 0, z) for z in zooms]
            return warped(frames, turns)

        return with_frames(record, change)

    def statistic(self, x: Float[np.ndarray, "b *n h w 3"]) -> Float[np.ndarray, "b d"]:
        """From image to image: shift to the right and down in pixels, and 100 ln of the zoom."""
        rows = np.round(255 * np.clip(images_of(x), 0, 1)).astype(np.uint8)

        def measure(row):
            moves = [motion(a, b) for a, b in itertools.pairwise(row)]
            h, w = row.shape[1:3]
            return np.concatenate([np.zeros(0), *(_of_the_middle(move, h, w) for move in moves)])

        return np.stack([measure(row) for row in rows])


def _of_the_middle(matrix: np.ndarray, h: int, w: int) -> np.ndarray:
    middle = np.array([(w - 1) / 2, (h - 1) / 2])
    shift = matrix[:, :2] @ middle + matrix[:, 2] - middle
    return np.array([*shift, 100 * np.log(np.hypot(*matrix[:, 0]))])
