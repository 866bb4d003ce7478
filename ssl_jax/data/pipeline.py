"""Batches: an order of the records, drawn anew every epoch -> views -> batch -> the process's part.

Batch number k is a pure function of (seed, k), whatever the number of processes, workers and
threads, and also where records are broken: nothing of an iterator is ever saved, and any batch can
be made again by its number. A batch is made in one go, because passing its records one by one
through a pipeline costs more than reading small pictures does.
"""

import contextlib
import dataclasses
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ssl_jax.data.ahead import Ahead
from ssl_jax.data.failures import Failures
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.data.row_generator import rows_generator

# So many records in a row may be broken before a batch is given up.
ATTEMPTS = 32
# Of those chosen by the number of cores.
MOST_THREADS = 16


@dataclasses.dataclass(frozen=True)
class Loading:
    """How the host reads. Decoders release Python's lock, so threads beat worker processes.

    Attributes:
      threads: batches (in evaluation: records) made at once, never more than `prefetch` batches. 0
        is one for each core that the process may use, shared among `workers`, at most 16: decoders
        would take turns at the cores, all else at Python's lock. Files far away want more.
      prefetch: batches kept ready ahead of the step.
      workers: processes, each with its own threads; for views that are slow in Python itself.
      on_error: what a record does that cannot be read or is unfit for the method: 'skip' (in
        training another record takes its place, in evaluation it is left out; every such file is
        named once) or 'raise'.
      max_failed: stop nevertheless if more than this share of the records read was skipped.
    """

    threads: int = 0
    prefetch: int = 8
    workers: int = 0
    on_error: str = "skip"
    max_failed: float = 0.5

    def __post_init__(self):
        if self.on_error not in ("skip", "raise"):
            raise ValueError(f"data.on_error is 'skip' or 'raise', not {self.on_error!r}")
        if not 0 <= self.max_failed <= 1:
            raise ValueError(f"data.max_failed={self.max_failed} is a share, from 0 to 1")
        for knob, least in (("threads", 0), ("prefetch", 1), ("workers", 0)):
            if getattr(self, knob) < least:
                raise ValueError(f"data.{knob}={getattr(self, knob)} must be at least {least}")

    def at_once(self, processes: int = 1) -> int:
        """Threads of each of so many processes that read on this machine."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return self.threads or min(MOST_THREADS, max(1, (cores or 1) // processes))


@dataclasses.dataclass(frozen=True, eq=False)
class TrainDataset:
    """Batches without end; `dataset[k]` is this process's part of batch k. Pickles.

    The parts in the order of the processes, one after another, are the batch of a single process.
    """

    source: Source
    views: Callable[[Record, np.random.Generator], dict]
    batch_size: int
    seed: int
    process: int
    processes: int

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        return self.read(number, skip=True)[0]

    def read(self, number: int, skip: bool) -> tuple[dict[str, np.ndarray], tuple[str, ...], int]:
        """(part of the batch, a line for each record that failed, how many were read).

        A record that fails is replaced by one that is drawn with a random number of its own: the
        rest of the batch stays what it is. MediaError if not `skip`, or too many fail in a row.
        """
        begin, size = number * self.batch_size, len(self.source)
        count = self.batch_size // self.processes
        own = slice(self.process * count, (self.process + 1) * count)
        order = shuffled(np.arange(begin, begin + self.batch_size), size, self.seed)[own].tolist()
        words = np.random.PCG64([self.seed, 1, number]).random_raw(4 * self.batch_size)
        rng, row_begins = rows_generator(words.reshape(-1, 4)[own])
        source, views = self.source, self.views
        examples, failed = [], []
        for index, _ in zip(order, row_begins, strict=True):
            record = None
            try:  # as `made` does; a call a row more would be felt
                record = source[index]
                examples.append(views(record, rng))
            except ValueError as error:
                if record is None and not isinstance(error, MediaError):
                    raise
                error = _named(error, record)
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
        raise MediaError(f"{failed[-1]} ({ATTEMPTS + 1} records drawn one after another failed)")


def train_dataset(
    source: Source,
    views: Callable[[Record, np.random.Generator], dict],
    batch_size: int,
    seed: int,
    process: int = 0,
    processes: int = 1,
) -> TrainDataset:
    """The batches of a source, or this process's part of them. ValueError if there can be none."""
    if batch_size % processes:
        raise ValueError(f"batch_size={batch_size} must be a multiple of {processes} processes")
    if len(source) == 0:
        raise ValueError(f"the source {source} is empty")
    return TrainDataset(source, views, batch_size, seed, process, processes)


def first_example(source: Source, views: Callable, seed: int, loading: Loading) -> dict:
    """The views of the first record that has any, to see their shapes."""
    tries = ATTEMPTS if loading.on_error == "skip" else 1
    for number in range(min(len(source), tries)):
        try:
            return made(source, number, views, np.random.default_rng(seed))
        except MediaError as error:
            last = error
    raise last


def shuffled(positions: np.ndarray, size: int, seed: int) -> np.ndarray:
    """The records at these positions of an endless walk that sees all `size` in every epoch."""
    epochs, places = np.divmod(positions, size)
    if epochs[0] == epochs[-1]:
        return _order(size, seed, int(epochs[0]))[places]
    parts = [_order(size, seed, e)[places[epochs == e]] for e in np.unique(epochs).tolist()]
    return np.concatenate(parts)


def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    with _one_at_a_time:  # or all threads would draw the order of a new epoch at once
        return _drawn_order(size, seed, epoch)


_one_at_a_time = threading.Lock()


@functools.lru_cache(maxsize=2)
def _drawn_order(size: int, seed: int, epoch: int) -> np.ndarray:
    kind = np.uint32 if size < 2**32 else np.int64
    return np.random.default_rng([seed, 0, epoch]).permutation(np.arange(size, dtype=kind))


def made(source: Source, number: int, make: Callable, *arguments) -> dict:
    """What `make` makes of a record; MediaError with the record's name if it is unfit for it."""
    record = source[number]
    try:
        return make(record, *arguments)
    except ValueError as error:
        error = _named(error, record)
        raise error from error.__cause__


def _named(error: ValueError, record: Record | None) -> MediaError:
    """An error that names the record: say, of a film too short for the clips asked for."""
    if isinstance(error, MediaError):
        return error
    named = MediaError(f"{record.name}: {_one_line(error)}")
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
    """What np.stack gives, faster; and numpy lets go of Python's lock, which other threads then
    take, for every row anew: many small rows would cost twice as much."""
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) == 1 and next(iter(dtypes)).kind in "biufc":
        with contextlib.suppress(TypeError, BufferError):  # a row that is not in one piece
            rows = bytearray().join(arrays)
            return np.frombuffer(rows, dtypes.pop()).reshape(len(arrays), *shape)
    return np.stack(arrays)


class TrainBatches:
    """Iterates a `train_dataset`, made ahead by threads or processes. Close it when done.

    Attributes:
      failures: what could not be read so far.
    """

    def __init__(self, dataset: TrainDataset, loading: Loading, start: int):
        self.failures = Failures(loading.max_failed)
        self._workers = loading.workers
        make = functools.partial(dataset.read, skip=loading.on_error == "skip")
        if loading.workers:
            self._iterator = _made_by_processes(make, loading, start)
        else:
            numbers = itertools.count(start)
            self._iterator = Ahead(make, numbers, loading.at_once(), loading.prefetch)

    def __iter__(self) -> "TrainBatches":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        try:
            batch, failed, read = next(self._iterator)
        except RuntimeError as error:
            if not self._workers or "terminated" not in str(error):
                raise
            raise RuntimeError(
                f"one of the {self._workers} worker processes that read the data died, perhaps for "
                f"lack of memory: lower data.workers or data.prefetch ({_one_line(error)})"
            ) from error
        self.failures.add(failed, read)
        return batch

    def close(self) -> None:
        """Ends the threads or processes and sums up what was skipped."""
        self._iterator.close()
        self.failures.sum_up()


def train_batches(dataset: TrainDataset, loading: Loading, start: int = 0) -> TrainBatches:
    """Iterates a `train_dataset` from batch number `start`."""
    return TrainBatches(dataset, loading, start)


def _made_by_processes(make: Callable[[int], tuple], loading: Loading, start: int) -> Iterator:
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():  # as in a notebook: grain reads absl flags of its own
        flags.FLAGS.mark_as_parsed()
    ahead = loading.prefetch
    threads = min(loading.at_once(loading.workers), ahead)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    batches = grain.MapDataset.source(_Numbered(make, start)).to_iter_dataset(options)
    return iter(batches.mp_prefetch(grain.MultiprocessingOptions(loading.workers)))


@dataclasses.dataclass(frozen=True, eq=False)
class _Numbered:
    """make(start), make(start + 1), ... as grain wants it: with a length."""

    make: Callable[[int], tuple]
    start: int

    def __len__(self) -> int:
        return 2**60

    def __getitem__(self, index: int):
        return self.make(self.start + index)
