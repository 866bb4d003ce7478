"""Method: the one interface that every self-supervised system implements.

    Record --views--> example --batch--> augment --> prepare --> net --> objective
             host                        \\________ device, inside the jitted step ________/

A method is a frozen dataclass whose fields are its knobs. It writes `net`, `views` and
`objective`, and overrides the rest where it needs to. It never sees a mesh, an axis or a trainer.
"""

import abc
import dataclasses
from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.record import Record

Example = dict[str, np.ndarray | np.generic]  # one training example, on the host
Batch = dict[str, jax.Array]  # the same keys with a leading batch axis, on the device
Params = dict
State = dict  # every variable collection but 'params': batch statistics, queues, centroids
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
    """Base of all methods; see the module's docstring.

    Trunks are fields of `net` named by stream (vision, audio, ...), so that `params['vision']`
    is exactly one trunk's weights.
    """

    @property
    @abc.abstractmethod
    def net(self) -> nn.Module:
        """`net(batch, train) -> outputs`, built from the method's knobs."""

    @abc.abstractmethod
    def views(self, record: Record, rng: np.random.Generator) -> Example:
        """Host: samples times, then decodes only those. A pure function of (record, rng)."""

    @abc.abstractmethod
    def objective(self, outputs, batch: Batch) -> tuple[jax.Array, Metrics]:
        """Loss (a float32 scalar over the global batch) and metrics (scalars)."""

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        """Device, random: makes the puzzle and its targets. Default: nothing."""
        del key
        return batch

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        """Device, deterministic: uint8 / wave / tokens -> trunk input. Used by loss and encode."""
        del stream
        return raw.astype(jnp.float32) / 255.0 if raw.dtype == jnp.uint8 else raw

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        """Host: `count` evaluation inputs of one stream, spread over the record, not random.

        Returns an array whose first axis is `count`; each row is what `encode` takes. The default
        takes `views` with fixed seeds, which fits methods whose example holds one input a stream.
        """
        seeds = [np.random.default_rng([record.index, i]) for i in range(count)]
        return np.stack([self.views(record, rng)[stream] for rng in seeds])

    def inputs(self, batch: Batch) -> Batch:
        """`prepare` on every trunk input of the batch: the keys named by stream."""
        names = set(self.streams)
        return {k: self.prepare(k, v) if k in names else v for k, v in batch.items()}

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of the net's trunks."""
        return tuple(
            f.name
            for f in dataclasses.fields(self.net)
            if isinstance(getattr(self.net, f.name), nn.Module) and f.name != "parent"
        )

    def with_dtype(self, dtype: str) -> "Method":
        """The same method, its trunks computing in `dtype` (weights stay float32).

        Raises ValueError if a trunk without a field `dtype` should compute in another than float32.
        """
        trunks = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if isinstance(getattr(self, f.name), nn.Module)
        }
        for name, trunk in trunks.items():
            if hasattr(trunk, "dtype"):
                trunks[name] = trunk.clone(dtype=dtype)
            elif dtype != "float32":
                raise ValueError(f"dtype={dtype}: the trunk '{name}' has no field dtype to set")
        return dataclasses.replace(self, **trunks)

    def init(self, key: jax.Array, batch: Batch) -> dict:
        """All variables of the net: {'params': ..., **state}."""
        key_augment, key_net = jax.random.split(key)
        batch = self.inputs(self.augment(batch, key_augment))
        return dict(self.net.init({"params": key_net, "dropout": key_net}, batch, train=False))

    def loss(
        self, params: Params, state: State, batch: Batch, key: jax.Array, train: bool = True
    ) -> tuple[jax.Array, tuple[State, Metrics]]:
        """augment -> prepare -> net -> objective. With train=False statistics stay as they are."""
        key_augment, key_net = jax.random.split(key)
        batch = self.inputs(self.augment(batch, key_augment))
        outputs, state = self.outputs(params, state, batch, key_net, train)
        value, metrics = self.objective(outputs, batch)
        return value, (state, metrics)

    def outputs(
        self, params: Params, state: State, batch: Batch, key: jax.Array, train: bool = True
    ) -> tuple[Any, State]:
        """The net on a batch that is augmented and prepared: what it puts out, and its new state.

        With train=False the state stays as it is.
        """
        variables = {"params": params, **state}
        if not train:
            return self.net.apply(variables, batch, train=False), state
        outputs, state = self.net.apply(
            variables, batch, train=True, rngs={"dropout": key}, mutable=list(state)
        )
        return outputs, dict(state)

    def refresh(
        self, params: Params, state: State, sweep: Iterable, key: jax.Array
    ) -> tuple[Params, State]:
        """Between steps, every `refresh_every`: for methods that re-cluster their data set.

        `sweep` yields the whole training set once, as host batches. Default: nothing changes.
        """
        del sweep, key
        return params, state

    def encode(self, variables: dict, stream: str, raw: jax.Array) -> dict[str, jax.Array]:
        """Frozen features of a batch of raw inputs: layer name -> array with leading batch axis."""
        trunk = getattr(self.net, stream)
        own = {name: tree[stream] for name, tree in variables.items() if stream in tree}
        return trunk.apply(own, self.prepare(stream, raw), train=False)
