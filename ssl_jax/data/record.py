"""What a source yields: one film, picture or sound, of which nothing is decoded yet."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, UInt8


class MediaError(ValueError):
    """A file or record that cannot be used. The message is one line that names it and says why."""


@dataclasses.dataclass(frozen=True)
class Caption:
    """A text that belongs to the seconds from `start` to `end` of its record."""

    text: str
    start: float = 0.0
    end: float = float("inf")
    language: str = "en"


@dataclasses.dataclass(frozen=True)
class Record:
    """One film, picture (a film of one frame) or sound. Reading a field decodes nothing.

    Attributes:
      name: what a person calls it: a path, or a set's name and number. Errors name it.
      index: its place in its source.
      num_frames: 0 for a sound without pictures.
      fps: mean frames per second; 1 for a picture.
      times: when each frame appears, in seconds, ascending; None: frame k at k / fps.
      frames: decodes the asked frames, in the asked order, repeats allowed.
      audio: decodes the mono wave from one second to another, `round((to - from) * sample_rate)`
        samples; None if there is no sound track. Times share their zero with `frames`.
      sample_rate: of `audio`, in Hz; 0 without sound.
      duration: seconds.
      label: class number, -1 if there is none.
      extra: masks, boxes, split, ... whatever a source knows beyond.
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
    captions: tuple[Caption, ...] = ()
    label: int = -1
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __init__(
        self,
        name: str,
        index: int,
        num_frames: int,
        fps: float,
        times: np.ndarray | None = None,
        frames: Callable | None = None,
        audio: Callable | None = None,
        sample_rate: int = 0,
        duration: float = 0.0,
        captions: tuple[Caption, ...] = (),
        label: int = -1,
        extra: Mapping[str, Any] | None = None,
    ):
        # What dataclasses would write for a frozen class sets each field by a call of its own: it
        # takes three times as long, more than copying a small picture does.
        self.__dict__.update(
            name=name,
            index=index,
            num_frames=num_frames,
            fps=fps,
            times=times,
            frames=frames,
            audio=audio,
            sample_rate=sample_rate,
            duration=duration,
            captions=captions,
            label=label,
            extra={} if extra is None else extra,
        )

    def frame_at(self, seconds: float) -> int:
        """The frame that is seen at a time; the first before it, the last after the end."""
        if self.times is None:
            number = math.floor(seconds * self.fps + 1e-4)  # k / fps may come out a little less
        else:
            number = int(np.searchsorted(self.times, seconds + 1e-4, side="right")) - 1
        return min(max(number, 0), self.num_frames - 1)

    def time_of(self, number: int) -> float:
        """When a frame appears, in seconds; `frame_at` is the way back."""
        return number / self.fps if self.times is None else float(self.times[number])

    def need_frames(self, count: int = 1) -> Callable[[Sequence[int] | np.ndarray], np.ndarray]:
        """`frames`, or MediaError if there are fewer than `count`."""
        if self.frames is None or self.num_frames < count:
            raise MediaError(f"{self.name}: has {self.num_frames} frames, {count} are needed")
        return self.frames

    def need_audio(self, seconds: float = 0.0) -> Callable[[float, float], np.ndarray]:
        """`audio`, or MediaError if there is no sound or it is shorter than `seconds`."""
        if self.audio is None:
            raise MediaError(f"{self.name}: has no sound")
        if self.duration < seconds:
            raise MediaError(
                f"{self.name}: lasts {self.duration:.2f} s, sound of {seconds:.2f} s is needed"
            )
        return self.audio


@runtime_checkable
class Source(Protocol):
    """Random access to records (grain.RandomAccessDataSource). Must pickle; records need not."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...
