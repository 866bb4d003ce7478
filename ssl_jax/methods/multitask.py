"""Multi-task self-supervision (Doersch and Zisserman, "Multi-task Self-Supervised Visual Learning",
ICCV 2017): several pretext tasks train one trunk."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Record, Source
from ssl_jax.knobs import given
from ssl_jax.method import Batch, Example, Method, Metrics, Params, Refreshed, State
from ssl_jax.models.lasso import own_part, shared_part, whole


@dataclasses.dataclass(frozen=True)
class Multitask(Method):
    """The weighted sum of several methods' losses, their trunks of one name being the same weights.

    Every step takes a batch of every task. `params['vision']` is the shared trunk and
    `params['rotation']`, say, what belongs to that task alone; entries of the batch are called
    'rotation/vision' and so on.

    Lasso: if the tasks' trunks are `ssl_jax.models.lasso.Lasso`, what they hold is shared and each
    task's choice of units is its own; features are then those of the shared trunk and, after them,
    `rotation_units`, say, the sum that each task reads. `Optimizer.l1` makes the choice sparse.

    Harmonised inputs: wrap a task in `ssl_jax.methods.lightness.Lightness`.

    Differs from the paper: every step trains all tasks on one batch, where it has machines that
    each train one task.

    Batch: the tasks' batches, each entry under 'task/entry'.

    Attributes:
      tasks: task name -> method. All have the same trunk. Features are read as the first prepares
        its inputs.
      shared: names of the trunks that are shared.
      weights: task name -> weight of its loss; 1 for those not named.

    Raises ConfigError if the tasks' trunks differ, a name is no task's, or a task has a loss of
    its own.
    """

    tasks: Mapping[str, Method]
    shared: tuple[str, ...] = ("vision",)
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        given(self, "tasks")
        for name in self.shared:
            for task, method in self.tasks.items():
                if name not in method.trunks:
                    known = ", ".join(method.trunks)
                    raise ConfigError(f"multitask: {task} has no trunk '{name}' to share; {known}")
            first, *others = (getattr(task.net, name) for task in self.tasks.values())
            if any(trunk != first for trunk in others):
                raise ConfigError(f"multitask: the tasks' trunks '{name}' are not the same")
        unknown = set(self.weights) - set(self.tasks)
        if unknown:
            raise ConfigError(f"multitask: weights for {sorted(unknown)}, which are no tasks")
        for name, task in self.tasks.items():
            if task.has_own_loss:
                raise ConfigError(f"multitask: {name} has a loss of its own; it must train alone")

    @property
    def first(self) -> Method:
        """The first task, whose net has the shared trunks."""
        return next(iter(self.tasks.values()))

    @property
    def net(self) -> nn.Module:
        return self.first.net

    @property
    def trunks(self) -> tuple[str, ...]:
        return self.shared

    @property
    def teachers(self) -> tuple[str, ...]:
        return tuple(name for name in self.shared if name in self.first.teachers)

    @property
    def rows_meet(self) -> bool:
        return any(task.rows_meet for task in self.tasks.values())

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return {name: self.first.streams[name] for name in self.shared}

    def map_trunks(self, change: Callable[[nn.Module], nn.Module]) -> "Multitask":
        tasks = {name: task.map_trunks(change) for name, task in self.tasks.items()}
        return dataclasses.replace(self, tasks=tasks)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return self._joined(lambda name, task, i: task.views(record, rng))

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        return self._joined(
            lambda name, task, i: task.augment(
                _part(batch, name), self.of_task(state, name), jax.random.fold_in(key, i)
            )
        )

    def inputs(self, batch: Batch) -> Batch:
        if set(batch) <= {entry for entries in self.streams.values() for entry in entries}:
            return self.first.inputs(batch)  # what features are read from
        return self._joined(lambda name, task, i: task.inputs(_part(batch, name)))

    def _joined(self, make: Callable) -> dict:
        return {
            f"{name}/{entry}": value
            for i, (name, task) in enumerate(self.tasks.items())
            for entry, value in make(name, task, i).items()
        }

    def words(self, batch: Batch) -> Mapping[str, Sequence[str]]:
        return self._joined(lambda name, task, i: task.words(_part(batch, name)))

    def init(self, key: jax.Array, batch: Batch, records: int) -> dict:
        variables: dict = {}
        for i, (name, task) in reversed([*enumerate(self.tasks.items())]):  # the first one's trunk
            own = task.init(jax.random.fold_in(key, i), _part(batch, name), records)
            variables = self._with_task(variables, own, name)
        return variables

    def outputs(
        self, params: Params, state: State, batch: Batch, key: jax.Array, train: bool = True
    ) -> tuple[dict[str, Any], State]:
        found = {}
        for i, (name, task) in enumerate(self.tasks.items()):
            own = self.of_task({"params": params, **state}, name)
            weights = own.pop("params")
            key_task = jax.random.fold_in(key, i)
            found[name], new = task.outputs(weights, own, _part(batch, name), key_task, train)
            # The next task goes on from this one's statistics of the shared trunk.
            state = self._with_task(state, new, name)
        return found, {name: tree for name, tree in state.items() if name != "run"}

    def objective(self, outputs: dict[str, Any], batch: Batch) -> tuple[jax.Array, Metrics]:
        total, metrics = 0.0, {}
        weights = {**dict.fromkeys(self.tasks, 1.0), **self.weights}
        for name, task in self.tasks.items():
            value, found = task.objective(outputs[name], _part(batch, name))
            total = total + weights[name] * value
            metrics |= {f"{name}/loss": value, **{f"{name}/{k}": v for k, v in found.items()}}
        return total, metrics

    def after(self, params: Params, state: State, batch: Batch, outputs: dict[str, Any]) -> State:
        for name, task in self.tasks.items():
            own = self.of_task({"params": params, **state}, name)
            weights = own.pop("params")
            new = task.after(weights, own, _part(batch, name), outputs[name])
            state = self._with_task(state, new, name)
        return state

    def worry(self, metrics: Mapping[str, float]) -> str:
        said = {name: task.worry(_part(metrics, name)) for name, task in self.tasks.items()}
        return "; ".join(f"{name}: {line}" for name, line in said.items() if line)

    def refresh(self, frozen, source: Source, key: jax.Array) -> Refreshed:
        state, params = {}, {}
        for i, (name, task) in enumerate(self.tasks.items()):
            own = frozen.of_method(task, self.of_task(frozen.variables, name))
            new = task.refresh(own, source, jax.random.fold_in(key, i))
            state = self._with_task(state, new.state, name)
            params |= self._with_task({}, {"params": new.params}, name)["params"]
        return Refreshed(state, params)

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return self.first.times(record, stream, count)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        return self.first.clips(record, stream, times)

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        layers, sums = {}, {}
        for name in self.tasks:
            layers = dict(self.first.encode(self.of_task(variables, name), stream, inputs))
            if "combined" not in layers:
                return layers
            sums[f"{name}_units"] = layers.pop("combined")
        return {**layers, **sums}

    def of_task(self, variables: dict, name: str) -> dict:
        """The collections as the task alone would have them; 'run' is everybody's."""
        return {c: v if c == "run" else self._of_task(v, name) for c, v in variables.items()}

    def _of_task(self, tree: dict, name: str) -> dict:
        own = dict(tree[name]) if name in tree else {}
        for trunk in self.shared:
            rest = own.pop(trunk) if trunk in own else {}
            if trunk in tree or rest:
                inner = tree[trunk] if trunk in tree else {}
                own[trunk] = whole(getattr(self.net, trunk), inner, rest)
        return own

    def _with_task(self, variables: dict, own: dict, name: str) -> dict:
        """The collections with those of a task put in: the way back from `of_task`."""
        changed = {}
        for collection, tree in own.items():
            trunks = {k: getattr(self.net, k) for k in tree if k in self.shared}
            shared = {k: shared_part(trunk, tree[k]) for k, trunk in trunks.items()}
            alone = {k: own_part(trunk, tree[k]) for k, trunk in trunks.items()}
            alone = {k: v for k, v in alone.items() if v}
            alone |= {k: v for k, v in tree.items() if k not in trunks}
            there = variables[collection] if collection in variables else {}
            changed[collection] = {
                **there,
                **{k: v for k, v in shared.items() if v},
                **({name: alone} if alone else {}),
            }
        return {**variables, **changed}


def _part(batch: dict, name: str) -> dict:
    prefix = f"{name}/"
    return {k.removeprefix(prefix): v for k, v in batch.items() if k.startswith(prefix)}
