"""Rotation (Gidaris, Singh and Komodakis, "Unsupervised Representation Learning by Predicting Image
Rotations", ICLR 2018): by which of 0, 90, 180, 270 degrees was the picture turned?"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.image import square
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import even_frames, random_frame
from ssl_jax.method import Batch, Example, Method
from ssl_jax.models.heads import Classifier
from ssl_jax.objectives.classification import classification
from ssl_jax.ops.augment import random_crop, random_flip, rotate90


class RotationNet(nn.Module):
    """Trunk, its last layer averaged over space, and a linear classifier of the four turns."""

    vision: nn.Module

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        layers = self.vision(batch["vision"], train)
        last = layers[list(layers)[-1]]
        pooled = last.mean(range(1, last.ndim - 1)) if last.ndim > 2 else last
        return Classifier(4, name="head")(pooled, train)


@dataclasses.dataclass(frozen=True)
class Rotation(Method):
    """Predicts the turn of a picture from its content.

    All four turns of every picture stand in the same batch, as the authors do (the learning rate is
    not scaled for it). Shortcuts: turning by transposing and flipping interpolates nothing and
    fills no corner, so neither leaves a trace; there is no vertical flip, which would be a turn of
    its own. Pictures without an up (seen from above, round things) cannot be solved. Against the
    authors' code: the margin from which crops are cut is mirrored, not black.

    Attributes:
      vision: the trunk; in the paper a Network in Network (CIFAR) or AlexNet (ImageNet).
      size: side of the network's square input in pixels.
      padding: the random crop is cut from the picture mirrored outwards by so many pixels.
      mean, std: of the channels, pixels in 0..1.
    """

    vision: nn.Module
    size: int = 32
    padding: int = 4
    mean: tuple[float, float, float] = (0.4914, 0.4824, 0.4467)
    std: tuple[float, float, float] = (0.2471, 0.2435, 0.2616)

    @property
    def net(self) -> nn.Module:
        return RotationNet(self.vision)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        number = random_frame(record.num_frames, rng)
        return {"vision": square(record.need_frames()([number]), self.size)[0]}

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        key_crop, key_flip = jax.random.split(key)
        images = random_crop(key_crop, batch["vision"], self.size, self.padding)
        images = random_flip(key_flip, images)
        turned = jnp.stack([rotate90(images, jnp.full(len(images), k)) for k in range(4)], axis=1)
        target = jnp.tile(jnp.arange(4), len(images))
        return {"vision": turned.reshape(-1, *images.shape[1:]), "target": target}

    def prepare(self, modality: str, raw: jax.Array) -> jax.Array:
        return (raw.astype(jnp.float32) / 255.0 - jnp.array(self.mean)) / jnp.array(self.std)

    def objective(self, outputs: jax.Array, batch: Batch):
        return classification(outputs, batch["target"])

    def clips(self, record: Record, modality: str, count: int) -> np.ndarray:
        return square(record.need_frames()(even_frames(record.num_frames, count)), self.size)
