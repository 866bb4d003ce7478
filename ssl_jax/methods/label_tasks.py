"""What a network is fine-tuned to answer: one label, several, or the places of joints.

Each task says how many numbers the head gives, reads its target from a record, and has a loss.
"""

import dataclasses

import jax
import numpy as np

from ssl_jax.data.annotations import joints_of, labels_of
from ssl_jax.data.record import MediaError, Record
from ssl_jax.knobs import at_least, one_of
from ssl_jax.objectives.classification import classification, several_classes
from ssl_jax.objectives.pose import joint_squares


@dataclasses.dataclass(frozen=True)
class OneLabel:
    """One of `classes` classes, the record's label: softmax cross-entropy."""

    classes: int

    def __post_init__(self):
        at_least(self, 1, "classes")

    @property
    def outputs(self) -> int:
        return self.classes

    def target(self, record: Record, frame: int, size: tuple[int, int]) -> np.ndarray:
        """Of a record, one of whose frames, with `size` = (height, width), is seen."""
        del frame, size
        if not 0 <= record.label < self.classes:
            raise MediaError(
                f"{record.name}: label {record.label} is none of the {self.classes} classes"
            )
        return np.asarray(record.label, np.int32)

    def loss(self, outputs: jax.Array, target: jax.Array):
        return classification(outputs, target)

    def words(self, target: np.ndarray | np.integer) -> str:
        """What a target means, for `ssl_jax.show`."""
        return f"label {target}"


@dataclasses.dataclass(frozen=True)
class SeveralLabels:
    """Each of `classes` classes is shown or not: a sigmoid cross-entropy for each.

    Labels are those of `data.annotations.labels_of`.

    Attributes:
      difficult: what a class is that is shown only badly: 'negative', as in the published support
        vector machines, or 'left_out', which says nothing about it.
    """

    classes: int
    difficult: str = "negative"

    def __post_init__(self):
        one_of(self, "difficult", ("negative", "left_out"))
        at_least(self, 1, "classes")

    @property
    def outputs(self) -> int:
        return self.classes

    def target(self, record: Record, frame: int, size: tuple[int, int]) -> np.ndarray:
        del frame, size
        shown, difficult = labels_of(record)
        for label in (*shown, *difficult):
            if not 0 <= label < self.classes:
                raise MediaError(
                    f"{record.name}: label {label} is none of the {self.classes} classes"
                )
        target = np.full(self.classes, -1, np.int32)
        target[shown] = 1
        target[difficult] = -1 if self.difficult == "negative" else 0
        return target

    def loss(self, outputs: jax.Array, target: jax.Array):
        return several_classes(outputs, target)

    def words(self, target: np.ndarray) -> str:
        shown, left_out = (" ".join(map(str, np.flatnonzero(target == x))) for x in (1, 0))
        return f"labels {shown or 'none'}" + (f"\nleft out {left_out}" if left_out else "")


@dataclasses.dataclass(frozen=True)
class Joints:
    """Places of `joints` joints as shares of the picture's sides (DeepPose, Toshev & Szegedy 2014).

    Joints are those of `data.annotations.joints_of`; the squared distance is the loss, and one that
    is not annotated does not count.
    """

    joints: int

    def __post_init__(self):
        at_least(self, 1, "joints")

    @property
    def outputs(self) -> int:
        return 2 * self.joints

    def target(self, record: Record, frame: int, size: tuple[int, int]) -> np.ndarray:
        joints = joints_of(record)[frame]
        if len(joints) != self.joints:
            raise MediaError(f"{record.name}: has {len(joints)} joints, not {self.joints}")
        height, width = size
        return (joints / (width, height)).astype(np.float32)

    def loss(self, outputs: jax.Array, target: jax.Array):
        return joint_squares(outputs.reshape(target.shape), target)

    def words(self, target: np.ndarray) -> str:
        known = np.isfinite(target).all(-1)
        return "\n".join(
            f"joint {k}: {x:.0%} right, {y:.0%} down" if there else f"joint {k}: unknown"
            for k, ((x, y), there) in enumerate(zip(target, known, strict=True))
        )
