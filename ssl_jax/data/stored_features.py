"""Features that were computed before and are kept in a record, as rows over time."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Real

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Record


def features_of(record: Record, name: str) -> Real[np.ndarray, "t d"]:
    """`extra[name]` of a record. Raises MediaError if there are none."""
    if name not in record.extra:
        there = ", ".join(record.extra) or "nothing"
        raise MediaError(f"{record.name}: has no features extra[{name!r}], it has {there}")
    rows = np.asarray(record.extra[name])
    if rows.ndim != 2 or not len(rows):
        raise MediaError(f"{record.name}: features {name!r} have shape {rows.shape}, not (t d)")
    return rows


def feature_seconds(record: Record, name: str, rate: float) -> float:
    """Seconds of a record that there are features of, `rate` rows per second.

    Raises MediaError if there are none, ConfigError if the record says that it has another rate.
    """
    rows = features_of(record, name)
    if not record.num_frames and not math.isclose(record.fps, rate, rel_tol=1e-3):
        raise ConfigError(
            f"{record.name}: has {record.fps:g} rows of features per second, not {rate:g}; set "
            f"method.rate={record.fps:g}"
        )
    return min(record.duration, len(rows) / rate)


def cut_times(seconds: float, count: int) -> list[float]:
    """Where `count` equal parts of a video's seconds begin."""
    return (np.arange(count) * seconds / count).tolist()


def strongest_features(
    record: Record, name: str, rate: float, start: float, end: float
) -> Float32[np.ndarray, "d"]:
    """The maximum over time of a record's features from one second to another.

    Row k of `extra[name]`, (t d), is of the seconds from k / rate to (k + 1) / rate. At least one
    row counts.

    Raises MediaError if there are none, if they end before `start`, or for numbers that are not
    finite.
    """
    return _features_within(record, name, rate, start, end).max(axis=0)


def spread_features(
    record: Record, name: str, rate: float, spans: Sequence[tuple[float, float]], steps: int
) -> tuple[Float32[np.ndarray, "n steps d"], Bool[np.ndarray, "n steps"]]:
    """A record's features of n spans of seconds, in order, and which of the rows there are.

    Of more than `steps` rows some are taken, evenly spread from the first to the last; after fewer
    come zeros. Otherwise as `strongest_features`.
    """
    found = []
    for start, end in spans:
        rows = _features_within(record, name, rate, start, end)
        chosen = np.linspace(0, len(rows) - 1, min(steps, len(rows))).round().astype(int)
        found.append(rows[chosen])
    there = np.arange(steps) < np.array([len(rows) for rows in found])[:, None]
    padded = [np.pad(rows, ((0, steps - len(rows)), (0, 0))) for rows in found]
    return np.stack(padded), there


def _features_within(
    record: Record, name: str, rate: float, start: float, end: float
) -> Float32[np.ndarray, "t d"]:
    rows = features_of(record, name)
    first = max(int(np.floor(start * rate + 1e-6)), 0)
    if first >= len(rows):
        raise MediaError(
            f"{record.name}: features {name!r} end at {len(rows) / rate:.2f} s, {start:.2f} s was "
            "asked for; is it their rate?"
        )
    last = min(max(int(np.ceil(end * rate - 1e-6)), first + 1), len(rows))
    chosen = rows[first:last].astype(np.float32)
    if not np.isfinite(chosen).all():
        raise MediaError(f"{record.name}: features {name!r} are not finite")
    return chosen
