"""Misalignment: do the frames and the audio of a video run together, or is the audio shifted?

Owens and Efros, "Audio-Visual Scene Analysis with Self-Supervised Multisensory Features", ECCV
2018."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.matched_audio import audio_at, matched_times
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import misaligned_starts
from ssl_jax.data.squares import clip_squares_at
from ssl_jax.knobs import above, at_least, no_larger
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.heads import last
from ssl_jax.objectives.synchronization import aligned_or_shifted
from ssl_jax.ops.augment import random_crop, random_flip
from ssl_jax.ops.companding import compand


class MisalignmentNet(nn.Module):
    """Both streams pass once; the video's map is joined with each of the audios."""

    vision: nn.Module
    audio: nn.Module
    fused: nn.Module

    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        waves = batch["audio"]  # (b, n, s): the clip's own, and the same video's at another time
        video = last(self.vision(batch["vision"], train))
        audio = last(self.audio(waves.reshape(-1, waves.shape[-1]), train))
        joined = self.fused(jnp.repeat(video, waves.shape[1], axis=0), audio, train)
        return joined["activation"].mean((1, 2, 3)).reshape(waves.shape[:2])

    def joined(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """The layers of the clips and their audio together."""
        video, audio = self.vision(batch["vision"], train), self.audio(batch["audio"], train)
        return self.fused(last(video), last(audio), train)


@dataclasses.dataclass(frozen=True)
class Misalignment(Method):
    """Tells audio that runs with a clip from audio of the same video, seconds earlier or later.

    Everything but time is the same, so what is seen and heard has to be understood in time. Both
    are trained together, with the video's own stream passing once. The stream 'fused' has the
    features of both senses; its layer 'activation' says which places of the frame speak for
    'aligned': `evals.class_activation.ClassActivation` draws them.

    The loss stays at ln 2 for long, in the paper's setting for some ten thousand steps. The metric
    'below_ln2' tells how far it is below.

    Shortcuts: aligned and shifted audio start on one grid and equally often at any time, and lie
    inside the track. Differs from the paper: audio is mono, and its pooling to the frames' rate has
    fixed windows.

    Batch: views {"vision": uint8 (t short_side short_side 3), "audio": float32 (2 s), aligned and
    shifted}; augment {"vision": uint8 (b t crop crop 3), "audio": float32 (b 2 s)}.

    Attributes:
      vision, audio: the trunks; their last layers are joined.
      fused: what joins them, such as `models.multisensory.Fusion`.
      frames: of a clip and, in time, its audio.
      fps: at which they are counted; videos of another rate are resampled.
      every: only each so many-th frame is seen.
      shared: most frames that aligned and shifted audio have in common.
      farthest: largest shift in frames.
      short_side: to which frames are resized (their centre square is taken).
      crop: side of the square that the network sees, cut at random.
      sample_rate: of the audio; a record's audio of another rate is resampled.
    """

    vision: nn.Module
    audio: nn.Module
    fused: nn.Module
    frames: int = 125
    fps: float = 29.97
    every: int = 1
    shared: int = 60
    farthest: int = 176
    short_side: int = 256
    crop: int = 224
    sample_rate: int = 21000

    trunks: ClassVar[tuple[str, ...]] = ("vision", "audio", "fused")

    def __post_init__(self):
        at_least(self, 1, "frames", "every", "farthest", "short_side", "crop", "sample_rate")
        at_least(self, 0, "shared")
        above(self, 0, "fps")
        no_larger(self, "crop", "short_side")
        if self.shared >= self.frames or self.farthest < self.nearest:
            raise ConfigError(
                f"shared={self.shared} of frames={self.frames}: shifts are {self.nearest} frames "
                f"or more and at most farthest={self.farthest}, so there is none"
            )

    @property
    def net(self) -> nn.Module:
        return MisalignmentNet(self.vision, self.audio, self.fused)

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return {"vision": ("vision",), "audio": ("audio",), "fused": ("vision", "audio")}

    @property
    def nearest(self) -> int:
        """Smallest shift in frames."""
        return self.frames - self.shared

    @property
    def clip_seconds(self) -> float:
        """Of a clip."""
        return self.frames / self.fps

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        record.need_frames()
        record.need_audio((self.frames + self.nearest) / self.fps)
        begin, end = record.audible
        count = math.floor((end - begin) * self.fps + 1e-6)
        places = misaligned_starts(count, rng, self.frames, self.shared, self.farthest)
        own, other = (begin + place / self.fps for place in places)
        return {
            "vision": self._frames(record, [own], self.short_side)[0],
            "audio": np.stack([self._sound(record, time) for time in (own, other)]),
        }

    def _frames(self, record: Record, times: Sequence[float], size: int) -> np.ndarray:
        count, rate = -(-self.frames // self.every), self.fps / self.every
        return clip_squares_at(record, size, times, count, rate)

    def _sound(self, record: Record, start: float) -> np.ndarray:
        return audio_at(record, start, self.clip_seconds, self.sample_rate)

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        crop, flip = jax.random.split(key)
        frames = random_flip(flip, random_crop(crop, batch["vision"], self.crop))
        return {**batch, "vision": frames}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return compand(x) if name == "audio" else 2.0 * x - 1.0

    def objective(self, outputs: jax.Array, batch: Batch):
        return aligned_or_shifted(outputs[:, 0], outputs[:, 1])

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """Which of the two runs with the frames."""
        count = len(batch["vision"])
        return {"aligned:": ["first audio"] * count, "shifted:": ["second audio"] * count}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return matched_times(record, self.clip_seconds, count, 0.0, heard=stream != "vision")

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """The clip, the audio, or both, that begin at each time."""
        found = {}
        if "vision" in self.streams[stream]:
            found["vision"] = self._frames(record, times, self.crop)
        if "audio" in self.streams[stream]:
            found["audio"] = np.stack([self._sound(record, time) for time in times])
        return found

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        if stream != "fused":
            return super().encode(variables, stream, inputs)
        x = self.inputs(inputs)
        return self.net.apply(variables, x, False, method=MisalignmentNet.joined)
