"""Grain reads elements ahead of their use, with threads or worker processes."""

import functools
from typing import Any

import numpy as np


def read_ahead(elements: Any, chosen: slice, threads: int, ahead: int, workers: int = 0):
    """Iterates elements[chosen] in order while later ones are being read. Close it when done.

    Args:
      elements: a grain.RandomAccessDataSource; must pickle if there are workers.
      chosen: which elements.
      threads: elements read at once, by this process or by each worker.
      ahead: elements kept ready (by each worker, if there are any).
      workers: processes that read in place of this one.
    """
    import grain
    from absl import flags

    _keep_freed_memory()
    if not flags.FLAGS.is_parsed():  # as in a notebook: grain reads absl flags of its own
        flags.FLAGS.mark_as_parsed()
    options = grain.ReadOptions(num_threads=min(threads, ahead), prefetch_buffer_size=ahead)
    dataset = grain.MapDataset.source(elements).slice(chosen).to_iter_dataset(options)
    if workers:
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(workers))
    return iter(dataset)


@functools.cache
def _keep_freed_memory() -> None:
    """Lets threads use the memory of freed batches again, where C's allocator is glibc's.

    It gives blocks above a limit back to the system, and a page that comes from there again costs
    more than to fill it. The limit rises to the largest block that was ever freed, at most 32 MiB.
    """
    np.empty(31 * 2**20, np.uint8)
