"""Average precision: three numbers that are all called "VOC07 mAP", and what ties do to them."""

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from ssl_jax.config import ConfigError

KINDS = ("area", "eleven", "step")
TIES = ("grouped", "index", "reversed", "optimistic", "pessimistic")


def average_precision(
    target: Bool[np.ndarray, "n"] | Int[np.ndarray, "n"],
    score: Real[np.ndarray, "n"],
    kind: str = "area",
    ties: str = "grouped",
) -> float:
    """How near to the front the positives stand when records are sorted by score.

    Args:
      target: 1 for a positive, 0 for a negative. Leave out what shall not count.
      kind: 'area' under precision's envelope over recall (VOC from 2010 on, and what VISSL's SVMs
        report); 'eleven', the mean of the envelope at recall 0, 0.1, ..., 1 (the VOC2007 devkit);
        'step', the area without an envelope (scikit-learn).
      ties: 'grouped', equal scores enter together (scikit-learn); 'index', the earlier first;
        'reversed', the later first (VISSL); 'optimistic' and 'pessimistic', positives first or
        last.

    Raises ValueError without a positive or for a NaN score, ConfigError for another kind or ties.
    """
    if kind not in KINDS:
        raise ConfigError(f"average precision: kind is one of {KINDS}, not {kind!r}")
    if ties not in TIES:
        raise ConfigError(f"average precision: ties is one of {TIES}, not {ties!r}")
    target = np.asarray(target).astype(bool)
    if np.isnan(score).any():
        raise ValueError(
            f"average precision: {np.isnan(score).sum()} of {len(score)} scores are NaN, first "
            f"record {np.isnan(score).argmax()}"
        )
    if not target.any():
        raise ValueError(f"average precision: none of {len(target)} records is a positive")
    second = {
        "reversed": -np.arange(len(target)),
        "optimistic": ~target,
        "pessimistic": target,
    }.get(ties, np.arange(len(target)))
    order = np.lexsort((second, -np.asarray(score, np.float64)))
    hits, seen = np.cumsum(target[order]), np.arange(1, len(target) + 1)
    if ties == "grouped":
        ordered = np.asarray(score)[order]
        last = np.append(ordered[1:] != ordered[:-1], True)
        hits, seen = hits[last], seen[last]
    precision = hits / seen
    if kind != "step":
        precision = np.maximum.accumulate(precision[::-1])[::-1]
    if kind == "eleven":
        # In whole numbers: a recall of exactly 3/10 is below the float 3 * 0.1.
        reached = np.searchsorted(10 * hits, np.arange(11) * hits[-1])
        return float(precision[reached].mean())
    return float(np.sum(np.diff(hits, prepend=0) * precision) / hits[-1])


def mean_average_precision(
    presence: Int[np.ndarray, "n k"],
    scores: Float[np.ndarray, "n k"],
    kind: str = "area",
    ties: str = "grouped",
) -> float:
    """Mean over classes of `average_precision`.

    Args:
      presence: 1 where a record shows a class, -1 where not, 0 where it does not count (VOC's
        'difficult').

    Raises ConfigError naming a class without a positive.
    """
    values = []
    for number, (column, score) in enumerate(zip(presence.T, scores.T, strict=True)):
        counts = column != 0
        if not (column == 1).any():
            raise ConfigError(
                f"class {number}: none of {counts.sum()} records shows it, so its average "
                "precision is undefined; test on records of every class"
            )
        values.append(average_precision(column[counts] == 1, score[counts], kind, ties))
    return float(np.mean(values))
