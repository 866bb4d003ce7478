"""Several sources as one, each with a weight."""

import dataclasses
import functools
import math

import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.labels import has_labels, label_names
from ssl_jax.data.record import Record
from ssl_jax.data.sources.choices import check_several
from ssl_jax.data.warn_once import warn_once

# Weights are kept to one part in so many.
PARTS = 1000


@dataclasses.dataclass(frozen=True)
class Mix:
    """Records of several sources by turns, evenly spread, each source's own in their order.

    A small source begins again when it has been seen; one pass over the mix ends when every source
    has been seen at least once. Captions and the rest are the records' own; `extra['source']` is
    the number of the source.

    Classes of the same name get the same label: `label_names` are those of the first source, then
    what the others add. Labels of sources that do not name their classes stay as they are.

    Attributes:
      sources: any sources, mixes too.
      weights: how often each is drawn, in any unit, say (3, 1); () in proportion to their sizes.
    """

    sources: tuple
    weights: tuple = ()

    def __post_init__(self):
        check_several("weights", self.weights)
        if not isinstance(self.sources, tuple | list):
            raise ConfigError(f"sources={self.sources} must be a tuple of sources")
        if not self.sources:
            raise ConfigError("a mix needs at least one source")
        if self.weights and len(self.weights) != len(self.sources):
            raise ConfigError(f"weights={self.weights}: {len(self.sources)} sources need one each")
        if self.weights and not (min(self.weights) > 0 and math.isfinite(sum(self.weights))):
            raise ConfigError(f"weights={self.weights} must be positive numbers")

    def __len__(self) -> int:
        pattern, counts, _ = self._pattern
        rounds = max(size / count for size, count in zip(self._sizes, counts, strict=True))
        return math.ceil(rounds * len(pattern))

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        pattern, counts, seen = self._pattern
        round_, place = divmod(int(index), len(pattern))
        which = pattern[place]
        number = (round_ * counts[which] + seen[place]) % self._sizes[which]
        record = self.sources[which][number]
        extra = {**record.extra, "source": which}
        label = record.label
        if label >= 0 and self._names[which]:
            label = self._numbers[self._names[which][label]]
        return dataclasses.replace(record, index=int(index), label=label, extra=extra)

    @property
    def label_names(self) -> tuple[str, ...]:
        bare = [
            place
            for place, source in enumerate(self.sources)
            if not self._names[place] and has_labels(source)
        ]
        if bare and self._numbers:
            warn_once(
                f"mix: the classes of source {bare[0]} have numbers only, those of others names "
                f"({', '.join([*self._numbers][:3])}, ...): its numbers stay as they are"
            )
        return tuple(self._numbers)

    @property
    def has_labels(self) -> bool:
        return any(has_labels(source) for source in self.sources)

    @functools.cached_property
    def _names(self) -> list[tuple[str, ...]]:
        return [label_names(source) for source in self.sources]

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        """The label of each name, in the order of the labels."""
        return {name: place for place, name in enumerate(dict.fromkeys(sum(self._names, ())))}

    @functools.cached_property
    def _sizes(self) -> list[int]:
        sizes = [len(source) for source in self.sources]
        if 0 in sizes:
            raise ConfigError(f"the source {self.sources[sizes.index(0)]} is empty")
        return sizes

    @functools.cached_property
    def _pattern(self) -> tuple[list[int], list[int], list[int]]:
        """One round: the source of each place, the places of each source, and for each place how
        many of its source's came before it in the round."""
        weights = np.array(self.weights or self._sizes, np.float64)
        shares = weights / weights.sum()
        counts = np.maximum(np.rint(shares * PARTS), 1).astype(int)
        counts //= np.gcd.reduce(counts)
        used, pattern, seen = np.zeros(len(counts), int), [], []
        for place in range(counts.sum()):
            # Who lies furthest behind its share is next.
            which = int(np.argmax(counts * (place + 1) / counts.sum() - used))
            pattern.append(which)
            seen.append(int(used[which]))
            used[which] += 1
        return pattern, counts.tolist(), seen
