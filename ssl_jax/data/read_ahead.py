"""Grain reads elements ahead of their use, with threads or worker processes."""

from typing import Any


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

    if not flags.FLAGS.is_parsed():  # as in a notebook: grain reads absl flags of its own
        flags.FLAGS.mark_as_parsed()
    options = grain.ReadOptions(num_threads=min(threads, ahead), prefetch_buffer_size=ahead)
    dataset = grain.MapDataset.source(elements).slice(chosen).to_iter_dataset(options)
    if workers:
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(workers))
    return iter(dataset)
