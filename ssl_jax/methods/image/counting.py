"""Counting (Noroozi, Pirsiavash and Favaro, "Representation Learning by Learning to Count", ICCV
2017): does what is counted in four tiles add up to what is counted in the whole image?"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Record
from ssl_jax.data.squares import random_square
from ssl_jax.knobs import above, at_least, within
from ssl_jax.method import Batch, Example, Method, State, scaled
from ssl_jax.models.heads import last
from ssl_jax.objectives.counting import counting
from ssl_jax.ops.augment import random_crop, random_grey
from ssl_jax.ops.fold import fold, unfold
from ssl_jax.ops.warp import random_halving


class CountingNet(nn.Module):
    """Trunk and a dense layer with ReLU: counts (b d) of the whole and (b 4 d) of its tiles."""

    vision: nn.Module
    counts: int

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> tuple[jax.Array, jax.Array]:
        images = jnp.concatenate([batch["vision"][:, None], batch["tiles"]], axis=1)
        x = last(self.vision(fold(images), train))
        counts = nn.relu(nn.Dense(self.counts, name="counts")(x.reshape(len(x), -1)))
        counts = unfold(counts, images.shape[1])
        return counts[:, 0], counts[:, 1:]


@dataclasses.dataclass(frozen=True)
class Counting(Method):
    """Counts in an image made half as large equal the sum over its four quarters.

    All five are of one size. The other image, against which a network that counts nothing is held,
    is the row before in the batch. Shortcuts: the way in which the whole was made smaller can be
    recognised, hence a random filter; chromatic aberration differs between the tiles and the whole,
    hence grey images. Both are drawn once a step, for all rows, so that an image and the other one
    never differ in them and each image passes the network once. There is no normalisation of single
    tiles, which would hide how much is in them.

    After training only few counts are ever above 0, in the paper 30 of 1000 ('active'); that is no
    fault.

    Differs from the paper: it crops 224 pixels, which gives tiles of 112, and states an input of
    114; here it is 228 and 114.

    Batch: views {"vision": uint8 (stored stored 3)}; augment {"vision": float 0..1 (b size size 3),
    "tiles": float 0..1 (b 4 size size 3)}.

    Attributes:
      vision: the trunk; in the paper AlexNet without normalisation.
      size: side of the network's input, half that of the crop.
      stored: side of the square that the host hands over, from which is cropped.
      counts: how many numbers are counted.
      margin: squared distance that counts in different images should have.
      grey: probability that a step sees grey images.
      mean, std: of the channels, pixels in 0..1.
    """

    also_prepared: ClassVar[tuple[str, ...]] = ("tiles",)

    vision: nn.Module
    size: int = 114
    stored: int = 256
    counts: int = 1000
    margin: float = 10.0
    grey: float = 0.67
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self):
        at_least(self, 1, "size", "stored", "counts")
        at_least(self, 0, "margin")
        within(self, 0, 1, "grey")
        above(self, 0, "std")
        if 2 * self.size > self.stored:
            raise ConfigError(f"size={self.size} must be at most half of stored={self.stored}")

    @property
    def net(self) -> nn.Module:
        return CountingNet(self.vision, self.counts)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        crop, grey, half = jax.random.split(key, 3)
        size = self.size
        images = scaled(random_crop(crop, batch["vision"], 2 * size))
        is_grey = jax.random.bernoulli(grey, self.grey)
        images = jnp.where(is_grey, random_grey(grey, images, 1.0), images)
        tiles = [images[:, y : y + size, x : x + size] for y in (0, size) for x in (0, size)]
        return {"vision": random_halving(half, images), "tiles": jnp.stack(tiles, axis=1)}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return (x - jnp.array(self.mean)) / jnp.array(self.std)

    def objective(self, outputs: tuple[jax.Array, jax.Array], batch: Batch):
        whole, tiles = outputs
        if len(whole) < 2:
            raise ConfigError("counting: batch_size must be 2 or more, one is the other's contrast")
        return counting(whole, tiles, jnp.roll(whole, 1, axis=0), self.margin)

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """Which counts are equal, and which are not."""
        return {"": ["vision = sum of tiles\nrow above: not"] * len(batch["vision"])}
