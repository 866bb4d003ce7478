"""Ambient sound: what does it sound like where this image was taken?

Owens, Wu, McDermott, Freeman and Torralba, "Ambient Sound Provides Supervision for Visual
Learning", ECCV 2016."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.matched_audio import audio_at, frame_and_audio, matched_times
from ssl_jax.data.record import Record, Source
from ssl_jax.data.squares import squares_at
from ssl_jax.knobs import at_least, no_larger, one_of, within
from ssl_jax.method import Batch, Example, Method, Refreshed, State
from ssl_jax.models.heads import TrunkClassifier
from ssl_jax.objectives.classification import classification, several_classes
from ssl_jax.objectives.sound_classes import nearest_centre, sides
from ssl_jax.ops.augment import random_crop, random_flip
from ssl_jax.ops.sound_texture import GROUPS, sound_texture
from ssl_jax.solvers.sound_classes import group_scales, principal_directions


@dataclasses.dataclass(frozen=True)
class AmbientSound(Method):
    """Learns from a still frame what its surroundings sound like, as classes of sound textures.

    A sound texture is 502 statistics of a few seconds of audio around the frame: how loud bands
    are, how unsteady, which go together (`ops.sound_texture`). They are not what sounds at that
    moment, but what kind of place it is. Before step 1 the textures of the training records are
    clustered by k-means ('clusters': softmax), or the signs of their first principal components are
    taken ('bits': a sigmoid each). Stream 'texture' has the statistics themselves.

    Shortcut: what was recorded by one person sounds and looks alike, by microphone and camera; test
    records should be of others. Frame and audio tell each other nothing by their times, as all
    examples match. Control: `control=("target",)`.

    Differs from the paper: a record counts once in the clustering, with the audio in its middle.
    Each group of statistics is scaled to the same variance; how the paper's are is not known.

    Batch: views {"vision": uint8 (short_side short_side 3), "texture": float32 (502)}; augment
    {"vision": uint8 (b crop crop 3), "target": int32 (b), or with 'bits' (b classes), 1 or -1}.

    Attributes:
      vision: the trunk; in the paper AlexNet with BN.
      targets: 'clusters' or 'bits'.
      classes: number of clusters, or of bits.
      seconds: of the audio around the frame.
      by_loudness: textures are those of audio of equal loudness, and the loudness.
      short_side: to which frames are resized (their centre square is taken).
      crop: side of the square that the network sees, cut at random.
    """

    vision: nn.Module
    targets: str = "clusters"
    classes: int = 30
    seconds: float = 3.75
    by_loudness: bool = False
    short_side: int = 256
    crop: int = 227

    trunks: ClassVar[tuple[str, ...]] = ("vision",)

    def __post_init__(self):
        one_of(self, "targets", ("clusters", "bits"))
        at_least(self, 1, "short_side", "crop")
        at_least(self, 0.005, "seconds")
        within(self, 2, GROUPS["loudness"], "classes")
        no_larger(self, "crop", "short_side")

    @property
    def net(self) -> nn.Module:
        return TrunkClassifier(self.vision, self.classes)

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return {**super().streams, "texture": ("texture",)}

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        record.need_audio(self.seconds)
        sound = self.seconds, record.sample_rate
        frame, audio = frame_and_audio(record, rng, self.short_side, *sound, grid=0.0)
        return {"vision": frame, "texture": self._texture(record, audio[0])}

    def _texture(self, record: Record, wave: np.ndarray) -> np.ndarray:
        return sound_texture(wave, record.sample_rate, self.by_loudness)

    def init(self, key: jax.Array, batch: Batch, records: int) -> dict:
        key_augment, key_net = jax.random.split(key)
        size = GROUPS["loudness"]
        state = {
            "textures": {
                "mean": jnp.zeros(size),
                "scale": jnp.ones(size),
                "classes": jnp.eye(self.classes, size),
            }
        }
        return {**self.init_net(key_net, self.augment(batch, state, key_augment)), **state}

    def refresh(self, frozen, source: Source, key: jax.Array) -> Refreshed:
        found = frozen.features(source, "texture", ("texture",))
        x = np.asarray(found.layers["texture"])
        mean, scale = group_scales(x, GROUPS)
        x = (x - mean) * scale
        if self.targets == "bits":
            classes = principal_directions(x, self.classes)
        else:
            _, classes, _ = frozen.k_means(x, self.classes, key, restarts=5)
        return Refreshed({"textures": {"mean": mean, "scale": scale, "classes": classes}})

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_crop, key_flip = jax.random.split(key)
        frames = random_flip(key_flip, random_crop(key_crop, batch["vision"], self.crop))
        known = state["textures"]
        x = (batch["texture"] - known["mean"]) * known["scale"]
        kind = sides if self.targets == "bits" else nearest_centre
        return {"vision": frames, "target": kind(x, known["classes"])}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return x if name == "texture" else 2.0 * x - 1.0

    def objective(self, outputs: jax.Array, batch: Batch):
        measure = several_classes if self.targets == "bits" else classification
        return measure(outputs, batch["target"])

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """The cluster, or the bits."""
        rows = np.asarray(batch["target"])
        if self.targets == "clusters":
            return {"target": [f"cluster {k}" for k in rows]}
        return {"target": ["".join("01"[int(k > 0)] for k in row) for row in rows]}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        if stream == "vision":
            return super().times(record, stream, count)
        return matched_times(record, self.seconds, count, 0.0, heard=True)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """The frame at each time, or the texture of the audio that begins there."""
        if stream == "vision":
            return {"vision": squares_at(record, self.crop, times)}
        sound = self.seconds, record.sample_rate
        waves = [audio_at(record, time, *sound) for time in times]
        return {"texture": np.stack([self._texture(record, wave) for wave in waves])}

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        if stream == "texture":
            return {"texture": inputs["texture"]}
        return super().encode(variables, stream, inputs)
