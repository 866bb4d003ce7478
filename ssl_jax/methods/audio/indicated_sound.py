"""Indicated sound: what does a silent video sound like?

Owens, Isola, McDermott, Torralba, Adelson and Freeman, "Visually Indicated Sounds", CVPR 2016.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

from ssl_jax.config import ConfigError
from ssl_jax.data.audio import fit_length, resample
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import even_times
from ssl_jax.data.squares import clip_squares_at
from ssl_jax.knobs import above, at_least, no_larger, one_of
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.objectives.robust import log_distance
from ssl_jax.ops.augment import LUMA, random_crop
from ssl_jax.ops.subbands import RATE, envelopes

CELLS = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}
BLOCKS = 50  # of a second, whose loudness is compared


class IndicatedSoundNet(nn.Module):
    """A trunk for every frame, and a recurrent network over time that says the bands' envelopes."""

    vision: nn.Module
    layer: str
    cell: str
    hidden: int
    outputs: int
    colour: bool
    steps: int

    def setup(self):
        self.memory = nn.RNN(CELLS[self.cell](self.hidden))
        # Of silence at first: noise would have to be unlearnt.
        self.answer = nn.Dense(self.outputs, kernel_init=nn.initializers.zeros)

    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        """Envelopes (b t k)."""
        return self.sound(batch, train)["envelopes"]

    def sound(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """The recurrent network's 'hidden' states (b t d), and the 'envelopes' (b t k)."""
        x = batch["vision"]
        b, n = x.shape[:2]
        seen = self.vision(x.reshape(b * n, *x.shape[2:]), train)[self.layer]
        seen = seen.astype(jnp.float32).reshape(b, n, -1)
        if self.colour:
            first, seen = seen[:, :1], seen[:, 1:]
            seen = jnp.concatenate([seen, jnp.broadcast_to(first, seen.shape)], axis=-1)
        hidden = self.memory(jnp.repeat(seen, self.steps, axis=1))
        return {"hidden": hidden, "envelopes": self.answer(hidden)}


@dataclasses.dataclass(frozen=True)
class IndicatedSound(Method):
    """Predicts the sound of a silent video: how loud each band of frequencies is over time.

    Each frame is seen as an image of three channels, the grey frames before, at and after it, which
    shows motion. The target is a cochleagram, see `ops.subbands`. The loss is negative when
    predictions are good; judge by `evals.predicted_sound`, or `python -m ssl_jax.apply sound`,
    which plays the training sound that fits best.

    Traps: silence is the easiest answer, so of `drawn` windows the one is taken whose loudness
    changes most. What is off the screen, such as music, cannot be predicted.

    Differs from the paper: there bands are projected to their first ten principal components; here
    all are predicted. Whether the first frame has a network of its own there is not known; here it
    has not.

    Batch: views {"vision": uint8 (t+2 short_side short_side 3), with a frame before and one after,
    "envelopes": float32 (t*steps bands+2)}; augment crops "vision"; the net takes "vision" float32
    (b t crop crop 3), before it, with `colour`, the first frame, (b 1+t crop crop 3).

    Attributes:
      vision: the trunk.
      layer: of it, what the recurrent network reads.
      cell: 'lstm' or 'gru'.
      hidden: width of its state.
      colour: whether it also reads, at every step, the first frame in colour.
      differences: an image's channels are what changes between its three frames, in place of the
        frames: of a video at rest nothing is seen.
      bands: of the filter bank, between a low-pass and a high-pass.
      exponent: compresses the envelopes.
      fps: at which frames are taken; videos of another rate are resampled.
      steps: of the envelopes, for each frame.
      seconds: of a window; t = seconds * fps.
      drawn: windows, of which one is taken.
      short_side: to which frames are resized (their centre square is taken).
      crop: side of the square that the network sees, cut at random.
      epsilon: of the loss, the square of the distance at which errors count most.
    """

    vision: nn.Module
    layer: str = "fc7"
    cell: str = "lstm"
    hidden: int = 256
    colour: bool = True
    differences: bool = False
    bands: int = 40
    exponent: float = 0.3
    fps: float = 30.0
    steps: int = 3
    seconds: float = 1.0
    drawn: int = 3
    short_side: int = 256
    crop: int = 227
    epsilon: float = 1 / 25**2

    trunks: ClassVar[tuple[str, ...]] = ("vision",)

    def __post_init__(self):
        one_of(self, "cell", CELLS)
        at_least(self, 1, "hidden", "bands", "steps", "drawn", "short_side", "crop")
        above(self, 0, "fps", "seconds", "exponent", "epsilon")
        no_larger(self, "crop", "short_side")
        rate = self.fps * self.steps
        if rate != round(rate) or rate > RATE:
            raise ConfigError(f"fps={self.fps} x steps={self.steps} must be whole, at most {RATE}")
        unit = 1 / math.gcd(self.rate, RATE)  # of so many seconds the envelopes are whole
        for length in (unit, 1 / self.fps):
            if abs(self.seconds / length - round(self.seconds / length)) > 1e-6:
                raise ConfigError(f"seconds={self.seconds} must be a multiple of {length:g}")

    @property
    def rate(self) -> int:
        """Steps per second."""
        return round(self.fps * self.steps)

    @property
    def net(self) -> nn.Module:
        return IndicatedSoundNet(
            self.vision,
            self.layer,
            self.cell,
            self.hidden,
            self.bands + 2,
            self.colour,
            self.steps,
        )

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        record.need_frames()
        record.need_audio(self.seconds)
        begin, end = record.audible
        last = max(0, math.floor((end - begin - self.seconds) * self.fps + 1e-6))
        starts = begin + rng.integers(last, size=self.drawn, endpoint=True) / self.fps
        waves = [record.audio(start, start + self.seconds) for start in starts.tolist()]
        chosen = int(np.argmax([loudness_change(wave, record.sample_rate) for wave in waves]))
        return {
            "vision": self._frames(record, starts[chosen], self._length, self.short_side),
            "envelopes": self._envelopes(waves[chosen], record.sample_rate),
        }

    @property
    def _length(self) -> int:
        return round(self.seconds * self.fps)

    def _frames(self, record: Record, start: float, count: int, size: int) -> np.ndarray:
        """Frames from the one before `start` to the one after the last."""
        return clip_squares_at(record, size, [start - 1 / self.fps], count + 2, self.fps)[0]

    def _envelopes(self, wave: np.ndarray, sample_rate: int) -> Float32[np.ndarray, "t k"]:
        samples = self.seconds * sample_rate
        if samples != round(samples):  # one more or less, and the envelopes would lack a step
            wave, sample_rate = resample(wave, sample_rate, RATE), RATE
        wave = fit_length(wave, round(self.seconds * sample_rate))
        found = envelopes(wave, sample_rate, self.bands, self.rate, self.exponent)
        return found.astype(np.float32)

    def heard(self, record: Record, times: Sequence[float]) -> Float32[np.ndarray, "n t k"]:
        """Host: the true envelopes from each time on; MediaError without so much audio."""
        audio, rate = record.need_audio(self.seconds), record.sample_rate
        return np.stack([self._envelopes(audio(t, t + self.seconds), rate) for t in times])

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        return {**batch, "vision": random_crop(key, batch["vision"], self.crop)}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        grey = 2.0 * jnp.sum(x * jnp.array(LUMA), axis=-1) - 1.0
        before, now, after = grey[:, :-2], grey[:, 1:-1], grey[:, 2:]
        if self.differences:
            before, now, after = now - before, after - before, after - now
        images = jnp.stack([before, now, after], axis=-1)
        return jnp.concatenate([2.0 * x[:, 1:2] - 1.0, images], axis=1) if self.colour else images

    def objective(self, outputs: jax.Array, batch: Batch):
        return log_distance(outputs, batch["envelopes"], self.epsilon)

    def pictures(self, batch: Batch) -> Batch:
        """The frames, and the envelopes with low bands below."""
        target = jnp.swapaxes(batch["envelopes"], 1, 2)[:, ::-1, :, None]
        return {"vision": batch["vision"], "its sound": jnp.repeat(target, 3, axis=-1)}

    @property
    def streams(self) -> dict[str, tuple[str, ...]]:
        """The trunk on one frame, and what a window's frames sound like."""
        return {"vision": ("vision",), "sound": ("vision",)}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        if stream == "vision":
            return super().times(record, stream, count)
        begin, end = record.audible
        if end - begin < self.seconds:  # frames alone need no audio
            begin, end = 0.0, record.duration
        return even_times(end, self.seconds, count, 1 / self.fps, begin)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """The frame at each time, or those of the window that begins there, and its neighbours."""
        count = 1 if stream == "vision" else self._length
        return {"vision": np.stack([self._frames(record, t, count, self.crop) for t in times])}

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        x = self.inputs(inputs)
        if stream == "sound":
            return self.net.apply(variables, x, False, method=stream)
        own = {name: tree[stream] for name, tree in variables.items() if stream in tree}
        return self.vision.apply(own, x["vision"][:, -1], False)


def loudness_change(wave: Float[np.ndarray, "s"], sample_rate: int) -> float:
    """Standard deviation of the loudness of the fiftieths of a second of a wave."""
    block = max(1, sample_rate // BLOCKS)
    whole = wave[: len(wave) // block * block].reshape(-1, block)
    return float(whole.std(axis=1).std())
