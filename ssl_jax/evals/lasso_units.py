"""Lasso units: how many layers of the shared trunk does each task read?"""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from ssl_jax.config import ConfigError


@dataclasses.dataclass(frozen=True)
class LassoUnits:
    """For each task of a multi-task run, how many of its weights of units are not zero.

    Of a `Multitask` whose trunks are `models.lasso.Lasso`, trained with `Optimizer.l1`, which makes
    weights exactly zero (Doersch and Zisserman 2017, figure 5). Yields the number by the task's
    name.

    Attributes:
      trunk: the shared one.
    """

    trunk: str = "vision"
    every: int = 0

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError if no task has such weights."""
        found = {
            task: tree[self.trunk]["unit_weights"]
            for task, tree in frozen.variables["params"].items()
            if self.trunk in tree and "unit_weights" in tree[self.trunk]
        }
        if not found:
            raise ConfigError(f"no task has unit_weights of a shared Lasso '{self.trunk}'")
        for task, weights in found.items():
            yield task, float(np.count_nonzero(jax.device_get(weights)))
