"""Writes real videos, sounds and pictures for tests. Every frame shows its own number."""

import struct
from fractions import Fraction

import av
import numpy as np

BITS = 10
BAR = 8  # pixels: wide enough to survive any codec


def picture(number: int, height: int = 48) -> np.ndarray:
    """uint8 (h, 80, 3): the number in binary as dark and bright bars, highest bit left."""
    bits = [(number >> (BITS - 1 - i)) & 1 for i in range(BITS)]
    row = np.repeat(np.where(np.array(bits) == 1, 215, 40), BAR).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (height, row.size, 3)))


def number_of(frame: np.ndarray) -> int:
    """The number that a frame shows."""
    bars = frame.reshape(frame.shape[0], BITS, -1, 3).mean(axis=(0, 2, 3))
    return int(sum(int(bar > 128) << (BITS - 1 - i) for i, bar in enumerate(bars)))


def numbers_of(frames: np.ndarray) -> list[int]:
    return [number_of(frame) for frame in frames]


def noise(seconds: float, rate: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """float64 (c, s) of 16-bit values, so that lossless codecs give back exactly this."""
    rng = np.random.default_rng(seed)
    return rng.integers(-12000, 12000, (channels, round(seconds * rate))) / 32768


def write(
    path,
    frames: int = 40,
    fps: int = 25,
    codec: str = "libx264",
    options: dict | None = None,
    times=None,
    draw=picture,
    wave: np.ndarray | None = None,
    rate: int = 16000,
    audio_codec: str = "pcm_s16le",
    audio_start: int = 0,
    pix_fmt: str = "yuv420p",
    container_options: dict | None = None,
) -> str:
    """A video of `frames` frames (0: sound only) and the sound `wave` (c, s), None for none.

    `times` are the frames' seconds, a constant rate if None; `audio_start` is in samples.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        video = audio = None
        if frames:
            video = container.add_stream(codec, rate=fps, options=options or {})
            video.height, video.width = draw(0).shape[:2]
            video.pix_fmt = pix_fmt
            base = Fraction(1, fps if times is None else 1000)
            video.codec_context.time_base = base
        if wave is not None:
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(wave)]
            audio = container.add_stream(audio_codec, rate=rate, layout=layout)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
            seconds = Fraction(number, fps) if times is None else Fraction(times[number])
            frame.pts, frame.time_base = round(seconds / base), base
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
        if audio is not None:
            block = audio.codec_context.frame_size or 1024
            samples = np.round(wave * 32768).astype(np.int16)
            resampler = av.AudioResampler(audio.codec_context.format, layout, rate)
            for begin in range(0, samples.shape[1], block):
                part = np.ascontiguousarray(samples[:, begin : begin + block])
                frame = av.AudioFrame.from_ndarray(part, format="s16p", layout=layout)
                frame.sample_rate = rate
                frame.pts, frame.time_base = audio_start + begin, Fraction(1, rate)
                for converted in resampler.resample(frame):
                    container.mux(audio.encode(converted))
            container.mux(audio.encode(None))
    return str(path)


def set_display_matrix(path, a: int, b: int, c: int, d: int) -> None:
    """Writes x' = ax + cy, y' = bx + dy into the header of the first track of an mp4."""
    with open(path, "r+b") as file:
        data = file.read()
        matrix = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # version 0: times, ids, layer, volume
        file.seek(matrix)
        values = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        file.write(struct.pack(">9i", *values))


def set_edit_start(path, units: int) -> None:
    """Makes the first track of an mp4 begin `units` later: what is before is decoded, not shown."""
    with open(path, "r+b") as file:
        data = file.read()
        entry = data.index(b"elst") + 4 + 4 + 4  # version, number of entries
        duration, start = struct.unpack(">Ii", data[entry : entry + 8])
        file.seek(entry)
        file.write(struct.pack(">Ii", duration, start + units))
