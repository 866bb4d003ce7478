"""How well a method solves its own puzzle on records that it was not trained on."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.chosen import Chosen
from ssl_jax.data.labels import numbered_as
from ssl_jax.data.record import Source
from ssl_jax.data.record_batches import record_batches
from ssl_jax.knobs import at_least


@dataclasses.dataclass(frozen=True)
class Pretext:
    """The method's loss and metrics on held-out records, network frozen, one puzzle a record.

    Yields 'loss', 'accuracy', ... as the method names them. A method that solves its puzzle in
    training and not here has memorised its records. Records that do not fill a batch at the end
    are skipped: some losses depend on the batch's size. The order is drawn once, from the seed,
    because other losses depend on what is in a batch, and sources are often sorted by class.

    Attributes:
      source: held-out records.
      batch_size: rows at once; chance of contrastive methods depends on it.
      seed: of the puzzles.
    """

    source: Source
    batch_size: int = 64
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        at_least(self, 1, "batch_size")
        at_least(self, 0, "seed")

    def check(self, frozen) -> None:
        """ConfigError if the records cannot fill a batch."""
        del frozen
        check_fills(len(self.source), self.batch_size)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError if the records do not fill a batch."""
        batches = puzzle_batches(frozen, self.source, self.batch_size, self.seed)
        results = [frozen.puzzle(batch, key) for batch, key in batches]
        for name in results[0]:
            yield name, float(np.mean([result[name] for result in results]))


def puzzle_batches(
    frozen, source: Source, batch_size: int, seed: int
) -> Iterator[tuple[dict[str, np.ndarray], jax.Array]]:
    """Full batches of the method's views, one of each record, and a key for each batch.

    Every host reads whole batches: if each read a part, some parts might be full and others not,
    and hosts would wait for one another for ever. ConfigError if the records do not fill a batch.
    """

    def read(record):
        return frozen.method.views(record, np.random.default_rng([seed, record.index]))

    source = numbered_as(source, frozen.trained_names())  # for methods that learn labels
    order = tuple(np.random.default_rng(seed).permutation(len(source)).tolist())
    key, full = jax.random.key(seed), 0
    if len(source) >= batch_size:
        batches = record_batches(Chosen(source, order), read, batch_size, frozen.loading)
        for number, (batch, valid) in enumerate(batches):
            if valid == batch_size:
                full += 1
                yield batch, jax.random.fold_in(key, number)
    if not full:
        check_fills(len(source), batch_size)
        raise ConfigError(
            f"the readable ones of {len(source)} records do not fill a batch of {batch_size}; "
            "lower the evaluator's batch_size"
        )


def check_fills(records: int, batch_size: int) -> None:
    """ConfigError if so many records do not fill a batch."""
    if records < batch_size:
        raise ConfigError(
            f"{records} records do not fill a batch of {batch_size}; lower the evaluator's "
            "batch_size"
        )
