"""FLAC without a container: 16-bit mono audio as packets, and back, bit for bit."""

import numpy as np
from jaxtyping import Int16

# FLAC's heads can name some rates only, so all audio calls itself this; who stores it knows better.
NOMINAL_RATE = 48000


def encode(samples: Int16[np.ndarray, "s"]) -> list[bytes]:
    """The stream's description, then its packets, of which any number of samples makes few."""
    import av

    codec = av.CodecContext.create("flac", "w")
    codec.sample_rate, codec.layout, codec.format = NOMINAL_RATE, "mono", "s16"
    codec.open()
    packets, size = [], codec.frame_size
    for begin in range(0, len(samples), size):
        frame = av.AudioFrame.from_ndarray(samples[None, begin : begin + size], "s16", "mono")
        frame.sample_rate, frame.pts = NOMINAL_RATE, begin
        packets += codec.encode(frame)
    packets += codec.encode(None)
    return [bytes(codec.extradata), *(bytes(packet) for packet in packets if packet.size)]


def decode(parts: list[bytes]) -> Int16[np.ndarray, "s"]:
    """What `encode` was given. ValueError or av.FFmpegError if it is damaged."""
    import av

    codec = av.CodecContext.create("flac", "r")
    codec.options = {"err_detect": "crccheck+explode"}  # or damage would be heard
    codec.extradata = parts[0]
    frames = [frame for part in parts[1:] for frame in codec.decode(av.Packet(part))]
    waves = [frame.to_ndarray().reshape(-1) for frame in frames]
    return np.concatenate([np.zeros(0, np.int16), *waves])
