"""Localization: where in the frame is what is heard?

Arandjelovic and Zisserman, "Objects that Sound", ECCV 2018; its AVOL-Net."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.matched_audio import frame_and_audio, matched_clips, matched_times
from ssl_jax.data.record import Record
from ssl_jax.knobs import above, at_least, no_larger, one_of, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.objectives.localization import match_at_best_place, match_in_batch, place_logits
from ssl_jax.ops.augment import random_crop, random_flip
from ssl_jax.ops.spectrogram import log_spectrogram


class LocalizationNet(nn.Module):
    """A vector of every place of the frame, one of the audio, and the scale and bias of products.

    None has unit length, so that places of the background can answer weakly whatever is heard.
    """

    vision: nn.Module
    audio: nn.Module
    layer: str
    embedding: int

    def setup(self):
        self.conv5 = nn.Conv(self.embedding, (1, 1))
        self.conv6 = nn.Conv(self.embedding, (1, 1))
        self.fc1, self.fc2 = nn.Dense(self.embedding), nn.Dense(self.embedding)
        # Of untrained vectors products are as large as 10, most of all where something is seen. The
        # loss would push these places down, whatever is heard, and where a place is never the best
        # it learns no more. So the scale starts small: both answers are as likely everywhere.
        self.scale = self.param("scale", nn.initializers.constant(0.01), ())
        self.bias = self.param("bias", nn.initializers.zeros, ())

    def __call__(self, batch: Batch, train: bool):
        sounds = batch["audio"]  # (b, n, t, f): the frame's own audio, then others of its video
        heard = self.heard(sounds.reshape(-1, *sounds.shape[2:]), train)
        places = self.places(batch["vision"], train)
        return places, heard.reshape(*sounds.shape[:2], -1), self.scale, self.bias

    def places(self, x: jax.Array, train: bool) -> jax.Array:
        """(b h w d), of the trunk's map."""
        layers = self.vision(x, train)
        if self.layer not in layers or layers[self.layer].ndim != 4:
            maps = ", ".join(name for name, value in layers.items() if value.ndim == 4)
            raise ConfigError(f"layer={self.layer!r} is no map of the vision trunk; it has {maps}")
        x = layers[self.layer].astype(jnp.float32)
        return self.conv6(nn.relu(self.conv5(x)))

    def heard(self, x: jax.Array, train: bool) -> jax.Array:
        """(b d), of the trunk's pooled features."""
        x = self.audio(x, train)["pool"].astype(jnp.float32)
        return self.fc2(nn.relu(self.fc1(x)))

    def map(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """'map' (b h w 1): of each place, the logit of its making the audio."""
        places, heard = self.places(batch["vision"], train), self.heard(batch["audio"], train)
        return {"map": place_logits(places, heard, self.scale, self.bias)[..., None]}


@dataclasses.dataclass(frozen=True)
class Localization(Method):
    """Learns which place of a frame makes the audio around it, from pairs that match or do not.

    Nobody says where: of a matching pair some place must answer, of another pair none. The stream
    'map' gives the answer, `evals.sound_places.SoundPlaces` draws and scores it.

    Shortcut: as in `Correspondence`, all windows of audio start on one grid.

    Batch: views {"vision": uint8 (short_side short_side 3), "audio": float32 (1+within s)};
    augment {"vision": uint8 (b crop crop 3), "audio": float32 (b 1+within s)}.

    Attributes:
      vision, audio: the trunks.
      layer: the vision trunk's map; of the audio trunk 'pool' is read.
      short_side: to which frames are resized (their centre square is taken).
      crop: side of the square that the network sees, cut at random.
      seconds, sample_rate: of the audio; a record's audio of another rate is resampled.
      grid: audio windows start at multiples of so many seconds.
      misalignment: largest random shift in seconds between a frame and the middle of its audio.
      within: 1: the audio that does not match is another window of the same video; 0: of another.
      apart: smallest distance in seconds of such a window from the video's matching one.
      criterion: 'pairs' compares a frame with its own audio and with one other; 'batch' with all
        audio of the batch, our addition: small batches learn far sooner.
      pool: how places become an answer: 'max', the best place's; 'soft', the logarithm of the mean
        of their exponentials, our addition. All places learn from it, the best ones the more the
        surer they are. By the maximum alone the rim of a thing answers as well as the thing, and
        what was never the best learns nothing.
      embedding: width of the vectors.
      window, hop, bins: of the spectrogram, in samples; `bins` is the length of the transform.
    """

    vision: nn.Module
    audio: nn.Module
    layer: str = "conv4_2"
    short_side: int = 256
    crop: int = 224
    seconds: float = 1.0
    sample_rate: int = 48000
    grid: float = 0.04
    misalignment: float = 0.0
    within: int = 0
    apart: float = 1.0
    criterion: str = "pairs"
    pool: str = "max"
    embedding: int = 128
    window: int = 480
    hop: int = 240
    bins: int = 512

    trunks: ClassVar[tuple[str, ...]] = ("vision", "audio")

    def __post_init__(self):
        at_least(self, 1, "short_side", "crop", "sample_rate", "embedding")
        at_least(self, 1, "window", "hop", "bins")
        at_least(self, 0, "grid", "misalignment", "apart")
        within(self, 0, 1, "within")
        above(self, 0, "seconds")
        no_larger(self, "crop", "short_side")
        no_larger(self, "window", "bins")
        one_of(self, "criterion", ("pairs", "batch"))
        one_of(self, "pool", ("max", "soft"))
        if self.criterion == "batch" and self.within:
            raise ConfigError("within=1: criterion=batch compares with audio of other videos alone")

    @property
    def net(self) -> nn.Module:
        return LocalizationNet(self.vision, self.audio, self.layer, self.embedding)

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return {"vision": ("vision",), "audio": ("audio",), "map": ("vision", "audio")}

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        frame, audio = frame_and_audio(
            record,
            rng,
            self.short_side,
            self.seconds,
            self.sample_rate,
            self.grid,
            self.misalignment,
            self.within,
            self.apart,
        )
        return {"vision": frame, "audio": audio}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        crop, flip = jax.random.split(key)
        frames = random_flip(flip, random_crop(crop, batch["vision"], self.crop))
        return {**batch, "vision": frames}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        if name == "audio":
            return log_spectrogram(x, self.window, self.hop, self.bins)
        return 2.0 * x - 1.0

    def objective(self, outputs, batch: Batch):
        places, sounds, scale, bias = outputs
        own = sounds[:, 0]
        soft = self.pool == "soft"
        if len(own) < 2 and not self.within:
            raise ConfigError("localization: batch_size=1 has no audio that does not match")
        if self.criterion == "batch":
            return match_in_batch(places, own, scale, bias, soft)
        other = sounds[:, 1] if self.within else jnp.roll(own, 1, axis=0)
        return match_at_best_place(places, own, other, scale, bias, soft)

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """Which audio a frame matches, and with which it is compared."""
        own, other = ("first", "second") if self.within else ("this row's", "the row before's")
        other = other if self.criterion == "pairs" else "all others"
        count = len(batch["vision"])
        return {"match:": [f"{own} audio"] * count, "no match:": [other] * count}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return matched_times(record, self.seconds, count, self.grid, heard=stream != "vision")

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """The audio that begins at each time, and the frame in its middle."""
        names, sound = self.streams[stream], (self.seconds, self.sample_rate)
        return matched_clips(record, names, times, self.crop, *sound)
