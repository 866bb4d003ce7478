"""Multi-task self-supervision (Doersch and Zisserman, "Multi-task Self-Supervised Visual Learning",
ICCV 2017): several pretext tasks train one trunk."""

import dataclasses
from collections.abc import Mapping

import flax.linen as nn
import jax
import numpy as np

from ssl_jax.data.record import Record
from ssl_jax.method import Batch, Example, Method, Metrics, Params, State


@dataclasses.dataclass(frozen=True)
class Multitask(Method):
    """The weighted sum of several methods' losses, their trunks of one name being the same weights.

    Every step takes a batch of every task. `params['vision']` is the shared trunk and
    `params['rotation']`, say, what belongs to that task alone. Each task prepares its inputs as it
    would alone; where tasks feed different kinds of input the trunk can tell them apart, which the
    paper found to matter little. The paper's per-task choice of layers (lasso) is not here.

    Attributes:
      tasks: task name -> method. All have the same trunk.
      shared: names of the trunks that are shared.
      weights: task name -> weight of its loss; 1 for those not named.

    Raises ValueError if the tasks' trunks differ, or a weight names no task.
    """

    tasks: Mapping[str, Method]
    shared: tuple[str, ...] = ("vision",)
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        first, *others = self.tasks.values()
        for name in self.shared:
            trunks = [getattr(task.net, name) for task in (first, *others)]
            if any(trunk != trunks[0] for trunk in trunks):
                raise ValueError(f"multitask: the tasks' trunks '{name}' are not the same")
        unknown = set(self.weights) - set(self.tasks)
        if unknown:
            raise ValueError(f"multitask: weights for {sorted(unknown)}, which are no tasks")

    @property
    def net(self) -> nn.Module:
        """The first task's net, whose trunks are the shared ones."""
        return next(iter(self.tasks.values())).net

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.shared

    def with_dtype(self, dtype: str) -> "Multitask":
        tasks = {name: task.with_dtype(dtype) for name, task in self.tasks.items()}
        return dataclasses.replace(self, tasks=tasks)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {
            f"{name}/{key}": value
            for name, task in self.tasks.items()
            for key, value in task.views(record, rng).items()
        }

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        """All tasks' puzzles, for looking at; the loss lets every task augment its own."""
        return {
            f"{name}/{entry}": value
            for i, (name, task) in enumerate(self.tasks.items())
            for entry, value in task.augment(_part(batch, name), jax.random.fold_in(key, i)).items()
        }

    def init(self, key: jax.Array, batch: Batch) -> dict:
        variables: dict = {}
        for i, (name, task) in enumerate(self.tasks.items()):
            own = task.init(jax.random.fold_in(key, i), _part(batch, name))
            for collection, tree in own.items():
                merged = variables.setdefault(collection, {})
                trunks = {k: v for k, v in tree.items() if k in self.shared}
                merged[name] = {k: v for k, v in tree.items() if k not in self.shared}
                variables[collection] = {**trunks, **merged}  # the first task's trunk stays
        return variables

    def loss(
        self, params: Params, state: State, batch: Batch, key: jax.Array, train: bool = True
    ) -> tuple[jax.Array, tuple[State, Metrics]]:
        total, metrics = 0.0, {}
        for i, (name, task) in enumerate(self.tasks.items()):
            value, (new, own) = task.loss(
                self._of_task(params, name),
                {collection: self._of_task(tree, name) for collection, tree in state.items()},
                _part(batch, name),
                jax.random.fold_in(key, i),
                train,
            )
            total = total + self.weights.get(name, 1.0) * value
            metrics |= {f"{name}/loss": value, **{f"{name}/{k}": v for k, v in own.items()}}
            # The next task goes on from this one's statistics of the shared trunk.
            state = {c: self._with_task(state[c], new[c], name) for c in state}
        return total, (state, metrics)

    def objective(self, outputs, batch: Batch):
        raise TypeError(
            "a multitask's loss is the sum of its tasks'; it has no objective of its own"
        )

    def clips(self, record: Record, modality: str, count: int) -> np.ndarray:
        return next(iter(self.tasks.values())).clips(record, modality, count)

    def prepare(self, modality: str, raw: jax.Array) -> jax.Array:
        return next(iter(self.tasks.values())).prepare(modality, raw)

    def _of_task(self, tree: dict, name: str) -> dict:
        return {**{k: tree[k] for k in self.shared if k in tree}, **tree.get(name, {})}

    def _with_task(self, tree: dict, own: dict, name: str) -> dict:
        trunks = {k: v for k, v in own.items() if k in self.shared}
        rest = {k: v for k, v in own.items() if k not in self.shared}
        return {**tree, **trunks, **({name: rest} if name in tree else {})}


def _part(batch: dict, name: str) -> dict:
    prefix = f"{name}/"
    return {k.removeprefix(prefix): v for k, v in batch.items() if k.startswith(prefix)}
