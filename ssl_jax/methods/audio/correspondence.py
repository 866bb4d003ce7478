"""Audio-visual correspondence: does this audio belong to this frame?

L3-Net (Arandjelovic and Zisserman, "Look, Listen and Learn", ICCV 2017) and AVE-Net (theirs,
"Objects that Sound", ECCV 2018)."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.matched_audio import frame_and_audio, matched_clips, matched_times
from ssl_jax.data.record import Record
from ssl_jax.knobs import above, at_least, no_larger, one_of
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.objectives.classification import classification
from ssl_jax.objectives.contrastive import info_nce, match
from ssl_jax.ops.augment import random_crop, random_flip
from ssl_jax.ops.spectrogram import log_spectrogram


class CorrespondenceNet(nn.Module):
    """Two trunks, and what joins them.

    By 'concatenation' (L3-Net) their pooled features stand side by side before two dense layers,
    and a pair has two logits. Else (AVE-Net) each trunk is followed by two dense layers, whose
    unit-length outputs share one space, and with 'pairs' there are also the scale and bias that
    make a distance a logit.
    """

    vision: nn.Module
    audio: nn.Module
    embedding: int
    criterion: str

    def setup(self):
        if self.criterion == "concatenation":
            self.joint_head = JointHead(self.embedding)
            return
        self.vision_head = EmbeddingHead(self.embedding)
        self.audio_head = EmbeddingHead(self.embedding)
        # Both start at 1, by which a small distance means a match from the first step on.
        one, calibrated = nn.initializers.ones, self.criterion == "pairs"
        self.calibration = self.param("calibration", one, (2,)) if calibrated else None

    def __call__(self, batch: Batch, train: bool):
        sounds = batch["audio"]  # (b, n, t, f): the frame's own audio, then others of its video
        frame = self.embed("vision", batch["vision"], train)
        sound = self.embed("audio", sounds.reshape(-1, *sounds.shape[2:]), train)
        if self.criterion == "concatenation":
            return self.joint_head(frame["pool"], sound["pool"])
        sound = sound["embedding"].reshape(*sounds.shape[:2], -1)
        return frame["embedding"], sound, self.calibration

    def embed(self, stream: str, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """The trunk's layers, and 'embedding' (b, d) of length 1, unless pairs are joined."""
        layers = {"vision": self.vision, "audio": self.audio}[stream](x, train)
        if self.criterion == "concatenation":
            return layers
        head = {"vision": self.vision_head, "audio": self.audio_head}[stream]
        return {**layers, "embedding": head(layers["pool"])}


class JointHead(nn.Module):
    """fc-ReLU-fc on both pooled features: the logits of no match and match."""

    width: int

    @nn.compact
    def __call__(self, frame: jax.Array, sound: jax.Array) -> jax.Array:
        x = jnp.concatenate([frame, sound], axis=-1).astype(jnp.float32)
        return nn.Dense(2, name="fc2")(nn.relu(nn.Dense(self.width, name="fc1")(x)))


class EmbeddingHead(nn.Module):
    """fc-ReLU-fc and division by the length."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Dense(self.width, name="fc1")(x.astype(jnp.float32))
        x = nn.Dense(self.width, name="fc2")(nn.relu(x))
        # The square root's slope at zero is infinite, so the epsilon stands inside.
        return x / jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-12)


@dataclasses.dataclass(frozen=True)
class Correspondence(Method):
    """Learns whether a frame and a second of audio belong together.

    Shortcut: frames stand on the grid of the video's rate, so audio windows drawn at any time would
    tell that they belong to no frame; every window, matching or not, starts on one grid, and with
    `misalignment` none is exactly centred (the paper does both; the default is the grid alone).

    Batch: views {"vision": uint8 (short_side short_side 3), "audio": float32 (1+within s)};
    augment {"vision": uint8 (b crop crop 3), "audio": float32 (b 1+within s)}; with
    'concatenation' "audio": float32 (b 1 s), a match in half of the rows, and "target": int32 (b),
    1 where it is.

    Attributes:
      vision, audio: the trunks; their layer 'pool' feeds the embedding.
      short_side: to which frames are resized (their centre square is taken).
      crop: side of the square that the network sees, cut at random.
      seconds, sample_rate: of the audio; a record's audio of another rate is resampled.
      grid: audio windows start at multiples of so many seconds.
      misalignment: largest random shift in seconds between a frame and the middle of its audio.
      within: how many other windows of the same video serve as negatives for its frame; at most
        one, which takes the place of another video's audio, unless all of the batch is compared.
      apart: smallest distance in seconds of such a window from the video's matching one.
      criterion: 'pairs' compares a frame with its own audio and with one other (AVE-Net's two-way
        softmax on the distance); 'batch' with all audio of the batch, both ways (InfoNCE);
        'concatenation' with one or the other, joined by dense layers (L3-Net). There trunks have
        first_stride=1, and there is no space to retrieve in.
      temperature: of InfoNCE.
      chunk: how many windows a frame is compared with at once by InfoNCE; 0: all. With batches of
        tens of thousands it saves memory; see `ssl_jax.objectives.contrastive`.
      embedding: width of the common space, or of the joint layer.
      window, hop, bins: of the spectrogram, in samples; `bins` is the length of the transform.
    """

    vision: nn.Module
    audio: nn.Module
    short_side: int = 256
    crop: int = 224
    seconds: float = 1.0
    sample_rate: int = 48000
    grid: float = 0.04
    misalignment: float = 0.0
    within: int = 0
    apart: float = 1.0
    criterion: str = "pairs"
    temperature: float = 0.1
    embedding: int = 128
    window: int = 480
    hop: int = 240
    bins: int = 512
    chunk: int = 0

    trunks: ClassVar[tuple[str, ...]] = ("vision", "audio")

    def __post_init__(self):
        at_least(self, 1, "short_side", "crop", "sample_rate", "embedding")
        at_least(self, 1, "window", "hop", "bins")
        at_least(self, 0, "grid", "misalignment", "within", "apart", "chunk")
        above(self, 0, "seconds", "temperature")
        no_larger(self, "crop", "short_side")
        no_larger(self, "window", "bins")
        one_of(self, "criterion", ("pairs", "batch", "concatenation"))
        if self.criterion != "batch" and self.within > 1:
            raise ConfigError(
                f"within={self.within}: criterion={self.criterion} compares with one other window"
            )

    @property
    def net(self) -> nn.Module:
        return CorrespondenceNet(self.vision, self.audio, self.embedding, self.criterion)

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
        if self.criterion != "concatenation":
            return {**batch, "vision": frames}
        own, other = batch["audio"][:, :1], self._other(batch["audio"])[:, None]
        target = jax.random.bernoulli(jax.random.fold_in(key, 2), shape=(len(own),))
        audio = jnp.where(target[:, None, None], own, other)
        return {"vision": frames, "audio": audio, "target": target.astype(jnp.int32)}

    def _other(self, audio: jax.Array) -> jax.Array:
        """What does not match: another window of the video, or the batch's row before's."""
        return audio[:, 1] if self.within else jnp.roll(audio[:, 0], 1, axis=0)

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        if name == "audio":
            return log_spectrogram(x, self.window, self.hop, self.bins)
        return 2.0 * x - 1.0

    def objective(self, outputs, batch: Batch):
        if self.criterion == "concatenation":
            return classification(outputs, batch["target"])
        frame, sounds, calibration = outputs
        own, others = sounds[:, 0], sounds[:, 1:]
        if self.criterion == "batch":
            return info_nce(frame, own, self.temperature, extra=others, chunk=self.chunk)
        return match(frame, own, self._other(sounds), *calibration)

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """Which audio a frame matches, and with which it is compared."""
        if self.criterion == "concatenation":
            return {"": [("no match", "match")[k] for k in np.asarray(batch["target"])]}
        own, other = ("first", "second") if self.within else ("this row's", "the row before's")
        others = other if self.criterion == "pairs" else "all others"
        count = len(batch["vision"])
        return {"match:": [f"{own} audio"] * count, "no match:": [others] * count}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return matched_times(record, self.seconds, count, self.grid, heard=stream != "vision")

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """The audio that begins at each time, and the frame in its middle."""
        names, sound = self.streams[stream], (self.seconds, self.sample_rate)
        return matched_clips(record, names, times, self.crop, *sound)

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        x = self.inputs(inputs)[stream]
        return self.net.apply(variables, stream, x, False, method=CorrespondenceNet.embed)
