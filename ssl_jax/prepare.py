"""A folder of videos, images and audio files -> shards that any frame can be read from at once.

    python -m ssl_jax.prepare --input=DIR --output=DIR2 [--manifest=list.csv | --lists=DIR3]
        [--short_side=128] [--quality=90] [--sample_rate=16000] [--audio=flac] [--flow] [--whole]
        [--shards=N] [--max_pixels=N] [--max_seconds=N] [--max_bytes=N] [--runner=...]
    python -m ssl_jax.prepare --input=DIR --output=DIR2 --features=RUN:LAYER [--stream=NAME]
        [--rate=1] [--manifest=list.csv | --lists=DIR3] [--shards=N]

The input is what `FolderSource` takes, with or without its manifest or lists. Videos are cut into
their shots; frames become small JPEGs; `ssl_jax/data/shard_format.py` says what is stored and how,
and `ArrayRecordSource` reads it. `manifest.json` in the output tells what there is: counts, the
hash of every shard and every file that could not be used, with the reason.

Each shard is made by itself, by Apache Beam: on this machine by default, with a thread a core, else
wherever `--runner` and Beam's other flags say; all workers must see both folders by the same path.
Whatever the runner, the same input gives the same bytes. The command again goes on where it was
stopped: whole shards, known by their hashes, are kept. Other flags want another output.

With --features the shards hold, in place of frames and audio, what a trained run sees in them: a
layer of one of its streams, by default the first, `rate` rows per second. Methods on stored
features train from these. The input is then such a folder, or one of shards that were prepared, and
this process makes the shards, one after another. They are made again if the run has changed.
"""

import argparse
import collections
import dataclasses
import logging
import os
import sys

from ssl_jax.config import ConfigError
from ssl_jax.data import paths, shards
from ssl_jax.data.media import Limits
from ssl_jax.data.on_beam import run
from ssl_jax.data.record import MediaError
from ssl_jax.data.shard_format import FORMAT
from ssl_jax.data.shard_options import AUDIO
from ssl_jax.data.sources.folder import FolderSource

FILES_A_SHARD = 64  # if no number of shards is asked for


def prepare(
    input: str,
    output: str,
    manifest: str = "",
    options: shards.Options | None = None,
    num_shards: int = 0,
    runner: str = "DirectRunner",
    beam_flags: tuple[str, ...] = (),
    limits: Limits | None = None,
    lists: str = "",
) -> dict:
    """Writes the shards and `manifest.json`; returns what is in the latter.

    Args:
      input: folder of media, or a URL that fsspec opens.
      output: folder for the shards, made if it is not there; or such a URL.
      manifest: csv as `FolderSource` takes it, a path from `input`; '' for none.
      options: see `shards.Options`.
      num_shards: 0 for one for every 64 records.
      runner: Beam's name of what runs it; 'DirectRunner' is this machine, a thread a core.
      beam_flags: further flags of Beam or of the runner: ('--flink_master=host:8081', ...).
      limits: what a file may ask of the machine; those beyond are rejected.
      lists: folder of the lists that a set is distributed with, in place of a manifest.

    Raises:
      ConfigError: nothing usable in the input, a bad knob, or shards in the output that were made
        with other ones.
    """
    options, input, output = options or shards.Options(), paths.home(input), paths.home(output)
    source = FolderSource(input, manifest=manifest, lists=lists, limits=limits or Limits())
    workers = (os.cpu_count() or 1) if runner == "DirectRunner" else 1
    jobs = _jobs(source, output, options, num_shards, workers)
    paths.make_folder(output)
    ours = {job.file.rpartition("/")[2] for job in jobs}
    others = [f for f in paths.names(output) if f.endswith(".array_record") and f not in ours]
    if others:
        raise ConfigError(f"{output}: holds {others[0]} of another run; give an empty folder")
    _refuse_to_replace(jobs, output)
    result = paths.join(output, "manifest.json")
    if paths.exists(result):  # while shards are made again, the old ones must not pass for complete
        paths.remove(result)
    run(jobs, runner, beam_flags)
    content = _content([shards.report_of(job.file) for job in jobs], source, options)
    if content["records"] == 0:
        raise ConfigError(f"{input}: no file could be used; the first: {content['rejected'][0]}")
    shards.write_json(result, content)
    return content


def _jobs(
    source: FolderSource, output: str, options: shards.Options, num_shards: int, cores: int
) -> list[shards.Job]:
    """The items in their order, in parts as equal as can be; no shard is empty."""
    items = source.items
    count = min(num_shards or -(-len(items) // FILES_A_SHARD), len(items))
    if count < 1:
        raise ConfigError(f"shards={num_shards} must be at least 1, or 0 to choose by the input")
    edges = [number * len(items) // count for number in range(count + 1)]
    jobs = []
    for number in range(count):
        file = paths.join(output, f"shard-{number:05d}-of-{count:05d}.array_record")
        chosen = tuple(items[edges[number] : edges[number + 1]])
        # Cores that are left over help where few shards hold long videos.
        threads = max(1, cores // count)
        listed = source.manifest or source.lists
        jobs.append(shards.Job(source.path, chosen, options, source.limits, file, listed, threads))
    return jobs


def _refuse_to_replace(jobs: list[shards.Job], output: str) -> None:
    """ConfigError if other flags made the shards that lie there. Changed files are made again."""
    for job in jobs:
        report = shards.report_of(job.file)
        if report is None or report["plan"] == shards.plan_of(job):
            continue
        if "made_with" not in report:
            raise ConfigError(f"{output}: holds shards of another version; give an empty folder")
        now = shards.made_with(job)
        before = {name: value for name, value in report["made_with"].items() if value != now[name]}
        if before:
            was = ", ".join(f"{name}={value}" for name, value in before.items())
            wanted = ", ".join(f"{name}={now[name]}" for name in before)
            raise ConfigError(
                f"{output}: holds shards made with {was}, now {wanted}: give an empty folder, or "
                "delete this one to make them again"
            )


def _content(reports: list[dict], source: FolderSource, options: shards.Options) -> dict:
    """What manifest.json says."""
    splits = collections.Counter()
    for report in reports:
        splits.update(report["records_by_split"])
    counts = ("records", "records_with_audio", "frames", "seconds")
    return {
        "format": FORMAT,
        "options": dataclasses.asdict(options),
        "label_names": source.label_names,
        "files": len({item.path for item in source.items}),
        **{name: round(sum(report[name] for report in reports), 6) for name in counts},
        "records_by_split": dict(sorted(splits.items())),
        "rejected": [line for report in reports for line in report["rejected"]],
        "shards": [
            {name: report[name] for name in ("file", "entries", "records", "bytes", "sha256")}
            for report in reports
        ],
    }


def _arguments(argv: list[str]) -> tuple[argparse.Namespace, tuple[str, ...]]:
    """What was asked for, and the flags that are Beam's. ConfigError for a mistake."""
    knobs = shards.Options()
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.prepare",
        description="Flags that are not listed here go to Beam, if there is a --runner.",
        allow_abbrev=False,
        exit_on_error=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--input", default="", help="folder of videos, images and audio files")
    add("--output", default="", help="folder for the shards")
    add("--manifest", default="", help="csv of the files to take, a path from --input")
    add("--lists", default="", help="folder of a set's own lists, a path from --input")
    add("--short_side", type=int, default=knobs.short_side, help="pixels; 0 keeps the size")
    add("--quality", type=int, default=knobs.quality, help="of the JPEGs, 1 to 100")
    add("--sample_rate", type=int, default=knobs.sample_rate, help="Hz; 0 keeps each file's")
    add("--audio", choices=AUDIO, default=knobs.audio, help="how samples are stored")
    add("--whole", action="store_true", help="do not cut videos into their shots")
    add("--flow", action="store_true", help="store optical flow")
    add("--flow_bound", type=float, default=knobs.flow_bound, help="pixels; more is cut to it")
    add("--max_pixels", type=int, default=Limits.pixels, help="of a frame; more is rejected")
    add("--max_seconds", type=float, default=Limits.seconds, help="of a file")
    add("--max_bytes", type=int, default=Limits.bytes, help="of a file")
    add("--shards", type=int, default=0, help=f"0: one for every {FILES_A_SHARD} records")
    add("--features", default="", help="RUN:LAYER, to store these in place of frames and audio")
    add("--stream", default="", help="of the run, for --features; default: its first")
    add("--rate", type=float, default=1.0, help="rows per second, for --features")
    add("--runner", default="DirectRunner", help="of Beam; the default is this machine")
    try:
        known, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise ConfigError(str(error)) from error
    for name in ("input", "output"):
        if not getattr(known, name):
            raise ConfigError(f"--{name}=DIR is needed; see --help")
    for name in ("stream", "rate"):
        if getattr(known, name) != parser.get_default(name) and not known.features:
            raise ConfigError(f"--{name} needs --features=RUN:LAYER")
    allowed = ("input", "output", "features", "stream", "rate", "manifest", "lists", "shards")
    for name, value in vars(known).items() if known.features else ():
        if name not in allowed and value != parser.get_default(name):
            raise ConfigError(f"--{name} is not for --features, which stores no frames and audio")
    ours = known.runner == "DirectRunner"
    wrong = [flag for flag in rest if known.features or not flag.startswith("--direct_")]
    if ours and wrong:
        raise ConfigError(f"unknown argument {wrong[0]}; see --help (Beam's need a --runner)")
    return known, tuple(rest)


def main(argv: list[str]) -> int:
    """Exit codes: 0 done; 2 a mistake in the arguments or nothing usable; 130 stopped."""
    try:
        known, beam_flags = _arguments(argv)
        knobs = {f.name: getattr(known, f.name) for f in dataclasses.fields(shards.Options)}
        both = {"manifest": known.manifest, "lists": known.lists, "num_shards": known.shards}
        if known.features:
            # Imports JAX, which nothing else here needs.
            from ssl_jax.applying.feature_shards import FeatureOptions, prepare_features

            run, _, layer = known.features.rpartition(":")
            asked = FeatureOptions(paths.home(run), layer, known.stream, known.rate)
            done = prepare_features(known.input, known.output, asked, **both)
        else:
            done = prepare(
                known.input,
                known.output,
                **both,
                options=shards.Options(**knobs),
                runner=known.runner,
                beam_flags=beam_flags,
                limits=Limits(known.max_pixels, known.max_seconds, known.max_bytes),
            )
    except (ConfigError, MediaError, OSError) as error:
        print(f"ssl_jax: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ssl_jax: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    rejected = f", {len(done['rejected'])} rejected (see manifest.json)" if done["rejected"] else ""
    of_files = f" of {done['files']} files" if "files" in done else ""
    print(
        f"{known.output}: {done['records']} records{of_files}{rejected}, "
        f"{done['seconds'] / 3600:.2f} hours in {len(done['shards'])} shards"
    )
    return 0


if __name__ == "__main__":
    logging.getLogger().setLevel(logging.ERROR)  # Beam tells of its missing extras
    logging.getLogger("ssl_jax").setLevel(logging.WARNING)
    sys.exit(main(sys.argv[1:]))
