"""Shards of features: what a trained run sees in every video, in place of its frames.

Methods on stored features train from them, `ArrayRecordSource` reads them. `shard_format` says what
they hold.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from ssl_jax.config import ConfigError
from ssl_jax.data import paths, shards
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.data.shard_blocks import Shard
from ssl_jax.data.shard_format import FORMAT
from ssl_jax.data.sources.array_record import ArrayRecordSource
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.frozen import Frozen
from ssl_jax.method import Example
from ssl_jax.training.trained import load

RECORDS_A_SHARD = 1024  # if no number of shards is asked for: features are small


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Which features: a layer of a run's stream, `rate` of them per second.

    Row k describes what begins k / rate seconds after the record's start. Where no input of the
    method fits any more, the last that fits is taken.
    """

    run: str
    layer: str
    stream: str = ""  # '': the first
    rate: float = 1.0

    def __post_init__(self):
        if not (self.run and self.layer):
            raise ConfigError("features is RUN:LAYER, for example runs/milnce:pool")
        if not 0 < self.rate < math.inf:
            raise ConfigError(f"rate={self.rate:g} must be a positive number of rows per second")


def prepare_features(
    input: str,
    output: str,
    features: str,
    stream: str = "",
    rate: float = 1.0,
    manifest: str = "",
    lists: str = "",
    num_shards: int = 0,
) -> dict:
    """Writes shards of a run's features and `manifest.json`; returns what is in the latter.

    Args:
      input: folder of media, or of shards that were prepared.
      features: RUN:LAYER, a trained run's folder and the layer to read.
      stream: of the run's method; '' for its first.
      rate: rows per second.

    The others are as in `ssl_jax.prepare.prepare`. ConfigError as of `write_feature_shards`.
    """
    run, _, layer = features.rpartition(":")
    input, output = paths.home(input), paths.home(output)
    wanted = Wanted(paths.home(run), layer, stream, rate)
    if paths.exists(paths.join(input, "manifest.json")):
        if manifest or lists:
            raise ConfigError(f"{input}: holds shards, which have their manifest; give no other")
        source = ArrayRecordSource((input,))
    else:
        source = FolderSource(input, manifest=manifest, lists=lists)
    files = num_shards or -(-len(source) // RECORDS_A_SHARD)
    return write_feature_shards(load(wanted.run), wanted, source, output, files)


def write_feature_shards(
    frozen: Frozen, wanted: Wanted, source: Source, output: str, files: int
) -> dict:
    """Writes the features of all records to `files` shards, and `manifest.json`, which it returns.

    Layers of maps are averaged over all but their channels. Numbers are float16. Shards that are
    whole already are kept. A record that cannot be read, or is too short for an input, is rejected
    and listed.

    Raises ConfigError: the run has no such stream or layer, nothing can be used, or the output
    holds shards of something else.
    """
    stream = wanted.stream or next(iter(frozen.method.streams))
    frozen.check_layers(stream, (wanted.layer,), source)
    paths.make_folder(output)
    result = paths.join(output, "manifest.json")
    count = max(1, min(files, len(source)))
    edges = [number * len(source) // count for number in range(count + 1)]
    names = [f"shard-{number:05d}-of-{count:05d}.array_record" for number in range(count)]
    plans = [_plan(frozen, wanted, stream, source, edges[k : k + 2]) for k in range(count)]
    _refuse_others(output, dict(zip(names, plans, strict=True)))
    if paths.exists(result):  # while shards are made again, the old ones must not pass for complete
        paths.remove(result)
    reports = []
    for name, plan, first, last in tqdm(
        list(zip(names, plans, edges[:-1], edges[1:], strict=True)), unit="shard", desc="features"
    ):
        file = paths.join(output, name)
        report = shards.finished(file, plan)
        if report is None:
            draft = paths.draft(file)
            written = _write(frozen, wanted, stream, source, range(first, last), draft)
            report = {"file": name, "plan": plan, **written, **shards.size_and_hash(draft)}
            paths.put(draft, file)
            shards.write_json(shards.report_file(file), report)
        reports.append(report)
    content = {
        "format": FORMAT,
        "options": {"features": dataclasses.asdict(wanted)},
        "label_names": list(getattr(source, "label_names", ())),
        "records": sum(report["records"] for report in reports),
        "seconds": round(sum(report["seconds"] for report in reports), 6),
        "rejected": [line for report in reports for line in report["rejected"]],
        "shards": [
            {name: report[name] for name in ("file", "entries", "records", "bytes", "sha256")}
            for report in reports
        ],
    }
    if not content["records"]:
        raise ConfigError(f"no record could be used; the first: {content['rejected'][0]}")
    shards.write_json(result, content)
    return content


def _plan(frozen: Frozen, wanted: Wanted, stream: str, source: Source, part: list[int]) -> str:
    """A hash of what decides a shard's bytes: the records, the features, and the run's state."""
    step = int(frozen.variables["run"]["step"])
    facts = [FORMAT, str(source), len(source), part, dataclasses.asdict(wanted), stream, step]
    facts.append(repr(frozen.method))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _refuse_others(output: str, plans: dict[str, str]) -> None:
    """ConfigError if shards of something else lie there."""
    for name in paths.names(output):
        if not name.endswith(".array_record"):
            continue
        report = shards.report_of(paths.join(output, name))
        if name not in plans or (report is not None and report["plan"] != plans[name]):
            raise ConfigError(f"{output}: holds {name} of something else; give an empty folder")


def _write(
    frozen: Frozen, wanted: Wanted, stream: str, source: Source, numbers: range, file: str
) -> dict:
    shard, rejected, seconds = Shard(file), [], 0.0
    index = {name: [] for name in ("entry", "kind", "label", "split", "frames", "seconds", "audio")}
    for record, rows in _encoded(frozen, wanted, stream, source, numbers, rejected):
        info = {
            "name": record.name,
            "path": record.extra["path"] if "path" in record.extra else record.name,
            "kind": "video",
            "label": record.label,
            "split": record.extra["split"] if "split" in record.extra else "",
            "extra": {k: v for k, v in record.extra.items() if isinstance(v, str | int | float)},
            "captions": [dataclasses.asdict(caption) for caption in record.captions],
            "num_frames": 0,
            "fps": wanted.rate,
            "duration": record.duration,
            "start": record.extra["start"] if "start" in record.extra else 0.0,
            "audio_span": (0.0, 0.0),
            "sample_rate": 0,
            "features": rows.shape[1],
        }
        seconds += record.duration
        row = (shard.entries, "video", record.label, info["split"], 0, record.duration, 0.0)
        for name, value in zip(index, row, strict=True):
            index[name].append(value)
        shard.write([json.dumps(info).encode(), rows.astype("<f2").tobytes()])
    shard.write([json.dumps({"format": FORMAT, **index}).encode()])
    shard.close()
    found = {"entries": shard.entries, "records": len(index["entry"])}
    return {**found, "seconds": seconds, "rejected": rejected}


def _encoded(
    frozen: Frozen,
    wanted: Wanted,
    stream: str,
    source: Source,
    numbers: range,
    rejected: list[dict],
) -> Iterator[tuple[Record, Float[np.ndarray, "t d"]]]:
    """Every record that can be read, with its features. Records share batches."""
    waiting: list[tuple[Record, Example, int]] = []
    for number in numbers:
        name = ""
        try:
            record = source[number]
            name = record.name
            times = _times(frozen, stream, wanted.rate, record)
            inputs = frozen.method.clips(record, stream, times)
        except (MediaError, ValueError) as error:
            reason = " ".join(str(error).split())
            # What a source cannot read it calls by its file, before a colon.
            rejected.append({"path": name or reason.partition(": ")[0], "reason": reason})
            continue
        waiting.append((record, inputs, len(times)))
        if sum(count for *_, count in waiting) >= frozen.batch_size:
            yield from _of_several(frozen, wanted.layer, stream, waiting, rejected)
            waiting = []
    yield from _of_several(frozen, wanted.layer, stream, waiting, rejected)


def _times(frozen: Frozen, stream: str, rate: float, record: Record) -> list[float]:
    begin, latest = frozen.method.times(record, stream, 2)
    count = max(1, math.ceil((record.duration - begin) * rate - 1e-6))
    return np.minimum(begin + np.arange(count) / rate, latest).tolist()


def _of_several(
    frozen: Frozen,
    layer: str,
    stream: str,
    several: list[tuple[Record, Example, int]],
    rejected: list[dict],
) -> Iterator[tuple[Record, Float[np.ndarray, "t d"]]]:
    if not several:
        return
    joined = {k: np.concatenate([one[k] for _, one, _ in several]) for k in several[0][1]}
    # Whole batches, so that a single program serves all.
    lacking = -len(next(iter(joined.values()))) % frozen.batch_size
    joined = {k: np.concatenate([v, np.repeat(v[-1:], lacking, axis=0)]) for k, v in joined.items()}
    rows = np.asarray(frozen.maps(stream, joined, (layer,))[layer], np.float32)
    rows = rows.mean(axis=tuple(range(1, rows.ndim - 1))) if rows.ndim > 2 else rows
    first = 0
    for record, _, count in several:
        own = rows[first : first + count]
        first += count
        if np.abs(own).max() < np.finfo(np.float16).max:  # NaN is not
            yield record, own
        else:
            reason = f"layer {layer!r} is not finite in float16"
            rejected.append({"path": record.name, "reason": reason})
