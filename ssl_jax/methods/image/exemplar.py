"""Exemplar-CNN (Dosovitskiy, Springenberg, Riedmiller and Brox, "Discriminative Unsupervised
Feature Learning with Convolutional Neural Networks", NeurIPS 2014): which of N patches was this
once?"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Record
from ssl_jax.data.squares import random_square, squares_at
from ssl_jax.knobs import above, ascending, at_least
from ssl_jax.method import Batch, Example, Method, State, scaled
from ssl_jax.models.heads import TrunkClassifier
from ssl_jax.objectives.classification import classification
from ssl_jax.ops.hsv import random_colour_contrast, random_hsv
from ssl_jax.ops.warp import random_affine


@dataclasses.dataclass(frozen=True)
class Exemplar(Method):
    """Every record's seed patch is a class of its own, of which random changes are the examples.

    The class is the record's number in its source: a held-out record has none, so judge the
    pretext task on new changes of the training records. The seed is always the same patch of a
    record, drawn in proportion to its mean squared gradient, as flat patches look all alike.
    Shortcut: colour would tell most seeds apart, hence the strong changes of contrast and hue. Too
    many seeds (the paper: above 8000) bring near duplicates that cannot be told apart.

    Differs from the paper: changes are drawn at every step instead of about 100 times in advance;
    the axes of the first contrast are those of natural images in general, not of the patches; a
    mean of channels is subtracted, not of pixels; beyond the border images are mirrored.

    Batch: views {"vision": uint8 (stored stored 3), "centre": float (2), of the patch in pixels,
    "target": int32}; augment {"vision": float 0..1 (b size size 3), "target": int32 (b)}.

    Attributes:
      vision: the trunk; in the paper `ConvNet`, its window a quarter of the size.
      exemplars: number of classes; at least the number of records.
      size: side of the patch in pixels.
      stored: side to which images are resized before the seed is cut; also what features are read
        from, by a trunk that takes more than a patch.
      shift: at most so many sides of the patch, along each axis.
      scale: smallest and largest magnification.
      degrees: turned by at most so much.
      contrast: smallest and largest factor of a colour axis.
      power: of saturation and value, from 1/power to power; also multiplied by 0.7 to 1.4 and moved
        by at most 0.1.
      hue: turned by at most such a fraction of the circle.
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

    def __post_init__(self):
        at_least(self, 1, "exemplars", "size", "stored")
        at_least(self, 0, "shift", "degrees", "hue")
        above(self, 0, "scale", "contrast", "power")
        ascending(self, "scale", "contrast")

    @property
    def net(self) -> nn.Module:
        return TrunkClassifier(self.vision, self.exemplars)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        """As every method's; but the patch is the record's, whatever the `rng`.

        Raises ConfigError for a record that is no class.
        """
        if record.index >= self.exemplars:
            raise ConfigError(
                f"exemplar: exemplars={self.exemplars} has no class for record {record.index}; set "
                "it to the source's number of records"
            )
        rng = np.random.default_rng(record.index)
        image = random_square(record, self.stored, rng)
        corner = textured_corner(image, self.size, rng)
        centre = (corner + (self.size - 1) / 2).astype(np.float32)
        return {"vision": image, "centre": centre, "target": np.int32(record.index)}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        place, contrast, colour = jax.random.split(key, 3)
        x = scaled(batch["vision"])
        centre = batch["centre"]
        x = random_affine(place, x, self.size, centre, self.shift, self.scale, self.degrees)
        x = random_colour_contrast(contrast, x, self.contrast)
        x = random_hsv(colour, x, self.power, hue=self.hue)
        return {"vision": x, "target": batch["target"]}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return x - jnp.array(self.mean)

    def objective(self, outputs: jax.Array, batch: Batch):
        return classification(outputs, batch["target"])

    def words(self, batch: Batch) -> dict[str, list[str]]:
        return {"patch of record": [str(k) for k in np.asarray(batch["target"])]}

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        return {"vision": squares_at(record, self.stored, times)}


def textured_corner(
    image: UInt8[np.ndarray, "h w 3"], size: int, rng: np.random.Generator
) -> Int[np.ndarray, "2"]:
    """Upper left corner (y, x) of a square, as likely as its mean squared gradient is large."""
    grey = image.astype(np.float64).mean(-1)
    energy = sum(slope**2 for slope in np.gradient(grey)) + 1e-6  # a flat image: anywhere
    sums = np.pad(energy.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    inside = inside.clip(min=0)  # differences of large sums
    place = rng.choice(inside.size, p=(inside / inside.sum()).ravel())
    return np.array(divmod(int(place), inside.shape[1]))
