"""Exemplar-CNN (Dosovitskiy, Springenberg, Riedmiller, Brox, "Discriminative Unsupervised Feature
Learning with Convolutional Neural Networks", NeurIPS 2014): which of N patches was this once?"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from ssl_jax.data.record import Record
from ssl_jax.data.squares import even_squares, random_square
from ssl_jax.method import Batch, Example, Method
from ssl_jax.models.heads import Classifier
from ssl_jax.objectives.classification import classification
from ssl_jax.ops.hsv import random_colour_contrast, random_hsv
from ssl_jax.ops.warp import random_affine


class ExemplarNet(nn.Module):
    """Trunk and a linear classifier of the exemplars on its last layer."""

    vision: nn.Module
    exemplars: int

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        layers = self.vision(batch["vision"], train)
        return Classifier(self.exemplars, name="head")(layers[list(layers)[-1]], train)


@dataclasses.dataclass(frozen=True)
class Exemplar(Method):
    """Every record's seed patch is a class of its own, of which random changes are the examples.

    The class is the record's number in its source: a held-out record has none, so judge the
    pretext task on new changes of the training records. The seed is always the same patch of a
    record, drawn in proportion to its mean squared gradient, as flat patches look all alike.
    Shortcut: colour would tell most seeds apart, hence the strong changes of contrast and hue. Too
    many seeds (the paper: above 8000) bring near duplicates that cannot be told apart.

    Against the paper: changes are drawn anew at every step instead of about 100 times in advance;
    the axes of the first contrast are those of natural pictures in general, not of the patches; a
    mean of channels is taken away, not of pixels; beyond the border pictures are mirrored.

    Attributes:
      vision: the trunk; in the paper `ConvNet`, its window a quarter of the size.
      exemplars: number of classes; at least the number of records.
      size: side of the patch in pixels.
      stored: side to which pictures are resized before the seed is cut; also what features are
        read from, by a trunk that takes more than a patch.
      shift: at most so many sides of the patch, along each axis.
      scale: smallest and largest magnification.
      degrees: turned by at most so much.
      contrast: smallest and largest factor of a colour axis.
      power: of saturation and value, from 1/power to power; also multiplied by 0.7 to 1.4 and moved
        by at most 0.1.
      hue: turned by at most such a share of the circle.
      mean: of the channels, pixels in 0..1.
    """

    vision: nn.Module
    exemplars: int
    size: int = 32
    stored: int = 96
    shift: float = 0.2
    scale: tuple[float, float] = (0.7, 1.4)
    degrees: float = 20.0
    contrast: tuple[float, float] = (0.5, 2.0)
    power: float = 4.0
    hue: float = 0.1
    mean: tuple[float, float, float] = (0.4467, 0.4398, 0.4066)

    @property
    def net(self) -> nn.Module:
        return ExemplarNet(self.vision, self.exemplars)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        if record.index >= self.exemplars:
            raise ValueError(
                f"record {record.index} is no class of exemplars={self.exemplars}; set it to the "
                "source's number of records"
            )
        rng = np.random.default_rng(record.index)  # always the same seed patch
        picture = random_square(record, self.stored, rng)
        corner = textured_corner(picture, self.size, rng)
        centre = (corner + (self.size - 1) / 2).astype(np.float32)
        return {"vision": picture, "centre": centre, "target": np.int32(record.index)}

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        place, contrast, colour = jax.random.split(key, 3)
        x = batch["vision"].astype(jnp.float32) / 255.0
        x = random_affine(
            place, x, self.size, batch["centre"], self.shift, self.scale, self.degrees
        )
        x = random_colour_contrast(contrast, x, self.contrast)
        x = random_hsv(colour, x, self.power, hue=self.hue)
        return {"vision": x, "target": batch["target"]}

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        x = raw.astype(jnp.float32) / 255.0 if raw.dtype == jnp.uint8 else raw
        return x - jnp.array(self.mean)

    def objective(self, outputs: jax.Array, batch: Batch):
        return classification(outputs, batch["target"])

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        return even_squares(record, self.stored, count)


def textured_corner(
    picture: UInt8[np.ndarray, "h w 3"], size: int, rng: np.random.Generator
) -> Int[np.ndarray, "2"]:
    """Upper left corner (y, x) of a square, as likely as its mean squared gradient is large."""
    grey = picture.astype(np.float64).mean(-1)
    energy = sum(slope**2 for slope in np.gradient(grey)) + 1e-6  # a flat picture: anywhere
    sums = np.pad(energy.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    inside = inside.clip(min=0)  # differences of large sums
    place = rng.choice(inside.size, p=(inside / inside.sum()).ravel())
    return np.array(divmod(int(place), inside.shape[1]))
