"""Control: any method with its targets or pairs shuffled, so that nothing true can be learnt."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.record import Record
from ssl_jax.method import Batch, Example, Method
from ssl_jax.methods.multitask import Multitask


@dataclasses.dataclass(frozen=True)
class Control(Method):
    """Permutes the named arrays of the augmented batch among its rows; all else is the method's.

    A 'target' never stays where it was: were it free to, one row in a batch would keep its true
    label, and from so little a network learns. Other arrays are partners of rows: any may become
    any row's, its own too; were that ruled out, the true partner would always be a wrong one, and a
    network would learn which it is from that.

    A method whose trained control still beats chance reads its targets from somewhere that they
    should not be (a leak). Raises ValueError for a name that the augmented batch does not have, and
    for a method with a loss of its own, whose targets may be made elsewhere.
    """

    method: Method
    names: tuple[str, ...]

    def __post_init__(self):
        if type(self.method).loss is not Method.loss:
            name = type(self.method).__name__
            raise ValueError(f"control: {name} has a loss of its own, which cannot be shuffled")

    @property
    def net(self):
        return self.method.net

    @property
    def streams(self) -> tuple[str, ...]:
        return self.method.streams

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
            if name == "target":  # each row gets what the next has, in a random round of all
                rows = jnp.zeros_like(rows).at[rows].set(jnp.roll(rows, 1))
            batch = {**batch, name: batch[name][rows]}
        return batch

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        return self.method.prepare(stream, raw)

    def objective(self, outputs, batch: Batch):
        return self.method.objective(outputs, batch)

    def refresh(self, params, state, sweep, key):
        return self.method.refresh(params, state, sweep, key)

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        return self.method.clips(record, stream, count)

    def encode(self, variables: dict, stream: str, raw: jax.Array) -> dict[str, jax.Array]:
        return self.method.encode(variables, stream, raw)


def controlled(method: Method, names: tuple[str, ...]) -> Method:
    """The control of a method; of a multitask's tasks by names such as 'rotation/target'."""
    if not isinstance(method, Multitask):
        return Control(method, names)
    own = {task: [n for n in names if n.startswith(f"{task}/")] for task in method.tasks}
    lost = set(names) - {n for found in own.values() for n in found}
    if lost:
        raise ValueError(
            f"control: {sorted(lost)} belong to none of the tasks {list(method.tasks)}"
        )
    tasks = {
        name: Control(task, tuple(n.removeprefix(f"{name}/") for n in own[name]))
        for name, task in method.tasks.items()
    }
    return dataclasses.replace(method, tasks=tasks)
