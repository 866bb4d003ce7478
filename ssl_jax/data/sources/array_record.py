"""Shards that `python -m ssl_jax.prepare` made: any frame and second of them in constant time."""

import collections
import dataclasses
import functools
import json
import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data import flac, paths
from ssl_jax.data.flow import flow_from_bytes
from ssl_jax.data.media import errors_name
from ssl_jax.data.record import Caption, MediaError, Record
from ssl_jax.data.shard_format import FORMAT, FRAMES, MARGIN, unpack
from ssl_jax.data.sources.choices import check_choices
from ssl_jax.data.spread import spread
from ssl_jax.knobs import at_least

KINDS = ("video", "image", "audio")


@dataclasses.dataclass(frozen=True)
class ArrayRecordSource:
    """The shots (or whole videos), images and audio files of prepared folders, in their order.

    Records are those of `FolderSource` on the videos that were prepared: the same times, the same
    frames but for their size and JPEG's loss, the same samples of audio but for 16 bits. Audio is
    kept for two seconds before and after a video's (or segment's) frames; what is beyond is a
    MediaError, not silence. A shot's audio outside of the shot is the video's.

    `extra` holds the manifest's other columns, and:
      path, split: of the video, as in the prepared folder;
      start: seconds of the video at which the record begins;
      box: (top, left, height, width), what lies within black borders; (0, 0, h, w) without any;
      motion: float32 (t - 1), `sampling.frame_motion` of the stored frames;
      flow: where flow was prepared, a function like `frames` of float32 (n, h, w, 2): number k is
        the motion from frame k to k + 1 in pixels (u to the right, v down), there are t - 1;
      flow_bound: what flow was cut to, in pixels; 2 flow_bound / 255 is its finest step;
      flow_motion: float32 (t - 1), `flow.flow_magnitude` of it;
      features: where a run's features were prepared, in place of frames and audio, float16 (t d).

    Attributes:
      paths: the prepared folders, of this machine or gs://bucket/folder (with gcsfs installed).
      split: keep the records of this split; '' keeps all.
      kinds: which to take: 'video', 'image', 'audio'.
      need: leave out what has no 'frames' or no 'audio'.
      min_seconds: leave out what is shorter, with need=('audio',) also what has less audio.
      min_frames: leave out what has fewer frames.
      limit: at most so many records, spread evenly over all; 0 for no limit.
    """

    paths: tuple[str, ...]
    split: str = ""
    kinds: tuple[str, ...] = KINDS
    need: tuple[str, ...] = ()
    min_seconds: float = 0.0
    min_frames: int = 0
    limit: int = 0

    def __post_init__(self):
        at_least(self, 0, "min_seconds", "min_frames", "limit")
        if isinstance(self.paths, str) or not self.paths:
            raise ConfigError(f"paths={self.paths!r} must be folders, for example ('data/shards',)")
        check_choices("kinds", self.kinds, KINDS)
        check_choices("need", self.need, ("frames", "audio"))

    def __getstate__(self):
        # Without what is opened: another process opens its own.
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard, entry = self._chosen[index]
        parts = shard.read([entry])[0]
        info = json.loads(parts[0])
        stored = _Stored(shard, info)
        has_frames, has_audio = info["num_frames"] > 0, info["sample_rate"] > 0
        extra = {"path": info["path"], "split": info["split"], "start": info["start"]}
        times = None
        if has_frames:
            times = np.frombuffer(parts[1], "<f8")
            extra |= {"box": tuple(info["box"]), "motion": np.frombuffer(parts[2], "<f4")}
        if has_frames and info["flow_bound"]:
            extra |= {"flow": stored.flow, "flow_bound": info["flow_bound"]}
            extra["flow_motion"] = np.frombuffer(parts[3], "<f4")
        if "features" in info:
            extra["features"] = np.frombuffer(parts[1], "<f2").reshape(-1, info["features"])
        return Record(
            name=info["name"],
            index=int(index),
            num_frames=info["num_frames"],
            fps=info["fps"],
            times=times,
            frames=stored.frames if has_frames else None,
            audio=stored.audio if has_audio else None,
            sample_rate=info["sample_rate"],
            duration=info["duration"],
            audio_span=tuple(info["audio_span"]) if has_audio else None,
            captions=tuple(Caption(**caption) for caption in info["captions"]),
            label=info["label"],
            extra={**extra, **info["extra"]},
        )

    @property
    def label_names(self) -> tuple[str, ...]:
        """The name of each label, as the prepared folder had them."""
        return self._opened.label_names

    @property
    def has_labels(self) -> bool:
        return any(line["label"] >= 0 for _, _, line in self._opened.entries)

    # A source keeps what it has opened first. One made after the shards were made again, in the
    # same place, opens those.
    @functools.cached_property
    def _opened(self) -> "_Opened":
        return _open(self.paths, tuple(_manifest(path) for path in self.paths))

    @functools.cached_property
    def _chosen(self) -> Sequence[tuple["_Shard", int]]:
        return _choose(self, self._opened)


@dataclasses.dataclass(frozen=True)
class _Stored:
    """The blocks of one record, of which nothing is read yet."""

    shard: "_Shard"
    info: dict

    def frames(self, indices: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "t h w 3"]:
        import cv2

        numbers = self._numbers(indices, self.info["num_frames"], "frame")
        images = {}
        for number, data in self._parts(numbers, flow=False).items():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            if pixels is None:
                raise MediaError(f"{self.name}: frame {number} cannot be decoded")
            images[number] = pixels
        if not numbers:
            return np.zeros((0, self.info["height"], self.info["width"], 3), np.uint8)
        return np.stack([images[number] for number in numbers])

    def flow(self, indices: Sequence[int] | np.ndarray) -> Float32[np.ndarray, "t h w 2"]:
        import cv2

        # Flow lies with the frame that it leads to.
        numbers = self._numbers(indices, self.info["num_frames"] - 1, "flow")
        height, width = self.info["height"], self.info["width"]
        levels = np.zeros((len(numbers), height, width, 2), np.uint8)
        stored = self._parts([number + 1 for number in numbers], flow=True)
        for target, number in zip(levels, numbers, strict=True):
            data = np.frombuffer(stored[number + 1], np.uint8)
            pixels = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
            if pixels is None:
                raise MediaError(f"{self.name}: flow {number} cannot be decoded")
            target[...] = pixels.reshape(2, height, width).transpose(1, 2, 0)
        return flow_from_bytes(levels, self.info["flow_bound"])

    def audio(self, start: float | int, stop: float | int) -> Float32[np.ndarray, "s"]:
        rate, samples = self.info["sample_rate"], self.info["samples"]
        count = round((stop - start) * rate)
        begin = round((self.info["start"] + start) * rate) - self.info["first_sample"]
        if not 0 <= begin <= begin + count <= samples:
            raise MediaError(
                f"{self.name}: audio from {start:.2f} s to {stop:.2f} s was asked for, it lasts "
                f"{self.info['duration']:.2f} s and {MARGIN:.0f} s are kept around the video"
            )
        first, last = begin // rate, -(-(begin + count) // rate)
        entries = range(first, last)
        blocks = self.shard.read([self.info["first_sound_block"] + e for e in entries])
        if self.info["audio"] == "flac":
            with errors_name(self.name):
                wave = np.concatenate([np.zeros(0, "<i2"), *(flac.decode(b) for b in blocks)])
        else:
            wave = np.frombuffer(b"".join(block[0] for block in blocks), "<i2")
        wave = wave[begin - first * rate :][:count]
        return wave.astype(np.float32) * np.float32(1 / 32768)

    @property
    def name(self) -> str:
        return f"{self.shard.file}: {self.info['name']}"

    def _numbers(self, indices: Sequence[int] | np.ndarray, count: int, what: str) -> list[int]:
        indices = np.asarray(indices, np.int64).reshape(-1)
        wrong = indices[(indices < 0) | (indices >= count)]
        if len(wrong):
            raise MediaError(f"{self.name}: {what} {wrong[0]} was asked for, it has {count}")
        return indices.tolist()

    def _parts(self, numbers: list[int], flow: bool) -> dict[int, bytes]:
        """Frame number -> its JPEG; every block is read once."""
        kinds = 2 if self.info["flow_bound"] else 1  # blocks of flow lie between those of frames
        blocks = collections.defaultdict(set)
        for number in numbers:
            block, place = divmod(self.info["first_frame"] + number, FRAMES)
            blocks[block].add((number, place))
        entries = [self.info["first_block"] + kinds * block + flow for block in blocks]
        parts = self.shard.read(entries)
        return {
            number: data[place]
            for wanted, data in zip(blocks.values(), parts, strict=True)
            for number, place in wanted
        }


@dataclasses.dataclass(frozen=True, eq=False)
class _Shard:
    """One file; `first` is its first entry's number among all entries of its folder's reader."""

    file: str
    reader: object
    first: int

    def read(self, entries: Sequence[int]) -> list[list[bytes]]:
        try:
            return [unpack(self.reader[self.first + entry]) for entry in entries]
        except (ValueError, RuntimeError, IndexError, OSError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise MediaError(f"{self.file}: is damaged ({reason}); prepare it again") from error


@dataclasses.dataclass(frozen=True, eq=False)
class _Opened:
    """Some folders: of each record its shard, its header's entry, its line of the index."""

    label_names: tuple[str, ...]
    entries: list[tuple[_Shard, int, dict]]


@functools.lru_cache(maxsize=16)
def _open(folders: tuple[str, ...], manifests: tuple[str, ...]) -> _Opened:
    """The folders by what their manifests say, which have the hash of every shard."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    entries, names = [], {}
    for path, text in zip(folders, manifests, strict=True):
        manifest = json.loads(text)
        names[path] = tuple(manifest["label_names"])
        described = [(paths.join(path, s["file"]), s["entries"]) for s in manifest["shards"]]
        for file, _ in described:
            if not paths.exists(file):
                raise ConfigError(f"{file} is missing; run ssl_jax.prepare again, it is soon done")
        # With their lengths given no file is opened before something is read from it.
        reader = ArrayRecordDataSource([f"{file}[0:{count}]" for file, count in described])
        first = 0
        for file, count in described:
            shard = _Shard(file, reader, first)
            first += count
            index = json.loads(shard.read([count - 1])[0][0])
            if index.pop("format") != FORMAT:
                raise ConfigError(f"{file}: was made by another version; prepare it again")
            for row in zip(*index.values(), strict=True):
                line = dict(zip(index, row, strict=True))
                entries.append((shard, line["entry"], line))
    if len(set(names.values())) > 1:
        raise ConfigError(
            f"the labels of {' and '.join(folders)} differ, so the same number would mean "
            "different things; prepare them with manifests of the same labels, or give a source "
            "to each"
        )
    return _Opened(names[folders[0]], entries)


def _manifest(path: str) -> str:
    """The text of a folder's manifest.json."""
    # array_record opens shards itself, and of all stores it knows Google's only.
    if paths.is_url(path) and not path.startswith("gs://"):
        raise ConfigError(
            f"{path}: shards are read from this machine's folders or from gs://; copy them here or "
            "mount what they lie in"
        )
    try:
        text = paths.read_text(paths.join(path, "manifest.json")).read()
        json.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: has no manifest.json of a finished ssl_jax.prepare; run it (again) ({error})"
        ) from error
    return text


@functools.lru_cache(maxsize=16)
def _choose(source: ArrayRecordSource, opened: _Opened) -> Sequence[tuple[_Shard, int]]:
    entries = opened.entries
    splits = sorted({line["split"] for _, _, line in entries})
    if source.split and source.split not in splits:
        raise ConfigError(f"{source.paths}: no split {source.split!r}, there is {splits}")
    chosen, left_out = [], collections.Counter()
    for shard, entry, line in entries:
        if line["kind"] not in source.kinds or source.split not in ("", line["split"]):
            continue
        reason = _lack(source, line)
        left_out[reason] += 1
        if not reason:
            chosen.append((shard, entry))
    kept = left_out.pop("", 0)
    if left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        logging.getLogger(__name__).warning(
            "%s: %d of %d records; left out: %s",
            *(" ".join(source.paths), kept, kept + left_out.total(), reasons),
        )
    if not chosen:
        raise ConfigError(
            f"{' '.join(source.paths)}: nothing is left of {len(entries)} records after "
            f"split={source.split!r}, kinds={source.kinds}, need={source.need}, "
            f"min_seconds={source.min_seconds}, min_frames={source.min_frames}"
        )
    return spread(chosen, source.limit)


def _lack(source: ArrayRecordSource, line: dict) -> str:
    """Why a record is left out, '' if it is not."""
    if "frames" in source.need and line["frames"] == 0:
        return "without frames"
    if "audio" in source.need and line["audio"] <= 0:
        return "without audio"
    if "audio" in source.need and line["audio"] < source.min_seconds <= line["seconds"]:
        return "audio too short"
    short = line["seconds"] < source.min_seconds or line["frames"] < source.min_frames
    return "too short" if short else ""
