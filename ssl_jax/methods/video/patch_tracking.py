"""Tracked patches (Wang and Gupta, "Unsupervised Learning of Visual Representations using Videos",
ICCV 2015): a patch and what it has become 30 frames later are the same thing."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.flow import SMALLEST
from ssl_jax.data.image import cover
from ssl_jax.data.moving import moving_frames
from ssl_jax.data.record import Record
from ssl_jax.data.sampling.by_motion import busiest_square
from ssl_jax.data.squares import squares_at
from ssl_jax.data.tracker import follow, moving
from ssl_jax.knobs import ascending, at_least, no_larger, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.heads import last
from ssl_jax.objectives.ranking import mined, ranking
from ssl_jax.ops.augment import random_crop, random_flip

TRIES = 5  # windows of a video tried, where too little moves in them, too much, or a track is lost


class PatchTrackingNet(nn.Module):
    """One trunk for first and later patches; its last layers (b d) of both."""

    vision: nn.Module

    def __call__(self, batch: Batch, train: bool) -> tuple[jax.Array, jax.Array]:
        patches = jnp.concatenate([batch["vision"], batch["later"]])
        features = last(self.vision(patches, train))
        first, later = jnp.split(features.reshape(len(features), -1), 2)
        return first, later


@dataclasses.dataclass(frozen=True)
class PatchTracking(Method):
    """Draws a tracked patch's beginning and end together, and pushes patches of others away.

    Patches are where most moves by itself: camera motion is taken off, for the ground it shows
    would be tracked best and teach least. A window of the video counts if neither too little nor
    too much of it moves. Negatives are other tracks of the batch: at first random ones, later also
    the nearest, so that the loss does not end once most are distinguished. Shortcuts: colours and
    the camera's noise, which the two patches share; each is cropped and mirrored by itself, and no
    more is done against it: see the audit.

    Differs from the paper: what moves is measured by optical flow at every pixel, not at SURF
    points, and followed by template matching, not KCF, both while training; tracks that look like
    nothing they were (`likeness`) are drawn again. When negatives become hard is ours. The margin
    is the released code's, 1; the paper says 0.5.

    Batch: views {"vision": uint8 (window window 3), "later": the same}; augment the same at `crop`,
    "draws": float (b 2 2b), which choose the negatives, and "hard": int32 (b), how many are hard,
    the same in all rows. Whose later patch it is can be shuffled: control=('later',).

    Attributes:
      vision: the trunk; in the paper AlexNet with an fc7 of 1024.
      track: frames from the first patch to the later one, both counted.
      stride: every how many-th frame of the video is taken.
      candidates: frames (at that stride) decoded to find where most moves.
      height, width: to which the middle of each frame is resized.
      window: side of the patches in these frames.
      crop: side of the square that the network sees.
      reach: pixels of these frames that a patch may go from a frame to the next.
      share: of the frame, smallest and largest, that moves.
      likeness: least correlation of a patch with itself a frame earlier. After five tries the last
        track is taken, whatever it is.
      negatives: of each pair.
      hard_after: share of the run after which half of the negatives are hard ones.
      margin: of the ranking, in units of the cosine.
      mean: of the channels, in 0..255, subtracted.
    """

    vision: nn.Module
    track: int = 30
    stride: int = 1
    candidates: int = 45
    height: int = 448
    width: int = 600
    window: int = 256
    crop: int = 227
    reach: int = 16
    share: tuple[float, float] = (0.25, 0.75)
    likeness: float = 0.5
    negatives: int = 4
    hard_after: float = 0.25
    margin: float = 1.0
    mean: tuple[float, float, float] = (123.68, 116.779, 103.939)

    also_prepared: ClassVar[tuple[str, ...]] = ("later",)

    def __post_init__(self):
        at_least(self, 2, "track", "negatives")
        at_least(self, 1, "stride", "window", "crop", "reach")
        at_least(self, SMALLEST, "height", "width")
        at_least(self, 0, "margin")
        within(self, 0, 1, "share", "likeness", "hard_after")
        ascending(self, "share")
        for larger in ("height", "width"):
            no_larger(self, "window", larger)
        no_larger(self, "crop", "window")
        no_larger(self, "track", "candidates")

    @property
    def net(self) -> nn.Module:
        return PatchTrackingNet(self.vision)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        record.need_frames((self.track - 1) * self.stride + 1)
        size = (self.height, self.width)
        for attempt in range(TRIES):
            frames = moving_frames(record, self.track, rng, self.stride, self.candidates)[1]
            frames = cover(frames, size)
            moves = moving(frames[0], frames[1])
            last = attempt == TRIES - 1
            if not (self.share[0] <= moves.mean() <= self.share[1] or last):
                continue  # following costs more
            corner = busiest_square(moves.astype(np.int64), self.window)
            corners, likeness = follow(frames, corner, self.window, self.reach)
            if likeness >= self.likeness:
                break
        ends = ((frames[0], corners[0]), (frames[-1], corners[-1]))
        first, later = (frame[y : y + self.window, x : x + self.window] for frame, (y, x) in ends)
        return {"vision": first, "later": later}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        *keys, key_draws = jax.random.split(key, 5)
        made = {
            name: random_flip(flip, random_crop(crop, batch[name], self.crop))
            for name, (crop, flip) in zip(("vision", "later"), (keys[:2], keys[2:]), strict=True)
        }
        rows, run = len(batch["vision"]), state["run"]
        late = run["step"] >= self.hard_after * run["steps"]
        hard = jnp.where(late, self.negatives // 2, 0).astype(jnp.int32)
        draws = jax.random.uniform(key_draws, (rows, 2, 2 * rows))
        return {**made, "draws": draws, "hard": jnp.broadcast_to(hard, rows)}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return 255.0 * x - jnp.array(self.mean)

    def objective(self, outputs: tuple[jax.Array, jax.Array], batch: Batch):
        knobs = self.negatives, self.margin
        chosen = mined(*outputs, batch["draws"], batch["hard"][0], *knobs)
        return ranking(*outputs, chosen, *knobs)

    def pictures(self, batch: Batch) -> Batch:
        """The patch, and what became of it."""
        return {"first": batch["vision"], "later": batch["later"]}

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        return {"vision": squares_at(record, self.crop, times)}
