"""What the tracks of a video or audio file hold, found by one pass over its packets."""

import dataclasses
import math
from fractions import Fraction

import numpy as np

from ssl_jax.data.media import (
    AudioIndex,
    Limits,
    Media,
    VideoIndex,
    check_size,
    limit_decoder,
    opened,
    streams,
)
from ssl_jax.data.record import MediaError
from ssl_jax.data.videos import upright

HIGHEST_RATE = 1_000_000  # Hz; a damaged head can claim any, and a second of it take all memory
# Containers that give correct time stamps after a seek; of others audio is read from its start.
SEEKABLE_AUDIO = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "wav", "w64", "aiff", "flac", "mpegts",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Track:
    """One stream after a single pass over its packets.

    `packets` are (pts, duration, is key, is discarded); `head` are the first decoded frames.
    """

    number: int
    base: Fraction
    packets: list
    head: list


def probe_video(path: str, size: int, limits: Limits) -> Media:
    """What a file of `size` bytes holds, by one pass over its packets."""
    tracks = {}
    with opened(path) as container:
        video, audio = streams(container)
        for stream in filter(None, (video, audio)):
            base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
            tracks[stream.index] = _Track(stream.index, base, [], [])
            index = stream.index_entries
            if len(index) and index[-1].pos + index[-1].size > size:
                raise MediaError(f"{path}: is cut off, its index points beyond its end")
        if not tracks:
            raise MediaError(f"{path}: holds neither video nor audio")
        if video:
            check_size(path, video.codec_context.width, video.codec_context.height, limits)
            limit_decoder(video, limits)
        for packet in container.demux([s for s in (video, audio) if s]):
            track = tracks[packet.stream.index]
            if packet.is_corrupt:
                raise MediaError(f"{path}: is damaged or cut off")
            if packet.size:
                length = packet.duration or 0
                if container.format.name == "ogg" and length >= 2**31:
                    length -= 2**32  # the last block may end before it begins
                track.packets.append((packet.pts, length, packet.is_keyframe, packet.is_discard))
            if len(track.head) < 3:
                track.head.extend(packet.decode())
        # Nothing of a stream may be touched once its container is closed: its memory is gone.
        video_track = tracks[video.index] if video else None
        audio_track = tracks[audio.index] if audio else None
        rate = video.average_rate if video else None
        seekable = container.format.name in SEEKABLE_AUDIO
    media, zero = Media(path=path), None
    if video_track and video_track.packets:
        media, zero = _with_video(media, video_track, float(rate or 25), limits)
    if audio_track and audio_track.packets:
        media = _with_audio(media, audio_track, zero, seekable)
    if not media.has_frames and not media.has_audio:
        raise MediaError(f"{path}: its tracks are empty")
    return media


def _with_video(media: Media, track: _Track, rate: float, limits: Limits) -> tuple[Media, Fraction]:
    """Adds the video; returns also the time of the first on the container's clock."""
    if not track.head:
        raise MediaError(f"{media.path}: no frame can be decoded")
    base = track.base
    known = [packet for packet in track.packets if packet[0] is not None]
    keys = np.unique([pts for pts, _, key, _ in known if key] or [p[0] for p in known[:1]])
    # What is shown before the first key frame lacks what it was predicted from.
    pts = np.unique([p[0] for p in known if not p[3] and p[0] >= keys[0]])
    head = [frame.pts for frame in track.head[:3]]
    counted = len(known) < len(track.packets) or pts[: len(head)].tolist() != head
    if counted:
        with opened(media.path) as container:
            stream = streams(container)[0]
            limit_decoder(stream, limits)
            decoded = [frame.pts for frame in container.decode(stream)]
        if None in decoded or (np.diff(decoded) <= 0).any():
            decoded, base = range(len(decoded)), 1 / Fraction(rate)
        pts = np.array(decoded, np.int64)
    times = (pts - pts[0]) * float(base)
    last = {p[0]: p[1] for p in known}.get(int(pts[-1]), 0) * float(base)
    if last == 0:  # not stated
        last = times[-1] / (len(times) - 1) if len(times) > 1 else 1 / rate
    duration = float(times[-1] + last)
    height, width = upright(track.head[0]).shape[:2]
    media = dataclasses.replace(
        media,
        num_frames=len(pts),
        fps=len(pts) / duration,
        duration=duration,
        height=height,
        width=width,
        rotation=int(track.head[0].rotation),
        times=times,
        video_index=VideoIndex(track.number, pts, keys, counted),
    )
    return media, int(pts[0]) * base


def _with_audio(media: Media, track: _Track, zero: Fraction | None, seekable: bool) -> Media:
    """Adds the audio; `zero` is the video's on the container's clock, None without frames."""
    if not track.head or not track.head[0].sample_rate:
        raise MediaError(f"{media.path}: no audio can be decoded")
    rate, start = track.head[0].sample_rate, track.head[0].pts or 0
    if rate > HIGHEST_RATE:
        raise MediaError(f"{media.path}: claims {rate} samples of audio per second")
    tick = track.base * rate
    if zero is None:
        zero = start * track.base
    first = round(start * tick) - round(zero * rate)
    times = [packet[0] for packet in track.packets]
    block = 0
    if track.head[0].pts is None or None in times:
        seekable = False
    elif tick > 1:
        # Milliseconds cannot tell a sample, but the number of the packet can if all are alike.
        block = track.head[-1].samples
        strays = (np.array(times) - times[0]) * float(tick) - np.arange(len(times)) * block
        seekable &= len(track.head) >= 3 and bool(np.ptp(strays) <= min(2 * tick, block / 2))
        block = block if seekable else 0
    # Some packets are there for the decoder only; some containers do not tell how long one is.
    shown = [packet for packet in track.packets if packet[0] is not None and not packet[3]]
    length = track.head[0].samples / tick
    ends = [pts + (duration or length) for pts, duration, _, _ in shown]
    media = dataclasses.replace(
        media,
        sample_rate=rate,
        audio_index=AudioIndex(
            stream=track.number,
            rate=rate,
            tick=tick,
            zero=round(zero * rate),
            first=first,
            block=block,
            second=first + track.head[0].samples,
            end=round(max(ends, default=math.inf) * tick) - round(zero * rate),
            seekable=seekable,
        ),
    )
    if media.has_frames:
        return media
    end = max((pts or 0) + length for pts, length, _, _ in track.packets) * track.base
    if sum(packet[1] for packet in track.packets) * track.base < (end - zero) / 2:
        raise MediaError(
            f"{media.path}: more than half of its {float(end - zero):.0f} s is missing"
        )
    return dataclasses.replace(media, duration=float(end - zero))
