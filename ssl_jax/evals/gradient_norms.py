"""Gradient norms: how hard does each part of a loss pull at a trunk? A guide to weighing tasks."""

import dataclasses
import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Source
from ssl_jax.devices.sharding import by_rows, put_same, replicated
from ssl_jax.evals.pretext import check_fills, puzzle_batches
from ssl_jax.knobs import at_least, given


@dataclasses.dataclass(frozen=True)
class GradientNorms:
    """The norm of the gradient of each named metric at a trunk's weights, on held-out batches.

    Of a `Multitask` name each task's loss, 'rotation/loss': where one norm is much larger than the
    others, that task decides what the trunk learns; lower its weight. (Task weights are not in
    these losses.) Yields 'rotation/loss', ...: the mean over batches of each one's norm.

    Compiles every time it runs, so let it run rarely.

    Attributes:
      source: held-out records.
      metrics: names, as the method's loss has them; 'loss' is the whole loss.
      trunk: the entry of the parameters.
      batch_size: rows at once; a norm is of the mean over a batch, so it depends on it.
      batches: how many, at most; only their records are read.
      seed: of the puzzles.
    """

    source: Source
    metrics: tuple[str, ...]
    trunk: str = "vision"
    batch_size: int = 64
    batches: int = 16
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        given(self, "metrics")
        at_least(self, 1, "batch_size", "batches")
        at_least(self, 0, "seed")

    def check(self, frozen) -> None:
        """ConfigError for an unknown trunk, or if the records cannot fill a batch."""
        params = frozen.variables["params"]
        if self.trunk not in params:
            raise ConfigError(f"no trunk '{self.trunk}' has weights; there are {', '.join(params)}")
        check_fills(len(self.source), self.batch_size)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError for an unknown metric or trunk, or if the records do not fill a batch."""
        self.check(frozen)
        method, whole, rows = frozen.method, replicated(frozen.mesh), by_rows(frozen.mesh)

        @jax.jit(in_shardings=(whole, rows, whole), out_shardings=whole)
        def norms(variables, batch, key):
            state = {name: tree for name, tree in variables.items() if name != "params"}

            def chosen(trunk):
                params = {**variables["params"], self.trunk: trunk}
                value, (_, metrics) = method.loss(params, state, batch, key, train=False)
                metrics = {"loss": value, **metrics}
                missing = [name for name in self.metrics if name not in metrics]
                if missing:
                    known = ", ".join(metrics)
                    raise ConfigError(f"no metric '{missing[0]}'; the method has {known}")
                return jnp.stack([metrics[name] for name in self.metrics])

            _, back = jax.vjp(chosen, variables["params"][self.trunk])
            return [optax.tree.norm(back(one)) for one in jnp.eye(len(self.metrics))]

        batches = puzzle_batches(frozen, self.source, self.batch_size, self.seed)
        found = [
            jax.device_get(norms(frozen.variables, put_same(batch, rows), key))
            for batch, key in itertools.islice(batches, self.batches)
        ]
        for name, values in zip(self.metrics, np.transpose(found), strict=True):
            yield name, float(values.mean())
