"""Writes shards: videos, audio and images stored so that any frame and second is quick to read.

`shard_format` says what a shard holds. The same videos give the same bytes on every machine.
"""

import dataclasses
import hashlib
import itertools
import json
import math
import os
from collections.abc import Sequence

import numpy as np

from ssl_jax.data import decode, paths, shots
from ssl_jax.data.media import Limits
from ssl_jax.data.record import Caption, MediaError
from ssl_jax.data.shard_blocks import Shard, Video, under_way, write_audio, write_frames
from ssl_jax.data.shard_format import FORMAT
from ssl_jax.data.shard_options import Options
from ssl_jax.data.sources import folder


@dataclasses.dataclass(frozen=True)
class Job:
    """One shard: which items of which folder go to which file."""

    folder: str
    items: tuple[folder.Item, ...]
    options: Options
    limits: Limits
    file: str
    manifest: str = ""  # what else the folder's items came from
    threads: int = 1  # that decode one long video


def make(job: Job) -> dict:
    """Writes a shard unless it is there already; returns its report, which lies beside it.

    The report has the shard's hash, so what another run left is known to be whole; a run that is
    killed leaves a file of another name, which the next one overwrites.
    """
    plan = plan_of(job)
    report = finished(job.file, plan)
    if report is not None:
        return report
    draft = paths.draft(job.file)
    try:
        written = _write(job, draft)
    finally:
        under_way.pop(draft, None)
    made = made_with(job)
    report = {"file": job.file.rpartition("/")[2], "plan": plan, "made_with": made, **written}
    report |= size_and_hash(draft)
    paths.put(draft, job.file)
    write_json(report_file(job.file), report)
    return report


def made_with(job: Job) -> dict:
    """What a person would have to give again to get this shard, by the names of the flags."""
    return {"input": job.folder, "manifest": job.manifest, **dataclasses.asdict(job.options)}


def report_file(shard: str) -> str:
    return shard.removesuffix(".array_record") + ".json"


def report_of(shard: str) -> dict | None:
    """The report beside a shard, made by whatever plan; None if nothing is there."""
    try:
        return json.load(paths.read_text(report_file(shard)))
    except (OSError, ValueError):
        return None


def write_json(file: str, content: dict) -> None:
    """All of it or nothing."""
    draft = paths.draft(file)
    with open(draft, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1, ensure_ascii=False)
        stream.write("\n")
    paths.put(draft, file)


def plan_of(job: Job) -> str:
    """A hash of everything that decides what the shard's bytes will be."""
    knobs = [dataclasses.asdict(job.options), dataclasses.asdict(job.limits)]
    plan = [FORMAT, knobs, *facts_of(job.folder, job.items)]
    return hashlib.sha256(json.dumps(plan).encode()).hexdigest()


def facts_of(top: str, items: Sequence[folder.Item]) -> tuple[list, list]:
    """What is known of items without opening them: their manifest's rows, sizes and dates."""
    states = []
    for item in items:
        try:
            states.append(paths.state(paths.join(top, item.path)))
        except OSError:
            states.append([])
    rows = [
        {**item._asdict(), "captions": [dataclasses.asdict(one) for one in item.captions]}
        for item in items
    ]
    return rows, states


def finished(file: str, plan: str) -> dict | None:
    """The report of a shard that is whole and was made by this plan; None without one."""
    try:
        report = json.load(paths.read_text(report_file(file)))
        if report["plan"] != plan:
            return None
        if paths.is_url(file):  # was put there whole or not at all; reading it would take long
            return report if report["bytes"] == paths.state(file)[0] else None
        return report if report["sha256"] == _sha256(file) else None
    except (OSError, ValueError, KeyError):
        return None


def size_and_hash(file: str) -> dict:
    """What a report says of the shard's bytes."""
    return {"sha256": _sha256(file), "bytes": os.path.getsize(file)}


def _sha256(file: str) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(job: Job, file: str) -> dict:
    shard = Shard(file)
    index = {name: [] for name in ("entry", "kind", "label", "split", "frames", "seconds", "audio")}
    rejected = []
    for item in job.items:
        try:
            headers = _write_item(shard, job, item)
        except MediaError as error:
            # Blocks written before the damage was met stay behind; nothing points at them.
            reason = str(error).removeprefix(paths.join(job.folder, item.path)).lstrip(": ")
            rejected.append({"path": item.path, "reason": reason})
            continue
        for info, arrays in headers:
            index["entry"].append(shard.entries)
            index["kind"].append(info["kind"])
            index["label"].append(item.label)
            index["split"].append(item.split)
            index["frames"].append(info["num_frames"])
            index["seconds"].append(info["duration"])
            index["audio"].append(info["audio_span"][1] - info["audio_span"][0])
            shard.write([json.dumps(info).encode(), *arrays])
    shard.write([json.dumps({"format": FORMAT, **index}).encode()])
    shard.close()
    splits = sorted(set(index["split"]))
    return {
        "entries": shard.entries,
        "files": len({item.path for item in job.items}),
        "records": len(index["entry"]),
        "records_by_split": {split: index["split"].count(split) for split in splits},
        "records_with_audio": sum(seconds > 0 for seconds in index["audio"]),
        "frames": sum(index["frames"]),
        "seconds": round(sum(index["seconds"]), 6),
        "rejected": rejected,
    }


def _write_item(shard: Shard, job: Job, item: folder.Item) -> list[tuple[dict, list[bytes]]]:
    """Writes the blocks of one item; returns the headers of its shots, not yet written."""
    options = job.options
    media = decode.probe(paths.join(job.folder, item.path), job.limits)
    first, last, start, duration = folder.segment(item, media)
    times = np.append(media.times[first:last] - start, duration)
    video = Video(media, job.limits, first, last, start, duration)
    stored, cuts = write_frames(shard, video, options, job.threads) if last > first else ({}, [])
    audio = write_audio(shard, video, options)
    headers = []
    edges = [0, *cuts, last - first]
    for begin, end in itertools.pairwise(edges):
        # Audio has no frames but is a record all the same, of all its time.
        zero, stop = (times[begin], times[end]) if last > first else (0.0, duration)
        # Seconds of the file, as rows of a manifest may be segments of one and the same.
        name = item.path if len(edges) == 2 else f"{item.path} from {start + zero:.2f} s"
        info = {
            "name": name,
            "path": item.path,
            "kind": folder.kind(item.path),
            "label": item.label,
            "split": item.split,
            "extra": dict(item.extra),
            "captions": _captions(item, float(zero), float(stop), whole=len(edges) == 2),
            "num_frames": end - begin,
            "fps": float((end - begin) / (stop - zero)),
            "duration": float(stop - zero),
            "start": float(start + zero),
            "audio_span": media.audio_span(float(start + zero), float(stop - zero)),
            **audio,
        }
        arrays = []
        if last > first:
            info |= {"first_block": stored["first_block"], "first_frame": begin}
            info |= {"height": stored["height"], "width": stored["width"]}
            info["flow_bound"] = options.flow_bound if options.flow else 0.0
            lines = stored["lines"][begin:end]
            info["box"] = shots.content_box(lines, stored["height"], stored["width"])
            arrays = [(times[begin:end] - zero).astype("<f8")]
            for name in ("motion", "flow_motion"):
                arrays.append(stored[name][begin : end - 1].astype("<f4"))
        headers.append((info, [array.tobytes() for array in arrays]))
    return headers


def _captions(item: folder.Item, zero: float, stop: float, whole: bool) -> list[dict]:
    """Those that overlap with a shot, in its own time."""
    chosen = [c for c in item.captions if whole or (c.start < stop and c.end > zero)]
    if not whole:
        length = stop - zero
        chosen = [
            Caption(
                c.text,
                max(0.0, c.start - zero),
                c.end if c.end == math.inf else min(c.end - zero, length),
                c.language,
            )
            for c in chosen
        ]
    return [dataclasses.asdict(caption) for caption in chosen]
