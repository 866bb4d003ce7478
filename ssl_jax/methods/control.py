"""Control: any method with its targets or pairs shuffled, so that nothing true can be learnt."""

import dataclasses

import jax
import numpy as np

from ssl_jax.data.record import Record
from ssl_jax.method import Batch, Example, Method


@dataclasses.dataclass(frozen=True)
class Control(Method):
    """Permutes the named arrays of the augmented batch among its rows; all else is the method's.

    A method whose trained control still beats chance reads its targets from somewhere that they
    should not be (a leak). Raises ValueError for a name that the augmented batch does not have.
    """

    method: Method
    names: tuple[str, ...]

    @property
    def net(self):
        return self.method.net

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return self.method.views(record, rng)

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        key_augment, key_rows = jax.random.split(key)
        batch = self.method.augment(batch, key_augment)
        for name in self.names:
            if name not in batch:
                known = ", ".join(batch)
                raise ValueError(f"control: no '{name}' in the augmented batch; it has {known}")
            key_rows, key_name = jax.random.split(key_rows)
            rows = jax.random.permutation(key_name, len(batch[name]))
            batch = {**batch, name: batch[name][rows]}
        return batch

    def prepare(self, modality: str, raw: jax.Array) -> jax.Array:
        return self.method.prepare(modality, raw)

    def objective(self, outputs, batch: Batch):
        return self.method.objective(outputs, batch)

    def clips(self, record: Record, modality: str, count: int) -> np.ndarray:
        return self.method.clips(record, modality, count)

    def encode(self, variables: dict, modality: str, raw: jax.Array) -> dict[str, jax.Array]:
        return self.method.encode(variables, modality, raw)
