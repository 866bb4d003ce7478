"""The identity of a video: whom a batch compares with whom."""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Int

from ssl_jax.cues.cue import Arrays
from ssl_jax.data.annotations import group_of
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.method import Method


@dataclasses.dataclass(frozen=True)
class VideoIdentity:
    """Videos differ in appearance and sound, which identifies rows of the same one.

    As is: batches of random records. Removed: the rows of a batch are all of one record, at times
    of their own. Control: they are of records of one class, or of one group where records have no
    classes; of any where they have neither. A class with few records has them several times.
    """

    name: ClassVar[str] = "identity"
    level: ClassVar[str] = "order"
    sense: ClassVar[str] = "vision"

    def applies(self, method: Method, record: Record, batch: Arrays) -> bool:
        return record.num_frames > 1 or (record.audio is not None and record.num_frames == 0)

    def rows(
        self, source: Source, batch_size: int, rng: np.random.Generator
    ) -> dict[str, Int[np.ndarray, "n"]]:
        batches = max(1, len(source) // batch_size)
        order, kinds = [], []
        for number in rng.permutation(len(source)).tolist():
            try:
                record = source[number]
            except MediaError:  # it is reported where it is read
                continue
            order.append(number)
            kinds.append(record.label if record.label >= 0 else -1 - group_of(record))
        order, kinds = np.array(order), np.array(kinds)
        count = batches * batch_size
        as_is = np.resize(order, count)
        control = []
        for first in rng.choice(len(order), batches, replace=len(order) < batches):
            alike = order[kinds == kinds[first]]
            control.append(np.resize(rng.permutation(alike), batch_size))
        one_each = np.repeat(np.resize(order, batches), batch_size)
        return {"as_is": as_is, "removed": one_each, "control": np.concatenate(control)}
