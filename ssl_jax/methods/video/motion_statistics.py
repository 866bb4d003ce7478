"""Motion and appearance statistics (Wang, Jiao, Bao, He, Liu and Liu, "Self-supervised
Spatio-temporal Representation Learning for Videos by Predicting Motion and Appearance Statistics",
CVPR 2019; MotionPred): where does most move, and which way; where do colours change?"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.clips import clip_numbers, even_clip_times
from ssl_jax.data.flow import cover_flow, crop_and_flip, flow_of
from ssl_jax.data.image import center_crop, cover
from ssl_jax.data.motion_statistics import (
    MOTION,
    appearance_statistics,
    largest_statistics,
    motion_statistics,
)
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import random_clip
from ssl_jax.knobs import at_least, no_larger
from ssl_jax.method import Batch, Example, Method
from ssl_jax.models.heads import pooled
from ssl_jax.objectives.explained import explained_variance


class MotionStatisticsNet(nn.Module):
    """Trunk and a linear layer: 27 numbers of a clip, (b 27), which begin in mid-range."""

    vision: nn.Module
    frames: int

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        features = pooled(self.vision(batch["vision"], train))
        half_way = jnp.array((1 + largest_statistics(self.frames)) / 2, jnp.float32)
        head = nn.Dense(len(half_way), bias_init=lambda *_: half_way, name="head")
        return head(features)


@dataclasses.dataclass(frozen=True)
class MotionStatistics(Method):
    """Predicts 14 numbers of a clip's motion and 13 of its colours from its frames.

    What they are stands in `ssl_jax.data.motion_statistics`: places and directions of most motion,
    by optical flow, which the network does not see. They are whole numbers, and predicted by
    regression.

    Shortcuts: a moving camera moves everything: flow is differentiated in space, which leaves what
    moves against its surroundings. Bars at the border and counters on the screen are where colours
    change least or most: cut or hide them.

    Differs from the paper: DIS flow unless other flow is stored with the record, and directions
    are of flow that grows, the released code's are opposite; clips are mirrored together with their
    flow, whose u changes its sign then (not so in the released code). How clips are normalised and
    where answers begin is our choice.

    Batch: views {"vision": uint8 (t crop crop 3), "target": int32 (27), the motion's numbers and
    then the colours'}.

    Attributes:
      vision: the trunk; in the paper C3D of five convolutions.
      frames: of a clip, one after the other.
      height, width: to which the middle of each frame is resized.
      crop: side of the square that the network sees, a multiple of 8.
      motion_weight, appearance_weight: of the mean squared errors of the two kinds of numbers.
    """

    vision: nn.Module
    frames: int = 16
    height: int = 128
    width: int = 171
    crop: int = 112
    motion_weight: float = 1.0
    appearance_weight: float = 0.1

    def __post_init__(self):
        at_least(self, 2, "frames")
        at_least(self, 1, "height", "width")
        at_least(self, 8, "crop")
        at_least(self, 0, "motion_weight", "appearance_weight")
        no_larger(self, "crop", "height")
        no_larger(self, "crop", "width")
        if self.crop % 8:
            raise ConfigError(f"crop={self.crop} must be a multiple of 8, for the cells to fit")

    @property
    def net(self) -> nn.Module:
        return MotionStatisticsNet(self.vision, self.frames)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        numbers = random_clip(record.num_frames, self.frames, rng)
        frames = cover(record.need_frames()(numbers), (self.height, self.width))
        flow = cover_flow(flow_of(record, numbers[:-1]), (self.height, self.width))
        frames, flow = crop_and_flip(frames, flow, self.crop, rng)
        target = np.concatenate([motion_statistics(flow), appearance_statistics(frames)])
        return {"vision": frames, "target": target}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return 255.0 * x - 128.0

    def objective(self, outputs: jax.Array, batch: Batch):
        """The metrics beside the accuracy, of answers rounded, are variance explained."""
        target, outputs = batch["target"], outputs.astype(jnp.float32)
        loss, metrics = jnp.zeros(()), {"accuracy": jnp.mean(jnp.round(outputs) == target)}
        for kind, weight, numbers in (
            ("motion", self.motion_weight, slice(MOTION)),
            ("appearance", self.appearance_weight, slice(MOTION, None)),
        ):
            guess, true = outputs[:, numbers], target[:, numbers]
            loss = loss + weight * jnp.mean((guess - true) ** 2)
            metrics[f"{kind}_explained"] = explained_variance(guess, true)
        return loss, metrics

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """The cells of the three patterns, and the frames of most motion."""
        texts: dict[str, list[str]] = {"most motion": [], "colours": []}
        for row in np.asarray(batch["target"]).tolist():
            motion, colours = row[:MOTION], row[MOTION:]
            cells = [" ".join(map(str, motion[first:12:4])) for first in (0, 2)]
            texts["most motion"].append(
                f"u: {cells[0]}\nv: {cells[1]}\nframes: {motion[12]} {motion[13]}"
            )
            most, least = (" ".join(map(str, colours[first:12:4])) for first in (0, 2))
            texts["colours"].append(f"change: {most}\nstay: {least}")
        return texts

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return even_clip_times(record, count, self.frames)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        numbers = clip_numbers(record, times, self.frames)
        frames = cover(record.need_frames()(numbers.ravel()), (self.height, self.width))
        frames = center_crop(frames, (self.crop, self.crop))
        return {"vision": frames.reshape(*numbers.shape, *frames.shape[1:])}
