"""Samples of audio by their position, at the rate of the file."""

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float32

from ssl_jax.data.media import AudioIndex, errors_name, opened, verify_checksums
from ssl_jax.data.record import MediaError

LOUDEST = 1000.0  # audio lies within -1..1; far beyond, its bits are damaged
# Audio is decoded from this long before the asked start, until codecs with memory have settled.
PREROLL = 0.5
LONGEST_HOLE = 0.02  # seconds that may be missing within a track; more is heard, and is no silence


def read_wave(path: str, audio_index: AudioIndex, begin: int, end: int) -> np.ndarray:
    """float32 samples from position `begin` to `end`, at the track's own rate."""
    wave = None
    if audio_index.seekable and begin - audio_index.first > PREROLL * audio_index.rate:
        wave = _decode_wave(path, audio_index, begin, end, seek=True)
    if wave is None:
        wave = _decode_wave(path, audio_index, begin, end, seek=False)
    return wave


def _decode_wave(
    path: str, audio_index: AudioIndex, begin: int, end: int, seek: bool
) -> np.ndarray | None:
    """None if the seek went too far."""
    wave = np.zeros(max(0, end - begin), np.float32)
    with opened(path) as container:
        stream = container.streams[audio_index.stream]
        stream.codec_context.thread_count = 1
        verify_checksums(stream)
        if seek:
            early = begin + audio_index.zero - PREROLL * audio_index.rate
            container.seek(math.floor(early / audio_index.tick), stream=stream)
        decoded = None
        blocks = _placed(container.decode(stream), audio_index.position, 2 * audio_index.tick + 1)
        for frame, position in blocks:
            if frame.sample_rate != audio_index.rate:
                raise MediaError(f"{path}: the sample rate changes within the file")
            if decoded is None and seek and position > begin:
                return None
            if decoded is not None and decoded < end and position > begin:
                _refuse_hole(path, decoded, position, audio_index.rate)
            if position >= end:
                return _checked(wave, path)
            low, high = max(position, begin), min(position + frame.samples, end)
            if low < high:
                wave[low - begin : high - begin] = mono(frame)[low - position : high - position]
            decoded = position + frame.samples
    # Encoders fill up the last packets with samples that decoders leave out.
    promised = audio_index.end - 2 * (audio_index.second - audio_index.first)
    if begin < promised:
        if decoded is None and seek:
            return None
        _refuse_hole(path, decoded or 0, promised, audio_index.rate)
    return _checked(wave, path)


def _placed(
    frames: Iterable, position_of: Callable[[int], int], slack: Fraction
) -> Iterator[tuple[Any, int]]:
    """Each decoded block, and the position of its first sample.

    Blocks follow one another. A time stamp counts only where it differs by more than `slack`
    samples, and where the next one does not contradict it: where Vorbis changes the length of its
    blocks, FFmpeg may state a single one too late.
    """
    frames, end = iter(frames), None
    frame = next(frames, None)
    while frame is not None:
        position, following = end or 0, None
        if frame.pts is not None:
            stated = position_of(frame.pts)
            if end is None:
                position = stated
            elif abs(stated - end) > slack:
                following = next(frames, None)
                known = following is not None and following.pts is not None
                next_end = end + frame.samples
                if not (known and abs(position_of(following.pts) - next_end) <= slack):
                    position = stated
        yield frame, position
        end = position + frame.samples
        frame = next(frames, None) if following is None else following


def _refuse_hole(name: str, position: int, stated: int, rate: int) -> None:
    """MediaError if samples are missing between what was decoded and the next time stamp."""
    if stated - position > LONGEST_HOLE * rate:
        raise MediaError(
            f"{name}: {(stated - position) / rate:.2f} s of its audio are missing or damaged at "
            f"{position / rate:.2f} s"
        )


def decode_audio(name: str, data: bytes) -> tuple[Float32[np.ndarray, "s"], int]:
    """An encoded audio file (WAV, FLAC, ...) from memory: the mean of its channels, and its rate.

    MediaError with `name` if it is broken.
    """
    import io

    import av

    with errors_name(name), av.open(io.BytesIO(data)) as container:
        if not container.streams.audio:
            raise MediaError(f"{name}: has no audio")
        stream = container.streams.audio[0]
        verify_checksums(stream)
        rate, parts, decoded = stream.rate, [], None
        tick = stream.time_base * rate
        blocks = _placed(container.decode(stream), lambda pts: round(pts * tick), 2 * tick + 1)
        for frame, position in blocks:
            if decoded is not None:
                _refuse_hole(name, decoded, position, rate)
            parts.append(mono(frame))
            decoded = position + frame.samples
        if not parts:
            raise MediaError(f"{name}: no audio can be decoded")
        return _checked(np.concatenate(parts), name), int(rate)


def _checked(wave: np.ndarray, name: str) -> np.ndarray:
    if len(wave) and not -LOUDEST < wave.min() <= wave.max() < LOUDEST:  # as with NaN
        raise MediaError(f"{name}: holds samples that are not audio (NaN, infinite or huge)")
    return wave


def mono(frame) -> np.ndarray:
    """float32 (s,) in -1..1: the mean of the channels of a decoded block."""
    wave = frame.to_ndarray()
    if not frame.format.is_planar:
        wave = wave.reshape(-1, frame.layout.nb_channels).T
    if wave.dtype == np.uint8:
        wave = (wave.astype(np.float32) - 128) / 128
    elif wave.dtype.kind == "i":
        wave = wave / -float(np.iinfo(wave.dtype).min)
    return wave.mean(axis=0, dtype=np.float64).astype(np.float32)
