"""Batches: source -> seed -> shuffle -> repeat -> views -> batch -> this process's share.

Batch number k is a pure function of (seed, k), whatever the number of processes and threads:
nothing of the iterator is ever saved, and any batch can be made again by its number.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from ssl_jax.data.record import MediaError, Record, Source


@dataclasses.dataclass(frozen=True)
class Loading:
    """How the host reads. Decoders release Python's lock, so threads beat worker processes.

    Attributes:
      threads: batches (in evaluation: records) made at once.
      prefetch: batches kept ready ahead of the step.
      workers: processes, each with its own threads; for views that are slow in Python itself.
    """

    threads: int = 8
    prefetch: int = 8
    workers: int = 0


def train_dataset(
    source: Source,
    views: Callable[[Record, np.random.Generator], dict],
    batch_size: int,
    seed: int,
    process: int = 0,
    processes: int = 1,
):
    """A grain.MapDataset of batches without end; element k is this process's part of batch k.

    The parts in the order of the processes, one after another, are the batch of a single process:
    batching by parts first and slicing after it is what keeps the order.
    """
    import grain

    if batch_size % processes:
        raise ValueError(f"batch_size={batch_size} must be a multiple of {processes} processes")
    if len(source) == 0:
        raise ValueError(f"the source {source} is empty")
    examples = grain.MapDataset.source(source).seed(seed).shuffle().repeat()
    examples = examples.random_map(_Views(views))
    return examples.batch(batch_size // processes)[process::processes]


@dataclasses.dataclass(frozen=True)
class _Views:
    """A method's views as a transform that pickles (for worker processes)."""

    views: Callable

    def __call__(self, record: Record, rng: np.random.Generator) -> dict:
        try:
            return self.views(record, rng)
        except MediaError:
            raise
        except ValueError as error:  # say, a film too short for the clips asked for
            raise MediaError(f"{record.name}: {error}") from error


def train_batches(dataset, loading: Loading, start: int = 0) -> Iterator[dict[str, np.ndarray]]:
    """Iterates a `train_dataset` from batch number `start`. Close the iterator when done."""
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():  # as in a notebook: grain reads absl flags of its own
        flags.FLAGS.mark_as_parsed()
    options = _options(loading.threads, loading.prefetch)
    iterable = dataset[start:].to_iter_dataset(options)
    if loading.workers:
        iterable = iterable.mp_prefetch(grain.MultiprocessingOptions(loading.workers))
    return iter(iterable)


def _options(threads: int, ahead: int):
    import grain

    return grain.ReadOptions(num_threads=min(threads, ahead), prefetch_buffer_size=ahead)


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
    of P reads the records p, p + P, ...; every process sees the same number of batches.
    """
    import grain

    count = len(source)
    mine = -(-count // processes)
    numbers = [min(process + processes * i, count - 1) for i in range(mine)]
    real = len(range(process, count, processes))
    options = _options(loading.threads, 2 * batch_size)
    examples = grain.MapDataset.source(_Chosen(source, tuple(numbers))).map(read)
    iterator = iter(examples.to_iter_dataset(options))
    try:
        for start in range(0, mine, batch_size):
            rows = [next(iterator) for _ in range(min(batch_size, mine - start))]
            valid = max(0, min(len(rows), real - start))
            rows += [rows[-1]] * (batch_size - len(rows))
            yield {k: np.stack([row[k] for row in rows]) for k in rows[0]}, valid
    finally:
        iterator.close()


@dataclasses.dataclass(frozen=True)
class _Chosen:
    """Some records of a source, by number."""

    source: Source
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Record:
        return self.source[self.numbers[index]]
