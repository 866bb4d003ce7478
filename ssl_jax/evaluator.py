"""Evaluator: the interface of everything that measures or draws a trained network."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from ssl_jax.data.record import Source
from ssl_jax.features import Features, comparable
from ssl_jax.knobs import at_least, one_of
from ssl_jax.ops.probe_pooling import POOLS


@runtime_checkable
class Evaluator(Protocol):
    """A protocol of the literature: a frozen dataclass with its settings as fields.

    Attributes:
      every: steps between runs during training; 0: only at the end.

    See also `Checked` and `TrainedOnly`.
    """

    every: int

    def run(self, frozen) -> Iterator[tuple[str, float | np.ndarray]]:
        """Measures a trained network, `ssl_jax.Frozen`.

        Yields ('layer', number), ('layer/metric', number) and ('name', uint8 picture (h, w, 3)).
        'chance' is a layer too; results of the layer 'input', the raw input, become the column of
        baselines of the table.

        Raises ConfigError or MediaError for settings, labels or annotations that do not fit, and
        ValueError where features are NaN or infinite.
        """
        ...


@runtime_checkable
class Checked(Protocol):
    """An evaluator that can tell before training whether its settings and sources fit."""

    def check(self, frozen) -> None:
        """Raises ConfigError if `run` could not work.

        Quick: numbers of records, labels, names of layers (`frozen.check_layers`); of the variables
        only the shapes may be known. What every evaluator with a `read` needs was checked already.
        """
        ...


@runtime_checkable
class TrainedOnly(Protocol):
    """An evaluator with nothing to say of a network before training: it does not run on one."""

    trained_only: ClassVar[bool]


@dataclasses.dataclass(frozen=True)
class Read:
    """What an evaluator reads of every record: knobs that most evaluators share.

    An evaluator whose `read` has other defaults than these says so; who gives a Read of their own
    starts from the defaults below.

    Attributes:
      stream: a trunk, or another of the method's `streams`.
      layers: names; () is all of them, and 'input' is the raw input.
      clips: of each record, evenly spread; their features are averaged unless the evaluator says
        otherwise.
      pool: how maps of more than about 9000 numbers are made smaller: 'max', 'avg', ...; see
        `ops.probe_pooling.reduce_map`.
    """

    stream: str = "vision"
    layers: tuple[str, ...] = ()
    clips: int = 1
    pool: str = "max"

    def __post_init__(self):
        at_least(self, 1, "clips")
        one_of(self, "pool", POOLS)

    def features(
        self, frozen, source: Source, average: bool = True, facts: Callable | None = None
    ) -> Features:
        """`Frozen.features` of a source, with these settings."""
        settings = self.stream, self.layers, self.clips, self.pool, average
        return frozen.features(source, *settings, facts=facts)

    def comparable(
        self,
        frozen,
        train: Source,
        test: Source,
        average: bool = True,
        facts: Callable | None = None,
    ) -> tuple[Features, Features]:
        """`features` of the labelled records of two sources, their classes numbered alike.

        See `ssl_jax.features.comparable`; `facts` are those of train.
        """
        own = self.features(frozen, train, average, facts)
        other = own if test is train else self.features(frozen, test, average)
        return comparable(own, other)
