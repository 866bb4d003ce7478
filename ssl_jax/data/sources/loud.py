"""The records of another source that can be heard, and how much of them is silent."""

import concurrent.futures
import dataclasses
import functools
import logging
import sys
from typing import NamedTuple

import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.kept import KeptRows
from ssl_jax.data.labels import has_labels, label_names
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.knobs import within

THREADS = 8
SILENT = 1e-3  # root mean square, 60 dB below full scale
SHOWN_AFTER = 3.0  # seconds


class Loudness(NamedTuple):
    """Of one record: its root mean square about its mean, and how many of its seconds are silent.

    A second is silent below `SILENT`; seconds of the record without a track are `beyond` it.
    """

    rms: float
    listened: int
    silent: int
    beyond: float


@dataclasses.dataclass(frozen=True)
class LoudSource:
    """Another source's records whose audio is loud enough.

    Silence matches silence, so a set that is mostly silent looks as if nothing could be learnt from
    it. All audio is decoded once; what was found is kept in the user's cache folder until the
    source or a file of it changes. How many records are left out, and which share of the others'
    seconds is silent or has no audio, is logged.

    Attributes:
      source: of videos or audio, say a `FolderSource` or an `ArrayRecordSource`.
      min_loudness: smallest root mean square of a record about its mean, of samples in -1..1, as
        `ArcadeSource` has it. 0 keeps all that have audio.

    Raises:
      ConfigError: no record is loud enough.
    """

    source: Source
    min_loudness: float = 0.02

    def __post_init__(self):
        within(self, 0, 1, "min_loudness")

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Record:
        return dataclasses.replace(self.source[self.chosen[index]], index=int(index))

    @property
    def label_names(self) -> tuple[str, ...]:
        return label_names(self.source)

    @property
    def has_labels(self) -> bool:
        return has_labels(self.source)

    @functools.cached_property
    def chosen(self) -> list[int]:
        """The numbers of the records in the other source."""
        found = self._found()
        chosen = [n for n, x in enumerate(found) if x is not None and x.rms >= self.min_loudness]
        broken = sum(x is None for x in found)
        left = f"{len(found) - len(chosen)} of {len(found)} records are left out, {broken} of them "
        left += "broken or without audio"
        if not chosen:
            raise ConfigError(f"min_loudness={self.min_loudness}: nothing is left, {left}")
        kept = [found[number] for number in chosen]
        seconds = max(1, sum(x.listened for x in kept))
        silent = sum(x.silent for x in kept) / seconds
        beyond = sum(x.beyond for x in kept) / (seconds + sum(x.beyond for x in kept))
        logging.getLogger(__name__).warning(
            "min_loudness=%s: %s; of the others' seconds %.1f %% are silent, and %.1f %% have no "
            "audio",
            *(self.min_loudness, left, 100 * silent, 100 * beyond),
        )
        return chosen

    def _found(self) -> list[Loudness | None]:
        """Of every record; None for one that is broken or has no audio."""
        from tqdm import tqdm

        kept = KeptRows("loudness", repr(self.source))
        known = {row[0]: row[1:] for row in kept.read() if isinstance(row, list) and len(row) == 7}
        new = []

        def one(number: int) -> Loudness | None:
            try:
                record = self.source[number]
                state = _state(record)
                if number in known and known[number][:2] == [record.name, state]:
                    return Loudness(*known[number][2:])
                loudness = measure(record)
            except MediaError:
                return None
            new.append((number, record.name, state, *loudness))
            return loudness

        bar = {"total": len(self.source), "unit": "record", "delay": SHOWN_AFTER}
        pool = concurrent.futures.ThreadPoolExecutor(THREADS)
        try:
            parts = pool.map(one, range(len(self.source)))
            return list(tqdm(parts, desc="listening", file=sys.stderr, **bar))
        finally:  # also at Ctrl-C
            pool.shutdown(cancel_futures=True)
            if new:
                kept.add(new)


def measure(record: Record) -> Loudness:
    """How loud a record is. MediaError without audio.

    It is decoded second by second, so that long tracks need no more memory.
    """
    audio = record.need_audio()
    begin, end = record.audible
    count = max(1, int(end - begin))
    length = (end - begin) / count
    total, squares, samples, silent = 0.0, 0.0, 0, 0
    for second in range(count):
        wave = audio(begin + second * length, begin + (second + 1) * length).astype(np.float64)
        total, squares, samples = total + wave.sum(), squares + (wave**2).sum(), samples + len(wave)
        silent += bool(wave.std() < SILENT)
    mean = total / max(1, samples)
    rms = max(0.0, squares / max(1, samples) - mean**2) ** 0.5
    return Loudness(rms, count, silent, max(0.0, record.duration - (end - begin)))


def _state(record: Record) -> str:
    """What changes whenever the record's file does, as far as it is known."""
    found = [str(record.extra[key]) for key in ("path", "audio_path") if key in record.extra]
    try:
        return " ".join(str(paths.state(path)) for path in found if path)
    except OSError:
        return ""
