"""A copy of a video whose picture or sound begins later, without decoding either."""

import os

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError


def write_shifted(path: str, target: str, seconds: float) -> None:
    """Writes the first video and audio of a file, the audio later by so many seconds.

    If they are negative, the picture is later. Packets are copied as they are.

    Raises MediaError for a file that cannot be read or has no audio, ConfigError where it cannot be
    written.
    """
    import av

    try:
        os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
        with av.open(path) as source:
            if not source.streams.video or not source.streams.audio:
                raise MediaError(f"{path}: lacks a picture or audio")
            pair = source.streams.video[0], source.streams.audio[0]
            with av.open(target, "w") as copy:
                made = {one.index: copy.add_stream_from_template(one) for one in pair}
                later = pair[1] if seconds > 0 else pair[0]
                delay = round(abs(seconds) / later.time_base)
                for packet in source.demux(*pair):
                    if packet.dts is None:  # the end of a stream
                        continue
                    if packet.stream is later:
                        packet.pts, packet.dts = packet.pts + delay, packet.dts + delay
                    packet.stream = made[packet.stream.index]
                    copy.mux(packet)
    except av.FFmpegError as error:
        raise MediaError(f"{path}: cannot be copied to {target}: {error}") from error
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {error.strerror}") from error
