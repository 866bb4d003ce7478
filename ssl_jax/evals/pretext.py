"""How well a method solves its own puzzle on records that it was not trained on."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Record, Source
from ssl_jax.data.record_batches import record_batches


@dataclasses.dataclass(frozen=True)
class Pretext:
    """The method's loss and metrics on held-out records, network frozen, one puzzle a record.

    Yields 'loss', 'accuracy', ... as the method names them. A method that solves its puzzle in
    training and not here has learnt its films by heart. Records that do not fill a batch at the end
    are left out: some losses depend on the batch's size. The order is drawn once, from the seed,
    because others do on what is in a batch, and sources are often sorted by class.

    Attributes:
      source: held-out records.
      batch_size: rows at once; chance of contrastive methods depends on it.
      seed: of the puzzles.
    """

    source: Source
    batch_size: int = 64
    seed: int = 0
    every: int = 0

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError if the records do not fill a batch."""
        if len(self.source) < self.batch_size:
            raise ConfigError(
                f"pretext: {len(self.source)} records do not fill a batch of {self.batch_size}; "
                "lower its batch_size"
            )

        def read(record):
            return frozen.method.views(record, np.random.default_rng([self.seed, record.index]))

        # Every host reads whole batches, which is what `puzzle` takes: of parts, some hosts might
        # be full and others not, and these would wait for one another for ever.
        mixed = _Mixed(self.source, self.seed)
        batches = record_batches(mixed, read, self.batch_size, frozen.loading)
        key, results = jax.random.key(self.seed), []
        for number, (batch, valid) in enumerate(batches):
            if valid == self.batch_size:
                results.append(frozen.puzzle(batch, jax.random.fold_in(key, number)))
        if not results:
            raise ConfigError(
                f"pretext: too few of {len(self.source)} records could be read to fill a batch of "
                f"{self.batch_size}; lower its batch_size"
            )
        for name in results[0]:
            yield name, float(np.mean([result[name] for result in results]))


class _Mixed:
    """A source's records in another order."""

    def __init__(self, source: Source, seed: int):
        self.source = source
        self.order = np.random.default_rng(seed).permutation(len(source))

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> Record:
        return self.source[int(self.order[place])]
