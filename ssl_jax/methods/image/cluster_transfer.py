"""Cluster transfer (Noroozi, Vinjimoor, Favaro and Pirsiavash, "Boosting Self-Supervised Learning
via Knowledge Transfer", CVPR 2018): in which cluster of another network's features is an image?"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.clusters_file import cluster_of
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.squares import random_square
from ssl_jax.knobs import above, at_least, no_larger
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.heads import TrunkClassifier
from ssl_jax.objectives.classification import classification
from ssl_jax.ops.augment import random_crop, random_flip


@dataclasses.dataclass(frozen=True)
class ClusterTransfer(Method):
    """Learns the clusters of a teacher's features as classes, from scratch, in a smaller network.

    The teacher, any trained run, has solved a harder task with a network made for it; its clusters
    hand over what it knows of likeness and nothing of its layers. Once, before training,

        python -m ssl_jax.cluster --config=THIS_CONFIG --workdir=RUN_OF_THE_TEACHER

    writes the clusters of all training records to the file `clusters`.

    Batch: views {"vision": uint8 (stored stored 3), "target": int32}; augment {"vision": uint8
    (b size size 3), "target": int32 (b)}.

    Attributes:
      vision: the new trunk; AlexNet in the paper.
      clusters: the file; '' takes the records' own labels instead, to see what true classes give.
      classes: number of clusters (or of labels).
      layer: the teacher's layer whose features are clustered.
      stored: side of the square that the host hands over.
      size: side of the random square cut from it.
      mean, std: of the channels, pixels in 0..1.
    """

    vision: nn.Module
    clusters: str
    classes: int = 2000
    layer: str = "pool5"
    stored: int = 256
    size: int = 227
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self):
        at_least(self, 1, "classes", "stored", "size")
        above(self, 0, "std")
        no_larger(self, "size", "stored")

    @property
    def net(self) -> nn.Module:
        return TrunkClassifier(self.vision, self.classes)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        target = np.int32(self.target(record))
        return {"vision": random_square(record, self.stored, rng), "target": target}

    def target(self, record: Record) -> int:
        """The record's class. MediaError if it has none, ConfigError if there is no such file."""
        found = cluster_of(self.clusters, record) if self.clusters else record.label
        if not 0 <= found < self.classes:
            what = f"cluster of {self.clusters}" if self.clusters else "label"
            raise MediaError(
                f"{record.name}: its {what}, {found}, is not one of classes={self.classes}"
            )
        return found

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_crop, key_flip = jax.random.split(key)
        images = random_flip(key_flip, random_crop(key_crop, batch["vision"], self.size))
        return {"vision": images, "target": batch["target"]}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return (x - jnp.array(self.mean)) / jnp.array(self.std)

    def objective(self, outputs: jax.Array, batch: Batch):
        return classification(outputs, batch["target"])
