"""Frames of videos by their time stamps."""

import math
from collections.abc import Iterator

import numpy as np

from ssl_jax.data.media import Limits, Media, VideoIndex, limit_decoder, opened
from ssl_jax.data.record import MediaError


def read_video(media: Media, numbers: list[int], limits: Limits) -> dict[int, np.ndarray]:
    """Frame number -> frame, for ascending numbers."""
    video_index = media.video_index
    with opened(media.path) as container:
        stream = container.streams[video_index.stream]
        stream.codec_context.thread_count = 1
        limit_decoder(stream, limits)
        if video_index.counted:
            found = {}
            damage = Damage()
            for number, frame in enumerate(container.decode(stream)):
                if not damage.shows_in(frame) and number in numbers:
                    found[number] = upright(frame)
                if number == numbers[-1]:
                    break
        else:
            number_of = dict(zip(video_index.pts[numbers].tolist(), numbers, strict=True))
            by_pts = _decode_video(container, stream, video_index, list(number_of))
            found = {number_of[pts]: pixels for pts, pixels in by_pts.items()}
    missing = [number for number in numbers if number not in found]
    if missing:
        raise MediaError(f"{media.path}: frame {missing[0]} cannot be decoded")
    return found


def _decode_video(container, stream, index: VideoIndex, pts: list[int]) -> dict[int, np.ndarray]:
    """Time stamp -> frame, for ascending time stamps; what cannot be decoded is missing."""
    found = {}
    keys = (np.searchsorted(index.keys, pts, side="right") - 1).tolist()
    for key in sorted(set(keys)):
        wanted = {p for p, own in zip(pts, keys, strict=True) if own == key}
        # A key frame of a video refreshed stripe by stripe is not whole: then begin earlier.
        for begin in (key, max(key - 1, 0), 0):
            packets = packets_from(container, stream, index, begin)
            found |= decode(packets, stream, wanted - found.keys())
            if wanted <= found.keys():
                break
    return found


def packets_from(container, stream, video_index: VideoIndex, key: int) -> Iterator:
    """Packets in decoding order from key frame number `key` on."""
    pts = int(video_index.keys[key])
    second = math.ceil(1 / stream.time_base)
    # Containers search by decoding times or roughly, so a seek may land behind: then further back.
    for target in (pts, pts - second, int(video_index.keys[0]) - second):
        container.seek(target, stream=stream)
        started = False
        for packet in container.demux(stream):
            if not started and packet.is_keyframe and packet.pts is not None:
                if packet.pts > pts:
                    break
                started = packet.pts == pts
            if started:
                yield packet
        if started:
            return


def decode(packets: Iterator, stream, wanted: set[int]) -> dict[int, np.ndarray]:
    """Decodes until the last wanted frame, in decoding order, and not one packet more."""
    decoded, damage = {}, Damage()
    left = set(wanted)
    for packet in packets:
        frames = packet.decode()
        left.discard(packet.pts)
        if not left:  # the decoder holds frames back for their order; no need to feed it more
            frames = [*frames, *stream.codec_context.decode(None)]
        for frame in frames:
            if not damage.shows_in(frame) and frame.pts in wanted:
                decoded[frame.pts] = upright(frame)
        if not left:
            break
    return decoded


class Damage:
    """Follows frames in the order of display: what is made of a damaged frame is damaged, too.

    Decoders flag only the frame itself. All to the next key frame are taken to be made of it.
    """

    def __init__(self):
        self._shows = False

    def shows_in(self, frame) -> bool:
        """Whether the next frame cannot be trusted."""
        self._shows = frame.is_corrupt or (self._shows and not frame.key_frame)
        return self._shows


def upright(frame) -> np.ndarray:
    """A decoded frame as uint8 RGB, turned as its display matrix says."""
    return _turned(frame.to_ndarray(format="rgb24", threads=1), _display_matrix(frame))


def _display_matrix(frame) -> tuple[int, int, int, int]:
    """(a, b, c, d) of x' = ax + cy, y' = bx + dy as the camera stored it; else the identity."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is not None:
        a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
        return a, b, c, d
    return 1, 0, 0, 1


def _turned(pixels: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Turns by quarters and mirrors, as cameras do; free angles are left as they are."""
    a, b, c, d = matrix
    across, down = a, d
    if abs(b) > abs(a):
        pixels, across, down = pixels.swapaxes(0, 1), c, b
    if across < 0:
        pixels = pixels[:, ::-1]
    if down < 0:
        pixels = pixels[::-1]
    return pixels
