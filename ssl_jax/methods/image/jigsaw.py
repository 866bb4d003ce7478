"""Jigsaw (Noroozi and Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw
Puzzles", ECCV 2016) and Jigsaw++ (Noroozi, Vinjimoor, Favaro and Pirsiavash, "Boosting
Self-Supervised Learning via Knowledge Transfer", CVPR 2018): by which of some known permutations
were an image's nine tiles shuffled?"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int8

from ssl_jax.config import ConfigError
from ssl_jax.data.permutations_file import read_permutations
from ssl_jax.data.record import Record
from ssl_jax.data.squares import random_square
from ssl_jax.knobs import above, at_least, no_larger, one_of, within
from ssl_jax.method import Batch, Example, Method, State, scaled
from ssl_jax.models.siamese import Siamese
from ssl_jax.objectives.classification import classification
from ssl_jax.objectives.permutations import (
    RULES,
    greedy_permutations,
    permutation_distances,
)
from ssl_jax.ops.augment import random_crop, random_grey
from ssl_jax.ops.patches import project_colours, random_tiles, replace_tiles, standardise


@dataclasses.dataclass(frozen=True)
class Jigsaw(Method):
    """Predicts which permutation of a fixed set was applied to the tiles of an image.

    Slot s shows tile permutation[s]. Shortcuts, each with what blocks it: edges that go on from
    tile to tile, by tiles cut at random places of their cells; tiles alike in brightness and
    contrast, by standardising each; chromatic aberration, by moving channels against one another
    and by grey images; a tile's place learnt by heart, by many permutations of every image over
    time, far from one another.

    Jigsaw++ replaces some tiles by another image's, so that a network has to notice which tiles do
    not belong: foreign=2, permutations=701, grey=0.5, project=0.5, rms=50 and stored=256. It then
    clusters the features of a large network trained so, for a small one to learn: see
    `ClusterTransfer`.

    Differs from the papers: theirs choose permutations by a rule that leaves pairs that differ in
    two places; here the smallest distance is made largest ('min'). Differs from the released code:
    there half of the images are grey, others lose green against magenta, tiles only lose a fixed
    mean, and the shift of channels leaves the cell by up to two pixels; foreign tiles come from any
    image, here from the next in the batch.

    Batch: views {"vision": uint8 (stored stored 3)}; augment {"vision": float 0..1 (b n tile tile
    3), n = grid * grid, "places": int32 (b puzzles n), "target": int32 (b puzzles)}.

    Attributes:
      vision: the trunk, without fully connected layers so that it takes whole images too; in the
        first paper AlexNet up to pool5, its first stride 2.
      stored: side of the square that the host hands over.
      size: side of the random square cut from it, which is divided into cells. 255 of 255 in the
        later version of the paper and the released code, 225 of 256 in the first.
      grid: cells on a side.
      tile: side of a tile in pixels.
      channel_shift: pixels by which a tile's channels are moved at most.
      grey: probability of a grey image.
      project: probability of removing green against magenta.
      permutations: size of the set.
      rule: how it is chosen, 'min' or 'mean'; see `greedy_permutations`.
      file: a published set (.npy, .txt, .bin) instead, of which all are taken; '' for none.
      foreign: so many tiles at most are another image's, every number equally likely.
      puzzles: permutations of each image in one step. The trunk sees the tiles once for all of
        them, so that more cost little (Kolesnikov, Zhai and Beyer 2019; theirs are 8).
      rms: root mean square of a tile as the network sees it.
      embedding, hidden, dropout, caffe_init: of the layers after the trunk; see `Siamese`.

    Raises ConfigError, when the set is asked for, if it does not fit the tiles.
    """

    vision: nn.Module
    stored: int = 255
    size: int = 255
    grid: int = 3
    tile: int = 64
    channel_shift: int = 2
    grey: float = 0.3
    project: float = 0.0
    permutations: int = 1000
    rule: str = "min"
    file: str = ""
    foreign: int = 0
    puzzles: int = 1
    rms: float = 1.0
    embedding: int = 1024
    hidden: tuple[int, ...] = (4096,)
    dropout: float = 0.5
    caffe_init: bool = False

    def __post_init__(self):
        at_least(self, 1, "stored", "size", "grid", "tile")
        at_least(self, 1, "permutations", "puzzles", "hidden")
        at_least(self, 0, "channel_shift", "foreign", "embedding")
        within(self, 0, 1, "grey", "project", "dropout")
        above(self, 0, "rms")
        one_of(self, "rule", RULES)
        no_larger(self, "size", "stored")

    @property
    def table(self) -> Int8[np.ndarray, "k n"]:
        """The set of permutations.

        Raises ConfigError if it is not of as many tiles as there are, or if foreign tiles can hide
        all by which two of it differ.
        """
        count = self.grid * self.grid
        if self.file:
            table = read_permutations(self.file)
        else:
            table = greedy_permutations(count, self.permutations, self.rule)
        if table.shape[1] != count:
            own = table.shape[1]
            raise ConfigError(f"jigsaw: {self.file} is of {own} tiles, grid={self.grid} of {count}")
        if self.foreign:
            distances = permutation_distances(table)
            closest = int(distances[distances > 0].min(initial=count))
            if closest <= self.foreign:
                raise ConfigError(
                    f"jigsaw: foreign={self.foreign} tiles can hide all by which two of "
                    f"{len(table)} permutations differ, {closest} places; lower one of both"
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

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        crop, grey, cut, order, project, swap = jax.random.split(key, 6)
        images = scaled(random_crop(crop, batch["vision"], self.size))
        images = random_grey(grey, images, self.grey)
        if self.project:
            chosen = jax.random.bernoulli(project, self.project, (len(images), 1, 1, 1))
            images = jnp.where(chosen, project_colours(images), images)
        tiles = random_tiles(cut, images, self.grid, self.tile, self.channel_shift)
        table = jnp.array(self.table, jnp.int32)
        target = jax.random.randint(order, (len(tiles), self.puzzles), 0, len(table))
        orders = table[target]  # (b, puzzles, n)
        shown = jax.vmap(lambda own, first: own[first])(tiles, orders[:, 0])
        if self.foreign:
            shown = replace_tiles(swap, shown, jnp.roll(tiles, 1, axis=0), self.foreign)
        # The first puzzle is laid out; the others say in which of its slots their tiles are.
        slots = jnp.argsort(orders[:, :1], axis=-1)
        places = jnp.take_along_axis(slots, orders, axis=-1)
        return {"vision": shown, "places": places, "target": target}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return standardise(x, self.rms)

    def objective(self, outputs: jax.Array, batch: Batch):
        return classification(outputs, batch["target"])

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """The true place of each tile as they are laid out, in lines of `grid`; of one puzzle."""
        orders = self.table[np.asarray(batch["target"])[:, 0]].reshape(-1, self.grid, self.grid)
        lines = [[" ".join(map(str, line)) for line in order] for order in orders]
        return {"tiles": ["\n".join(["", *order]) for order in lines]}
