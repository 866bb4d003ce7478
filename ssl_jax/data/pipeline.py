"""Batches: reshuffle the records every epoch -> views -> stack -> this process's rows.

Batch number k is a pure function of (seed, k), whatever the number of processes, workers and
threads, and also where records are broken: no iterator's state is ever saved, and any batch can be
made again by its number. Grain reads ahead, with threads or worker processes; its elements are
whole batches, because passing their records one by one costs more than reading small images does.
"""

import contextlib
import dataclasses
import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from ssl_jax.config import ConfigError
from ssl_jax.data.failures import Failures
from ssl_jax.data.read_ahead import read_ahead
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.data.row_generator import RowGenerator
from ssl_jax.knobs import at_least, one_of, within

# How many records in a row may be broken before a batch is given up.
ATTEMPTS = 32
# How many records are tried where a single good one is looked for.
TRIES = 1000
# The most threads that are chosen by the number of cores.
MOST_THREADS = 16
# Training needs no more batches; grain wants to know how many there are.
ENDLESS = 2**60


@dataclasses.dataclass(frozen=True)
class Loading:
    """How the host reads. Decoders release Python's lock, so threads beat worker processes.

    Attributes:
      threads: batches (in evaluation: records) read at once, never more than `prefetch` batches. 0
        is one per core that the process may use, shared among `workers`, at most 16: more would
        take turns at the cores or at Python's lock. Remote files want more.
      prefetch: batches kept ready ahead of the step.
      workers: processes, each with its own threads; for views that are slow in Python itself.
      on_error: what happens to a record that cannot be read or does not fit the method: 'skip' (in
        training another record takes its place, in evaluation it is left out; every such file is
        named once) or 'raise'.
      max_failed: the run stops all the same if more than this share of the records was skipped.
    """

    threads: int = 0
    prefetch: int = 8
    workers: int = 0
    on_error: str = "skip"
    max_failed: float = 0.5

    def __post_init__(self):
        one_of(self, "on_error", ("skip", "raise"))
        within(self, 0, 1, "max_failed")
        at_least(self, 0, "threads", "workers")
        at_least(self, 1, "prefetch")

    def at_once(self, processes: int = 1) -> int:
        """Threads per process, if `processes` of them read on this machine."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return self.threads or min(MOST_THREADS, max(1, (cores or 1) // processes))


@dataclasses.dataclass(frozen=True, eq=False)
class TrainDataset:
    """Batches without end; `dataset[k]` is this process's rows of batch k. Pickles.

    A grain.RandomAccessDataSource: `grain.MapDataset.source(dataset)` is the start of a pipeline of
    your own. The rows of the processes, in their order, are the batch of a single process.
    """

    source: Source
    views: Callable[[Record, np.random.Generator], dict]
    batch_size: int
    seed: int
    process: int
    processes: int

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        return self.read(number, skip=True)[0]

    def read(self, number: int, skip: bool) -> tuple[dict[str, np.ndarray], tuple[str, ...], int]:
        """(rows of batch `number`, a line per record that failed, how many were read).

        A record that fails is replaced by another, drawn with random numbers of its own: the rest
        of the batch stays what it is. MediaError if not `skip`, or if too many fail in a row.
        """
        begin, size = number * self.batch_size, len(self.source)
        count = self.batch_size // self.processes
        own = slice(self.process * count, (self.process + 1) * count)
        order = shuffled(np.arange(begin, begin + self.batch_size), size, self.seed)[own].tolist()
        words = np.random.PCG64([self.seed, 1, number]).random_raw(4 * self.batch_size)
        rng = RowGenerator()
        source, views = self.source, self.views
        examples, failed = [], []
        for index, rng.words in zip(order, words.reshape(-1, 4)[own], strict=True):
            record = None
            try:  # as `made` does; one more call per row would be felt
                record = source[index]
                examples.append(views(record, rng))
            except ValueError as error:
                if record is None and not isinstance(error, MediaError):
                    raise
                error = _named(error, record.name if record else "")
                if not skip:
                    raise error from error.__cause__
                failed.append(str(error))
                position = begin + own.start + len(examples)
                examples.append(self._replacement(position, failed))
        return stack(examples), tuple(failed), len(examples) + len(failed)

    def _replacement(self, position: int, failed: list[str]) -> dict:
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng([self.seed, 2, position, attempt])
            try:
                number = int(rng.integers(len(self.source)))
                return made(self.source, number, self.views, rng)
            except MediaError as error:
                failed.append(str(error))
        raise MediaError(f"{failed[-1]} ({ATTEMPTS + 1} records in a row failed)")


def train_dataset(
    source: Source,
    views: Callable[[Record, np.random.Generator], dict],
    batch_size: int,
    seed: int,
    process: int = 0,
    processes: int = 1,
) -> TrainDataset:
    """The batches of a source, or this process's rows of them. ConfigError if there can be none."""
    if batch_size % processes:
        raise ConfigError(f"batch_size={batch_size} must be a multiple of {processes} processes")
    if len(source) == 0:
        raise ConfigError(f"the source {source} is empty")
    return TrainDataset(source, views, batch_size, seed, process, processes)


def first_example(source: Source, views: Callable, seed: int, loading: Loading) -> dict:
    """The views of a readable record, to see their shapes: the first, or else any.

    Broken files may lie together, at the beginning as well, so others are tried in random order.
    MediaError if none of TRIES can be read.
    """
    order = to_try(np.zeros(1, int), len(source))
    for number in order.tolist():
        try:
            return made(source, number, views, np.random.default_rng(seed))
        except MediaError as error:
            if loading.on_error == "raise":
                raise
            last = error
    raise MediaError(f"{last}; none of the {len(order)} records tried could be read") from last


def to_try(preferred: Int[np.ndarray, "k"], size: int) -> Int[np.ndarray, "n"]:
    """Numbers of records to try in turn: the preferred ones, then others in random order."""
    others = np.random.default_rng(0).permutation(size)
    others = others[~np.isin(others, preferred)]
    return np.concatenate([preferred, others])[: max(TRIES, len(preferred))]


def shuffled(positions: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Numbers of the records at these positions of an endless sequence of shuffled epochs."""
    epochs, places = np.divmod(positions, size)
    if epochs[0] == epochs[-1]:
        return _order(size, seed, int(epochs[0]))[places]
    parts = [_order(size, seed, e)[places[epochs == e]] for e in np.unique(epochs).tolist()]
    return np.concatenate(parts)


def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    with _one_at_a_time:  # or all threads would shuffle a new epoch at once
        return _drawn_order(size, seed, epoch)


_one_at_a_time = threading.Lock()


@functools.lru_cache(maxsize=2)
def _drawn_order(size: int, seed: int, epoch: int) -> np.ndarray:
    kind = np.uint32 if size < 2**32 else np.int64
    return np.random.default_rng([seed, 0, epoch]).permutation(np.arange(size, dtype=kind))


def made(source: Source, number: int, make: Callable, *arguments) -> dict:
    """make(record, ...); a ValueError of it becomes a MediaError that names the record."""
    record = source[number]
    try:
        return make(record, *arguments)
    except ValueError as error:
        error = _named(error, record.name)
        raise error from error.__cause__


def _named(error: ValueError, name: str) -> MediaError:
    """An error that names the record, say a video too short for the clips wanted."""
    if isinstance(error, MediaError):
        return error
    named = MediaError(f"{name}: {_one_line(error)}")
    named.__cause__ = error
    return named


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def stack(examples: Sequence[dict]) -> dict[str, np.ndarray]:
    """Rows -> batch. ValueError unless all have the same keys and shapes."""
    batch = {}
    for key in examples[0]:
        arrays = [example[key] for example in examples]
        shapes = {array.shape for array in arrays}
        if len(shapes) > 1:
            raise ValueError(f"views give '{key}' in different shapes: {sorted(shapes)}")
        (shape,) = shapes
        batch[key] = _joined(arrays, shape) if shape else np.array(arrays)
    return batch


def _joined(arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """np.stack, faster: numpy releases Python's lock for every row and waits for it again, which
    makes many small rows cost twice as much."""
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) == 1 and next(iter(dtypes)).kind in "biufc":
        with contextlib.suppress(TypeError, BufferError):  # a row that is not contiguous
            rows = bytearray().join(arrays)
            return np.frombuffer(rows, dtypes.pop()).reshape(len(arrays), *shape)
    return np.stack(arrays)


class Reading(NamedTuple):
    """A batch as a thread or worker process hands it over; an error is raised by who asks for it.

    Attributes:
      batch: {} if there is an error.
      skipped: a line per record that failed.
      records: how many were read.
      error: why there is no batch; None if there is one.
    """

    batch: dict[str, np.ndarray]
    skipped: tuple[str, ...] = ()
    records: int = 0
    error: MediaError | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Readings:
    """The batches of a dataset as `Reading`s: element k is batch k."""

    dataset: TrainDataset
    skip: bool

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> Reading:
        try:
            return Reading(*self.dataset.read(number, self.skip))
        except MediaError as error:
            return Reading({}, error=error)


class TrainBatches:
    """Iterates a `train_dataset`, read ahead by threads or processes. Close it when done.

    Attributes:
      failures: what could not be read so far.
    """

    def __init__(self, dataset: TrainDataset, loading: Loading, start: int):
        self.failures = Failures(loading.max_failed)
        self._workers = loading.workers
        readings = _Readings(dataset, loading.on_error == "skip")
        self._iterator = read_ahead(
            readings,
            slice(start, None),
            loading.at_once(max(1, loading.workers)),
            loading.prefetch,
            loading.workers,
        )

    def __iter__(self) -> "TrainBatches":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        try:
            reading = next(self._iterator)
        except RuntimeError as error:
            if not self._workers or "terminated" not in str(error):
                raise
            raise RuntimeError(
                f"one of the {self._workers} worker processes that read the data died, perhaps for "
                f"lack of memory: lower data.workers or data.prefetch ({_one_line(error)})"
            ) from error
        if reading.error is not None:
            raise reading.error
        self.failures.add(reading.skipped, reading.records)
        return reading.batch

    def close(self) -> None:
        """Ends the threads or processes and logs how much was skipped."""
        self._iterator.close()
        self.failures.sum_up()


def train_batches(dataset: TrainDataset, loading: Loading, start: int = 0) -> TrainBatches:
    """Iterates a `train_dataset` from batch number `start`."""
    return TrainBatches(dataset, loading, start)
