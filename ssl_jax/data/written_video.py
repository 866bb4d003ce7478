"""Video files with audio of our own."""

import heapq
import os
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError

BLOCK = 4096  # samples of a packet, where the codec does not say


def copy_with_audio(
    path: str, target: str, wave: Float32[np.ndarray, "s"], sample_rate: int
) -> None:
    """Writes the frames of a video file, not decoded, with another mono track, as Matroska.

    Both begin at 0. Raises MediaError for a file that cannot be read or lacks frames, ConfigError
    where it cannot be written.
    """
    import av

    try:
        with av.open(path) as source:
            if not source.streams.video:
                raise MediaError(f"{path}: has no frames")
            stream = source.streams.video[0]
            with _opened(target, "matroska") as copy:
                seen = copy.add_stream_from_template(stream)
                heard = _audio_stream(copy, "pcm_s16le", sample_rate)
                first = stream.start_time or 0

                def frames():
                    for packet in source.demux(stream):
                        if packet.size == 0:  # the end
                            continue
                        stamps = packet.pts, packet.dts
                        packet.pts, packet.dts = (None if t is None else t - first for t in stamps)
                        packet.stream = seen
                        yield packet

                _mux(copy, frames(), _audio_packets(heard, wave, sample_rate))
    except av.FFmpegError as error:
        raise MediaError(f"{path}: cannot be copied to {target}: {error}") from error


def write_video(
    target: str,
    frames: UInt8[np.ndarray, "t h w 3"],
    fps: int,
    wave: Float32[np.ndarray, "s"],
    sample_rate: int,
) -> None:
    """Writes frames and a mono wave as MP4 (H.264, AAC); sides that are odd lose a pixel.

    ConfigError where it cannot be written.
    """
    import av

    h, w = (side // 2 * 2 for side in frames.shape[1:3])
    with _opened(target, "mp4") as made:
        seen = made.add_stream("libx264", rate=fps, options={"crf": "16"})
        seen.width, seen.height, seen.pix_fmt = w, h, "yuv420p"
        heard = _audio_stream(made, "aac", sample_rate)

        def packets():
            for number, frame in enumerate(frames):
                pixels = av.VideoFrame.from_ndarray(
                    np.ascontiguousarray(frame[:h, :w]), format="rgb24"
                )
                pixels.pts = number
                yield from seen.encode(pixels)
            yield from seen.encode(None)

        _mux(made, packets(), _audio_packets(heard, wave, sample_rate))


def _opened(target: str, format: str):
    import av

    try:
        os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
        return av.open(target, "w", format=format)
    except (OSError, av.FFmpegError) as error:
        raise ConfigError(f"cannot write {target}: {error.strerror}") from error


def _audio_stream(container, codec: str, sample_rate: int):
    return container.add_stream(codec, rate=sample_rate, layout="mono")


def _audio_packets(stream, wave: np.ndarray, sample_rate: int) -> Iterator:
    import av

    block = stream.codec_context.frame_size or BLOCK
    kind = stream.codec_context.format.name
    if kind == "fltp":
        samples = np.float32(wave)
    else:
        samples = np.round(32767 * np.clip(wave, -1, 1)).astype(np.int16)
    for begin in range(0, len(samples), block):
        part = np.ascontiguousarray(samples[None, begin : begin + block])
        frame = av.AudioFrame.from_ndarray(part, format=kind, layout="mono")
        frame.sample_rate, frame.pts = sample_rate, begin
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _mux(container, *streams: Iterator) -> None:
    """Packets of all streams in the order of their times, so that players need not jump about."""

    def time(packet) -> float:
        stamp = packet.pts if packet.dts is None else packet.dts
        return float((stamp or 0) * packet.time_base)

    for packet in heapq.merge(*streams, key=time):
        container.mux(packet)
