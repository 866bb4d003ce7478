"""Evaluator: the interface of everything that measures or draws a trained network."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Evaluator(Protocol):
    """A protocol of the literature: a frozen dataclass with its settings as fields."""

    every: int  # steps between runs during training; 0: only at the end

    def run(self, frozen) -> Iterator[tuple[str, float | np.ndarray]]:
        """Yields ('layer' or 'layer/metric', number) and ('name', uint8 picture)."""
        ...
