"""Jigsaw++ (Noroozi, Vinjimoor, Favaro and Pirsiavash, "Boosting Self-Supervised Learning via
Knowledge Transfer", CVPR 2018): a jigsaw puzzle in which some tiles are another picture's."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.record import Record
from ssl_jax.data.squares import even_squares, random_square
from ssl_jax.method import Batch, Example, Method
from ssl_jax.models.siamese import Siamese
from ssl_jax.objectives.classification import classification
from ssl_jax.objectives.permutations import greedy_permutations, permutation_distances
from ssl_jax.ops.augment import random_crop, random_grey
from ssl_jax.ops.patches import project_colours, random_tiles, standardise


@dataclasses.dataclass(frozen=True)
class JigsawPlus(Method):
    """Predicts the permutation of nine tiles, 0, 1 or 2 of which come from another picture.

    To solve it a network has to notice which tiles do not belong. Permutations differ in at least
    three places, so that with two tiles hidden one is left to tell any two apart. Shortcuts are
    blocked as in `Jigsaw`; half of the pictures are grey, half of the others lose green against
    magenta. Against the released code: the other picture is the next in the batch, the set of
    permutations is chosen by its smallest distance, and tiles do not leave their cells.

    The paper trains a large network so, clusters its features, and has a small one learn the
    clusters: see `ClusterTransfer`.

    Attributes:
      vision: the trunk, without fully connected layers so that it takes whole pictures too; in the
        paper AlexNet or VGG-16 up to pool5.
      stored: side of the square that the host hands over.
      size: side of the random square cut from it, which is divided into 3x3 cells.
      tile: side of a tile in pixels.
      channel_shift: pixels by which a tile's channels are moved at most.
      grey: probability of a grey picture.
      project: probability of removing green against magenta.
      permutations: size of the set.
      foreign: so many tiles at most are another picture's, every number equally likely.
      rms: root mean square of a tile as the network sees it.
      embedding, hidden, dropout, caffe_init: of the layers after the trunk; see `Siamese`.
    """

    vision: nn.Module
    stored: int = 256
    size: int = 255
    tile: int = 64
    channel_shift: int = 2
    grey: float = 0.5
    project: float = 0.5
    permutations: int = 701
    foreign: int = 2
    rms: float = 50.0
    embedding: int = 1024
    hidden: tuple[int, ...] = (4096,)
    dropout: float = 0.5
    caffe_init: bool = False

    @property
    def table(self) -> np.ndarray:
        """The set of permutations (k 9). ValueError if hidden tiles can make two of them alike."""
        table = greedy_permutations(9, self.permutations)
        distances = permutation_distances(table)
        closest = int(distances[distances > 0].min(initial=9))
        if closest <= self.foreign:
            raise ValueError(
                f"foreign={self.foreign} tiles can hide all by which two of "
                f"{self.permutations} permutations differ, {closest} places; lower one of both"
            )
        return table

    @property
    def net(self) -> nn.Module:
        return Siamese(
            vision=self.vision,
            classes=self.permutations,
            embedding=self.embedding,
            hidden=self.hidden,
            dropout=self.dropout,
            caffe_init=self.caffe_init,
        )

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        crop, grey, project, cut, order, swap = jax.random.split(key, 6)
        images = random_crop(crop, batch["vision"].astype(jnp.float32), self.size)
        images = random_grey(grey, images, self.grey)
        chosen = jax.random.bernoulli(project, self.project, (len(images), 1, 1, 1))
        images = jnp.where(chosen, project_colours(images), images)
        tiles = random_tiles(cut, images, 3, self.tile, self.channel_shift)
        table = jnp.array(self.table, jnp.int32)
        target = jax.random.randint(order, (len(tiles), 1), 0, len(table))
        shown = jax.vmap(lambda own, first: own[first])(tiles, table[target[:, 0]])
        shown = replace_tiles(swap, shown, jnp.roll(tiles, 1, axis=0), self.foreign)
        places = jnp.broadcast_to(jnp.arange(9), (len(tiles), 1, 9))
        return {"vision": shown, "places": places, "target": target}

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        return standardise(raw, self.rms)

    def objective(self, outputs: jax.Array, batch: Batch):
        return classification(outputs, batch["target"])

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        return even_squares(record, self.size, count)


def replace_tiles(key: jax.Array, own: jax.Array, other: jax.Array, most: int) -> jax.Array:
    """Puts 0 to `most` tiles of `other` (b n h w c), all different ones, into random slots of own.

    For every example anew: how many, into which slots, and which tiles.
    """
    key_count, key_slots, key_tiles = jax.random.split(key, 3)
    count = jax.random.randint(key_count, (len(own), 1), 0, most + 1)
    slots, tiles = (
        jnp.argsort(jax.random.uniform(k, own.shape[:2]), axis=1) for k in (key_slots, key_tiles)
    )
    replaced = (slots < count).reshape(*slots.shape, *(1,) * (own.ndim - 2))
    return jnp.where(replaced, jax.vmap(lambda row, order: row[order])(other, tiles), own)
