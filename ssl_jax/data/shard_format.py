"""The format of shards: videos, audio and images stored so that any frame and second is at hand.

A shard is an ArrayRecord file. For every video (or segment that the manifest lists) it holds, one
after another and each an entry of its own:
  1. blocks of FRAMES frames, each frame a JPEG; with flow, after each a block of the flow that
     leads to these frames, each frame's a grey JPEG, u above v (the first frame has none);
  2. blocks of one second of audio, 16-bit PCM or the same as FLAC, reaching MARGIN seconds beyond
     the frames;
  3. for every shot a header: the fields of its `Record` and where its blocks begin.
A shard of features has headers alone, each with the features of its record, float16, row by row.
The last entry of a shard is its index: the headers' places and what is needed to choose among them.

An entry is a list of byte strings (`pack`).
"""

import struct

import numpy as np

FORMAT = 4
FRAMES = 8  # in a block: a clip of 16 touches three of them, a single frame drags few along
MARGIN = 2.0  # seconds of audio kept before and after the frames, for windows around a frame


def pack(parts: list[bytes]) -> bytes:
    """The number of parts, their lengths (uint32, little endian), the parts."""
    return struct.pack(f"<{len(parts) + 1}I", len(parts), *map(len, parts)) + b"".join(parts)


def unpack(data: bytes) -> list[bytes]:
    """What `pack` was given. ValueError if it cannot be."""
    if len(data) < 4 or len(data) < 4 + 4 * (count := struct.unpack_from("<I", data)[0]):
        raise ValueError("an entry is cut off")
    ends = 4 + 4 * count + np.cumsum([0, *struct.unpack_from(f"<{count}I", data, 4)])
    if ends[-1] != len(data):
        raise ValueError(f"an entry has {len(data)} bytes, its head says {ends[-1]}")
    return [data[a:b] for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
