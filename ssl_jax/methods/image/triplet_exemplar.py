"""Exemplars by triplets (Doersch and Zisserman, "Multi-task Self-Supervised Visual Learning", ICCV
2017; Kolesnikov, Zhai and Beyer 2019): crops of one picture are nearer than those of another."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.record import Record
from ssl_jax.data.squares import even_squares, random_square
from ssl_jax.method import Batch, Example, Method
from ssl_jax.models.heads import Classifier, pooled
from ssl_jax.objectives.triplet import triplet
from ssl_jax.ops.augment import colour_jitter, random_flip, random_grey, random_resized_crop


class TripletExemplarNet(nn.Module):
    """Trunk, its last layer averaged over space, and a linear embedding."""

    vision: nn.Module
    embedding: int

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        layers = self.vision(batch["vision"], train)
        return Classifier(self.embedding, name="head")(pooled(layers), train)


@dataclasses.dataclass(frozen=True)
class TripletExemplar(Method):
    """Every picture is a class without weights of its own: its crops attract each other.

    Negatives are the crops of all other pictures of the global batch, so the memory of the head
    does not grow with the data set as that of `Exemplar` does. Shortcut: crops of one picture share
    its colours, hence the jitter of each crop; grey is drawn for the whole picture, so that it does
    not tell crops of one picture apart.

    Against the released code of 2019: it normalises embeddings along the batch instead of each to
    unit length, and its distance is the squared Euclidean one, twice the cosine distance here.

    Attributes:
      vision: the trunk.
      size: side of the network's input in pixels.
      stored: side of the square that the host hands over, from which crops are cut.
      crops: of each picture, at least 2: 2 in the first paper, 8 in the second.
      embedding: its width.
      margin: see `ssl_jax.objectives.triplet`.
      mining: how each pair's negative is chosen: 'semihard' or 'hard'.
      area: smallest and largest share of the square that a crop covers.
      strength: of the colour jitter.
      grey: probability that a picture is grey.
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
        if self.crops < 2:
            raise ValueError(f"crops={self.crops}: a pair needs 2 crops of a picture or more")

    @property
    def net(self) -> nn.Module:
        return TripletExemplarNet(self.vision, self.embedding)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        grey, crop, flip, jitter = jax.random.split(key, 4)
        images = batch["vision"].astype(jnp.float32) / 255.0
        count = len(images)
        if self.grey:
            images = random_grey(grey, images, self.grey)
        # A picture's crops stay neighbours, hence on the device that holds the row.
        images = jnp.repeat(images, self.crops, axis=0)
        images = random_flip(flip, random_resized_crop(crop, images, self.size, self.area))
        if self.strength:
            images = colour_jitter(jitter, images, self.strength)
        target = jnp.repeat(jnp.arange(count), self.crops)
        return {"vision": images.clip(0.0, 1.0), "target": target}

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        """Every picture by itself at mean 0 and deviation 1."""
        x = raw.astype(jnp.float32) / 255.0 if raw.dtype == jnp.uint8 else raw
        x = x - x.mean((1, 2, 3), keepdims=True)
        return x / (x.std((1, 2, 3), keepdims=True) + 1e-3)

    def objective(self, outputs: jax.Array, batch: Batch):
        return triplet(outputs, batch["target"], self.margin, self.mining)

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        return even_squares(record, self.size, count)
