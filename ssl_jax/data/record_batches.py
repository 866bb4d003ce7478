"""Every record of a source once, in batches of one shape, as evaluators and `refresh` read them."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from ssl_jax.data.chosen import Chosen
from ssl_jax.data.failures import Failures
from ssl_jax.data.pipeline import Loading, made, stack, to_try
from ssl_jax.data.progress import progress_bar
from ssl_jax.data.read_ahead import read_ahead
from ssl_jax.data.record import MediaError, Record, Source


def record_batches(
    source: Source,
    read: Callable[[Record], dict],
    batch_size: int,
    loading: Loading,
    process: int = 0,
    processes: int = 1,
) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """Every record once, in order, as (batch, how many of its rows are real).

    The last batch is filled up with copies of its last row, so that all have one shape. Process p
    of P reads the records p, p + P, ...; every process gets the same number of batches. Broken
    records are left out, the next take their place, and the last batches have fewer real rows.
    """
    count = len(source)
    own = slice(process, count, processes)
    # Judged by all of them, as broken files may lie together at the beginning.
    failures = Failures(loading.max_failed, len(range(count)[own]))
    readings = _Readings(source, read, loading.on_error == "skip")
    iterator = read_ahead(readings, own, loading.at_once(), 2 * batch_size)

    bar = progress_bar("reading", len(range(count)[own]), "record", shown=process == 0)

    def good() -> Iterator[dict]:
        for reading in iterator:
            broken = isinstance(reading, str)
            failures.add([reading] if broken else [], 1)
            bar.update()
            if not broken:
                yield reading

    rows_left, filler = good(), None
    try:
        for _ in range(-(-count // (processes * batch_size))):
            rows = list(itertools.islice(rows_left, batch_size))
            valid = len(rows)
            filler = rows[-1] if rows else filler or _any_reading(source, read)
            yield stack(rows + [filler] * (batch_size - valid)), valid
    finally:
        iterator.close()
        bar.close()
        failures.sum_up()


def read_some(
    source: Source, read: Callable[[Record], dict], limit: int, batch_size: int, loading: Loading
) -> dict[str, np.ndarray]:
    """What `read` makes of `limit` records, spread evenly over the source, in one batch.

    Broken records are left out, and others take their place. With a limit of 0, or no smaller than
    the source, all records are read. MediaError if none of those tried can be read.
    """
    if not 0 < limit < len(source):
        limit = len(source)
        order = np.arange(limit)
    else:
        order = to_try(np.arange(limit) * len(source) // limit, len(source))
        loading = dataclasses.replace(loading, max_failed=1.0)
    parts, count = [], 0
    for start in range(0, len(order), limit):
        chosen = Chosen(source, tuple(order[start : start + limit].tolist()))
        try:
            for batch, valid in record_batches(chosen, read, batch_size, loading):
                rows = min(valid, limit - count)
                parts.append({name: values[:rows] for name, values in batch.items()})
                count += rows
        except MediaError as error:
            if loading.on_error == "raise" or limit == len(order):
                raise
            last = error  # none of these can be read
        if count == limit:
            break
    if not count:
        raise MediaError(f"{last}; none of the {len(order)} records tried could be read")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _any_reading(source: Source, read: Callable[[Record], dict]) -> dict:
    """What the first readable record gives: rows to fill batches that have none of their own."""
    readings = _Readings(source, read, skip=True)
    for number in range(len(source)):
        reading = readings[number]
        if not isinstance(reading, str):
            return reading
    raise MediaError(f"{reading}; and none of the other {len(source) - 1} records can be read")


@dataclasses.dataclass(frozen=True, eq=False)
class _Readings:
    """What `read` makes of each record of a source; the error's line if the record is broken."""

    source: Source
    read: Callable[[Record], dict]
    skip: bool

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, number: int) -> dict | str:
        try:
            return made(self.source, number, self.read)
        except MediaError as error:
            if not self.skip:
                raise
            return str(error)
