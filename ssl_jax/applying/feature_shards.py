"""Shards of features: what a trained run sees in every video, in place of its frames.

Methods on stored features train from them, `ArrayRecordSource` reads them. `shard_format` says what
they hold.
"""

import dataclasses
import json
import math

from ssl_jax.applying.feature_plans import hash_of_weights, outdated, plan_of
from ssl_jax.applying.features_over_time import features_over_time
from ssl_jax.config import ConfigError
from ssl_jax.data import paths, shards
from ssl_jax.data.failures import Failures
from ssl_jax.data.progress import progress_bar
from ssl_jax.data.record import MediaError
from ssl_jax.data.shard_blocks import Shard
from ssl_jax.data.shard_format import FORMAT
from ssl_jax.data.sources.array_record import ArrayRecordSource
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.manifest import kind
from ssl_jax.frozen import Frozen
from ssl_jax.training.trained import load

RECORDS_A_SHARD = 1024  # if no number of shards is asked for: features are small
KEPT_APART = ("path", "split", "start", "flow_bound")  # of `extra`: not the manifest's columns


@dataclasses.dataclass(frozen=True)
class FeatureOptions:
    """Which features are stored.

    Row k is of the input of the method that begins k / rate seconds after the record does, or the
    first or last that there is.

    Attributes:
      run: folder of the trained run.
      layer: of the stream. Maps and steps are averaged, padding included; numbers are float16.
      stream: of the run's method; '' for its first.
      rate: rows per second.
    """

    run: str
    layer: str
    stream: str = ""
    rate: float = 1.0

    def __post_init__(self):
        if not (self.run and self.layer):
            raise ConfigError("features is RUN:LAYER, for example runs/milnce:pool")
        if not 0 < self.rate < math.inf:
            raise ConfigError(f"rate={self.rate:g} must be a positive number of rows per second")


def prepare_features(
    input: str,
    output: str,
    options: FeatureOptions,
    manifest: str = "",
    lists: str = "",
    num_shards: int = 0,
) -> dict:
    """Writes shards of a run's features and `manifest.json`; returns what is in the latter.

    Shards that are whole are kept, unless the run, the files or their manifest have changed since;
    if there are now more or fewer of them, all are made again.
    Records that cannot be read or are too short are listed as rejected, up to the share
    `data.max_failed` of the run's config.

    Args:
      input: folder of media as `FolderSource` takes it, or of shards that were prepared.
      num_shards: 0 for one for every 1024 records.

    The others are as in `ssl_jax.prepare.prepare`. Raises ConfigError: there is no such run, stream
    or layer, or the output holds shards that were made with other flags; MediaError: too many
    records cannot be used.
    """
    input, output = paths.home(input), paths.home(output)
    if paths.whole(input) == paths.whole(output):
        raise ConfigError(f"{output}: is the input; give another folder for the features")
    source: FolderSource | ArrayRecordSource
    if any(name.endswith(".array_record") for name in _names(input)):
        if manifest or lists:
            raise ConfigError(f"{input}: holds shards, which have their manifest; give no other")
        source = ArrayRecordSource((input,))
    else:
        source = FolderSource(input, manifest=manifest, lists=lists)
    if num_shards < 0:
        raise ConfigError(f"shards={num_shards} must be at least 1, or 0 to choose by the input")
    frozen = load(options.run)
    options = dataclasses.replace(
        options, stream=options.stream or next(iter(frozen.method.streams))
    )
    frozen.check_layers(options.stream, (options.layer,), source)
    if "text" in frozen.method.streams[options.stream]:
        raise ConfigError(
            f"stream {options.stream!r} reads captions, which have no features in time"
        )
    count = min(num_shards or -(-len(source) // RECORDS_A_SHARD), len(source))
    edges = [number * len(source) // count for number in range(count + 1)]
    parts = [range(*edges[k : k + 2]) for k in range(count)]
    files = [f"shard-{number:05d}-of-{count:05d}.array_record" for number in range(count)]
    flags = {"input": input, "manifest": manifest, "lists": lists, "shards": num_shards}
    flags |= dataclasses.asdict(options)
    asked = options.layer, options.stream, options.rate, hash_of_weights(frozen)
    plans = [plan_of(*asked, source, part) for part in parts]
    paths.make_folder(output)
    old = outdated(output, dict(zip(files, plans, strict=True)), flags)
    result = paths.join(output, "manifest.json")
    if paths.exists(result):  # while shards are made again, the old ones must not pass for complete
        paths.remove(result)
    for name in old:
        paths.remove(paths.join(output, name))
    failures = Failures(frozen.loading.max_failed, len(source))
    reports, bar = [], progress_bar("features", len(source), "record")
    for name, plan, part in zip(files, plans, parts, strict=True):
        file = paths.join(output, name)
        report = shards.finished(file, plan)
        if report is None:
            draft = paths.draft(file)
            written = _write(frozen, options, source, part, failures, bar, draft)
            report = {"file": name, "plan": plan, "made_with": flags, **written}
            report |= shards.size_and_hash(draft)
            paths.put(draft, file)
            shards.write_json(shards.report_file(file), report)
        else:  # counts as it did when it was made
            failed = [f"{line['path']}: {line['reason']}" for line in report["rejected"]]
            failures.add(failed, report["records"] + len(failed))
            bar.update(report["records"] + len(failed))
        reports.append(report)
    bar.close()
    content = {
        "format": FORMAT,
        "options": dataclasses.asdict(options),
        "label_names": source.label_names,
        "records": sum(report["records"] for report in reports),
        "seconds": round(sum(report["seconds"] for report in reports), 6),
        "rejected": [line for report in reports for line in report["rejected"]],
        "shards": [
            {name: report[name] for name in ("file", "entries", "records", "bytes", "sha256")}
            for report in reports
        ],
    }
    if not content["records"]:
        raise ConfigError(f"{input}: no record could be used; the first: {content['rejected'][0]}")
    shards.write_json(result, content)
    return content


def _names(folder: str) -> list[str]:
    try:
        return paths.names(folder)
    except OSError:
        return []  # FolderSource says that there is none


def _write(
    frozen: Frozen,
    options: FeatureOptions,
    source: FolderSource | ArrayRecordSource,
    part: range,
    failures: Failures,
    bar,
    file: str,
) -> dict:
    shard, rejected, seconds = Shard(file), [], 0.0
    asked = options.stream, options.layer, options.rate
    index = {name: [] for name in ("entry", "kind", "label", "split", "frames", "seconds", "audio")}
    for number in part:
        bar.update()
        try:
            record, rows = features_over_time(frozen, *asked, source, number)
        except MediaError as error:
            if frozen.loading.on_error == "raise":
                raise
            failures.add([str(error)], 1)
            rejected.append(_rejected(source, number, error))
            continue
        failures.add([], 1)
        if isinstance(source, FolderSource):
            path, start = source.items[number].path, source.items[number].start
        else:
            path, start = record.extra["path"], record.extra["start"]
        columns = {k: v for k, v in record.extra.items() if isinstance(v, str | int | float)}
        info = {
            "name": record.name,
            "path": path,
            "kind": kind(path),
            "label": record.label,
            "split": record.extra["split"],
            "extra": {k: v for k, v in columns.items() if k not in KEPT_APART},
            "captions": [dataclasses.asdict(caption) for caption in record.captions],
            "num_frames": 0,
            "fps": options.rate,
            "duration": record.duration,
            "start": start,
            "audio_span": (0.0, 0.0),
            "sample_rate": 0,
            "features": rows.shape[1],
        }
        seconds += record.duration
        line = (kind(path), record.label, info["split"], 0, record.duration, 0.0)
        for name, value in zip(index, (shard.entries, *line), strict=True):
            index[name].append(value)
        shard.write([json.dumps(info).encode(), rows.astype("<f2").tobytes()])
    shard.write([json.dumps({"format": FORMAT, **index}).encode()])
    shard.close()
    found = {"entries": shard.entries, "records": len(index["entry"])}
    return {**found, "seconds": seconds, "rejected": rejected}


def _rejected(source: FolderSource | ArrayRecordSource, number: int, error: MediaError) -> dict:
    """A line of the manifest, which may be passed on: its paths are those inside of the input."""
    folder = source.path if isinstance(source, FolderSource) else source.paths[0]
    reason = str(error).removeprefix(paths.join(folder, ""))
    try:
        listed = isinstance(source, FolderSource)
        path = source.items[number].path if listed else source[number].extra["path"]
    except MediaError:  # the shard itself is damaged
        path = reason.partition(": ")[0]
    return {"path": path, "reason": reason.removeprefix(path).lstrip(": ")}
