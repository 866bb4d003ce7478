"""Cluster transfer (Noroozi, Vinjimoor, Favaro and Pirsiavash, "Boosting Self-Supervised Learning
via Knowledge Transfer", CVPR 2018): in which cluster of another network's features is a picture?"""

import dataclasses
import functools
import os
import zlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.squares import even_squares, random_square
from ssl_jax.method import Batch, Example, Method
from ssl_jax.models.heads import Classifier
from ssl_jax.objectives.classification import classification
from ssl_jax.ops.augment import random_crop, random_flip


class ClusterNet(nn.Module):
    """A trunk and a linear classifier of its last layer."""

    vision: nn.Module
    classes: int

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        layers = self.vision(batch["vision"], train)
        return Classifier(self.classes, name="head")(layers[list(layers)[-1]], train)


@dataclasses.dataclass(frozen=True)
class ClusterTransfer(Method):
    """Learns the clusters of a teacher's features as classes, from nothing, in a smaller network.

    The teacher, any trained run, has solved a harder task with a network made for it; its clusters
    hand over what it knows of likeness and nothing of its layers. Once, before training,

        python -m ssl_jax.cluster --config=THIS_CONFIG --workdir=RUN_OF_THE_TEACHER

    writes the clusters of all training records to the file `clusters`.

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

    @property
    def net(self) -> nn.Module:
        return ClusterNet(self.vision, self.classes)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        target = np.int32(self.target(record))
        return {"vision": random_square(record, self.stored, rng), "target": target}

    def target(self, record: Record) -> int:
        """The record's class. MediaError if it has none."""
        if not self.clusters:
            if not 0 <= record.label < self.classes:
                raise MediaError(f"{record.name}: its label is not one of {self.classes} classes")
            return record.label
        labels, names = read_clusters(self.clusters)
        if record.index >= len(labels) or names[record.index] != fingerprint(record.name):
            raise MediaError(
                f"{record.name}: {self.clusters} was made for other records; cluster these anew"
            )
        if labels[record.index] >= self.classes:
            raise MediaError(
                f"{self.clusters}: has more than classes={self.classes} clusters; set classes"
            )
        return int(labels[record.index])

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        key_crop, key_flip = jax.random.split(key)
        images = random_flip(key_flip, random_crop(key_crop, batch["vision"], self.size))
        return {"vision": images, "target": batch["target"]}

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        return (raw.astype(jnp.float32) / 255.0 - jnp.array(self.mean)) / jnp.array(self.std)

    def objective(self, outputs: jax.Array, batch: Batch):
        return classification(outputs, batch["target"])

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        return even_squares(record, self.size, count)


def write_clusters(path: str, labels: np.ndarray, names: list[str]) -> None:
    """Keeps each record's cluster and a fingerprint of its name."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    prints = np.array([fingerprint(name) for name in names], np.uint32)
    with open(path, "wb") as file:
        np.savez(file, labels=labels.astype(np.int32), names=prints)


@functools.lru_cache(maxsize=4)
def read_clusters(path: str) -> tuple[np.ndarray, np.ndarray]:
    """(clusters (n), fingerprints (n)) of the records. ValueError if the file cannot be read."""
    try:
        with np.load(path) as arrays:
            return arrays["labels"], arrays["names"]
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: no file of clusters ({error}); make it with python -m ssl_jax.cluster"
        ) from error


def fingerprint(name: str) -> int:
    """32 bits of a record's name, so that clusters are not given to other records."""
    return zlib.crc32(name.encode())
