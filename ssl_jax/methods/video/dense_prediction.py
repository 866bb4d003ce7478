"""Dense Predictive Coding (Han, Xie and Zisserman, "Video Representation Learning by Dense
Predictive Coding", ICCV workshops 2019): what will be seen next, at every place?"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.clips import clip_numbers, even_clip_times
from ssl_jax.data.image import center_crop, crop, resize
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import random_clip
from ssl_jax.knobs import above, at_least, no_larger, one_of, within
from ssl_jax.method import Batch, Example, Method, State, scaled
from ssl_jax.models.conv_gru import ConvGRU
from ssl_jax.objectives.dense_prediction import dense_nce
from ssl_jax.ops.augment import channel_split, jitter_colours, random_flip
from ssl_jax.ops.fold import fold, unfold

NEGATIVES = ("local", "global")


class Predictor(nn.Module):
    """Two 1x1 convolutions with a ReLU between, as wide as what comes in."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        return nn.Dense(width, name="out")(jax.nn.relu(nn.Dense(width, name="hidden")(x)))


class DensePredictionNet(nn.Module):
    """Features of blocks, what a ConvGRU makes of the past ones, and predictions of the rest."""

    vision: nn.Module
    dropout: float

    def setup(self):
        self.aggregate = ConvGRU(dropout=self.dropout)
        self.predict = Predictor()

    def __call__(self, batch: Batch, train: bool) -> tuple[jax.Array, jax.Array]:
        """Predictions and features of the future blocks, both (b n s d) over s places."""
        past = batch["vision"].shape[1]
        blocks = jnp.concatenate([batch["vision"], batch["future"]], axis=1)
        maps = self._maps(blocks, train)
        state = self._aggregated(maps[:, :past], train)
        predictions = []
        for number in range(maps.shape[1] - past):
            if number:  # what was predicted is taken for what was seen
                state = self.aggregate(state, jax.nn.relu(predictions[-1]), train)
            predictions.append(self.predict(state))
        predicted, seen = jnp.stack(predictions, axis=1), maps[:, past:]
        shape = (*seen.shape[:2], -1, seen.shape[-1])
        return predicted.reshape(shape), seen.reshape(shape)

    def context(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """What the ConvGRU knows after all blocks: the layer 'context' (b d), mean over places."""
        state = self._aggregated(self._maps(batch["vision"], train), train)
        return {"context": state.mean((1, 2))}

    def _maps(self, blocks: jax.Array, train: bool) -> jax.Array:
        layers = self.vision(fold(blocks), train)
        return unfold(layers["map"], blocks.shape[1]).astype(jnp.float32)

    def _aggregated(self, maps: jax.Array, train: bool) -> jax.Array:
        state = jnp.zeros_like(maps[:, 0])
        for number in range(maps.shape[1]):
            state = self.aggregate(state, jax.nn.relu(maps[:, number]), train)
        return state


@dataclasses.dataclass(frozen=True)
class DensePrediction(Method):
    """Predicts the feature maps of a video's next blocks, which a contrastive loss tells from
    features of other places, times and videos.

    Shortcuts: colours, which would tell a video's own features from others': every frame is
    jittered and, half of the time, shown in one channel, by draws of its own. Crop and flip are the
    same for all frames, or there would be nothing to predict.

    The stream 'vision' reads the trunk on one block, 'context' the ConvGRU after all blocks, which
    the paper fine-tunes.

    Differs from the paper: BatchNorm keeps running statistics, by which a trunk can be probed (the
    released checkpoints lack them). Frames are cut and resized on the host. Negatives are of the
    whole batch, in the released code of one device (negatives='local').

    Batch: views {"vision": uint8 (n t size size 3)}, n blocks of t frames in a row; augment
    {"vision": float (b past t size size 3), "future": float (b predicted t size size 3)}. Whose
    future it is can be shuffled: control=('future',). Judge such a control by 'time_accuracy':
    places can be told without the right future.

    Attributes:
      vision: the trunk, which returns the layer 'map' (b h w c); in the paper 2D3D-ResNet of 18 or
        34 layers.
      past: blocks that are seen.
      predicted: blocks that are predicted, one after the other.
      frames: of each block.
      stride: every how many-th frame of the video is taken.
      height, width: to which frames are resized first.
      crop: side of the square cut from them.
      size: to which the square is resized: what the network sees.
      splitting: probability that a frame shows one of its colour channels alone.
      jitter: how far brightness, contrast, saturation and hue are changed; zeros: not at all.
      dropout: rate, on the ConvGRU's state in every step.
      negatives: 'global': features of the whole batch; 'local': of `local_videos` of it, as on one
        device of the released code. The loss of a guess is the logarithm of their number.
      local_videos: how many videos 'local' compares; it must divide the batch.
      chunk: features compared with at once, see `objectives.dense_prediction`; 0: all.
      mean, std: of red, green and blue, for the trunk's input.
    """

    also_prepared: ClassVar[tuple[str, ...]] = ("future",)

    vision: nn.Module
    past: int = 5
    predicted: int = 3
    frames: int = 5
    stride: int = 3
    height: int = 240
    width: int = 320
    crop: int = 224
    size: int = 128
    splitting: float = 0.5
    jitter: tuple[float, float, float, float] = (0.5, 0.5, 0.5, 0.25)
    dropout: float = 0.1
    negatives: str = "global"
    local_videos: int = 16
    chunk: int = 0
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self):
        at_least(self, 1, "past", "predicted", "frames", "stride", "height", "width", "crop")
        at_least(self, 1, "size", "local_videos")
        at_least(self, 0, "jitter", "chunk")
        above(self, 0, "std")
        within(self, 0, 1, "splitting", "dropout")
        one_of(self, "negatives", NEGATIVES)
        no_larger(self, "crop", "height")
        no_larger(self, "crop", "width")

    @property
    def net(self) -> nn.Module:
        return DensePredictionNet(self.vision, self.dropout)

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return {**super().streams, "context": ("vision",)}

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        blocks = self.past + self.predicted
        numbers = random_clip(record.num_frames, blocks * self.frames, rng, self.stride)
        frames = resize(record.need_frames()(numbers), (self.height, self.width))
        top = int(rng.integers(self.height - self.crop + 1))
        left = int(rng.integers(self.width - self.crop + 1))
        frames = resize(crop(frames, top, left, self.crop, self.crop), (self.size,) * 2)
        return {"vision": frames.reshape(blocks, self.frames, *frames.shape[1:])}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        flip, split, whether, jitter = jax.random.split(key, 4)
        blocks = random_flip(flip, scaled(batch["vision"]))
        frames = blocks.reshape(-1, *blocks.shape[3:])  # from here on every frame by itself
        split_up = jax.random.bernoulli(whether, self.splitting, (len(frames), 1, 1, 1))
        frames = jnp.where(split_up, channel_split(split, frames), frames)
        if any(self.jitter):
            frames = jitter_colours(jitter, frames, self.jitter)
        blocks = frames.reshape(blocks.shape)
        return {"vision": blocks[:, : self.past], "future": blocks[:, self.past :]}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return (x - jnp.array(self.mean)) / jnp.array(self.std)

    def objective(self, outputs: tuple[jax.Array, jax.Array], batch: Batch):
        local = self.local_videos if self.negatives == "local" else 0
        return dense_nce(*outputs, local, self.chunk)

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return even_clip_times(record, count, self._length(stream), self.stride)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        numbers = clip_numbers(record, times, self._length(stream), self.stride)
        frames = resize(record.need_frames()(numbers.ravel()), (self.height, self.width))
        frames = resize(center_crop(frames, (self.crop,) * 2), (self.size,) * 2)
        blocks = (-1, self.frames) if stream == "context" else (self.frames,)
        return {"vision": frames.reshape(len(numbers), *blocks, *frames.shape[1:])}

    def _length(self, stream: str) -> int:
        """Frames of a stream's clip."""
        return self.frames * (self.past + self.predicted if stream == "context" else 1)
