"""What a trained run sees in a record over time: features at a fixed rate."""

import dataclasses
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float

from ssl_jax.config import ConfigError
from ssl_jax.data.pipeline import made
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.frozen import Frozen
from ssl_jax.method import Example

DAY = 86400.0  # seconds, longer than any method's input


def features_over_time(
    frozen: Frozen, stream: str, layer: str, rate: float, source: Source, number: int
) -> tuple[Record, Float[np.ndarray, "t d"]]:
    """A record of a source, and a layer's features of it, `rate` rows per second.

    Row k is of the input of the method that begins k / rate seconds after the record does, or the
    first or last that there is. Maps and steps are averaged, padding included.

    Raises MediaError for what cannot be read, is too short for an input, or is not finite in
    float16; ConfigError for a method whose inputs are parts of a record, or all of it.
    """
    method = frozen.method

    def look(record: Record) -> dict:
        of_two, of_three = (method.times(record, stream, count) for count in (2, 3))
        begin, end = method.times(_longer(record), stream, 2)
        times = {"first": of_two[0], "last": of_two[-1], "other": of_three[-1]}
        return {"record": record, **times, "moves": end > begin}

    found = made(source, number, look)
    record, first, last = (found[name] for name in ("record", "first", "last"))
    if not math.isclose(last, found["other"], abs_tol=1e-3):
        raise ConfigError(
            f"{type(method).__name__} cuts the records of stream {stream!r} into as many parts as "
            "are asked for, so its features have no rate"
        )
    # A record as short as an input has one time, too. Only a long one tells the two apart.
    if not found["moves"]:
        raise ConfigError(
            f"{type(method).__name__} has the same inputs of stream {stream!r} at all times of a "
            "record, so its features have no rate"
        )
    count = max(1, math.ceil(record.duration * rate - 1e-6))
    times = np.clip(np.arange(count) / rate, first, max(first, last)).tolist()
    parts = []
    for taken, inputs in _read_ahead(frozen, stream, source, number, times):
        rows = frozen.maps(stream, inputs, (layer,))[layer]
        rows = np.asarray(rows[:taken], np.float32)
        parts.append(rows.mean(axis=tuple(range(1, rows.ndim - 1))) if rows.ndim > 2 else rows)
    rows = np.concatenate(parts)
    if not np.abs(rows).max() < np.finfo(np.float16).max:  # nor is NaN
        raise MediaError(f"{record.name}: layer {layer!r} is not finite in float16")
    return record, rows


def _longer(record: Record) -> Record:
    """The record as if it went on for a day more, to ask for its times."""
    frames = record.num_frames and record.num_frames + math.ceil(DAY * record.fps)
    longer = {"num_frames": frames, "times": None, "duration": record.duration + DAY}
    return dataclasses.replace(record, **longer, audio_span=None)


def _read_ahead(
    frozen: Frozen,
    stream: str,
    source: Source,
    number: int,
    times: list[float],
) -> Iterator[tuple[int, Example]]:
    """Inputs at these times, in batches, each read while the one before is computed.

    The first number says how many of a batch count. The last is filled up to a power of two, so
    that records of all lengths have few programs and a short one is no whole batch.
    """
    batches = [times[k : k + frozen.batch_size] for k in range(0, len(times), frozen.batch_size)]

    def read(own: list[float]) -> tuple[int, Example]:
        inputs = made(source, number, lambda record: frozen.method.clips(record, stream, own))
        size = min(frozen.batch_size, 2 ** math.ceil(math.log2(len(own))))
        lacking = size - len(own)
        filled = {k: np.concatenate([v, np.repeat(v[-1:], lacking, 0)]) for k, v in inputs.items()}
        return len(own), filled

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(read, batches[0])
        for batch in [*batches[1:], None]:
            now = following.result()
            if batch is not None:
                following = pool.submit(read, batch)
            yield now
