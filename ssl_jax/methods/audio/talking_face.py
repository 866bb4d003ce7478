"""Talking face: what does a person look like who says this?

Chung, Jamaludin and Zisserman, "You said that?", BMVC 2017 (Speech2Vid).
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from ssl_jax.data.image import square
from ssl_jax.data.matched_audio import audio_at
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sampling import even_times
from ssl_jax.knobs import at_least, within
from ssl_jax.method import Batch, Example, Method, State, scaled
from ssl_jax.ops.augment import random_flip
from ssl_jax.ops.htk_mfcc import htk_mfcc

WINDOW, HOP = 0.025, 0.010  # seconds, of a column of cepstral coefficients


class TalkingFaceNet(nn.Module):
    """Who it is and what is said, the frame that follows, and the same frame sharpened."""

    vision: nn.Module
    audio: nn.Module
    decoder: nn.Module
    deblurring: nn.Module

    def __call__(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        return self.face(batch, train)

    def face(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """The 'generated' and the 'sharpened' frame, both (b h w 3) in 0..1."""
        who, said = self.vision(batch["vision"], train), self.audio(batch["audio"], train)
        generated = self.decoder(who, said, train)
        given = jax.lax.stop_gradient(generated)
        return {"generated": generated, "sharpened": given + self.deblurring(given)}


@dataclasses.dataclass(frozen=True)
class TalkingFace(Method):
    """Draws a frame of a talking person from stills of that person and the audio around the frame.

    The mean absolute error teaches the generator. A second network adds what is missing to be
    sharp; it begins when a share of the run is over, and no gradient of it reaches the generator.
    `python -m ssl_jax.apply talk` makes a video of stills and an audio file.

    Shortcut: a still close in time shows the frame that is asked for, so all are `apart` away.

    Differs from the paper: its generator has more losses, whose weights are not known, and rests
    while the second network learns. The layers are those of a published training code. Faces are
    not looked for: videos show them cut out.

    Batch: views {"vision": uint8 (stills size size 3), "target": uint8 (size size 3), "audio":
    float32 (s)}; augment flips images and adds "sharpen": float32 (b), 1 once the second network
    learns; the net takes "vision" float32 (b size size 3*stills) in 0..1 and "audio" float32
    (b columns 12).

    Attributes:
      vision, audio: the trunks. Their layer fc7, and maps of `vision`, feed the
      decoder: which gives the frame, and the
      deblurring: network that adds to it.
      stills: of the person.
      apart: all are more than so many frames away from the one that is drawn.
      size: side of the squares that frames are resized to (their centre square is taken).
      columns: of cepstral coefficients, a hundredth of a second each, the frame in their middle.
      sample_rate: of the audio.
      sharpen_after: share of the run after which the second network learns.
      masked_target: one more still is the frame itself, its lower half black. The task is to fill
        it in, as in later work; not the paper's.
    """

    vision: nn.Module
    audio: nn.Module
    decoder: nn.Module
    deblurring: nn.Module
    stills: int = 5
    apart: int = 5
    size: int = 112
    columns: int = 35
    sample_rate: int = 16000
    sharpen_after: float = 0.7
    masked_target: bool = False

    trunks: ClassVar[tuple[str, ...]] = ("vision", "audio")

    def __post_init__(self):
        at_least(self, 1, "stills", "size", "columns", "sample_rate")
        at_least(self, 0, "apart")
        within(self, 0, 1, "sharpen_after")

    @property
    def net(self) -> nn.Module:
        return TalkingFaceNet(self.vision, self.audio, self.decoder, self.deblurring)

    @property
    def window_seconds(self) -> float:
        """Of a window of audio."""
        return (self.columns - 1) * HOP + WINDOW

    @property
    def lead(self) -> float:
        """Seconds from a window's beginning to its frame."""
        return self.columns * HOP / 2

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        begin, end = self._span(record)
        target = record.frame_at(rng.uniform(begin, end))
        others = rng.choice(self._others(record, target), self.stills)
        return {**self._images(record, target, others), "audio": self._heard(record, target)}

    def _span(self, record: Record) -> tuple[float, float]:
        """From when to when frames have a whole window of audio."""
        record.need_frames()
        record.need_audio(self.window_seconds + 1 / max(record.fps, 1.0))
        begin, end = record.audible
        return begin + self.lead + 1 / record.fps, end - (self.window_seconds - self.lead)

    def _others(self, record: Record, target: int) -> np.ndarray:
        numbers = np.arange(record.num_frames)
        others = numbers[np.abs(numbers - target) > self.apart]
        if len(others) == 0:
            raise MediaError(
                f"{record.name}: has {record.num_frames} frames, none is more than "
                f"apart={self.apart} away from frame {target}"
            )
        return others

    def _images(self, record: Record, target: int, others: np.ndarray) -> Example:
        images = square(record.need_frames()([*others.tolist(), target]), self.size)
        stills, frame = images[:-1], images[-1]
        if self.masked_target:
            stills = np.concatenate([stills, half_black(frame[None])])
        return {"vision": stills, "target": frame}

    def _heard(self, record: Record, target: int) -> Float32[np.ndarray, "s"]:
        begin, end = record.audible
        start = record.time_of(target) - self.lead
        start = min(max(start, begin), end - self.window_seconds)
        return audio_at(record, start, self.window_seconds, self.sample_rate)

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        images = jnp.concatenate([batch["vision"], batch["target"][:, None]], axis=1)
        images = random_flip(key, images)
        begun = state["run"]["step"] >= self.sharpen_after * state["run"]["steps"]
        sharpen = jnp.full(len(images), begun, jnp.float32)
        return {**batch, "vision": images[:, :-1], "target": images[:, -1], "sharpen": sharpen}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        if name == "audio":
            return htk_mfcc(x, self.sample_rate, WINDOW, HOP)
        b, n, h, w, c = x.shape
        return jnp.moveaxis(x, 1, 3).reshape(b, h, w, n * c)

    def objective(self, outputs: dict[str, jax.Array], batch: Batch):
        target = scaled(batch["target"])
        drawn = jnp.abs(outputs["generated"] - target).mean(axis=(1, 2, 3))
        sharp = jnp.abs(outputs["sharpened"] - target).mean(axis=(1, 2, 3))
        still = jnp.abs(batch["vision"][..., :3] - target)
        loss = jnp.mean(drawn) + jnp.mean(batch["sharpen"] * sharp)
        return loss, {
            "generated": jnp.mean(drawn),
            "sharpened": jnp.mean(sharp),
            "still": jnp.mean(still),
        }

    def pictures(self, batch: Batch) -> Batch:
        return {"stills": batch["vision"], "audio": batch["audio"], "target": batch["target"]}

    @property
    def streams(self) -> dict[str, tuple[str, ...]]:
        """The trunks, and the frames that are drawn."""
        return {"vision": ("vision",), "audio": ("audio",), "face": ("vision", "audio")}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        if stream == "vision":
            return super().times(record, stream, count)
        record.need_audio(self.window_seconds)
        begin, end = record.audible
        return [
            time + self.lead for time in even_times(end, self.window_seconds, count, begin=begin)
        ]

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """The frame at each time in place of all stills, and the audio around it.

        For 'face' stills are spread evenly over what is `apart`, and 'target' is the frame.
        """
        # A frame's time is when it appears; times lie anywhere in it.
        numbers = [record.frame_at(time) for time in times] if record.num_frames else []
        if stream == "audio":
            starts = [time - self.lead for time in times]
            sound = [audio_at(record, t, self.window_seconds, self.sample_rate) for t in starts]
            return {"audio": np.stack(sound)}
        if stream == "vision":
            made = [self._images(record, k, np.full(self.stills, k)) for k in numbers]
            return {"vision": np.stack([one["vision"] for one in made])}
        found = []
        for number in numbers:
            others = self._others(record, number)
            spread = np.linspace(0, len(others) - 1, self.stills).round().astype(int)
            images = self._images(record, number, others[spread])
            found.append({**images, "audio": self._heard(record, number)})
        return {name: np.stack([one[name] for one in found]) for name in found[0]}

    def talk(
        self, variables: dict, stills: UInt8[Array, "n h w 3"], waves: Float32[Array, "t s"]
    ) -> UInt8[Array, "t h w 3"]:
        """Frames that the person of the stills would make at each window of audio; jit-safe."""
        if self.masked_target:
            stills = jnp.concatenate([stills, half_black(stills[:1])])
        vision = jnp.broadcast_to(stills, (len(waves), *stills.shape))
        frames = self.encode(variables, "face", {"vision": vision, "audio": waves})["sharpened"]
        return jnp.round(255.0 * jnp.clip(frames, 0, 1)).astype(jnp.uint8)


def half_black(images):
    """Images (n h w 3), numpy's or JAX's, whose lower half is black."""
    upper = np.arange(images.shape[1]) < images.shape[1] // 2
    return images * upper[:, None, None].astype(np.uint8)
