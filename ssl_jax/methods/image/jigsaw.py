"""Jigsaw (Noroozi and Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw
Puzzles", ECCV 2016): by which of some known permutations were a picture's nine tiles shuffled?"""

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
from ssl_jax.objectives.permutations import greedy_permutations, read_permutations
from ssl_jax.ops.augment import random_crop, random_grey
from ssl_jax.ops.patches import random_tiles, standardise


@dataclasses.dataclass(frozen=True)
class Jigsaw(Method):
    """Predicts which permutation of a fixed set was applied to the tiles of a picture.

    Slot s shows tile permutation[s]. Shortcuts, each with what blocks it: edges that go on from
    tile to tile, by tiles cut at random places of their cells; tiles alike in brightness and
    contrast, by standardising each; chromatic aberration, by moving channels against one another
    and by grey pictures; a tile's place learnt by heart, by many permutations of every picture
    over time, far from one another.

    Against the paper: its rule for choosing permutations leaves pairs that differ in two places;
    here the smallest distance is made largest ('min'). Against the released code: there half of the
    pictures are grey, others lose green against magenta, tiles only lose a fixed mean, and the
    shift of channels leaves the cell by up to two pixels.

    Attributes:
      vision: the trunk, without fully connected layers so that it takes whole pictures too; in the
        paper AlexNet up to pool5, its first stride 2.
      stored: side of the square that the host hands over.
      size: side of the random square cut from it, which is divided into cells. 255 of 255 in the
        later version of the paper and the released code, 225 of 256 in the first.
      grid: cells on a side.
      tile: side of a tile in pixels.
      channel_shift: pixels by which a tile's channels are moved at most.
      grey: probability of a grey picture.
      permutations: size of the set.
      rule: how it is chosen, 'min' or 'mean'; see `greedy_permutations`.
      file: a published set (.npy, .txt, .bin) instead, of which all are taken; '' for none.
      puzzles: permutations of each picture in one step. The trunk sees the tiles once for all of
        them, so that more cost little (Kolesnikov, Zhai & Beyer 2019; theirs are 8).
      rms: root mean square of a tile as the network sees it.
      embedding, hidden, dropout, caffe_init: of the layers after the trunk; see `Siamese`.
    """

    vision: nn.Module
    stored: int = 255
    size: int = 255
    grid: int = 3
    tile: int = 64
    channel_shift: int = 2
    grey: float = 0.3
    permutations: int = 1000
    rule: str = "min"
    file: str = ""
    puzzles: int = 1
    rms: float = 1.0
    embedding: int = 1024
    hidden: tuple[int, ...] = (4096,)
    dropout: float = 0.5
    caffe_init: bool = False

    @property
    def table(self) -> np.ndarray:
        """The set of permutations (k n). ValueError if it is not of as many tiles as there are."""
        count = self.grid * self.grid
        if not self.file:
            return greedy_permutations(count, self.permutations, self.rule)
        table = read_permutations(self.file)
        if table.shape[1] != count:
            raise ValueError(
                f"{self.file}: permutations of {table.shape[1]}, but grid={self.grid} makes {count}"
            )
        return table

    @property
    def net(self) -> nn.Module:
        return Siamese(
            vision=self.vision,
            classes=len(self.table),
            embedding=self.embedding,
            hidden=self.hidden,
            dropout=self.dropout,
            caffe_init=self.caffe_init,
        )

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        crop, grey, cut, order = jax.random.split(key, 4)
        images = random_crop(crop, batch["vision"].astype(jnp.float32), self.size)
        images = random_grey(grey, images, self.grey)
        tiles = random_tiles(cut, images, self.grid, self.tile, self.channel_shift)
        table = jnp.array(self.table, jnp.int32)
        target = jax.random.randint(order, (len(tiles), self.puzzles), 0, len(table))
        orders = table[target]  # (b, puzzles, n)
        shown = jax.vmap(lambda own, first: own[first])(tiles, orders[:, 0])
        # The first puzzle is laid out; the others say in which of its slots their tiles are.
        slots = jnp.argsort(orders[:, :1], axis=-1)
        places = jnp.take_along_axis(slots, orders, axis=-1)
        return {"vision": shown, "places": places, "target": target}

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        return standardise(raw, self.rms)

    def objective(self, outputs: jax.Array, batch: Batch):
        return classification(outputs, batch["target"])

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        return even_squares(record, self.size, count)
