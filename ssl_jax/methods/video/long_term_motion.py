"""Long-term motion (Luo, Peng, Huang, Alahi and Fei-Fei, "Unsupervised Learning of Long-Term Motion
Dynamics for Videos", CVPR 2017): what will move, where and which way, in the next steps?"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.atomic_flow import cell_means, flow_bins
from ssl_jax.data.clips import clip_numbers, even_clip_times
from ssl_jax.data.flow import SMALLEST, optical_flow
from ssl_jax.data.image import cover
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import random_clip
from ssl_jax.knobs import above, at_least, within
from ssl_jax.method import Batch, Example, Method, Params, State
from ssl_jax.models.heads import last
from ssl_jax.objectives.atomic_flow import atomic_flow
from ssl_jax.objectives.colour import rebalancing

ENCODER_STEPS = 2
PRIOR_STEPS = 1000  # steps that the mean of the motion seen reaches back over
GREY = (0.299, 0.587, 0.114)


class LongTermMotionNet(nn.Module):
    """A trunk for the pair of frames, an LSTM that takes it in, and one that unrolls the future."""

    vision: nn.Module
    steps: int
    rows: int
    columns: int
    hidden: int
    channels: int
    bins: int

    def setup(self):
        self.norm = nn.BatchNorm(momentum=0.9, use_scale=False, use_bias=False)
        self.squeeze = nn.Dense(self.hidden)
        self.encoder = nn.OptimizedLSTMCell(self.hidden)
        self.decoder = nn.OptimizedLSTMCell(self.hidden)
        self.spread = nn.Dense(self.rows * self.columns * self.channels)
        self.answer = nn.Dense(2 * self.bins)

    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        """Logits (b steps rows columns 2 bins)."""
        state, seen = self._encoded(batch, train)
        steps = []
        for _ in range(self.steps):
            state, seen = self.decoder(state, seen)
            steps.append(seen)
        maps = jax.nn.relu(self.spread(jnp.stack(steps, axis=1)))
        maps = maps.reshape(len(maps), self.steps, self.rows, self.columns, self.channels)
        return self.answer(maps).reshape(*maps.shape[:-1], 2, self.bins)

    def context(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """What the encoder makes of the pair: the layer 'context' (b d)."""
        return {"context": self._encoded(batch, train)[1]}

    def _encoded(self, batch: Batch, train: bool) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        features = last(self.vision(batch["vision"], train)).astype(jnp.float32)
        # What all videos share is far larger than how they differ, and would fill the LSTM's gates.
        features = self.norm(features.reshape(len(features), -1), use_running_average=not train)
        code = jax.nn.relu(self.squeeze(features))
        # The state at first is zeros, whatever the key; beside zeros half of the weights are idle.
        state, seen = self.encoder.initialize_carry(jax.random.key(0), code.shape), code
        for _ in range(ENCODER_STEPS):
            state, seen = self.encoder(state, code)
        return state, seen


@dataclasses.dataclass(frozen=True)
class LongTermMotion(Method):
    """Predicts the motion of every cell of a coarse grid in the next steps, from a pair of frames.

    Motion is the mean optical flow of a cell from one step to the next, u and v each one of `bins`
    classes. Most cells rest: rare classes weigh more, by how frequent each was in the steps before,
    the state "prior". Judge by 'balanced_accuracy', beside that of copying the last motion seen
    ('copied') and of no motion at all ('still'): plain accuracy is won by either.

    Shortcuts: a moving camera moves all cells alike; scores and clocks move where nothing else
    does. What is not determined yet, such as a player's next action, bounds the score.

    Differs from the paper: its flow is three-dimensional and measured with depth, ours is the
    two-dimensional flow of plain videos (DIS), so its 53.0 % on UCF101 is none of this method. How
    its recurrent networks are fed is not known: here the two frames are one image to the trunk, the
    encoder takes it in twice, its features normalised over the batch, and the decoder sees what it
    put out before. Maps are made by a dense
    layer, not by deconvolution.

    Batch: views {"vision": uint8 (2 height width 3), "target": int32 (steps rows columns 2),
    "seen": int32 (rows columns 2)}; augment adds "weights": float (2 bins), of the bins, not of
    the rows.

    Attributes:
      vision: the trunk, which sees an image of six channels, or two if grey.
      steps: that are predicted.
      stride: frames of the video from one step to the next, and between the pair.
      height, width: to which the middle of each frame is resized, multiples of `cell`.
      cell: side of a cell in pixels.
      bins: of each axis; odd, for what rests to lie in the middle of one.
      bound: of motion, in pixels a step: beyond it, it belongs to the first or last bin.
      uniform: fraction of the uniform distribution in the prior that bins are weighed by; 1 weighs
        them all alike.
      grey: frames lose their colours.
      hidden: width of the recurrent networks.
      channels: of the map that is classified cell by cell.
    """

    vision: nn.Module
    steps: int = 8
    stride: int = 4
    height: int = 240
    width: int = 320
    cell: int = 16
    bins: int = 51
    bound: float = 8.0
    uniform: float = 0.5
    grey: bool = False
    hidden: int = 1024
    channels: int = 16

    def __post_init__(self):
        at_least(self, 1, "steps", "stride", "cell", "hidden", "channels")
        at_least(self, 2, "bins")
        at_least(self, SMALLEST, "height", "width")
        above(self, 0, "bound", "uniform")
        within(self, 0, 1, "uniform")
        for side in ("height", "width"):
            if getattr(self, side) % self.cell:
                raise ConfigError(
                    f"{side}={getattr(self, side)} must be a multiple of cell={self.cell}"
                )

    @property
    def net(self) -> nn.Module:
        grid = self.height // self.cell, self.width // self.cell
        return LongTermMotionNet(
            self.vision, self.steps, *grid, self.hidden, self.channels, self.bins
        )

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        numbers = random_clip(record.num_frames, self.steps + 2, rng, self.stride)
        frames = cover(record.need_frames()(numbers), (self.height, self.width))
        if rng.random() < 0.5:
            frames = np.ascontiguousarray(frames[:, :, ::-1])
        means = cell_means(optical_flow(frames), self.cell)
        seen, *target = flow_bins(means, self.bound, self.bins)
        return {"vision": frames[:2], "target": np.stack(target), "seen": seen}

    def init(self, key: jax.Array, batch: Batch, records: int) -> dict:
        key_augment, key_net = jax.random.split(key)
        frequencies = jnp.full((2, self.bins), 1 / self.bins)
        prior = {"frequencies": frequencies, "steps": jnp.zeros((), jnp.int32)}
        puzzle = self.augment(batch, {"prior": prior}, key_augment)
        return {**self.init_net(key_net, puzzle), "prior": prior}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        frequencies = state["prior"]["frequencies"]
        weights = jnp.stack([rebalancing(axis, self.uniform) for axis in frequencies])
        return {**batch, "weights": weights}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        if self.grey:
            x = jnp.sum(x * jnp.array(GREY), axis=-1, keepdims=True)
        x = jnp.moveaxis(2.0 * x - 1.0, 1, -2)  # (b h w 2 c)
        return x.reshape(*x.shape[:-2], -1)

    def objective(self, outputs: jax.Array, batch: Batch):
        return atomic_flow(outputs, batch["target"], batch["seen"], batch["weights"])

    def after(self, params: Params, state: State, batch: Batch, outputs: Any) -> State:
        """Moves the prior to the mean of the motion seen, in the last `PRIOR_STEPS` or so."""
        prior = state["prior"]
        seen = jax.nn.one_hot(batch["target"], self.bins).mean((0, 1, 2, 3))
        steps = jnp.minimum(prior["steps"] + 1, PRIOR_STEPS)
        frequencies = prior["frequencies"] + (seen - prior["frequencies"]) / steps
        return {**state, "prior": {"frequencies": frequencies, "steps": steps}}

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        """'vision' is the trunk's layers, 'context' what the recurrent encoder makes of them."""
        return {"vision": ("vision",), "context": ("vision",)}

    def pictures(self, batch: Batch) -> Batch:
        """The pair, the motion between its frames, and that of all steps after it."""
        motion = jnp.concatenate([batch["seen"][:, None], batch["target"]], axis=1)
        centred = (motion - self.bins // 2).astype(jnp.float32)
        return {"vision": batch["vision"], "motion": centred}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return even_clip_times(record, count, 2, self.stride)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        numbers = clip_numbers(record, times, 2, self.stride)
        frames = cover(record.need_frames()(numbers.ravel()), (self.height, self.width))
        return {"vision": frames.reshape(*numbers.shape, *frames.shape[1:])}
