"""Features: of a source's records from a frozen method, in memory or memory-mapped when large."""

import dataclasses
import math
import os
import tempfile
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Float32, Int, Int64, Shaped

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import presence
from ssl_jax.data.labels import label_names, no_common_class, renumbered
from ssl_jax.data.record import Source
from ssl_jax.data.warn_once import warn_once

# Rows that are copied at once.
BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Features:
    """Features of a source's records, one row a record, in the source's order.

    Attributes:
      layers: layer name -> rows; 'input' is the raw input, a baseline.
      labels: -1 where a record has none.
      indices: the records' numbers.
      groups: record.extra['group'] (say, which game), 0 where there is none.
      facts: what else was asked of each record, rows likewise.
      source: whose records they are, if known: it names classes and files.
      trained_names: gives the names of the classes that the method's head was trained on.
    """

    layers: dict[str, Float32[np.ndarray, "n ..."]]
    labels: Int64[np.ndarray, "n"]
    indices: Int64[np.ndarray, "n"]
    groups: Int64[np.ndarray, "n"]
    facts: dict[str, Shaped[np.ndarray, "n ..."]] = dataclasses.field(default_factory=dict)
    source: Source | None = None
    trained_names: Callable[[], tuple[str, ...]] = tuple

    def rows(self, chosen: Int64[np.ndarray, "m"]) -> "Features":
        """Those of some of the records."""
        layers = {name: _rows(values, chosen) for name, values in self.layers.items()}
        own = {name: getattr(self, name)[chosen] for name in ("labels", "indices", "groups")}
        facts = {name: values[chosen] for name, values in self.facts.items()}
        return dataclasses.replace(self, **own, layers=layers, facts=facts)

    @property
    def bytes_in_memory(self) -> int:
        """Of the layers that do not lie in files."""
        return sum(v.nbytes for v in self.layers.values() if not isinstance(v, np.memmap))


def labelled(features: Features, role: str = "test") -> Features:
    """The records that have a label; how many lack one, and the first of them, is logged once.

    ConfigError if none has one.
    """
    there = features.labels >= 0
    if there.all():
        return features
    lacking = np.flatnonzero(~there)
    first = int(features.indices[lacking[0]])
    name = f"record {first}" if features.source is None else features.source[first].name
    if not there.any():
        raise ConfigError(
            f"{role}: all {len(there)} records have no label, first {name}; this evaluator needs a "
            "labelled source"
        )
    warn_once(
        f"{role}: {len(lacking)} of {len(there)} records have no label and are left out: {name}"
    )
    return features.rows(np.flatnonzero(there))


def comparable(train: Features, test: Features) -> tuple[Features, Features]:
    """The labelled records of two sets, the test labels in the training set's numbering.

    Names of classes decide, see `data.labels`. Test records of classes that no training record has
    stay, as misses of whoever compares; how many is logged once. ConfigError if all are of such.
    """
    if test is train:
        train = labelled(train, "train and test")
        return train, train
    train, test = labelled(train, "train"), labelled(test, "test")
    own, known = label_names(test.source), label_names(train.source)
    numbers = renumbered(test.labels, own, known)
    unknown = np.flatnonzero(~np.isin(numbers, train.labels))
    if own and known and len(unknown) == len(numbers):
        raise ConfigError(no_common_class(own, known))
    if len(unknown):
        label = int(test.labels[unknown[0]])
        warn_once(
            f"test: {len(unknown)} of {len(numbers)} records are of classes that train lacks and "
            f"count as misses, first class {own[label] if own else label}"
        )
    return train, dataclasses.replace(test, labels=numbers)


def presence_as(
    features: Features, names: Sequence[str], classes: int = 0
) -> Int[np.ndarray, "n k"]:
    """`annotations.presence`, the classes numbered as those that another set calls `names`.

    Names of classes decide, see `data.labels`. Classes that are not among `names` are left out; how
    many records show one is logged once. ConfigError if none of the others occurs.

    Args:
      features: with the facts of `labels_fact`.
      classes: how many there are; 0 for those up to the largest number that occurs.
    """
    own, facts = label_names(features.source), features.facts
    if not own or not names or own == tuple(names):
        return presence(facts, classes)
    facts = {
        kind: renumbered(facts[kind].ravel(), own, names).reshape(facts[kind].shape)
        for kind in ("shown", "difficult")
    }
    unknown = facts["shown"] >= len(names)
    if unknown.any():
        facts = {
            kind: np.where(numbers < len(names), numbers, -1) for kind, numbers in facts.items()
        }
        if (facts["shown"] < 0).all():
            raise ConfigError(no_common_class(own, names))
        first = int(features.facts["shown"][unknown][0])
        warn_once(
            f"test: {unknown.any(axis=1).sum()} of {len(unknown)} records show classes that were "
            f"not learned; these are left out, first class {own[first]}"
        )
    return presence(facts, classes)


def _rows(values: np.ndarray, chosen: Int64[np.ndarray, "m"]) -> np.ndarray:
    """Some rows; of what lies in a file again in a file."""
    if not isinstance(values, np.memmap):
        return values[chosen]
    result = _in_file((len(chosen), *values.shape[1:]), values.dtype)
    for start in range(0, len(chosen), BLOCK):
        result[start : start + BLOCK] = values[chosen[start : start + BLOCK]]
    return result


class Gathered:
    """Named arrays that grow by rows, up to a number known beforehand.

    If they would take more than `memory` bytes together, each lies in a temporary file without a
    name, mapped into memory, that is gone when nobody uses the array any more.
    """

    def __init__(self, most: int, memory: int):
        self._most, self._memory, self._used = most, memory, 0
        self._arrays: dict[str, np.ndarray] = {}

    def add(self, rows: dict[str, Shaped[np.ndarray, "n ..."]]) -> None:
        """The next rows; all arrays get the same number."""
        if not self._arrays:
            sizes = [self._most * v[:1].nbytes for v in rows.values()]
            new = np.empty if sum(sizes) <= self._memory else _in_file
            self._arrays = {k: new((self._most, *v.shape[1:]), v.dtype) for k, v in rows.items()}
        count = len(next(iter(rows.values())))
        for name, values in rows.items():
            self._arrays[name][self._used : self._used + count] = values
        self._used += count

    def arrays(self) -> dict[str, Shaped[np.ndarray, "n ..."]]:
        """What was added so far."""
        return {name: array[: self._used] for name, array in self._arrays.items()}

    def sorted_by(self, name: str) -> dict[str, Shaped[np.ndarray, "n ..."]]:
        """`arrays`, all in the order in which this one ascends."""
        arrays = self.arrays()
        order = np.argsort(arrays[name], kind="stable")
        if (order == np.arange(len(order))).all():
            return arrays
        result = Gathered(len(order), self._memory)
        for start in range(0, len(order), BLOCK):
            chosen = order[start : start + BLOCK]
            result.add({name: array[chosen] for name, array in arrays.items()})
        return result.arrays()


def _in_file(shape: tuple[int, ...], dtype: np.dtype) -> np.memmap:
    with tempfile.TemporaryFile() as file:  # the map keeps it open
        # All of it now: a disk that is full later would end the process without a word.
        size = max(1, math.prod(shape) * dtype.itemsize)
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, dtype, "w+", shape=shape)


def local_rows(x: jax.Array) -> np.ndarray:
    """This host's rows of an array whose rows are split over all devices."""
    shards = sorted(x.addressable_shards, key=lambda s: s.index[0].start or 0)
    return np.concatenate([np.asarray(s.data) for s in shards])


def of_all_hosts(rows: dict[str, np.ndarray], most: int, memory: int) -> Gathered:
    """Every host's rows, of possibly different number, on every host; some at a time."""
    from jax.experimental import multihost_utils

    own = len(next(iter(rows.values())))
    counts = multihost_utils.process_allgather(np.array([own])).ravel()
    gathered = Gathered(most, memory)
    for start in range(0, int(counts.max()), BLOCK):
        here = np.clip(counts - start, 0, BLOCK)
        part = {k: v[start : start + BLOCK] for k, v in rows.items()}
        filled = {  # what fills up is dropped below; a host may have nothing of its own to repeat
            k: np.pad(v, [(0, here.max() - len(v))] + [(0, 0)] * (v.ndim - 1))
            for k, v in part.items()
        }
        every = multihost_utils.process_allgather(filled)
        for host, count in enumerate(here):
            gathered.add({k: v[host, :count].astype(rows[k].dtype) for k, v in every.items()})
    return gathered
