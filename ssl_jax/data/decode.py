"""Real media: frames of films by their times, sound in sync with them, pictures.

A frame is known by its presentation time stamp (pts), never by counting decoded frames after a
seek: that is wrong with B-frames, edit lists and variable frame rates. `probe` reads all time
stamps of a file once, without decoding; `read_frames` starts at the last key frame before a frame
and decodes no further than needed. All times are seconds since the first displayed frame (since the
first sample where there are no pictures), for sound as well.

Everything may be called from many threads at once. Every failure is a MediaError naming the file.
"""

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Float32, UInt8

from ssl_jax.data.audio import FILTER_REACH, resample
from ssl_jax.data.record import MediaError

# Read by Pillow; everything else by FFmpeg.
PICTURE_ENDINGS = (
    *(".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
MOVING_PICTURES = ("AVIF", "GIF", "PNG", "WEBP")  # whose several pictures are a film
LOUDEST = 1000.0  # sound lies within -1..1; far beyond, its bits are damaged

# Sound is decoded from this long before the asked start, until codecs with memory have settled.
PREROLL = 0.5
# Containers that give correct time stamps after a seek; of others sound is read from its start.
SEEKABLE_SOUND = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "wav", "w64", "aiff", "flac", "mpegts",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a file may ask of the machine; one beyond is refused before it is decoded.

    Attributes:
      pixels: of a picture or frame; a small file can claim very many (Pillow's own limit).
      seconds: of a film or sound.
      bytes: of a file.
    """

    pixels: int = 89_478_485
    seconds: float = 21_600.0
    bytes: int = 2**37


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """What finds a frame in its file. Time stamps are in units of the stream's time base.

    Attributes:
      stream: number of the stream in its container.
      pts: int64 (t,), of every displayed frame, ascending.
      keys: int64 (k,), of the frames at which decoding can begin, ascending.
      counted: the packets do not tell the frames; then frames are counted from the file's start.
    """

    stream: int
    pts: np.ndarray
    keys: np.ndarray
    counted: bool


@dataclasses.dataclass(frozen=True)
class Sound:
    """What finds a sample in its file. Positions are samples since the film's zero.

    Attributes:
      stream: number of the stream in its container.
      rate: samples per second.
      tick: samples per unit of the time stamps.
      zero: the film's zero in samples on the container's clock.
      first: position of the first sample.
      block: samples per packet if time stamps are too coarse to tell a sample, else 0.
      second: position of the second packet.
      seekable: whether time stamps after a seek tell the position.
    """

    stream: int
    rate: int
    tick: Fraction
    zero: int
    first: int
    block: int
    second: int
    seekable: bool

    def position(self, pts: int) -> int:
        """Where the samples of this time stamp belong."""
        stated = round(pts * self.tick) - self.zero
        if self.block and stated > (self.first + self.second) / 2:
            return self.second + round((stated - self.second) / self.block) * self.block
        return self.first if self.block else stated


@dataclasses.dataclass(frozen=True, eq=False)
class Media:
    """What `probe` finds in a file.

    Attributes:
      path: the file.
      num_frames: displayed frames; 1 for a picture, 0 for a sound.
      fps: mean frames per second; 1 for a picture, 0 for a sound.
      duration: seconds, of the pictures if there are any (1 for a single picture).
      height, width: pixels, after rotation.
      rotation: degrees, counter-clockwise, by which frames are turned before they are handed out.
      times: float64 (t,), seconds at which each frame appears.
      sample_rate: of the sound in Hz; 0 if there is none.
      jpeg: a JPEG in colours or grey, which OpenCV reads faster than Pillow.
      pictures, sound: for the reader.
    """

    path: str
    num_frames: int = 0
    fps: float = 0.0
    duration: float = 0.0
    height: int = 0
    width: int = 0
    rotation: int = 0
    times: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    sample_rate: int = 0
    jpeg: bool = False
    pictures: Pictures | None = None
    sound: Sound | None = None

    @property
    def has_frames(self) -> bool:
        return self.num_frames > 0

    @property
    def has_sound(self) -> bool:
        return self.sound is not None


def probe(path: str | os.PathLike, limits: Limits = Limits()) -> Media:
    """What a file holds; decodes a few frames only. Results are cached until the file changes."""
    path = os.fspath(path)
    with _errors_name(path):
        stat = os.stat(path)
        if not os.path.isfile(path):
            raise MediaError(f"{path}: is no file")  # a pipe would be waited for, for ever
        if stat.st_size == 0:
            raise MediaError(f"{path}: is empty")
        if stat.st_size > limits.bytes:
            raise MediaError(f"{path}: {stat.st_size} bytes are more than limits.bytes allows")
        return _probe(path, stat.st_mtime_ns, stat.st_size, limits)


def read_frames(
    path: str | os.PathLike, indices: Sequence[int] | np.ndarray, limits: Limits = Limits()
) -> UInt8[np.ndarray, "t h w 3"]:
    """The frames of these numbers in RGB, in this order, repeats allowed, turned upright."""
    media = probe(path, limits)
    indices = np.asarray(indices, np.int64).reshape(-1)
    wrong = indices[(indices < 0) | (indices >= media.num_frames)]
    if len(wrong):
        raise MediaError(f"{path}: frame {wrong[0]} was asked for, it has {media.num_frames}")
    if len(indices) == 0:
        return np.zeros((0, media.height, media.width, 3), np.uint8)
    numbers = np.unique(indices).tolist()
    with _errors_name(media.path):
        if media.pictures is None:
            frames = _read_pictures(media, numbers, limits)
        else:
            frames = _read_film(media, numbers, limits)
        if len(indices) == 1:
            return np.ascontiguousarray(frames[numbers[0]])[None]  # most often without a copy
        return np.stack([frames[index] for index in indices.tolist()])


def read_audio(
    path: str | os.PathLike,
    start: float | int,
    stop: float | int,
    sample_rate: int,
    limits: Limits = Limits(),
) -> Float32[np.ndarray, "s"]:
    """The mean of all channels between two times, as round((stop - start) * sample_rate) samples.

    Silence (zeros) before the track's beginning and after its end. Samples lie on the grid
    k / sample_rate, so neighbouring pieces join without a seam.
    """
    media = probe(path, limits)
    sound = media.sound
    if sound is None:
        raise MediaError(f"{path}: has no sound")
    with _errors_name(media.path):
        first, count = round(start * sample_rate), round((stop - start) * sample_rate)
        if count < 0:
            raise ValueError(f"sound from {start} s to {stop} s was asked for")
        if stop - start > limits.seconds:
            raise MediaError(f"{path}: {stop - start:.0f} s of sound are more than limits.seconds")
        if sample_rate == sound.rate:
            return _read_wave(media.path, sound, first, first + count)
        common = math.gcd(sample_rate, sound.rate)
        up, down = sample_rate // common, sound.rate // common
        # Begin where both grids meet and early enough for the resampling filter; go on as far.
        reach = math.ceil(FILTER_REACH * max(up, down) / down)
        begin = (first - reach) // up * up
        end = first + count + reach
        wave = _read_wave(media.path, sound, begin // up * down, math.ceil(end * down / up))
        return resample(wave, sound.rate, sample_rate)[first - begin :][:count]


@contextlib.contextmanager
def _errors_name(path: str) -> Iterator[None]:
    """Every error inside becomes a MediaError of one line. Pillow alone raises a dozen kinds."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:
        lines = str(getattr(error, "strerror", None) or error).splitlines() or [""]
        message = f"{path}: cannot be read ({type(error).__name__}: {lines[0]})"
        raise MediaError(message) from error


@functools.lru_cache(maxsize=16384)
def _probe(path: str, changed: int, size: int, limits: Limits) -> Media:
    del changed  # a changed file is another entry of the cache
    if os.path.splitext(path)[1].lower() in PICTURE_ENDINGS:
        media = _probe_pictures(path, limits)
    else:
        media = _probe_film(path, size, limits)
    if not 0 < media.duration <= limits.seconds:  # also what is no number
        raise MediaError(f"{path}: lasts {media.duration:.6g} s, limits.seconds={limits.seconds}")
    return media


# Pictures ----------------------------------------------------------------------------------------


def rgb(image) -> UInt8[np.ndarray, "h w 3"]:
    """A Pillow image as it should be seen: upright, on white, eight bits a channel."""
    from PIL import Image, ImageOps

    if image.getexif().get(0x0112, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip at 255
        image = Image.fromarray((np.asarray(image, np.int64).clip(0, 65535) // 257).astype("u1"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def decode_picture(name: str, data: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """An encoded picture (JPEG, PNG, ...) from memory. MediaError with `name` if it is broken."""
    import io

    with _errors_name(name), _image(io.BytesIO(data), name, Limits()) as image:
        picture = _read_jpeg(data) if _is_plain_jpeg(image) else None
        return rgb(image) if picture is None else picture


def _is_plain_jpeg(image) -> bool:
    return image.format == "JPEG" and image.mode in ("RGB", "L")


def _read_jpeg(data: bytes) -> UInt8[np.ndarray, "h w 3"] | None:
    """The upright picture; None if the file is cut off, which OpenCV would fill with grey."""
    import cv2

    if not data.endswith(b"\xff\xd9"):
        return None
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


@contextlib.contextmanager
def _image(file, name: str, limits: Limits) -> Iterator:
    from PIL import Image

    with Image.open(file) as image:
        _check_size(name, image.width, image.height, limits)
        yield image


def _check_size(name: str, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise MediaError(f"{name}: {width}x{height} pixels are more than limits.pixels allows")


def _probe_pictures(path: str, limits: Limits) -> Media:
    with _image(path, path, limits) as image:
        moves = image.format in MOVING_PICTURES and getattr(image, "n_frames", 1) > 1
        durations = [1000.0]  # a single picture is a film of one second
        if moves:
            durations = []
            for number in range(image.n_frames):
                image.seek(number)
                image.load()  # WebP tells a picture's duration only then
                durations.append(image.info.get("duration", 0) or 100)  # as browsers show them
        turned = image.getexif().get(0x0112, 1) >= 5  # lies on its side
        size = image.size[::-1] if turned else image.size
        jpeg = _is_plain_jpeg(image)
    ends = np.cumsum(durations) / 1000.0
    return Media(
        path=path,
        num_frames=len(durations),
        fps=len(durations) / float(ends[-1]),
        duration=float(ends[-1]),
        height=size[1],
        width=size[0],
        times=np.concatenate([[0.0], ends[:-1]]),
        jpeg=jpeg,
    )


def _read_pictures(media: Media, numbers: list[int], limits: Limits) -> dict[int, np.ndarray]:
    frames = {}
    if media.jpeg:
        with open(media.path, "rb") as file:
            picture = _read_jpeg(file.read())
        if picture is not None:
            return {0: picture}
    with _image(media.path, media.path, limits) as image:
        for number in numbers:
            if number > 0:  # formats of one picture need not know how to seek
                image.seek(number)
            frames[number] = rgb(image)
    return frames


# Films -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(path: str) -> Iterator:
    import av

    # 'file:' because FFmpeg takes 'a:b.mp4' for a protocol; and only files, because a playlist
    # that calls itself .mp4 would have it fetch what it lists.
    settings = {"options": {"protocol_whitelist": "file"}}
    if int(av.__version__.split(".")[0]) < 19:  # later versions never fail on it
        settings["metadata_errors"] = "ignore"  # titles in any old encoding
    with av.open(f"file:{path}", **settings) as container:
        if container.format.name.endswith("_pipe") or container.format.name == "image2":
            raise MediaError(f"{path}: is a picture, but its name does not end like one")
        yield container


def _streams(container) -> tuple:
    """The first stream of pictures (a cover is none) and the first of sound, or None."""
    from av.stream import Disposition

    video = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    chosen = []
    for streams in (video, container.streams.audio):
        stream = next((s for s in streams if s.codec_context is not None), None)
        if stream is not None:
            # The loader's threads read many files at once; a decoder's own would be in their way
            # and decode ahead what nobody asked for.
            stream.codec_context.thread_count = 1
        chosen.append(stream)
    return tuple(chosen)


def _limit_decoder(stream, limits: Limits) -> None:
    """No frame in the middle of a film may be much larger either; FFmpeg counts margins as well."""
    stream.codec_context.options = {"max_pixels": str(2 * limits.pixels + 2**20)}


@dataclasses.dataclass(frozen=True)
class _Track:
    """One stream after a single pass over its packets.

    `packets` are (pts, duration, is key, is discarded); `head` are the first decoded frames.
    """

    number: int
    base: Fraction
    packets: list
    head: list


def _probe_film(path: str, size: int, limits: Limits) -> Media:
    tracks = {}
    with _opened(path) as container:
        video, audio = _streams(container)
        for stream in filter(None, (video, audio)):
            base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
            tracks[stream.index] = _Track(stream.index, base, [], [])
            index = stream.index_entries
            if len(index) and index[-1].pos + index[-1].size > size:
                raise MediaError(f"{path}: is cut off, its index points beyond its end")
        if not tracks:
            raise MediaError(f"{path}: holds neither pictures nor sound")
        if video:
            _check_size(path, video.codec_context.width, video.codec_context.height, limits)
            _limit_decoder(video, limits)
        for packet in container.demux([s for s in (video, audio) if s]):
            track = tracks[packet.stream.index]
            if packet.is_corrupt:
                raise MediaError(f"{path}: is damaged or cut off")
            if packet.size:
                track.packets.append(
                    (packet.pts, packet.duration or 0, packet.is_keyframe, packet.is_discard)
                )
            if len(track.head) < 3:
                track.head.extend(packet.decode())
        # Nothing of a stream may be touched once its container is closed: its memory is gone.
        video_track = tracks[video.index] if video else None
        audio_track = tracks[audio.index] if audio else None
        rate = video.average_rate if video else None
        seekable = container.format.name in SEEKABLE_SOUND
    media, zero = Media(path=path), None
    if video_track and video_track.packets:
        media, zero = _with_pictures(media, video_track, float(rate or 25), limits)
    if audio_track and audio_track.packets:
        media = _with_sound(media, audio_track, zero, seekable)
    if not media.has_frames and not media.has_sound:
        raise MediaError(f"{path}: its tracks are empty")
    return media


def _with_pictures(
    media: Media, track: _Track, rate: float, limits: Limits
) -> tuple[Media, Fraction]:
    """Adds the pictures; returns also the time of the first on the container's clock."""
    if not track.head:
        raise MediaError(f"{media.path}: no picture can be decoded")
    base = track.base
    known = [packet for packet in track.packets if packet[0] is not None]
    keys = np.unique([pts for pts, _, key, _ in known if key] or [p[0] for p in known[:1]])
    # What is shown before the first key frame lacks what it was predicted from.
    pts = np.unique([p[0] for p in known if not p[3] and p[0] >= keys[0]])
    head = [frame.pts for frame in track.head[:3]]
    counted = len(known) < len(track.packets) or pts[: len(head)].tolist() != head
    if counted:
        with _opened(media.path) as container:
            stream = _streams(container)[0]
            _limit_decoder(stream, limits)
            decoded = [frame.pts for frame in container.decode(stream)]
        if None in decoded or (np.diff(decoded) <= 0).any():
            decoded, base = range(len(decoded)), 1 / Fraction(rate)
        pts = np.array(decoded, np.int64)
    times = (pts - pts[0]) * float(base)
    last = {p[0]: p[1] for p in known}.get(int(pts[-1]), 0) * float(base)
    if last == 0:  # not stated
        last = times[-1] / (len(times) - 1) if len(times) > 1 else 1 / rate
    duration = float(times[-1] + last)
    height, width = _upright(track.head[0]).shape[:2]
    media = dataclasses.replace(
        media,
        num_frames=len(pts),
        fps=len(pts) / duration,
        duration=duration,
        height=height,
        width=width,
        rotation=int(track.head[0].rotation),
        times=times,
        pictures=Pictures(track.number, pts, keys, counted),
    )
    return media, int(pts[0]) * base


def _with_sound(media: Media, track: _Track, zero: Fraction | None, seekable: bool) -> Media:
    """Adds the sound; `zero` is the film's on the container's clock, None without pictures."""
    if not track.head or not track.head[0].sample_rate:
        raise MediaError(f"{media.path}: no sound can be decoded")
    rate, start = track.head[0].sample_rate, track.head[0].pts or 0
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
    media = dataclasses.replace(
        media,
        sample_rate=rate,
        sound=Sound(
            stream=track.number,
            rate=rate,
            tick=tick,
            zero=round(zero * rate),
            first=first,
            block=block,
            second=first + track.head[0].samples,
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


def _read_film(media: Media, numbers: list[int], limits: Limits) -> dict[int, np.ndarray]:
    """Frame number -> picture, for ascending numbers."""
    pictures = media.pictures
    with _opened(media.path) as container:
        stream = container.streams[pictures.stream]
        stream.codec_context.thread_count = 1
        _limit_decoder(stream, limits)
        if pictures.counted:
            found = {}
            for number, frame in enumerate(container.decode(stream)):
                if number in numbers:
                    found[number] = _upright(frame)
                if number == numbers[-1]:
                    break
        else:
            number_of = dict(zip(pictures.pts[numbers].tolist(), numbers, strict=True))
            by_pts = _decode_film(container, stream, pictures, list(number_of))
            found = {number_of[pts]: picture for pts, picture in by_pts.items()}
    missing = [number for number in numbers if number not in found]
    if missing:
        raise MediaError(f"{media.path}: frame {missing[0]} cannot be decoded")
    return found


def _decode_film(container, stream, pictures: Pictures, pts: list[int]) -> dict[int, np.ndarray]:
    """Time stamp -> picture, for ascending time stamps; what cannot be decoded is missing."""
    found = {}
    keys = (np.searchsorted(pictures.keys, pts, side="right") - 1).tolist()
    for key in sorted(set(keys)):
        wanted = {p for p, own in zip(pts, keys, strict=True) if own == key}
        # A key frame of a film refreshed stripe by stripe is not whole: then begin earlier.
        for begin in (key, max(key - 1, 0), 0):
            packets = _packets_from(container, stream, pictures, begin)
            found |= _decode(packets, stream, wanted - found.keys())
            if wanted <= found.keys():
                break
    return found


def _packets_from(container, stream, pictures: Pictures, key: int) -> Iterator:
    """Packets in decoding order from key frame number `key` on."""
    pts = int(pictures.keys[key])
    second = math.ceil(1 / stream.time_base)
    # Containers search by decoding times or roughly, so a seek may land behind: then further back.
    for target in (pts, pts - second, int(pictures.keys[0]) - second):
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


def _decode(packets: Iterator, stream, wanted: set[int]) -> dict[int, np.ndarray]:
    """Decodes until the last wanted frame, in decoding order, and not one packet more."""
    pictures = {}
    left = set(wanted)
    for packet in packets:
        frames = packet.decode()
        left.discard(packet.pts)
        if not left:  # the decoder holds frames back for their order; no need to feed it more
            frames = [*frames, *stream.codec_context.decode(None)]
        for frame in frames:
            if frame.pts in wanted and not frame.is_corrupt:
                pictures[frame.pts] = _upright(frame)
        if not left:
            break
    return pictures


def _upright(frame) -> np.ndarray:
    return _turned(frame.to_ndarray(format="rgb24", threads=1), _display_matrix(frame))


def _display_matrix(frame) -> tuple[int, int, int, int]:
    """(a, b, c, d) of x' = ax + cy, y' = bx + dy as the camera stored it; else the identity."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is not None:
        a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
        return a, b, c, d
    return 1, 0, 0, 1


def _turned(picture: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Turns by quarters and mirrors, as cameras do; free angles are left as they are."""
    a, b, c, d = matrix
    across, down = a, d
    if abs(b) > abs(a):
        picture, across, down = picture.swapaxes(0, 1), c, b
    if across < 0:
        picture = picture[:, ::-1]
    if down < 0:
        picture = picture[::-1]
    return picture


# Sound -------------------------------------------------------------------------------------------


def _read_wave(path: str, sound: Sound, begin: int, end: int) -> np.ndarray:
    """float32 samples from position `begin` to `end`, at the track's own rate."""
    wave = None
    if sound.seekable and begin - sound.first > PREROLL * sound.rate:
        wave = _decode_wave(path, sound, begin, end, seek=True)
    if wave is None:
        wave = _decode_wave(path, sound, begin, end, seek=False)
    return wave


def _decode_wave(path: str, sound: Sound, begin: int, end: int, seek: bool) -> np.ndarray | None:
    """None if the seek went too far."""
    wave = np.zeros(max(0, end - begin), np.float32)
    with _opened(path) as container:
        stream = container.streams[sound.stream]
        stream.codec_context.thread_count = 1
        if seek:
            early = begin + sound.zero - PREROLL * sound.rate
            container.seek(math.floor(early / sound.tick), stream=stream)
        position = None
        for frame in container.decode(stream):
            if frame.sample_rate != sound.rate:
                raise MediaError(f"{path}: the sample rate changes within the file")
            if frame.pts is not None:
                stated = sound.position(frame.pts)
                # Samples follow one another; time stamps count only where they tell of a gap.
                if position is None or abs(stated - position) > 2 * sound.tick + 1:
                    if position is None and seek and stated > begin:
                        return None
                    position = stated
            position = position or 0
            if position >= end:
                break
            low, high = max(position, begin), min(position + frame.samples, end)
            if low < high:
                wave[low - begin : high - begin] = _mono(frame)[low - position : high - position]
            position += frame.samples
    return _checked(wave, path)


def decode_sound(name: str, data: bytes) -> tuple[Float32[np.ndarray, "s"], int]:
    """An encoded sound (WAV, FLAC, ...) from memory: the mean of its channels, and its rate.

    MediaError with `name` if it is broken.
    """
    import io

    import av

    with _errors_name(name), av.open(io.BytesIO(data)) as container:
        if not container.streams.audio:
            raise MediaError(f"{name}: has no sound")
        rate = container.streams.audio[0].rate
        parts = [_mono(frame) for frame in container.decode(audio=0)]
        if not parts:
            raise MediaError(f"{name}: no sound can be decoded")
        return _checked(np.concatenate(parts), name), int(rate)


def _checked(wave: np.ndarray, name: str) -> np.ndarray:
    if len(wave) and not -LOUDEST < wave.min() <= wave.max() < LOUDEST:  # as with NaN
        raise MediaError(f"{name}: holds samples that are no sound (NaN, infinite or huge)")
    return wave


def _mono(frame) -> np.ndarray:
    """float32 (s,) in -1..1: the mean of the channels of a decoded block."""
    wave = frame.to_ndarray()
    if not frame.format.is_planar:
        wave = wave.reshape(-1, frame.layout.nb_channels).T
    if wave.dtype == np.uint8:
        wave = (wave.astype(np.float32) - 128) / 128
    elif wave.dtype.kind == "i":
        wave = wave / -float(np.iinfo(wave.dtype).min)
    return wave.mean(axis=0, dtype=np.float64).astype(np.float32)
