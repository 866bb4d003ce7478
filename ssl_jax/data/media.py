"""What is known of a media file before any of its frames or samples is asked for."""

import contextlib
import dataclasses
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.record import MediaError, audio_span


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a file may ask of the machine; one beyond is refused before it is decoded.

    Attributes:
      pixels: of an image or frame; a small file can claim very many (Pillow's own limit).
      seconds: of a video or audio track.
      bytes: of a file.
    """

    pixels: int = 89_478_485
    seconds: float = 21_600.0
    bytes: int = 2**37

    def __post_init__(self):
        for knob in ("pixels", "seconds", "bytes"):
            if not getattr(self, knob) > 0:
                raise ConfigError(f"limits.{knob}={getattr(self, knob)} must be more than 0")


@dataclasses.dataclass(frozen=True, eq=False)
class VideoIndex:
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
class AudioIndex:
    """What finds a sample in its file. Positions are samples since the video's zero.

    Attributes:
      stream: number of the stream in its container.
      rate: samples per second.
      tick: samples per unit of the time stamps.
      zero: the video's zero in samples on the container's clock.
      first: position of the first sample.
      block: samples per packet if time stamps are too coarse to tell a sample, else 0.
      second: position of the second packet.
      end: position after the last sample, as the packets' times tell.
      seekable: whether time stamps after a seek tell the position.
    """

    stream: int
    rate: int
    tick: Fraction
    zero: int
    first: int
    block: int
    second: int
    end: int
    seekable: bool

    def position(self, pts: int) -> int:
        """Where the samples of this time stamp belong."""
        stated = round(pts * self.tick) - self.zero
        if self.block and stated > (self.first + self.second) / 2:
            return self.second + round((stated - self.second) / self.block) * self.block
        return self.first if self.block else stated


@dataclasses.dataclass(frozen=True, eq=False)
class Media:
    """What `decode.probe` finds in a file.

    Attributes:
      path: the file.
      num_frames: displayed frames; 1 for an image, 0 for audio.
      fps: mean frames per second; 1 for an image, 0 for audio.
      duration: seconds, of the frames if there are any (1 for an image).
      height, width: pixels, after rotation.
      rotation: degrees, counter-clockwise, by which frames are turned before they are handed out.
      times: float64 (t,), seconds at which each frame appears.
      sample_rate: of the audio in Hz; 0 if there is none.
      jpeg: a JPEG in colours or grey, which libjpeg-turbo reads faster than Pillow does.
      video_index, audio_index: for the reader.
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
    video_index: VideoIndex | None = None
    audio_index: AudioIndex | None = None

    @property
    def has_frames(self) -> bool:
        return self.num_frames > 0

    @property
    def has_audio(self) -> bool:
        return self.audio_index is not None

    @property
    def bytes_in_memory(self) -> int:
        """Roughly, with the objects around its arrays."""
        index = self.video_index
        return 2048 + self.times.nbytes + (index.pts.nbytes + index.keys.nbytes if index else 0)

    def audio_span(self, start: float, duration: float) -> tuple[float, float]:
        """Which of the `duration` seconds from `start` on the audio track fills; see `record`."""
        index = self.audio_index
        if index is None:
            return 0.0, 0.0
        return audio_span(
            index.first / index.rate - start, index.end / index.rate - start, duration
        )


@contextlib.contextmanager
def errors_name(path: str) -> Iterator[None]:
    """Every error inside becomes a MediaError of one line. Pillow alone raises a dozen kinds."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:
        lines = str(getattr(error, "strerror", None) or error).splitlines() or [""]
        message = f"{path}: cannot be read ({type(error).__name__}: {lines[0]})"
        raise MediaError(message) from error


def check_size(name: str, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise MediaError(f"{name}: {width}x{height} pixels are more than limits.pixels allows")


@contextlib.contextmanager
def opened(path: str) -> Iterator:
    """A video or audio file as PyAV's container."""
    import av

    with contextlib.ExitStack() as stack:
        # FFmpeg may open nothing but the file itself: a playlist that calls itself .mp4 would have
        # it fetch what it lists.
        if paths.is_url(path):
            source, allowed = stack.enter_context(paths.opened(path)), "none"
        else:
            source, allowed = f"file:{path}", "file"  # or 'a:b.mp4' would be a protocol
        settings = {"options": {"protocol_whitelist": allowed}}
        if int(av.__version__.split(".")[0]) < 19:  # later versions never fail on it
            settings["metadata_errors"] = "ignore"  # titles in any old encoding
        container = stack.enter_context(av.open(source, **settings))
        if container.format.name.endswith("_pipe") or container.format.name == "image2":
            raise MediaError(f"{path}: is an image, but its name does not end like one")
        yield container


def streams(container) -> tuple:
    """The first stream of video (a cover is none) and the first of audio, or None."""
    from av.stream import Disposition

    video = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    chosen = []
    for kind in (video, container.streams.audio):
        stream = next((s for s in kind if s.codec_context is not None), None)
        if stream is not None:
            # The loader's threads read many files at once; a decoder's own would be in their way
            # and decode ahead what nobody asked for.
            stream.codec_context.thread_count = 1
        chosen.append(stream)
    return tuple(chosen)


def verify_checksums(stream) -> None:
    """Lossless audio whose frames hold checksums is decoded exactly or not at all."""
    if stream.codec_context.name in ("flac", "tta", "wavpack"):
        stream.codec_context.options = {"err_detect": "crccheck+explode"}


def limit_decoder(stream, limits: Limits) -> None:
    """No later frame of a video may be much larger either; FFmpeg counts margins as well."""
    stream.codec_context.options = {"max_pixels": str(2 * limits.pixels + 2**20)}
