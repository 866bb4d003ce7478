"""Synchronization: do lips and voice, or a thing and its sound, go together in time?

Chung and Zisserman, "Out of Time: Automated Lip Sync in the Wild", ACCV workshops 2016 (SyncNet);
several ways: Chung, Chung and Kang, "Perfect Match", ICASSP 2019.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.image import crop, resize
from ssl_jax.data.matched_audio import audio_at
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import even_times
from ssl_jax.knobs import above, at_least, no_larger, one_of, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.objectives.synchronization import euclidean, margin_pairs, which_window
from ssl_jax.ops.augment import LUMA, random_crop, random_flip
from ssl_jax.ops.mfcc import mfcc


class SynchronizationNet(nn.Module):
    """An embedding of every window of frames and of audio, and the scale and bias of cosines."""

    vision: nn.Module
    audio: nn.Module
    layer: str
    criterion: str

    @nn.compact
    def __call__(self, batch: Batch, train: bool):
        found = []
        for trunk, x in ((self.vision, batch["vision"]), (self.audio, batch["audio"])):
            b, n = x.shape[:2]
            out = trunk(x.reshape(b * n, *x.shape[2:]), train)[self.layer]
            found.append(out.reshape(b, n, -1))
        if self.criterion == "margin":
            return *found, None, None
        scale = self.param("scale", nn.initializers.constant(10.0), ())
        bias = self.param("bias", nn.initializers.constant(-5.0), ())
        return *found, scale, bias


@dataclasses.dataclass(frozen=True)
class Synchronization(Method):
    """Learns which window of a video's audio belongs to a few of its frames.

    All windows of an example are of one video, so who speaks, or what is seen, tells nothing; only
    time does. A trained run gives the shift between video and audio: `evals.sync_offset`.

    Shortcut: audio and frames keep to one grid of `fps`, and every window of audio lies within the
    track: silence at its ends would tell the first and last apart.

    Differs from the paper: no faces are looked for. `box` says which part of the frame is seen (it
    is stretched to a square), and the loss of several ways is the default, as in the released
    trainer; 'margin' is the paper's.

    Batch: views {"vision": uint8 (t short_side short_side 3), "audio": float32 (n s)};
    augment {"vision": uint8 (b t crop crop 3), "audio": float32 (b n s)}, and with 'margin'
    "shift": int32 (b), of the windows that do not match; the net takes "vision" float32
    (b n crop crop frames), grey, 0 to 255, and "audio" float32 (b n t f).

    Attributes:
      vision, audio: the trunks.
      layer: of both, the embedding.
      criterion: 'ways': which of the clip's windows is it (cross-entropy of cosines); 'margin':
        distances of matching windows and of shifted ones.
      margin: of distances; 20 is for embeddings of any length.
      windows: n, of an example.
      stride: frames from one window to the next.
      frames: of a window.
      fps: at which frames are taken; videos of another rate are resampled.
      box: part of the frame that is seen: top, left, bottom, right as shares.
      short_side: side of the square that the host hands over, in pixels.
      crop: side of the square that the network sees, cut at random.
      seconds, sample_rate: of a window of audio, which begins with its first frame. 0.215 s fill
        twenty columns.
      gain: the audio is made louder or softer by up to this share.
      energy: whether the first coefficient, the energy, is kept.
    """

    vision: nn.Module
    audio: nn.Module
    layer: str = "fc7"
    criterion: str = "ways"
    margin: float = 20.0
    windows: int = 23
    stride: int = 2
    frames: int = 5
    fps: float = 25.0
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    short_side: int = 120
    crop: int = 112
    seconds: float = 0.215
    sample_rate: int = 16000
    gain: float = 0.1
    energy: bool = False

    trunks: ClassVar[tuple[str, ...]] = ("vision", "audio")

    def __post_init__(self):
        one_of(self, "criterion", ("ways", "margin"))
        at_least(self, 2, "windows")
        at_least(self, 1, "stride", "frames", "short_side", "crop", "sample_rate")
        above(self, 0, "fps", "seconds", "margin")
        within(self, 0, 1, "gain")
        no_larger(self, "crop", "short_side")
        top, left, bottom, right = self.box
        if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
            raise ConfigError(f"box={self.box}: top, left, bottom, right as shares of the frame")

    @property
    def net(self) -> nn.Module:
        return SynchronizationNet(self.vision, self.audio, self.layer, self.criterion)

    @property
    def length(self) -> float:
        """Seconds that an example takes of a video."""
        last = (self.windows - 1) * self.stride / self.fps
        return last + max(self.seconds, self.frames / self.fps)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        record.need_frames()
        record.need_audio(self.length)
        begin, end = record.audible
        start = begin + rng.uniform() * max(0.0, end - begin - self.length)
        count = (self.windows - 1) * self.stride + self.frames
        times = (start + np.arange(count) / self.fps).tolist()
        starts = times[: count - self.frames + 1 : self.stride]
        return {
            "vision": self._frames(record, times, self.short_side),
            "audio": np.stack([self._sound(record, time) for time in starts]),
        }

    def _frames(self, record: Record, times: Sequence[float], size: int) -> np.ndarray:
        # In the middle of its time: at its beginning, rounding would choose the one before.
        numbers = [record.frame_at(time + 0.5 / self.fps) for time in times]
        seen, where = np.unique(numbers, return_inverse=True)  # windows overlap
        frames = record.need_frames()(seen.tolist())
        h, w = frames.shape[1:3]
        top, left, bottom, right = (
            round(share * side) for share, side in zip(self.box, (h, w, h, w), strict=True)
        )
        part = crop(frames, top, left, max(1, bottom - top), max(1, right - left))
        return resize(part, (size, size))[where]

    def _sound(self, record: Record, start: float) -> np.ndarray:
        return audio_at(record, start, self.seconds, self.sample_rate)

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_crop, key_flip, key_gain, key_shift = jax.random.split(key, 4)
        frames = random_flip(key_flip, random_crop(key_crop, batch["vision"], self.crop))
        shape = (len(frames), 1, 1)
        gain = jax.random.uniform(key_gain, shape, minval=1 - self.gain, maxval=1 + self.gain)
        made = {"vision": frames, "audio": batch["audio"] * gain}
        if self.criterion == "margin":
            ways = (len(frames),), 1, self.windows
            made["shift"] = jax.random.randint(key_shift, *ways)
        return made

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        if name == "audio":
            coefficients = mfcc(x, self.sample_rate)
            return coefficients if self.energy else coefficients[..., 1:]
        grey = 255.0 * jnp.sum(x * jnp.array(LUMA), axis=-1)
        # (b n frames y x), of windows that overlap.
        starts = np.arange(0, x.shape[1] - self.frames + 1, self.stride)
        windows = grey[:, starts[:, None] + np.arange(self.frames)]
        return jnp.moveaxis(windows, 2, -1)

    def objective(self, outputs, batch: Batch):
        video, audio, scale, bias = outputs
        if self.criterion == "ways":
            return which_window(video, audio, scale, bias)
        # Another window of the same video.
        other = jax.vmap(lambda x, by: jnp.roll(x, by, axis=0))(audio, batch["shift"])
        near, far = euclidean(video, audio), euclidean(video, other)
        distance, same = jnp.stack([near, far]), jnp.array([1, 0])[:, None, None]
        same = jnp.broadcast_to(same, distance.shape)
        accuracy = jnp.mean((near < far).astype(jnp.float32))
        return margin_pairs(distance, same, self.margin), {"accuracy": accuracy}

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """How many windows an example has."""
        return {"": [f"{self.windows} windows, in order"] * len(batch["vision"])}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        begin, end = record.audible
        window = self.seconds if stream == "audio" else self.frames / self.fps
        if stream == "vision" and end - begin < window:  # frames alone need no audio
            begin, end = 0.0, record.duration
        return even_times(end, window, count, begin=begin)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """The window that begins at each time."""
        if stream == "audio":
            return {"audio": np.stack([self._sound(record, time) for time in times])[:, None]}
        each = np.asarray(times)[:, None] + np.arange(self.frames) / self.fps
        frames = self._frames(record, each.ravel().tolist(), self.crop)
        return {"vision": frames.reshape(*each.shape, *frames.shape[1:])}

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        inputs = {name: x[:, 0] for name, x in self.inputs(inputs).items()}
        own = {name: tree[stream] for name, tree in variables.items() if stream in tree}
        return {"vision": self.vision, "audio": self.audio}[stream].apply(
            own, inputs[stream], False
        )
