"""Cross and Learn (Sayed, Brattoli and Ommer, "Cross and Learn: Cross-Modal Self-Supervision", GCPR
2018): a frame and its motion should agree; frames of different videos should not."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.clips import clip_numbers, even_clip_times
from ssl_jax.data.image import square
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import frame_motion, window_by_motion
from ssl_jax.data.squares import squares_at
from ssl_jax.knobs import above, at_least, no_larger, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.heads import last
from ssl_jax.objectives.contrastive import cross_and_learn
from ssl_jax.ops.augment import channel_split, random_crop, random_flip
from ssl_jax.ops.frame_difference import frame_differences


class CrossAndLearnNet(nn.Module):
    """Two trunks, one for a frame and one for a stack of differences, that share nothing."""

    vision: nn.Module
    difference: nn.Module

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> tuple[jax.Array, jax.Array]:
        frame = self.vision(batch["vision"], train)
        motion = self.difference(batch["difference"], train)
        return tuple(last(layers).reshape(len(last(layers)), -1) for layers in (frame, motion))


@dataclasses.dataclass(frozen=True)
class CrossAndLearn(Method):
    """Pulls a frame and its differences together (L_cross) and different videos apart (L_div).

    Rows 2i and 2i+1 of the batch are one item of the paper: two videos that are told apart.
    Shortcuts: one random colour channel stands for all three, or colour would tell the videos;
    time is reversed for half of the items, in both videos alike. Differs from the paper: motion
    weights for choosing the window come from frame differences instead of optical flow, and the
    window is chosen among `candidates` neighbouring frames, not in the whole video.

    Batch: views {"difference": uint8 (t short_side short_side 3)}, the frames that are subtracted
    in `prepare`; augment {"vision": uint8 (b crop crop 3), "difference": uint8 (b t crop crop 3)}.

    Attributes:
      vision, difference: the trunks; in the paper CaffeNet with BatchNorm or VGG16, up to fc6 after
        its ReLU, so that cosine distances lie in 0..1.
      frames: of the window; one less are the differences, and the middle one is the picture.
      stride: every how many-th frame of the video is taken.
      candidates: frames (at that stride) decoded to find where most moves.
      short_side: to which videos are resized.
      crop: side of the square that the networks see.
      weight: of telling videos apart against pulling the two streams together.
      mean, std: of the channels of the frame, pixels in 0..1.
    """

    vision: nn.Module
    difference: nn.Module
    frames: int = 5
    stride: int = 1
    candidates: int = 15
    short_side: int = 256
    crop: int = 224
    weight: float = 0.5
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    trunks: ClassVar[tuple[str, ...]] = ("vision", "difference")

    def __post_init__(self):
        at_least(self, 2, "frames")
        at_least(self, 1, "stride", "candidates", "short_side", "crop")
        within(self, 0, 1, "weight")
        above(self, 0, "std")
        no_larger(self, "frames", "candidates")
        no_larger(self, "crop", "short_side")

    @property
    def net(self) -> nn.Module:
        return CrossAndLearnNet(self.vision, self.difference)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        decode = record.need_frames(self.span(self.frames))
        possible = 1 + (record.num_frames - 1) // self.stride
        count = min(self.candidates, possible)
        first = rng.integers(record.num_frames - self.span(count) + 1)
        window = decode(first + self.stride * np.arange(count))
        start = window_by_motion(frame_motion(window), self.frames - 1, rng)
        frames = square(window[start : start + self.frames], self.short_side)
        return {"difference": frames}

    def span(self, count: int) -> int:
        """How many frames of a video `count` frames at the stride reach over."""
        return (count - 1) * self.stride + 1

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        crop, flip, split, reverse = jax.random.split(key, 4)
        frames = random_flip(flip, random_crop(crop, batch["difference"], self.crop))
        if len(frames) % 2:
            raise ConfigError(f"batch_size={len(frames)} must be even: two videos make an item")
        items = len(frames) // 2
        backwards = jnp.repeat(jax.random.bernoulli(reverse, shape=(items,)), 2)
        played = jnp.where(backwards[:, None, None, None, None], frames[:, ::-1], frames)
        middle = frames[:, self.frames // 2]
        return {"vision": channel_split(split, middle), "difference": played}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        if name == "difference":
            return frame_differences(x)
        return (x - jnp.array(self.mean)) / jnp.array(self.std)

    def objective(self, outputs: tuple[jax.Array, jax.Array], batch: Batch):
        frame, motion = outputs
        return cross_and_learn(frame[0::2], motion[0::2], frame[1::2], motion[1::2], self.weight)

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """Of which two rows an item is made."""
        items = len(batch["vision"]) // 2
        return {"": ["match: own difference\nno match: row below", "... row above"] * items}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        frames = self.frames if stream == "difference" else 1
        return even_clip_times(record, count, frames, self.stride)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        if stream == "vision":
            return {"vision": squares_at(record, self.crop, times)}
        numbers = clip_numbers(record, times, self.frames, self.stride)
        frames = square(record.need_frames()(numbers.ravel()), self.crop)
        return {"difference": frames.reshape(*numbers.shape, *frames.shape[1:])}
