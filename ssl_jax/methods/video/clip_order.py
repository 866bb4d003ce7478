"""Clip order (Xu, Xiao, Zhao, Shao, Xie and Zhuang, "Self-supervised Spatiotemporal Learning via
Video Clip Order Prediction", CVPR 2019): in which order were the shuffled clips filmed?"""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.image import center_crop, resize
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import even_clips, spaced_clips
from ssl_jax.method import Batch, Example, Method
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
    """Predicts the permutation that was applied to clips of one film.

    Shortcuts: a gap between clips, so that the last frame of one does not continue in the next; a
    crop of its own for every clip (the same for its frames), so that objects at the rim do not
    give the order away. Against the released code: clips are folded into the batch, so BatchNorm
    sees all positions together.

    Attributes:
      vision: the trunk; in the paper C3D, R3D or R(2+1)D of one block a stage.
      clips_per_film: how many are shuffled; there are as many classes as orders.
      frames: of each clip.
      stride: every how many-th frame of the film is taken.
      gap: frames (at that stride) left out between clips.
      height, width: to which frames are resized.
      crop: side of the square that the network sees.
      hidden: width of the comparison of two clips.
      dropout: rate, on the comparisons.
    """

    vision: nn.Module
    clips_per_film: int = 3
    frames: int = 16
    stride: int = 1
    gap: int = 8
    height: int = 128
    width: int = 171
    crop: int = 112
    hidden: int = 512
    dropout: float = 0.5

    @property
    def net(self) -> nn.Module:
        orders = math.factorial(self.clips_per_film)
        return ClipOrderNet(self.vision, orders, self.hidden, self.dropout)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        numbers = spaced_clips(
            record.num_frames, self.clips_per_film, self.frames, self.gap, rng, self.stride
        )
        frames = resize(record.need_frames()(numbers.ravel()), (self.height, self.width))
        return {"vision": frames.reshape(*numbers.shape, *frames.shape[1:])}

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        key_crop, key_order = jax.random.split(key)
        clips = batch["vision"]
        rows, count = clips.shape[:2]
        cropped = random_crop(key_crop, clips.reshape(-1, *clips.shape[2:]), self.crop)
        cropped = cropped.reshape(rows, count, *cropped.shape[1:])
        orders = jnp.array(permutations(count))
        target = jax.random.randint(key_order, (rows,), 0, len(orders))
        shown = jax.vmap(lambda film, order: film[order])(cropped, orders[target])
        return {"vision": shown, "target": target}

    def objective(self, outputs: jax.Array, batch: Batch):
        return classification(outputs, batch["target"])

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        numbers = even_clips(record.num_frames, count, self.frames, self.stride)
        frames = resize(record.need_frames()(numbers.ravel()), (self.height, self.width))
        frames = center_crop(frames, (self.crop, self.crop))
        return frames.reshape(*numbers.shape, *frames.shape[1:])
