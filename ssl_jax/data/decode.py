"""Real media: frames of videos by their times, audio in sync with them, images.

A frame is known by its presentation time stamp (pts), never by counting decoded frames after a
seek: that is wrong with B-frames, edit lists and variable frame rates. `probe` reads all time
stamps of a file once, without decoding; `read_frames` starts at the last key frame before a frame
and decodes no further than needed. All times are seconds since the first displayed frame (since the
first sample where there are no frames), for audio as well.

A file is a path, or a URL that fsspec opens. Everything may be called from many threads at once.
Every failure is a MediaError naming the file.
"""

import math
import os
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from ssl_jax.data import image_files, paths, tracks, videos, waves
from ssl_jax.data.audio import FILTER_REACH, resample
from ssl_jax.data.bounded_cache import BoundedCache
from ssl_jax.data.image_files import decode_image
from ssl_jax.data.media import Limits, Media, errors_name, limit_decoder, opened
from ssl_jax.data.record import MediaError
from ssl_jax.data.waves import decode_audio

__all__ = [
    "IMAGE_ENDINGS",
    "Limits",
    "Media",
    "audio_of",
    "decode_audio",
    "decode_image",
    "frames_in_order",
    "frames_of",
    "probe",
    "read_audio",
    "read_frames",
]

# Read by Pillow; everything else by FFmpeg.
IMAGE_ENDINGS = (
    *(".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
LIMITS = Limits()
PROBED_BYTES = 256 << 20  # of what `probe` found, in each process
CHUNK_BYTES = 128 << 20  # of frames decoded at once where they cannot be streamed


def probe(path: str | os.PathLike, limits: Limits = LIMITS) -> Media:
    """What a file holds; decodes a few frames only. Results are cached until the file changes."""
    path = paths.home(os.fspath(path))
    with errors_name(path):
        size, changed = paths.state(path)
        if size == 0:
            raise MediaError(f"{path}: is empty")
        if size > limits.bytes:
            raise MediaError(f"{path}: {size} bytes are more than limits.bytes allows")
        # A changed file is another entry of the cache.
        key = (path, changed, size, limits)
        return _probed.get(key, lambda: _probe(path, size, limits))


# Of a video of six hours the times of all frames take 9 MB, of a short one next to nothing.
_probed = BoundedCache(PROBED_BYTES, lambda media: media.bytes_in_memory)


def _probe(path: str, size: int, limits: Limits) -> Media:
    if os.path.splitext(path)[1].lower() in IMAGE_ENDINGS:
        media = image_files.probe_image_file(path, limits)
    else:
        media = tracks.probe_video(path, size, limits)
    if not 0 < media.duration <= limits.seconds:  # also what is no number
        raise MediaError(f"{path}: lasts {media.duration:.6g} s, limits.seconds={limits.seconds}")
    return media


def read_frames(
    path: str | os.PathLike, indices: Sequence[int] | np.ndarray, limits: Limits = LIMITS
) -> UInt8[np.ndarray, "t h w 3"]:
    """The frames of these numbers in RGB, in this order, repeats allowed, turned upright."""
    return frames_of(probe(path, limits), indices, limits)


def frames_of(
    media: Media, indices: Sequence[int] | np.ndarray, limits: Limits = LIMITS
) -> UInt8[np.ndarray, "t h w 3"]:
    """`read_frames` of a file that was probed."""
    numbers = np.asarray(indices, np.int64).reshape(-1).tolist()
    for number in numbers:
        if not 0 <= number < media.num_frames:
            raise MediaError(
                f"{media.path}: frame {number} was asked for, it has {media.num_frames}"
            )
    if not numbers:
        return np.zeros((0, media.height, media.width, 3), np.uint8)
    read = image_files.read_image_file if media.video_index is None else videos.read_video
    with errors_name(media.path):
        frames = read(media, sorted(set(numbers)), limits)
        if len(numbers) == 1:
            return np.ascontiguousarray(frames[numbers[0]])[None]  # most often without a copy
        return np.stack([frames[number] for number in numbers])


def frames_in_order(
    media: Media, first: int, last: int, limits: Limits = LIMITS
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """What `frames_of` gives of first..last - 1, one by one, decoding every frame just once."""
    found = media.video_index
    if found is None or found.counted:
        step = max(8, CHUNK_BYTES // (3 * media.height * media.width))
        for begin in range(first, last, step):
            yield from frames_of(media, range(begin, min(begin + step, last)), limits)
        return
    number, damage = first, videos.Damage()
    with errors_name(media.path), opened(media.path) as container:
        stream = container.streams[found.stream]
        stream.codec_context.thread_count = 1
        limit_decoder(stream, limits)
        key = int(np.searchsorted(found.keys, found.pts[first], side="right")) - 1
        for packet in videos.packets_from(container, stream, found, key):
            for frame in packet.decode():
                harmed = damage.shows_in(frame)
                while number < last and frame.pts > found.pts[number]:
                    yield frames_of(media, [number], limits)[0]  # or an error that says why
                    number += 1
                if number < last and frame.pts == found.pts[number] and not harmed:
                    yield videos.upright(frame)
                    number += 1
            if number == last:
                return
    for missing in range(number, last):
        yield frames_of(media, [missing], limits)[0]


def read_audio(
    path: str | os.PathLike,
    start: float | int,
    stop: float | int,
    sample_rate: int,
    limits: Limits = LIMITS,
) -> Float32[np.ndarray, "s"]:
    """The mean of all channels between two times, as round((stop - start) * sample_rate) samples.

    Silence (zeros) before the track's beginning and after its end. Samples lie on the grid
    k / sample_rate, so neighbouring pieces join without a seam.
    """
    return audio_of(probe(path, limits), start, stop, sample_rate, limits)


def audio_of(
    media: Media,
    start: float | int,
    stop: float | int,
    sample_rate: int,
    limits: Limits = LIMITS,
) -> Float32[np.ndarray, "s"]:
    """`read_audio` of a file that was probed."""
    index = media.audio_index
    if index is None:
        raise MediaError(f"{media.path}: has no audio")
    with errors_name(media.path):
        first, count = round(start * sample_rate), round((stop - start) * sample_rate)
        if count < 0:
            raise ValueError(f"audio from {start} s to {stop} s was asked for")
        if stop - start > limits.seconds:
            raise MediaError(
                f"{media.path}: {stop - start:.0f} s of audio are more than limits.seconds"
            )
        if sample_rate == index.rate:
            return waves.read_wave(media.path, index, first, first + count)
        common = math.gcd(sample_rate, index.rate)
        up, down = sample_rate // common, index.rate // common
        # Begin where both grids meet and early enough for the resampling filter; go on as far.
        reach = math.ceil(FILTER_REACH * max(up, down) / down)
        begin = (first - reach) // up * up
        end = first + count + reach
        wave = waves.read_wave(media.path, index, begin // up * down, math.ceil(end * down / up))
        return resample(wave, index.rate, sample_rate)[first - begin :][:count]
