"""Wrapper: a method around another method, which is the same but for what a subclass changes."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Record, Source
from ssl_jax.method import Batch, Example, Method, Metrics, Params, Refreshed, State


@dataclasses.dataclass(frozen=True)
class Wrapper(Method):
    """Hands every hook of `Method` on to `method`.

    `forward` and `loss` are not handed on: they compose the other hooks, so what a subclass changes
    takes part. Raises ConfigError for a method with a `loss` of its own, which would bypass that.
    """

    method: Method

    def __post_init__(self):
        if self.method.has_own_loss:
            around, name = type(self).__name__.lower(), type(self.method).__name__
            raise ConfigError(f"{around}: {name} has a loss of its own, which it would bypass")

    @property
    def trunks(self) -> tuple[str, ...]:
        return self.method.trunks

    @property
    def teachers(self) -> tuple[str, ...]:
        return self.method.teachers

    @property
    def also_prepared(self) -> tuple[str, ...]:
        return self.method.also_prepared

    @property
    def rows_meet(self) -> bool:
        return self.method.rows_meet

    @property
    def net(self) -> nn.Module:
        return self.method.net

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return self.method.streams

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return self.method.views(record, rng)

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        return self.method.augment(batch, state, key)

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return self.method.prepare(name, x)

    def inputs(self, batch: Batch) -> Batch:
        return self.method.inputs(batch)

    def outputs(
        self, params: Params, state: State, batch: Batch, key: jax.Array, train: bool = True
    ) -> tuple[Any, State]:
        return self.method.outputs(params, state, batch, key, train)

    def objective(self, outputs: Any, batch: Batch) -> tuple[jax.Array, Metrics]:
        return self.method.objective(outputs, batch)

    def init(self, key: jax.Array, batch: Batch, records: int) -> dict:
        return self.method.init(key, batch, records)

    def init_net(self, key: jax.Array, batch: Batch) -> dict:
        return self.method.init_net(key, batch)

    def after(self, params: Params, state: State, batch: Batch, outputs: Any) -> State:
        return self.method.after(params, state, batch, outputs)

    def refresh(self, frozen, source: Source, key: jax.Array) -> Refreshed:
        return self.method.refresh(frozen, source, key)

    def worry(self, metrics: Mapping[str, float]) -> str:
        return self.method.worry(metrics)

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return self.method.times(record, stream, count)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        return self.method.clips(record, stream, times)

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        return self.method.encode(variables, stream, inputs)

    def pictures(self, batch: Batch) -> Batch | None:
        return self.method.pictures(batch)

    def words(self, batch: Batch) -> Mapping[str, Sequence[str]]:
        return self.method.words(batch)

    def map_trunks(self, change: Callable[[nn.Module], nn.Module]) -> "Wrapper":
        return dataclasses.replace(self, method=self.method.map_trunks(change))
