"""A copy of a video whose frames or audio begin later, without decoding either."""

import os

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError


def write_shifted(path: str, target: str, seconds: float) -> None:
    """Writes the first video and audio of a file as Matroska, the audio later by so many seconds.

    If they are negative, the frames are later. Packets are copied as they are. (AVI, say, has no
    place for such a shift, so the container is always this one.)

    Raises MediaError for a file that cannot be read or lacks frames or audio, ConfigError where it
    cannot be written.
    """
    import av

    try:
        os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
        copy = av.open(target, "w", format="matroska")
    except (OSError, av.FFmpegError) as error:
        raise ConfigError(f"cannot write {target}: {error.strerror}") from error
    try:
        with copy, av.open(path) as source:
            if not source.streams.video or not source.streams.audio:
                raise MediaError(f"{path}: lacks frames or audio")
            pair = source.streams.video[0], source.streams.audio[0]
            made = {one.index: copy.add_stream_from_template(one) for one in pair}
            later = pair[1] if seconds > 0 else pair[0]
            delay = round(abs(seconds) / later.time_base)
            for packet in source.demux(*pair):
                if packet.size == 0:  # the end of a stream
                    continue
                if packet.stream is later:
                    # Matroska does not say when its first packets are to be decoded.
                    stamps = (packet.pts, packet.dts)
                    packet.pts, packet.dts = (None if t is None else t + delay for t in stamps)
                packet.stream = made[packet.stream.index]
                copy.mux(packet)
    except av.FFmpegError as error:
        raise MediaError(f"{path}: cannot be copied to {target}: {error}") from error
