"""Writes shards: videos, audio and images stored so that any frame and second is quick to read.

`shard_format` says what a shard holds. The same videos give the same bytes on every machine.
"""

import dataclasses
import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data import decode, flac, image, paths, shots
from ssl_jax.data.flow import SMALLEST, flow_magnitude, flow_to_bytes, optical_flow
from ssl_jax.data.media import Limits
from ssl_jax.data.record import Caption, MediaError
from ssl_jax.data.sampling import frame_motion
from ssl_jax.data.shard_format import FORMAT, FRAMES, MARGIN, pack
from ssl_jax.data.sources import folder
from ssl_jax.data.stretches import frames_by_stretches

FLOW_QUALITY = 95  # of its JPEGs: their error is then about one of the 255 levels
AUDIO = ("pcm", "flac")


@dataclasses.dataclass(frozen=True)
class Options:
    """How videos become shards.

    Attributes:
      short_side: pixels of the shorter side of stored frames; smaller ones stay; 0 keeps all.
      quality: of the JPEGs, 1 to 100.
      sample_rate: of the stored audio in Hz; 0 keeps each file's own.
      audio: 'pcm'; or 'flac', the same samples in about half of the room (noise does not shrink).
      whole: videos are not cut into their shots.
      flow: store optical flow.
      flow_bound: pixels (of stored frames) of motion that still can be told from more.
    """

    short_side: int = 128
    quality: int = 90
    sample_rate: int = 16000
    audio: str = "pcm"
    whole: bool = False
    flow: bool = False
    flow_bound: float = 20.0

    def __post_init__(self):
        if self.short_side < 0 or 0 < self.short_side < 16:
            raise ConfigError(f"short_side={self.short_side} must be 0 or at least 16 pixels")
        if not 1 <= self.quality <= 100:
            raise ConfigError(f"quality={self.quality} must be 1 to 100")
        if self.sample_rate != 0 and not 1000 <= self.sample_rate <= 384000:
            raise ConfigError(f"sample_rate={self.sample_rate} must be 0 or 1000 to 384000 Hz")
        if self.audio not in AUDIO:
            raise ConfigError(f"audio={self.audio!r} is none of {AUDIO}")
        if not 0 < self.flow_bound < math.inf:
            raise ConfigError(f"flow_bound={self.flow_bound} must be a positive number of pixels")


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


# Of each shard that this process is making: (file, seconds of it that are done, its seconds).
under_way: dict[str, tuple[str, float, float]] = {}


# One shard ---------------------------------------------------------------------------------------


def make(job: Job) -> dict:
    """Writes a shard unless it is there already; returns its report, which lies beside it.

    The report has the shard's hash, so what another run left is known to be whole; a run that is
    killed leaves a file of another name, which the next one overwrites.
    """
    plan = plan_of(job)
    report = _finished(job.file, plan)
    if report is not None:
        return report
    draft = paths.draft(job.file)
    try:
        written = _write(job, draft)
    finally:
        under_way.pop(job.file, None)
    made = made_with(job)
    report = {"file": job.file.rpartition("/")[2], "plan": plan, "made_with": made, **written}
    report |= {"sha256": _sha256(draft), "bytes": os.path.getsize(draft)}
    paths.put(draft, job.file)
    write_json(report_file(job.file), report)
    return report


def made_with(job: Job) -> dict:
    """What a person would have to give again to get this shard, by the names of the flags."""
    return {"input": job.folder, "manifest": job.manifest, **dataclasses.asdict(job.options)}


def report_file(shard: str) -> str:
    return shard.removesuffix(".array_record") + ".json"


def write_json(file: str, content: dict) -> None:
    """All of it or nothing."""
    draft = paths.draft(file)
    with open(draft, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1, ensure_ascii=False)
        stream.write("\n")
    paths.put(draft, file)


def plan_of(job: Job) -> str:
    """A hash of everything that decides what the shard's bytes will be."""
    states = []
    for item in job.items:
        try:
            states.append(paths.state(paths.join(job.folder, item.path)))
        except OSError:
            states.append([])
    items = [
        {**item._asdict(), "captions": [dataclasses.asdict(one) for one in item.captions]}
        for item in job.items
    ]
    knobs = [dataclasses.asdict(job.options), dataclasses.asdict(job.limits)]
    plan = [FORMAT, knobs, items, states]
    return hashlib.sha256(json.dumps(plan).encode()).hexdigest()


def _finished(file: str, plan: str) -> dict | None:
    try:
        report = json.load(paths.read_text(report_file(file)))
        if report["plan"] != plan:
            return None
        if paths.is_url(file):  # was put there whole or not at all; reading it would take long
            return report if report["bytes"] == paths.state(file)[0] else None
        return report if report["sha256"] == _sha256(file) else None
    except (OSError, ValueError, KeyError):
        return None


def _sha256(file: str) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _Shard:
    """Counts the entries that it writes."""

    def __init__(self, file: str):
        from array_record.python.array_record_module import ArrayRecordWriter

        # JPEGs and noise do not shrink: compressing them costs time and gives nothing.
        self._writer = ArrayRecordWriter(file, "group_size:1,uncompressed")
        self.entries = 0

    def write(self, parts: list[bytes]) -> None:
        self._writer.write(pack(parts))
        self.entries += 1

    def close(self) -> None:
        self._writer.close()


def _write(job: Job, file: str) -> dict:
    shard = _Shard(file)
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


def _write_item(shard: _Shard, job: Job, item: folder.Item) -> list[tuple[dict, list[bytes]]]:
    """Writes the blocks of one item; returns the headers of its shots, not yet written."""
    options = job.options
    media = decode.probe(paths.join(job.folder, item.path), job.limits)
    first, last, start, duration = folder.segment(item, media)
    times = np.append(media.times[first:last] - start, duration)
    video = _Video(media, job.limits, first, last, start, duration)
    stored, cuts = _write_frames(shard, video, job) if last > first else ({}, [])
    audio = _write_audio(shard, video, options)
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


@dataclasses.dataclass(frozen=True)
class _Video:
    """The frames from `first` to before `last` of a file, from `start`, for `duration` seconds."""

    media: decode.Media
    limits: Limits
    first: int
    last: int
    start: float
    duration: float


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


def _write_frames(shard: _Shard, video: _Video, job: Job) -> tuple[dict, list[int]]:
    """Writes the blocks of frames; returns what the headers need, and where shots begin."""
    import cv2

    options, done = job.options, 0
    quality = [cv2.IMWRITE_JPEG_QUALITY, options.quality]
    first_block = shard.entries
    look, lines, moves, flow_moves = [], [], [], []
    before = None  # the last frame of the block before
    for frames in _blocks(video, options.short_side, job.threads):
        done += len(frames)
        seconds = video.duration * done / (video.last - video.first)
        under_way[job.file] = (video.media.path, seconds, video.duration)
        pairs = frames if before is None else np.concatenate([before, frames])
        before = frames[-1:]
        shard.write([_jpeg(frame[..., ::-1], quality) for frame in frames])
        look.append(shots.looks(frames))
        lines.append(shots.brightest_lines(frames))
        moves.append(frame_motion(pairs))
        if options.flow:
            if min(frames.shape[1:3]) < SMALLEST:
                raise MediaError(f"{video.media.path}: frames are too small for optical flow")
            flow = optical_flow(pairs)
            flow_moves.append(flow_magnitude(flow))
            levels = flow_to_bytes(flow, options.flow_bound)
            parts = [np.concatenate([f[..., 0], f[..., 1]]) for f in levels]
            flows = [_jpeg(part, [cv2.IMWRITE_JPEG_QUALITY, FLOW_QUALITY]) for part in parts]
            shard.write([b""] * (len(frames) - len(flows)) + flows)
    stored = {
        "first_block": first_block,
        "height": before.shape[1],
        "width": before.shape[2],
        "lines": np.concatenate(lines),
        "motion": np.concatenate(moves),
        "flow_motion": np.concatenate([*flow_moves, np.zeros(0)]),
    }
    fps = (video.last - video.first) / video.duration
    return stored, [] if options.whole else shots.find_cuts(np.concatenate(look), fps)


def _jpeg(pixels: np.ndarray, quality: list[int]) -> bytes:
    import cv2

    return cv2.imencode(".jpg", np.ascontiguousarray(pixels), quality)[1].tobytes()


def _blocks(video: _Video, short_side: int, threads: int) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
    """The video's frames, small, FRAMES at a time."""

    def small(frame):
        if short_side and min(frame.shape[1:3]) > short_side:
            return image.resize_short(frame, short_side)
        return frame

    block, shape = [], None
    for frame in frames_by_stretches(
        video.media, video.first, video.last, video.limits, small, threads
    ):
        shape = shape or frame.shape
        if frame.shape != shape:
            raise MediaError(f"{video.media.path}: the size of its images changes")
        block.append(frame)
        if len(block) == FRAMES:
            yield np.concatenate(block)
            block = []
    if block:
        yield np.concatenate(block)


def _write_audio(shard: _Shard, video: _Video, options: Options) -> dict:
    """Writes the blocks of audio; samples are counted from the video's zero, as in its file."""
    media = video.media
    if not media.has_audio:
        return {"sample_rate": 0}
    rate = options.sample_rate or media.sample_rate
    first = math.floor((video.start - MARGIN) * rate)
    last = math.ceil((video.start + video.duration + MARGIN) * rate)
    first_block = shard.entries
    for begin in range(first, last, 60 * rate):  # a file is opened again for each of these
        end = min(begin + 60 * rate, last)
        wave = decode.audio_of(media, begin / rate, end / rate, rate, video.limits)
        samples = np.rint(wave * 32768).clip(-32768, 32767).astype("<i2")
        for place in range(0, len(samples), rate):
            second = samples[place : place + rate]
            shard.write(flac.encode(second) if options.audio == "flac" else [second.tobytes()])
    return {
        "audio": options.audio,
        "sample_rate": rate,
        "first_sound_block": first_block,
        "first_sample": first,
        "samples": last - first,
    }
