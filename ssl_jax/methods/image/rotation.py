"""Rotation (Gidaris, Singh and Komodakis, "Unsupervised Representation Learning by Predicting Image
Rotations", ICLR 2018; RotNet): by which of 0, 90, 180, 270 degrees was the image turned?"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.image import center_crop
from ssl_jax.data.record import Record
from ssl_jax.data.squares import random_square, squares_at
from ssl_jax.knobs import above, ascending, at_least, within
from ssl_jax.method import Batch, Example, Method, State, scaled
from ssl_jax.models.heads import TrunkClassifier
from ssl_jax.objectives.classification import classification
from ssl_jax.ops.augment import random_crop, random_flip, random_resized_crop, rotate90
from ssl_jax.ops.fold import fold


@dataclasses.dataclass(frozen=True)
class Rotation(Method):
    """Predicts the turn of an image from its content.

    All k turns of every image stand in the same batch, as the authors do (the learning rate is
    not scaled for it). Shortcuts: turning by transposing and flipping interpolates nothing and
    fills no corner, so neither leaves a trace; for the same reason images are cropped and flipped
    first and turned last, and there are only quarter turns (the paper's eight of 45 degrees did no
    better). There is no vertical flip, which would be a turn of its own. Images without an up (seen
    from above, round things) cannot be solved.

    Differs from the released code: the margin from which small crops are cut is mirrored, not
    black.

    Batch: views {"vision": uint8 (stored stored 3)}; augment {"vision": uint8 or float 0..1
    (k b size size 3), "target": int32 (k b)}, an image's turns being neighbours.

    Attributes:
      vision: the trunk; in the paper a Network in Network (CIFAR) or AlexNet (ImageNet).
      size: side of the network's square input in pixels.
      padding: the random crop is cut from the image mirrored outwards by so many pixels.
      stored: side of the square that the host hands over; 0: `size`.
      area: fractions of that square between which random boxes, resized to `size`, take the place
        of the plain crop (ImageNet: (0.08, 1.0)); (): the plain crop.
      turns: the quarter turns, counter-clockwise, that are told apart; class k is the k-th.
      mean, std: of the channels, pixels in 0..1.

    Raises ConfigError for fewer than two turns, or one that is not 0 to 3.
    """

    vision: nn.Module
    size: int = 32
    padding: int = 4
    stored: int = 0
    area: tuple[float, ...] = ()
    turns: tuple[int, ...] = (0, 1, 2, 3)
    mean: tuple[float, float, float] = (0.4914, 0.4824, 0.4467)
    std: tuple[float, float, float] = (0.2471, 0.2435, 0.2616)

    def __post_init__(self):
        at_least(self, 1, "size")
        at_least(self, 0, "padding", "stored")
        above(self, 0, "area", "std")
        within(self, 0, 1, "area")
        if len(set(self.turns) & {0, 1, 2, 3}) != len(self.turns) or len(self.turns) < 2:
            raise ConfigError(f"rotation: turns={self.turns} must be two or more of 0, 1, 2, 3")
        if len(self.area) not in (0, 2):
            raise ConfigError(f"rotation: area={self.area} must be the smallest and the largest")
        if self.area:
            ascending(self, "area")

    @property
    def net(self) -> nn.Module:
        return TrunkClassifier(self.vision, len(self.turns), pooled=True)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored or self.size, rng)}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_crop, key_flip = jax.random.split(key)
        images = batch["vision"]
        if self.area:
            boxes = random_resized_crop(key_crop, scaled(images), self.size, self.area)
            images = boxes.clip(0.0, 1.0)
        else:
            images = random_crop(key_crop, images, self.size, self.padding)
        images = random_flip(key_flip, images)
        turned = [rotate90(images, jnp.full(len(images), turn)) for turn in self.turns]
        target = jnp.tile(jnp.arange(len(self.turns)), len(images))
        return {"vision": fold(jnp.stack(turned, axis=1)), "target": target}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return (x - jnp.array(self.mean)) / jnp.array(self.std)

    def objective(self, outputs: jax.Array, batch: Batch):
        return classification(outputs, batch["target"])

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """Degrees, counter-clockwise."""
        return {"target": [f"{90 * self.turns[k]}°" for k in np.asarray(batch["target"])]}

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        squares = squares_at(record, self.stored or self.size, times)
        return {"vision": center_crop(squares, (self.size, self.size))}
