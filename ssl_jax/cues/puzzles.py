"""The same puzzles in three ways: as they are, without a cue, and in its control."""

import dataclasses
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from jaxtyping import Int

from ssl_jax.config import ConfigError
from ssl_jax.cues.altered import AlteredBatch
from ssl_jax.cues.cue import Cue, pixel_entries, remembered, wave_entries
from ssl_jax.data.pipeline import first_example
from ssl_jax.data.record import Record, Source
from ssl_jax.data.record_batches import record_batches
from ssl_jax.method import Example, Method

WAYS = ("as_is", "removed", "control")


@dataclasses.dataclass(frozen=True)
class Turn:
    """One row of a batch: which record it is made of in each way, and its number."""

    name: str  # errors name it
    number: int
    records: Mapping[str, Record]


@dataclasses.dataclass(frozen=True, eq=False)
class Puzzles:
    """A frozen method's puzzles of a source, in batches.

    Attributes:
      frozen: of type `ssl_jax.Frozen`.
      source: of which puzzles are made.
      batch_size: rows of a batch; records that do not fill one at the end are left out.
      seed: of everything random. It is the same in all ways: a record's views and a batch's
        augmentation draw the same numbers.
    """

    frozen: object
    source: Source
    batch_size: int
    seed: int
    _made: dict = dataclasses.field(default_factory=dict, repr=False)

    @property
    def method(self) -> Method:
        return self.frozen.method

    @property
    def record(self) -> Record:
        """A readable record of the source, by which one sees what they have."""
        return self._first["record"]

    @property
    def sample(self) -> dict[str, np.ndarray]:
        """An augmented batch, by which one sees what the method makes of records."""
        if "sample" not in self._made:
            rows = {k: np.stack([v] * self.batch_size) for k, v in self._first["views"].items()}
            self._made["sample"] = self.augmented(self.method, rows, jax.random.key(self.seed))
        return self._made["sample"]

    @property
    def _first(self) -> dict:
        if "first" not in self._made:

            def read(record: Record, rng: np.random.Generator) -> dict:
                return {"record": record, "views": self.method.views(record, rng)}

            found = first_example(self.source, read, self.seed, self.frozen.loading)
            self._made["first"] = found
        return self._made["first"]

    @property
    def images(self) -> tuple[str, ...]:
        """The entries of an augmented batch that are images."""
        return pixel_entries(self.method, self.sample)

    @property
    def waves(self) -> tuple[str, ...]:
        """The entries of an augmented batch that are waves."""
        return wave_entries(self.method, self.sample)

    def methods(self, cue: Cue) -> dict[str, Method]:
        """The method in each way. For cues of records and orders it is the same."""
        method = self.method
        if cue.level == "batch":
            altered = (AlteredBatch(method, cue.remove), AlteredBatch(method, cue.control))
            return dict(zip(WAYS, (method, *altered), strict=True))
        if cue.level == "network":
            altered = cue.as_is(method), cue.remove(method), cue.control(method)
            return dict(zip(WAYS, altered, strict=True))
        return dict.fromkeys(WAYS, method)

    def batches(self, cue: Cue | None = None) -> Iterator[tuple[jax.Array, dict[str, Example]]]:
        """A key and the method's views for every batch, the latter in each way.

        A record that cannot be read in one way is left out in all.
        """
        order = np.arange(len(self.source))
        orders = dict.fromkeys(WAYS, order)
        if cue is not None and cue.level == "order":
            rng = np.random.default_rng([self.seed, 1])
            orders = cue.rows(self.source, self.batch_size, rng)
        # By its level: the names of methods alone do not tell one kind of cue from another.
        alike = cue is None or cue.level in ("batch", "network")

        def read(turn: Turn) -> Example:
            made = {}
            for way, record in self._records(turn, cue).items():
                rng = np.random.default_rng([self.seed, turn.number])
                views = self.method.views(record, rng)
                made |= {f"{way}/{name}": value for name, value in views.items()}
            return made

        turns = _Turns(self.source, orders if not alike else {"as_is": order})
        rows = self.batch_size
        batches = record_batches(turns, read, rows, self.frozen.loading)
        key = jax.random.key(self.seed)
        for number, (batch, valid) in enumerate(batches):
            if valid == rows:
                parted = {way: _of_way(batch, "as_is" if alike else way) for way in WAYS}
                yield jax.random.fold_in(key, number), parted

    def _records(self, turn: Turn, cue: Cue | None) -> dict[str, Record]:
        if cue is None or cue.level != "record":
            return dict(turn.records)
        record = remembered(turn.records["as_is"])
        seeds = [self.seed, turn.number, 1]
        return {
            "as_is": record,
            "removed": cue.remove(record, np.random.default_rng(seeds)),
            "control": cue.control(record, np.random.default_rng(seeds)),
        }

    def score(self, method: Method, rows: Example, key: jax.Array, metric: str) -> float:
        """The mean of a metric over a batch; '': the accuracy, or where there is none -loss.

        ConfigError for a metric that the method does not have.
        """
        numbers = self._of(method).puzzle(rows, key)
        metric = metric or ("accuracy" if "accuracy" in numbers else "-loss")
        name = metric.removeprefix("-")
        if name not in numbers:
            raise ConfigError(f"metric={metric}: the method has {', '.join(numbers)}")
        return -numbers[name] if metric.startswith("-") else numbers[name]

    def augmented(self, method: Method, rows: Example, key: jax.Array) -> dict[str, np.ndarray]:
        """The batch that the network sees in `score`, before `prepare`."""
        if ("augment", id(method)) not in self._made:
            self._made["augment", id(method)] = jax.jit(method.augment)
        if "state" not in self._made:  # a copy of this process: rows are on its devices alone
            state = {k: v for k, v in self.frozen.variables.items() if k != "params"}
            self._made["state"] = jax.device_get(state)
        own, _ = jax.random.split(key)  # as Method.forward does
        return jax.device_get(self._made["augment", id(method)](rows, self._made["state"], own))

    def _of(self, method: Method):
        if method is self.method:
            return self.frozen
        if ("frozen", id(method)) not in self._made:
            made = self.frozen.of_method(method, self.frozen.variables)
            self._made["frozen", id(method)] = made
        return self._made["frozen", id(method)]


def target_of(batch: Mapping[str, np.ndarray]) -> Int[np.ndarray, "b"] | None:
    """The entry 'target' if it holds classes; of several in a row, the first."""
    if "target" not in batch or not np.issubdtype(batch["target"].dtype, np.integer):
        return None
    target = np.asarray(batch["target"])
    return target.reshape(len(target), -1)[:, 0].astype(np.int64) if target.ndim in (1, 2) else None


@dataclasses.dataclass(frozen=True)
class _Turns:
    source: Source
    orders: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.orders["as_is"])

    def __getitem__(self, number: int) -> Turn:
        records = {way: self.source[int(order[number])] for way, order in self.orders.items()}
        return Turn(records["as_is"].name, number, records)


def _of_way(batch: Mapping[str, np.ndarray], way: str) -> Example:
    start = f"{way}/"
    return {k.removeprefix(start): v for k, v in batch.items() if k.startswith(start)}
