"""Writes the blocks of a shard: frames as JPEGs, optical flow, seconds of audio.

A block is an entry of FRAMES frames or of one second; `shard_format` says how.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from ssl_jax.data import decode, flac, image, shots
from ssl_jax.data.flow import SMALLEST, flow_magnitude, flow_to_bytes, optical_flow
from ssl_jax.data.media import Limits
from ssl_jax.data.record import MediaError
from ssl_jax.data.sampling import frame_motion
from ssl_jax.data.shard_format import FRAMES, MARGIN, pack
from ssl_jax.data.shard_options import Options
from ssl_jax.data.stretches import frames_by_stretches

FLOW_QUALITY = 95  # of its JPEGs: their error is then about one of the 255 levels

# Of each shard that this process is making: (file, seconds of it that are done, its seconds).
under_way: dict[str, tuple[str, float, float]] = {}


class Shard:
    """Counts the entries that it writes."""

    def __init__(self, file: str):
        from array_record.python.array_record_module import ArrayRecordWriter

        # JPEGs and noise do not shrink: compressing them costs time and gives nothing.
        self._writer = ArrayRecordWriter(file, "group_size:1,uncompressed")
        self.file = file
        self.entries = 0

    def write(self, parts: list[bytes]) -> None:
        self._writer.write(pack(parts))
        self.entries += 1

    def close(self) -> None:
        self._writer.close()


@dataclasses.dataclass(frozen=True)
class Video:
    """The frames from `first` to before `last` of a file, from `start`, for `duration` seconds."""

    media: decode.Media
    limits: Limits
    first: int
    last: int
    start: float
    duration: float


def write_frames(
    shard: Shard, video: Video, options: Options, threads: int
) -> tuple[dict, list[int]]:
    """Writes the blocks of frames; returns what the headers need, and where shots begin."""
    import cv2

    done = 0
    quality = [cv2.IMWRITE_JPEG_QUALITY, options.quality]
    first_block = shard.entries
    look, lines, moves, flow_moves = [], [], [], []
    before = None  # the last frame of the block before
    for frames in _blocks(video, options.short_side, threads):
        done += len(frames)
        seconds = video.duration * done / (video.last - video.first)
        under_way[shard.file] = (video.media.path, seconds, video.duration)
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


def _blocks(video: Video, short_side: int, threads: int) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
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


def write_audio(shard: Shard, video: Video, options: Options) -> dict:
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
