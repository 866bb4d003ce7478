"""Exemplars by triplets (Doersch and Zisserman, "Multi-task Self-Supervised Visual Learning", ICCV
2017; Kolesnikov, Zhai and Beyer, "Revisiting Self-Supervised Visual Representation Learning", CVPR
2019): which crops are of the same image?"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.record import Record
from ssl_jax.data.squares import random_square
from ssl_jax.knobs import above, ascending, at_least, one_of, within
from ssl_jax.method import Batch, Example, Method, State, scaled
from ssl_jax.models.heads import TrunkClassifier
from ssl_jax.objectives.triplet import MINING, triplet
from ssl_jax.ops.augment import colour_jitter, random_flip, random_grey, random_resized_crop


@dataclasses.dataclass(frozen=True)
class TripletExemplar(Method):
    """Every image is a class without weights of its own: its crops attract each other.

    Negatives are the crops of all other images of the global batch, so the memory of the head does
    not grow with the data set as that of `Exemplar` does. Shortcut: crops of one image share its
    colours, hence the jitter of each crop; grey is drawn for the whole image, so that it does not
    tell crops of one image apart.

    Differs from the released code of 2019: it normalises embeddings along the batch instead of each
    to unit length, and its distance is the squared Euclidean one, twice the cosine distance here.

    Batch: views {"vision": uint8 (stored stored 3)}; augment {"vision": float 0..1 (crops b size
    size 3), "target": int32 (crops b)}, an image's crops being neighbours.

    Attributes:
      vision: the trunk.
      size: side of the network's input in pixels.
      stored: side of the square that the host hands over, from which crops are cut.
      crops: of each image, at least 2: 2 in the first paper, 8 in the second.
      embedding: its width.
      margin: see `ssl_jax.objectives.triplet`.
      mining: how each pair's negative is chosen: 'semihard' or 'hard'.
      area: smallest and largest fraction of the square that a crop covers.
      strength: of the colour jitter.
      grey: probability that an image is grey.

    Raises ConfigError for fewer than two crops.
    """

    vision: nn.Module
    size: int = 224
    stored: int = 256
    crops: int = 8
    embedding: int = 1000
    margin: float = 0.5
    mining: str = "semihard"
    area: tuple[float, float] = (0.08, 1.0)
    strength: float = 0.5
    grey: float = 0.66

    def __post_init__(self):
        at_least(self, 2, "crops")  # a pair
        at_least(self, 1, "size", "stored", "embedding")
        at_least(self, 0, "margin", "strength")
        one_of(self, "mining", MINING)
        above(self, 0, "area")
        within(self, 0, 1, "area")
        ascending(self, "area")
        within(self, 0, 1, "grey")

    @property
    def net(self) -> nn.Module:
        return TrunkClassifier(self.vision, self.embedding, pooled=True)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        grey, crop, flip, jitter = jax.random.split(key, 4)
        images = scaled(batch["vision"])
        target = jnp.repeat(jnp.arange(len(images)), self.crops)
        if self.grey:
            images = random_grey(grey, images, self.grey)
        images = jnp.repeat(images, self.crops, axis=0)
        images = random_flip(flip, random_resized_crop(crop, images, self.size, self.area))
        if self.strength:
            images = colour_jitter(jitter, images, self.strength)
        return {"vision": images.clip(0.0, 1.0), "target": target}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        """Every image by itself at mean 0 and deviation 1."""
        x = x - x.mean((1, 2, 3), keepdims=True)
        return x / (x.std((1, 2, 3), keepdims=True) + 1e-3)

    def objective(self, outputs: jax.Array, batch: Batch):
        return triplet(outputs, batch["target"], self.margin, self.mining)

    def words(self, batch: Batch) -> dict[str, list[str]]:
        return {"crop of image": [str(k) for k in np.asarray(batch["target"])]}
