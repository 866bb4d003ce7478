"""What a source yields: one video, image or audio file, of which nothing is decoded yet."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, UInt8

# Encoders fill whole packets, so a track may lack so many seconds at its video's ends, but no more
# than a tenth of the video.
SHORT_OF = 0.1


class MediaError(ValueError):
    """A file or record that cannot be used. The message is one line that names it and says why."""


@dataclasses.dataclass(frozen=True)
class Caption:
    """A text that belongs to the seconds from `start` to `end` of its record."""

    text: str
    start: float = 0.0
    end: float = float("inf")
    language: str = "en"


def audio_span(begin: float, end: float, duration: float) -> tuple[float, float]:
    """The seconds of a record that an audio track from `begin` to `end` fills, in 0..`duration`.

    A track that begins or ends almost with the record does so exactly. (0, 0): none of them.
    """
    nearly = min(SHORT_OF, duration / 10) + 1e-6
    first = 0.0 if begin <= nearly else float(begin)
    last = duration if end >= duration - nearly else float(end)
    return (first, last) if first < last else (0.0, 0.0)


@dataclasses.dataclass(eq=False)  # not frozen: that takes three times as long to make
class Record:
    """One video, image (a video of one frame) or audio track. Reading a field decodes nothing.

    Attributes:
      name: what a person calls it: a path, or a data set's name and number. Errors name it.
      index: its place in its source.
      num_frames: 0 for audio without frames.
      fps: mean frames per second; 1 for an image.
      times: when each frame appears, in seconds, ascending; None: frame k at k / fps.
      frames: decodes the frames of these numbers, in this order, repeats allowed.
      audio: decodes the mono wave from one second to another, `round((to - from) * sample_rate)`
        samples; None if there is no audio. Times share their zero with `frames`.
      sample_rate: of `audio`, in Hz; 0 without audio.
      duration: seconds.
      audio_span: (first, last) second that the audio track fills, where that is not all of the
        record; before and after it `audio` is silence. See the function `audio_span`.
      captions: texts, each with the seconds that it belongs to.
      label: class number, -1 if there is none.
      extra: masks, boxes, split, ... whatever else a source knows; `annotations` reads it.
    """

    name: str
    index: int
    num_frames: int
    fps: float
    times: Float64[np.ndarray, "t"] | None = None
    frames: Callable[[Sequence[int] | np.ndarray], UInt8[np.ndarray, "t h w 3"]] | None = None
    audio: Callable[[float, float], Float32[np.ndarray, "s"]] | None = None
    sample_rate: int = 0
    duration: float = 0.0
    audio_span: tuple[float, float] | None = None
    captions: tuple[Caption, ...] = ()
    label: int = -1
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def frame_at(self, seconds: float) -> int:
        """The frame that is seen at a time; the first before it, the last after the end."""
        if self.times is None:
            number = math.floor(seconds * self.fps + 1e-4)  # k / fps may come out a little less
        else:
            number = int(np.searchsorted(self.times, seconds + 1e-4, side="right")) - 1
        return min(max(number, 0), self.num_frames - 1)

    def time_of(self, number: int) -> float:
        """When a frame appears, in seconds; the inverse of `frame_at`."""
        return number / self.fps if self.times is None else float(self.times[number])

    def need_frames(self, count: int = 1) -> Callable[[Sequence[int] | np.ndarray], np.ndarray]:
        """`frames`, or MediaError if there are fewer than `count`."""
        if self.frames is None or self.num_frames < count:
            raise MediaError(f"{self.name}: has {self.num_frames} frames, {count} are needed")
        return self.frames

    @property
    def audible(self) -> tuple[float, float]:
        """The seconds from which to which there is audio; (0, duration) unless a source knows."""
        return (0.0, self.duration) if self.audio_span is None else self.audio_span

    def need_audio(self, seconds: float = 0.0) -> Callable[[float, float], np.ndarray]:
        """`audio`, or MediaError if there is none or its track has fewer than `seconds` here."""
        if self.audio is None:
            raise MediaError(f"{self.name}: has no audio")
        begin, end = self.audible
        if end - begin < seconds or end <= begin:
            raise MediaError(
                f"{self.name}: lasts {self.duration:.2f} s with {end - begin:.2f} s of audio, "
                f"{seconds:.2f} s of audio are needed"
            )
        return self.audio

    def need_captions(self, count: int = 1) -> tuple[Caption, ...]:
        """`captions`, or MediaError if there are fewer than `count`."""
        if not self.captions:
            raise MediaError(f"{self.name}: has no captions")
        if len(self.captions) < count:
            raise MediaError(f"{self.name}: has {len(self.captions)} captions, {count} are needed")
        return self.captions


@runtime_checkable
class Source(Protocol):
    """Random access to records (grain.RandomAccessDataSource). Must pickle; records need not."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...
