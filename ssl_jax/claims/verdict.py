"""Is an order of a paper found again? Paired by seed, with intervals."""

import dataclasses
from collections.abc import Mapping, Sequence

from scipy import stats

from ssl_jax.scores.paired import paired_difference

REPRODUCED, CONTRADICTED, UNDECIDED = "reproduced", "contradicted", "undecided"


@dataclasses.dataclass(frozen=True)
class Pair:
    """The difference of two arms over seeds, and its 95 % interval (Student's t)."""

    better: str
    worse: str
    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether the whole interval is above 0, below it, or neither."""
        if self.low > 0:
            return REPRODUCED
        return CONTRADICTED if self.high < 0 else UNDECIDED


def paired(better: str, worse: str, a: Sequence[float], b: Sequence[float]) -> Pair:
    """Of two arms' numbers, of the same seeds in the same order; more is better.

    With a single seed the interval is all numbers.
    """
    found = paired_difference(a, b)
    return Pair(better, worse, found.mean, found.low, found.high)


def verdict_of(pairs: Sequence[Pair]) -> str:
    """Reproduced if all pairs are, contradicted if any is."""
    found = {pair.verdict for pair in pairs}
    if CONTRADICTED in found:
        return CONTRADICTED
    return REPRODUCED if found == {REPRODUCED} else UNDECIDED


def kendall(ranks: Mapping[str, int], means: Mapping[str, float]) -> float:
    """Kendall's tau-b between a paper's order (rank 0 is best) and ours: 1 the same, -1 reversed.

    nan if one of them is all ties.
    """
    arms = list(ranks)
    found = stats.kendalltau([-ranks[arm] for arm in arms], [means[arm] for arm in arms])
    return float(found.statistic)
