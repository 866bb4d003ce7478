"""Counting (Noroozi, Pirsiavash and Favaro, "Representation Learning by Learning to Count", ICCV
2017): whatever is counted in four tiles must add up to what is counted in the whole picture."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.record import Record
from ssl_jax.data.squares import even_squares, random_square
from ssl_jax.method import Batch, Example, Method
from ssl_jax.objectives.counting import counting
from ssl_jax.ops.augment import random_crop, random_grey
from ssl_jax.ops.warp import random_halving


class CountingNet(nn.Module):
    """Trunk and a dense layer with ReLU: counts (b d) of the whole and (b 4 d) of its tiles."""

    vision: nn.Module
    counts: int

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> tuple[jax.Array, jax.Array]:
        # A row's five pictures stay neighbours, hence on the device that holds the row.
        pictures = jnp.concatenate([batch["vision"][:, None], batch["tiles"]], axis=1)
        layers = self.vision(pictures.reshape(-1, *pictures.shape[2:]), train)
        last = layers[list(layers)[-1]]
        counts = nn.relu(nn.Dense(self.counts, name="counts")(last.reshape(len(last), -1)))
        counts = counts.reshape(len(pictures), 5, -1)
        return counts[:, 0], counts[:, 1:]


@dataclasses.dataclass(frozen=True)
class Counting(Method):
    """Counts in a picture made half as large equal the sum over its four quarters.

    All five are of one size. The other picture, against which a network that counts nothing is
    held, is the row before in the batch. Shortcuts: the way in which the whole was made smaller can
    be recognised, hence a random filter; chromatic aberration differs between the tiles and the
    whole, hence grey pictures. Both are drawn once a step, for all rows, so that a picture and the
    other one never differ in them and each picture passes the network once. There is no
    normalisation of single tiles, which would hide how much is in them.

    Against the paper: it crops 224 pixels, which gives tiles of 112, and states an input of 114;
    here it is 228 and 114. After training only few counts are ever above 0, in the paper 30 of 1000
    ('active'); that is no fault.

    Attributes:
      vision: the trunk; in the paper AlexNet without normalisation.
      size: side of the network's input, half that of the crop.
      stored: side of the square that the host hands over, from which is cropped.
      counts: how many numbers are counted.
      margin: squared distance that counts in different pictures should have.
      grey: probability that a step sees grey pictures.
      mean, std: of the channels, pixels in 0..1.
    """

    vision: nn.Module
    size: int = 114
    stored: int = 256
    counts: int = 1000
    margin: float = 10.0
    grey: float = 0.67
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @property
    def net(self) -> nn.Module:
        return CountingNet(self.vision, self.counts)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        crop, grey, half = jax.random.split(key, 3)
        size = self.size
        images = random_crop(crop, batch["vision"], 2 * size).astype(jnp.float32) / 255.0
        is_grey = jax.random.bernoulli(grey, self.grey)
        images = jnp.where(is_grey, random_grey(grey, images, 1.0), images)
        parts = [images[:, y : y + size, x : x + size] for y in (0, size) for x in (0, size)]
        return {
            "vision": self.normalised(random_halving(half, images)),
            "tiles": self.normalised(jnp.stack(parts, axis=1)),
        }

    def normalised(self, x: jax.Array) -> jax.Array:
        return (x - jnp.array(self.mean)) / jnp.array(self.std)

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        """Pixels as bytes are normalised; what `augment` made already is."""
        return self.normalised(raw.astype(jnp.float32) / 255.0) if raw.dtype == jnp.uint8 else raw

    def objective(self, outputs: tuple[jax.Array, jax.Array], batch: Batch):
        whole, tiles = outputs
        if len(whole) < 2:
            raise ValueError("counting: a batch needs 2 rows or more, one is the other's contrast")
        return counting(whole, tiles, jnp.roll(whole, 1, axis=0), self.margin)

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        return even_squares(record, self.size, count)
