"""Clip order (Xu, Xiao, Zhao, Shao, Xie and Zhuang, "Self-supervised Spatiotemporal Learning via
Video Clip Order Prediction", CVPR 2019): what is the order of the shuffled clips?"""

import dataclasses
import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.clips import clip_numbers, even_clip_times
from ssl_jax.data.image import center_crop, resize
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import spaced_clips
from ssl_jax.knobs import at_least, no_larger, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.heads import PairwiseOrderHead
from ssl_jax.objectives.classification import classification
from ssl_jax.objectives.order import permutations
from ssl_jax.ops.augment import random_crop


class ClipOrderNet(nn.Module):
    """One trunk for all clips, their pooled features compared in pairs, and a class per order."""

    vision: nn.Module
    classes: int
    hidden: int
    dropout: float

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        clips = batch["vision"]  # (b, n, t, h, w, c)
        layers = self.vision(clips.reshape(-1, *clips.shape[2:]), train)
        pooled = layers["pool"].reshape(*clips.shape[:2], -1)
        head = PairwiseOrderHead(
            classes=self.classes, hidden=self.hidden, dropout=self.dropout, name="head"
        )
        return head(pooled, train)


@dataclasses.dataclass(frozen=True)
class ClipOrder(Method):
    """Predicts the permutation that was applied to clips of one video.

    Shortcuts: a gap between clips, so that the last frame of one does not continue in the next; a
    crop of its own for every clip (the same for its frames), so that objects at the rim do not
    give the order away. Differs from the released code: clips are folded into the batch, so
    BatchNorm sees all positions together.

    Batch: views {"vision": uint8 (n t height width 3)}, n clips of t frames; augment {"vision":
    uint8 (b n t crop crop 3), "target": int32 (b)}.

    Attributes:
      vision: the trunk; in the paper C3D, R3D or R(2+1)D of one block a stage.
      clips_per_video: how many are shuffled; there are as many classes as orders.
      frames: of each clip.
      stride: every how many-th frame of the video is taken.
      gap: frames (at that stride) left out between clips.
      height, width: to which frames are resized.
      crop: side of the square that the network sees.
      hidden: width of the comparison of two clips.
      dropout: rate, on the comparisons.
    """

    vision: nn.Module
    clips_per_video: int = 3
    frames: int = 16
    stride: int = 1
    gap: int = 8
    height: int = 128
    width: int = 171
    crop: int = 112
    hidden: int = 512
    dropout: float = 0.5

    def __post_init__(self):
        at_least(self, 2, "clips_per_video")
        at_least(self, 1, "frames", "stride", "height", "width", "crop", "hidden")
        at_least(self, 0, "gap")
        within(self, 0, 1, "dropout")
        no_larger(self, "crop", "height")
        no_larger(self, "crop", "width")

    @property
    def net(self) -> nn.Module:
        orders = math.factorial(self.clips_per_video)
        return ClipOrderNet(self.vision, orders, self.hidden, self.dropout)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        numbers = spaced_clips(
            record.num_frames, self.clips_per_video, self.frames, self.gap, rng, self.stride
        )
        frames = resize(record.need_frames()(numbers.ravel()), (self.height, self.width))
        return {"vision": frames.reshape(*numbers.shape, *frames.shape[1:])}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_crop, key_order = jax.random.split(key)
        clips = batch["vision"]
        rows, count = clips.shape[:2]
        cropped = random_crop(key_crop, clips.reshape(-1, *clips.shape[2:]), self.crop)
        cropped = cropped.reshape(rows, count, *cropped.shape[1:])
        orders = jnp.array(permutations(count))
        target = jax.random.randint(key_order, (rows,), 0, len(orders))
        shown = jax.vmap(lambda video, order: video[order])(cropped, orders[target])
        return {"vision": shown, "target": target}

    def objective(self, outputs: jax.Array, batch: Batch):
        return classification(outputs, batch["target"])

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """The true number of each clip as they are shown, from 0."""
        orders = permutations(self.clips_per_video)
        return {"order": [" ".join(map(str, orders[k])) for k in np.asarray(batch["target"])]}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return even_clip_times(record, count, self.frames, self.stride)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        numbers = clip_numbers(record, times, self.frames, self.stride)
        frames = resize(record.need_frames()(numbers.ravel()), (self.height, self.width))
        frames = center_crop(frames, (self.crop, self.crop))
        return {"vision": frames.reshape(*numbers.shape, *frames.shape[1:])}
