"""Some records of a source, in an order of their own."""

import dataclasses

from ssl_jax.data.record import Record, Source


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The records of these numbers, as a source. They keep the index that they have in theirs."""

    source: Source
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> Record:
        return self.source[self.numbers[place]]
