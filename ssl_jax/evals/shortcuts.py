"""Does a method cheat? What it loses when a cue goes that needs no understanding."""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ssl_jax import cues as catalogue
from ssl_jax.config import ConfigError
from ssl_jax.cues.alone import partners_found, probe_accuracy
from ssl_jax.cues.altered import shuffled
from ssl_jax.cues.cue import Cue, Measured, on_unit_scale
from ssl_jax.cues.network import BatchNormLeak
from ssl_jax.cues.puzzles import WAYS, Puzzles, target_of
from ssl_jax.cues.small_network import small_network_accuracy
from ssl_jax.cues.strips import strips
from ssl_jax.data.chosen import Chosen
from ssl_jax.data.labels import numbered_as
from ssl_jax.data.record import MediaError, Source
from ssl_jax.data.warn_once import warn_once
from ssl_jax.evals.pretext import check_fills
from ssl_jax.knobs import at_least
from ssl_jax.scores.paired import holm, paired_difference


@dataclasses.dataclass(frozen=True)
class Shortcuts:
    """The method's own score on held-out records as they are, without a cue, and in a control.

    The same records and random numbers three times: as is (a); without the cue (r); and with a
    change as large that leaves the cue where it was (c). For each cue that the method can meet:

    * 'CUE/as_is', 'CUE/removed', 'CUE/control': the scores a, r and c;
    * 'CUE/drop': a - r; 'CUE/excess': c - r, the headline, with its 95 % interval from
      'CUE/excess_low' to 'CUE/excess_high' (Student's t over pairs of batches) and 'CUE/p', its
      p-value adjusted by Holm for the number of cues;
    * 'CUE/reliance': (a - r) / (a - chance), if a is above chance by two standard errors;
    * 'CUE/chance': the score with targets or partners shuffled;
    * 'CUE/cue_only': how far the cue alone goes: a ridge probe from its statistic to the puzzle's
      target, trained on one half of the rows and tested on the other; or without targets, how often
      the view whose statistic is nearest is the partner. 'CUE/cue_only_chance': chance of that;
    * 'CUE/found': the share of rows that the removal changes; 'CUE/change', 'CUE/control_change':
      by how much it and the control change them, mean absolute difference of pixels (0..1) or wave;
    * a picture 'CUE': rows as they are, removed and control.

    A cue is used if its excess is above 0, and available if it alone beats chance; both together
    are a shortcut. Whether a cue is legitimate, as gravity is for the arrow of time, a person must
    say; only training without it tells whether it hurt. With `train` also 'small_network/accuracy':
    what a network of two convolutions learns of the puzzle.

    A method whose views depend on what is seen (windows chosen by motion, say) may draw other views
    without the cue, which widens intervals but shifts nothing. Methods with a `loss` of their own
    are audited for cues of records and batches' order alone.

    Attributes:
      source: held-out records.
      cues: which; () is all in `ssl_jax.cues`.
      records: so many of the source at most, drawn at random; 0: all.
      batch_size: rows at once. Contrastive scores depend on it; the smaller, the more batches there
        are to tell truth from chance by.
      metric: of the method, with a minus before it if less is better; '': 'accuracy', or where
        there is none '-loss'.
      train: records to train the small network on; None: there is none.
      small_steps: of its training.
    """

    source: Source
    cues: tuple[Cue, ...] = ()
    records: int = 512
    batch_size: int = 16
    metric: str = ""
    train: Source | None = None
    small_steps: int = 200
    seed: int = 0
    every: int = 0
    trained_only: ClassVar[bool] = True

    def __post_init__(self):
        at_least(self, 2, "batch_size")
        at_least(self, 1, "small_steps")
        at_least(self, 0, "records", "seed")

    def check(self, frozen) -> None:
        """ConfigError if the records do not fill two batches."""
        del frozen
        count = min(len(self.source), self.records or len(self.source))
        if count < 2 * self.batch_size:
            raise ConfigError(
                f"an interval needs two batches of {self.batch_size}, {count} records "
                "do not fill them; lower the evaluator's batch_size"
            )
        if self.train is not None:
            check_fills(min(len(self.train), self.records or len(self.train)), self.batch_size)

    def run(self, frozen) -> Iterator[tuple[str, float | np.ndarray]]:
        """ConfigError if the readable records do not fill a batch, or no cue can be met."""
        source = numbered_as(self.source, frozen.trained_names())
        puzzles = Puzzles(frozen, self._few(source), self.batch_size, self.seed)
        met = [cue for cue in self.cues or catalogue.ALL if _can_meet(puzzles, cue)]
        if not met:
            raise ConfigError("the method can meet none of the cues")
        chance, probabilities = self._chance(puzzles), {}
        for cue in met:
            try:
                found = dict(self._audit(puzzles, cue, chance))
            except (ConfigError, MediaError) as error:  # say, shots shorter than the method's clips
                warn_once(f"shortcuts: {cue.name} is skipped: {error}")
                continue
            probabilities[cue.name] = found.pop("p")
            for name, value in found.items():
                yield f"{cue.name}/{name}".rstrip("/"), value
        if not probabilities:
            raise ConfigError("none of the cues could be measured, see above")
        adjusted = holm(list(probabilities.values()))
        for name, value in zip(probabilities, adjusted.tolist(), strict=True):
            yield f"{name}/p", value
        if self.train is not None and target_of(puzzles.sample) is not None:
            yield "small_network/accuracy", self._small_network(puzzles)

    def _few(self, source: Source) -> Source:
        order = np.random.default_rng(self.seed).permutation(len(source))
        return Chosen(source, tuple(order[: self.records or None].tolist()))

    def _audit(
        self, puzzles: Puzzles, cue: Cue, chance: float | None
    ) -> Iterator[tuple[str, float | np.ndarray]]:
        """What is said of one cue; '' is the picture."""
        methods, entries = puzzles.methods(cue), _entries(puzzles, cue)
        scores, noted, first = {way: [] for way in WAYS}, _Notes(cue, entries), None
        for key, rows in puzzles.batches(cue):
            for way in WAYS:
                score = puzzles.score(methods[way], rows[way], key, self.metric)
                scores[way].append(score)
            drawn = {way: puzzles.augmented(methods[way], rows[way], key) for way in WAYS}
            noted.add(drawn)
            first = first or drawn
        if first is None:
            check_fills(len(self.source), self.batch_size)
            raise ConfigError(
                f"{cue.name}: the records that can be read with and without it do not fill a batch "
                f"of {self.batch_size}; lower the evaluator's batch_size"
            )
        a, r, c = (np.array(scores[way]) for way in WAYS)
        yield from zip(WAYS, (float(x.mean()) for x in (a, r, c)), strict=True)
        excess = paired_difference(c, r)
        yield "drop", float((a - r).mean())
        yield "excess", excess.mean
        if len(a) > 1:
            yield "excess_low", excess.low
            yield "excess_high", excess.high
        yield "p", excess.p
        if chance is not None:
            yield "chance", chance
            error = a.std(ddof=1) / np.sqrt(len(a)) if len(a) > 1 else np.inf
            if a.mean() - chance > max(2 * error, 1e-9):
                yield "reliance", float((a - r).mean() / (a.mean() - chance))
        yield from noted.results()
        if entries and cue.level in ("record", "batch"):
            yield "", strips(first, entries[0], cue.name)

    def _chance(self, puzzles: Puzzles) -> float | None:
        """The score with targets or partners shuffled; None if it cannot be told."""
        method = shuffled(puzzles.method, puzzles.sample)
        if method is None:
            return None
        scores = [
            puzzles.score(method, rows["as_is"], key, self.metric)
            for key, rows in puzzles.batches()
        ]
        return float(np.mean(scores)) if scores else None

    def _small_network(self, puzzles: Puzzles) -> float:
        train = numbered_as(self.train, puzzles.frozen.trained_names())
        others = Puzzles(puzzles.frozen, self._few(train), self.batch_size, self.seed)
        sides = []
        for one in (others, puzzles):
            made = [one.augmented(one.method, rows["as_is"], key) for key, rows in one.batches()]
            sides.append([{**batch, "target": target_of(batch)} for batch in made])
        if not all(sides):
            check_fills(0, self.batch_size)
        classes = 1 + max(int(batch["target"].max()) for side in sides for batch in side)
        entries = puzzles.images + puzzles.waves
        return small_network_accuracy(*sides, entries, classes, self.small_steps, self.seed)


class _Notes:
    """What is seen of a cue in batches, beside scores."""

    def __init__(self, cue: Cue, entries: tuple[str, ...]):
        self.cue, self.entries = cue, entries
        self.found, self.change, self.control_change, self.rows = [], [], [], 0
        self.statistics, self.targets, self.partners = [], [], []

    def add(self, drawn: dict[str, dict[str, np.ndarray]]) -> None:
        if self.cue.level in ("record", "batch") and self.entries:
            removed, control = (
                np.mean([_apart(drawn["as_is"][k], drawn[way][k]) for k in self.entries], axis=0)
                for way in ("removed", "control")
            )
            self.found.append(float((removed > 1e-4).mean()))
            self.change.append(float(removed.mean()))
            self.control_change.append(float(control.mean()))
        if not isinstance(self.cue, Measured) or not self.entries:
            return
        values = [on_unit_scale(drawn["as_is"][name]) for name in self.entries]
        target = target_of(drawn["as_is"])
        parts = [self.cue.statistic(value) for value in values]
        if not sum(part.shape[1] for part in parts):  # one image has no statistic over time
            return
        if target is not None:
            self.statistics.append(np.concatenate(parts, axis=1))
            self.targets.append(target)
        elif len(values) > 1 and values[0].shape == values[1].shape:
            self.partners.append(partners_found(*parts[:2]))
            self.rows = len(values[0])

    def results(self) -> Iterator[tuple[str, float]]:
        if self.statistics:
            alone = probe_accuracy(np.concatenate(self.statistics), np.concatenate(self.targets))
            yield from zip(("cue_only", "cue_only_chance"), alone, strict=True)
        if self.partners:
            yield "cue_only", float(np.mean(self.partners))
            yield "cue_only_chance", 1 / self.rows
        if self.found:
            yield "found", float(np.mean(self.found))
            yield "change", float(np.mean(self.change))
            yield "control_change", float(np.mean(self.control_change))


def _can_meet(puzzles: Puzzles, cue: Cue) -> bool:
    if cue.level in ("batch", "network") and puzzles.method.has_own_loss:
        return False
    if isinstance(cue, BatchNormLeak) and "batch_stats" not in puzzles.frozen.variables:
        return False
    return cue.applies(puzzles.method, puzzles.record, puzzles.sample)


def _entries(puzzles: Puzzles, cue: Cue) -> tuple[str, ...]:
    """The entries of the batch that carry the cue."""
    return puzzles.images if cue.sense == "vision" else puzzles.waves


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each row."""
    return np.abs(on_unit_scale(a) - on_unit_scale(b)).reshape(len(a), -1).mean(1)
