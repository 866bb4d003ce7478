"""Multi-task self-supervision (Doersch and Zisserman, "Multi-task Self-Supervised Visual Learning",
ICCV 2017): several pretext tasks train one trunk."""

import dataclasses
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssl_jax.data.record import Record
from ssl_jax.method import Batch, Example, Method, Metrics, Params, State
from ssl_jax.models.lasso import Lasso, units_in_use
from ssl_jax.ops.colour import rgb_to_lab


@dataclasses.dataclass(frozen=True)
class Multitask(Method):
    """The weighted sum of several methods' losses, their trunks of one name being the same weights.

    Every step takes a batch of every task. `params['vision']` is the shared trunk and
    `params['rotation']`, say, what belongs to that task alone.

    Lasso: if the tasks' trunks are `ssl_jax.models.lasso.Lasso`, what they hold is shared and each
    task's choice of units is its own; features are then those of the shared trunk and, after them,
    `rotation_units`, say, the sum that each task reads. `Optimizer.l1` makes the choice sparse.

    Harmonised inputs: a trunk can tell tasks apart by what kind of input they feed, and so share
    less among them. Tasks named in `lightness` see the lightness of Lab alone, three times (so that
    the same trunk takes colours too), all in the same scale. The paper does so for relative
    position, in place of dropping colours, and for colorization; exemplars stay coloured.

    Against the paper: every step trains all tasks on one batch, where it has machines that each
    train one task.

    Attributes:
      tasks: task name -> method. All have the same trunk. Features are read as the first prepares
        its inputs.
      shared: names of the trunks that are shared.
      weights: task name -> weight of its loss; 1 for those not named.
      lightness: task name -> value of white in what its `augment` gives (255 for bytes).
      gradient_norms: tells how long the gradient of each task's weighted loss is at the shared
        trunks ('rotation/gradient_norm'), as a guide to the weights. Costs the memory of one more
        gradient.

    Raises ValueError if the tasks' trunks differ, a name is no task's, or a task with a loss of its
    own should see lightness.
    """

    tasks: Mapping[str, Method]
    shared: tuple[str, ...] = ("vision",)
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    lightness: Mapping[str, float] = dataclasses.field(default_factory=dict)
    gradient_norms: bool = False

    def __post_init__(self):
        first, *others = self.tasks.values()
        for name in self.shared:
            trunks = [getattr(task.net, name) for task in (first, *others)]
            if any(trunk != trunks[0] for trunk in trunks):
                raise ValueError(f"multitask: the tasks' trunks '{name}' are not the same")
        for knob in ("weights", "lightness"):
            unknown = set(getattr(self, knob)) - set(self.tasks)
            if unknown:
                raise ValueError(f"multitask: {knob} for {sorted(unknown)}, which are no tasks")
        for name in self.lightness:
            if type(self.tasks[name]).loss is not Method.loss:
                raise ValueError(f"multitask: {name} has a loss of its own, not to be harmonised")

    @property
    def net(self) -> nn.Module:
        """The first task's net, whose trunks are the shared ones."""
        return next(iter(self.tasks.values())).net

    @property
    def streams(self) -> tuple[str, ...]:
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

    def inputs(self, batch: Batch) -> Batch:
        return {
            f"{name}/{entry}": value
            for name in self.tasks
            for entry, value in self._task(name).inputs(_part(batch, name)).items()
        }

    def init(self, key: jax.Array, batch: Batch) -> dict:
        variables: dict = {}
        for i, name in enumerate(self.tasks):
            own = self._task(name).init(jax.random.fold_in(key, i), _part(batch, name))
            for collection, tree in own.items():
                trunks, rest = self._split(tree)
                # The first task's trunk stays.
                variables[collection] = trunks | variables.get(collection, {}) | {name: rest}
        return variables

    def loss(
        self, params: Params, state: State, batch: Batch, key: jax.Array, train: bool = True
    ) -> tuple[jax.Array, tuple[State, Metrics]]:
        total, metrics = 0.0, {}
        for i, (name, weight) in enumerate(self._weights().items()):

            def task_loss(own, state=state, name=name, i=i, weight=weight):
                value, (new, found) = self._task(name).loss(
                    own,
                    {collection: self._of_task(tree, name) for collection, tree in state.items()},
                    _part(batch, name),
                    jax.random.fold_in(key, i),
                    train,
                )
                return weight * value, (value, new, found)

            own = self._of_task(params, name)
            if self.gradient_norms and train:
                weighted, (value, new, found), gradient = with_gradient(task_loss, own)
                norm = optax.tree.norm(self._split(gradient)[0])
                metrics |= {f"{name}/gradient_norm": norm}
            else:
                weighted, (value, new, found) = task_loss(own)
            total = total + weighted
            metrics |= {f"{name}/loss": value, **{f"{name}/{k}": v for k, v in found.items()}}
            if self._lassos():
                used = [units_in_use(own[trunk]["unit_weights"]) for trunk in self._lassos()]
                metrics |= {f"{name}/units": sum(used)}
            # The next task goes on from this one's statistics of the shared trunk.
            state = {c: self._with_task(state[c], new[c], name) for c in state}
        return total, (state, metrics)

    def objective(self, outputs, batch: Batch):
        raise TypeError(
            "a multitask's loss is the sum of its tasks'; it has no objective of its own"
        )

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        return next(iter(self.tasks.values())).clips(record, stream, count)

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        return self._task(next(iter(self.tasks))).prepare(stream, raw)

    def encode(self, variables: dict, stream: str, raw: jax.Array) -> dict[str, jax.Array]:
        if stream not in self._lassos():
            return super().encode(variables, stream, raw)
        lasso, x = getattr(self.net, stream), self.prepare(stream, raw)
        layers, sums = {}, {}
        for name in self.tasks:
            own = {c: self._of_task(tree, name) for c, tree in variables.items()}
            own = {c: tree[stream] for c, tree in own.items() if stream in tree}
            layers = lasso.apply(own, x, train=False)
            sums[f"{name}_units"] = layers.pop("combined")
        return {**layers, **sums}

    def _weights(self) -> dict[str, float]:
        return {name: self.weights.get(name, 1.0) for name in self.tasks}

    def _task(self, name: str) -> Method:
        """The task as it is trained here."""
        task = self.tasks[name]
        return Lightness(task, self.lightness[name]) if name in self.lightness else task

    def _lassos(self) -> tuple[str, ...]:
        """The shared trunks of which each task chooses units."""
        return tuple(name for name in self.shared if isinstance(getattr(self.net, name), Lasso))

    def _split(self, own: dict) -> tuple[dict, dict]:
        """A task's variables of one collection: what of them is shared, and the rest."""
        shared = {name: tree for name, tree in own.items() if name in self.shared}
        rest = {name: tree for name, tree in own.items() if name not in self.shared}
        for name in self._lassos():
            tree = shared.pop(name, {})
            shared |= {name: tree["inner"]} if "inner" in tree else {}
            choice = {k: v for k, v in tree.items() if k != "inner"}
            rest |= {name: choice} if choice else {}
        return shared, rest

    def _of_task(self, tree: dict, name: str) -> dict:
        """The variables as the task alone would have them: the way back from `_split`."""
        shared = {k: tree[k] for k in self.shared if k in tree}
        rest = dict(tree.get(name, {}))
        for trunk in self._lassos():
            inner = {"inner": shared.pop(trunk)} if trunk in shared else {}
            both = {**inner, **rest.pop(trunk, {})}
            rest |= {trunk: both} if both else {}
        return {**shared, **rest}

    def _with_task(self, tree: dict, own: dict, name: str) -> dict:
        trunks, rest = self._split(own)
        return {**tree, **trunks, **({name: rest} if name in tree else {})}


@dataclasses.dataclass(frozen=True)
class Lightness(Method):
    """A method whose trunk sees the lightness of Lab three times, from -1 (black) to 1 (white).

    Attributes:
      method: all else is the method's.
      white: value of white in what the method's `augment` gives.
    """

    method: Method
    white: float

    @property
    def net(self) -> nn.Module:
        return self.method.net

    @property
    def streams(self) -> tuple[str, ...]:
        return self.method.streams

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return self.method.views(record, rng)

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        return self.method.augment(batch, key)

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        lightness = rgb_to_lab(raw.astype(jnp.float32) / self.white)[..., :1] / 50.0 - 1.0
        return jnp.repeat(lightness, 3, axis=-1)

    def objective(self, outputs, batch: Batch):
        return self.method.objective(outputs, batch)


def with_gradient(loss: Callable, params: dict) -> tuple[jax.Array, tuple, dict]:
    """A loss, what it returns beside it, and its gradient, taken here and not once more later.

    The value comes with that gradient attached: differentiated it gives just this, so that looking
    at one task's gradient costs no second backward pass.
    """
    fixed = jax.lax.stop_gradient(params)
    (value, rest), gradient = jax.value_and_grad(loss, has_aux=True)(fixed)
    gradient = jax.lax.stop_gradient(gradient)
    zeros = jax.tree.map(lambda p, q, g: jnp.sum((p - q) * g), params, fixed, gradient)
    return value + sum(jax.tree.leaves(zeros)), rest, gradient


def _part(batch: dict, name: str) -> dict:
    prefix = f"{name}/"
    return {k.removeprefix(prefix): v for k, v in batch.items() if k.startswith(prefix)}
