"""Hard negatives: does this audio belong to this clip, or to another moment of the same video?

Korbar, Tran and Torresani, "Cooperative Learning of Audio and Video Models from Self-Supervised
Synchronization", NeurIPS 2018 (AVTS)."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.matched_audio import audio_at, matched_times
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import hard_pair
from ssl_jax.data.squares import clip_squares_at
from ssl_jax.knobs import above, at_least, no_larger, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.objectives.contrastive import unit
from ssl_jax.objectives.synchronization import euclidean, matches_within
from ssl_jax.ops.augment import random_crop, random_flip
from ssl_jax.ops.mfcc import log_filterbank

# Mean and spread of log filterbanks of 16-bit samples, as published with GDT.
MEAN, SPREAD = 1.93, 17.89


class TwoStreamNet(nn.Module):
    """Two trunks, each followed by dense layers, whose outputs share one space."""

    vision: nn.Module
    audio: nn.Module
    embedding: int
    normalize: bool

    def setup(self):
        self.vision_head = DenseHead(self.embedding, self.normalize)
        self.audio_head = DenseHead(self.embedding, self.normalize)

    def __call__(self, batch: Batch, train: bool):
        return tuple(self.embed(k, batch[k], train)["embedding"] for k in ("vision", "audio"))

    def embed(self, stream: str, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """The trunk's layers, and 'embedding' (b d)."""
        trunk, head = {
            "vision": (self.vision, self.vision_head),
            "audio": (self.audio, self.audio_head),
        }[stream]
        layers = trunk(x, train)
        return {**layers, "embedding": head(layers["pool"])}


class DenseHead(nn.Module):
    """fc-ReLU-fc, and division by the length if `normalize`."""

    width: int
    normalize: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Dense(self.width, name="fc1")(x.astype(jnp.float32)))
        if self.normalize:
            return unit(nn.Dense(self.width, name="fc2")(x))
        # So small that no pair starts beyond the margin, where negatives have no gradient.
        return nn.Dense(self.width, kernel_init=nn.initializers.normal(0.01), name="fc2")(x)


@dataclasses.dataclass(frozen=True)
class HardNegatives(Method):
    """Embeds clips and audio so that what is of one moment is near, and all else beyond a margin.

    Half of the rows match. In the others the audio is another video's (easy), and from `easy_steps`
    on in a share of them that of another moment of the same video (hard).

    Shortcuts: matching windows and both kinds of others start on one grid and equally often at any
    time; none reaches beyond its track, and none is of the row's own moment. A video too short for
    a hard negative gives an easy one.

    Differs from the paper: its code is not public. Embeddings have unit length and two dense
    layers; the audio trunk is that of L3-Net, which is like VGG, too.

    Batch: views {"vision": uint8 (frames short_side short_side 3), "audio": float32 (2 s), the
    clip's own and a hard negative, "has_hard": int32, 0 if there is none}; augment {"vision": uint8
    (b frames crop crop 3), "audio": float32 (b s), "target": int32 (b), 1 for a match, "hard":
    int32 (b), 1 where the audio is of another moment of the same video}.

    Attributes:
      vision, audio: the trunks.
      frames: of a clip.
      seconds: of a clip and of its audio, which begin together.
      gap: smallest time in seconds between a clip and its hard negative.
      grid: clips and audio start at multiples of so many seconds.
      short_side: to which frames are resized (their centre square is taken).
      crop: side of the square that the network sees, cut at random.
      sample_rate: of the audio; a record's audio of another rate is resampled.
      window, hop: of a frame of the filterbank, in seconds.
      bands: of the filterbank.
      fft: length of its transform.
      embedding: width of the common space.
      normalize: embeddings have unit length; False is the paper's.
      margin: beyond which distance those that do not match may lie.
      easy_steps: so many updates have easy negatives alone.
      hard: share of hard ones among the negatives afterwards.
    """

    vision: nn.Module
    audio: nn.Module
    frames: int = 25
    seconds: float = 1.0
    gap: float = 0.5
    grid: float = 0.04
    short_side: int = 256
    crop: int = 224
    sample_rate: int = 48000
    window: float = 0.02
    hop: float = 0.01
    bands: int = 40
    fft: int = 1024
    embedding: int = 128
    normalize: bool = True
    margin: float = 0.99
    easy_steps: int = 0
    hard: float = 0.25

    trunks: ClassVar[tuple[str, ...]] = ("vision", "audio")

    def __post_init__(self):
        at_least(self, 1, "frames", "short_side", "crop", "sample_rate", "bands", "fft")
        at_least(self, 1, "embedding")
        at_least(self, 0, "gap", "easy_steps")
        above(self, 0, "seconds", "grid", "window", "hop", "margin")
        within(self, 0, 1, "hard")
        no_larger(self, "crop", "short_side")

    @property
    def net(self) -> nn.Module:
        return TwoStreamNet(self.vision, self.audio, self.embedding, self.normalize)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        record.need_frames()
        record.need_audio(self.seconds)
        start, other = hard_pair(*record.audible, self.seconds, rng, self.gap, self.grid)
        windows = [start, start if other is None else other]
        return {
            "vision": self._frames(record, [start], self.short_side)[0],
            "audio": np.stack([self._sound(record, time) for time in windows]),
            "has_hard": np.int32(other is not None),
        }

    def _frames(self, record: Record, times: Sequence[float], size: int) -> np.ndarray:
        return clip_squares_at(record, size, times, self.frames, self.frames / self.seconds)

    def _sound(self, record: Record, start: float) -> np.ndarray:
        return audio_at(record, start, self.seconds, self.sample_rate)

    def hard_share(self, step: jax.Array | int) -> jax.Array:
        """Of the negatives of an update, which share may be hard (float32)."""
        return jnp.where(jnp.asarray(step) < self.easy_steps, 0.0, self.hard)

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_crop, key_flip, key_rows = jax.random.split(key, 3)
        if len(batch["vision"]) < 2:
            raise ConfigError("hard negatives: batch_size=1 has no audio of another video")
        frames = random_flip(key_flip, random_crop(key_crop, batch["vision"], self.crop))
        # Exact shares: the first of the rows in a random order match, the next are hard.
        matches, rows = len(frames) // 2, len(frames)
        place = jax.random.permutation(key_rows, rows)
        share = self.hard_share(state["run"]["step"])
        most = matches + jnp.round(share * (rows - matches)).astype(jnp.int32)
        match = place < matches
        hard = ~match & (place < most) & (batch["has_hard"] == 1)
        own, later = batch["audio"][:, 0], batch["audio"][:, 1]
        easy = jnp.roll(own, 1, axis=0)  # another row's
        audio = jnp.where(match[:, None], own, jnp.where(hard[:, None], later, easy))
        whole = {"target": match.astype(jnp.int32), "hard": hard.astype(jnp.int32)}
        return {"vision": frames, "audio": audio, **whole}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        if name == "audio":
            sizes = self.window, self.hop, self.bands, self.fft
            return (log_filterbank(x, self.sample_rate, *sizes) - MEAN) / SPREAD
        return 2.0 * x - 1.0

    def objective(self, outputs, batch: Batch):
        return matches_within(euclidean(*outputs), batch["target"], batch["hard"], self.margin)

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """Whose audio a clip has."""
        kinds = ("another video's audio", "the same video's at another time", "its own audio")
        which = np.asarray(batch["hard"]) + 2 * np.asarray(batch["target"])
        return {"": [kinds[k] for k in which]}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return matched_times(record, self.seconds, count, self.grid, heard=stream != "vision")

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """The clip or the audio that begins at each time."""
        if stream == "audio":
            return {"audio": np.stack([self._sound(record, time) for time in times])}
        return {"vision": self._frames(record, times, self.crop)}

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        x = self.inputs(inputs)[stream]
        return self.net.apply(variables, stream, x, False, method=TwoStreamNet.embed)
