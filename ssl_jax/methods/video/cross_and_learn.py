"""Cross and Learn (Sayed, Brattoli and Ommer, "Cross and Learn: Cross-Modal Self-Supervision", GCPR
2018): a frame and its motion should agree; frames of different videos should not."""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.clips import clip_numbers, even_clip_times
from ssl_jax.data.flow import SMALLEST
from ssl_jax.data.flow_levels import flow_clips, flow_levels
from ssl_jax.data.image import square
from ssl_jax.data.moving import moving_flow, moving_frames
from ssl_jax.data.record import Record
from ssl_jax.data.squares import squares_at
from ssl_jax.knobs import above, at_least, no_larger, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.heads import last
from ssl_jax.objectives.classification import classification
from ssl_jax.objectives.contrastive import cross_and_learn
from ssl_jax.ops.augment import channel_split, random_crop, random_flip
from ssl_jax.ops.flow import flow_channels, random_flow_flip, reversed_flow
from ssl_jax.ops.frame_difference import frame_differences


class CrossAndLearnNet(nn.Module):
    """Two trunks, one for a frame and one for what moves about it, that share nothing.

    Returns the features of both (b d), or with `joint` (b 2 2): whether the frame belongs to its
    own motion, and to that of the other video of its item.
    """

    vision: nn.Module
    difference: nn.Module | None
    flow: nn.Module | None
    joint: int
    dropout: float

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> tuple[jax.Array, jax.Array] | jax.Array:
        stream = "difference" if self.flow is None else "flow"
        frame, motion = (
            last(getattr(self, name)(batch[name], train)) for name in ("vision", stream)
        )
        frame, motion = (x.reshape(len(x), -1) for x in (frame, motion))
        if not self.joint:
            return frame, motion
        other = motion.reshape(-1, 2, motion.shape[-1])[:, ::-1].reshape(motion.shape)
        pairs = jnp.stack([jnp.concatenate([frame, x], axis=-1) for x in (motion, other)], axis=1)
        pairs = nn.Dropout(self.dropout, deterministic=not train)(pairs)
        hidden = jax.nn.relu(nn.Dense(self.joint, name="fc7")(pairs))
        return nn.Dense(2, name="match")(hidden)


@dataclasses.dataclass(frozen=True)
class CrossAndLearn(Method):
    """Pulls a frame and its motion together (L_cross) and different videos apart (L_div).

    Motion is a stack of frame differences or of optical flow. Rows 2i and 2i+1 of the batch are one
    item of the paper: two videos to be distinguished. Shortcuts: one random colour channel stands
    for all three, or colour would tell the videos; time is reversed for half of the items, in both
    videos alike: the differences or fields in reverse order and negated.

    With `joint` it is the paper's baseline: both feature vectors side by side are classified as a
    match or not, two of each an item. Such a batch cannot be taken in micro-batches.

    Differs from the paper: without flow the window is chosen by frame differences. The window is
    chosen among `candidates` neighbouring frames, in the whole video only where `prepare --flow`
    stored how much moves. Flow is DIS, or what was stored; its horizontal part is negated in
    mirrored videos, which the released code forgot; its scale is that of a byte for all fields.

    Batch: views {"difference": uint8 (t short_side short_side 3)}, the frames that are subtracted
    in `prepare`; augment {"vision": uint8 (b crop crop 3), "difference": uint8 (b t crop crop 3)}.
    With flow: views {"vision": uint8 (short_side short_side 3), "flow": uint8
    (t-1 short_side short_side 2)}, see `data.flow_levels`; augment the same at `crop`.

    Attributes:
      vision: the trunk of frames; in the paper CaffeNet with BatchNorm or VGG16, up to fc6 after
        its ReLU, so that cosine distances lie in 0..1.
      difference: the trunk of differences, (frames - 1) x 3 channels; or
      flow: the trunk of optical flow, (frames - 1) x 2 channels. Give one of the two.
      frames: of the window; one less are the differences or fields, and the middle one is the
        image. In the paper 5 for differences, 11 for flow.
      stride: every how many-th frame of the video is taken. (Flow is from a frame to the next of
        the video whatever the stride.)
      candidates: frames (at that stride) decoded to find where most moves.
      short_side: to which videos are resized.
      crop: side of the square that the networks see.
      weight: of telling videos apart against pulling the two streams together.
      bound: of flow, in pixels of the resized video: what is beyond is cut to it.
      joint: width of the layer that joins both feature vectors in the baseline, 4096 in the paper;
        0: the method itself.
      dropout: rate, on the joined features.
      mean, std: of the channels of the frame, pixels in 0..1.

    Raises ConfigError for knobs that do not go together.
    """

    vision: nn.Module
    difference: nn.Module | None = None
    flow: nn.Module | None = None
    frames: int = 5
    stride: int = 1
    candidates: int = 15
    short_side: int = 256
    crop: int = 224
    weight: float = 0.5
    bound: float = 20.0
    joint: int = 0
    dropout: float = 0.5
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self):
        if (self.difference is None) == (self.flow is None):
            raise ConfigError("cross and learn: give one trunk of motion, difference or flow")
        at_least(self, 2, "frames")
        at_least(self, 1, "stride", "candidates", "crop")
        at_least(self, 1 if self.flow is None else SMALLEST, "short_side")
        at_least(self, 0, "joint")
        within(self, 0, 1, "weight", "dropout")
        above(self, 0, "bound", "std")
        no_larger(self, "frames", "candidates")
        no_larger(self, "crop", "short_side")

    @property
    def trunks(self) -> tuple[str, ...]:
        return ("vision", "difference" if self.flow is None else "flow")

    @property
    def rows_meet(self) -> bool:
        return self.joint > 0

    @property
    def net(self) -> nn.Module:
        return CrossAndLearnNet(self.vision, self.difference, self.flow, self.joint, self.dropout)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        decode = record.need_frames((self.frames - 1) * self.stride + 1)
        if self.flow is None:
            knobs = self.frames, rng, self.stride, self.candidates
            return {"difference": square(moving_frames(record, *knobs)[1], self.short_side)}
        knobs = self.frames - 1, rng, self.stride, self.candidates - 1
        numbers, flow = moving_flow(record, *knobs)
        middle = (self.frames - 1) // 2
        return {
            "vision": square(decode(numbers[[middle]]), self.short_side)[0],
            "flow": flow_levels(flow, (self.short_side,) * 2, self.bound),
        }

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        crop, flip, split, reverse = jax.random.split(key, 4)
        _, stream = self.trunks
        motion = random_crop(crop, batch[stream], self.crop)
        if len(motion) % 2:
            raise ConfigError(f"batch_size={len(motion)} must be even: two videos make an item")
        items = len(motion) // 2
        backwards = jnp.repeat(jax.random.bernoulli(reverse, shape=(items,)), 2)
        if self.flow is None:
            motion = random_flip(flip, motion)
            frame = motion[:, self.frames // 2]
            motion = jnp.where(backwards[:, None, None, None, None], motion[:, ::-1], motion)
        else:  # the same keys: the frame is cut and mirrored as its flow
            frame = random_flip(flip, random_crop(crop, batch["vision"], self.crop))
            motion = reversed_flow(random_flow_flip(flip, motion), backwards)
        return {"vision": channel_split(split, frame), stream: motion}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        if name == "difference":
            return frame_differences(x)
        if name == "flow":
            return flow_channels(x)
        return (x - jnp.array(self.mean)) / jnp.array(self.std)

    def objective(self, outputs: tuple[jax.Array, jax.Array] | jax.Array, batch: Batch):
        if self.joint:
            match = jnp.broadcast_to(jnp.array([1, 0]), outputs.shape[:2])
            return classification(outputs, match)
        frame, motion = outputs
        return cross_and_learn(frame[0::2], motion[0::2], frame[1::2], motion[1::2], self.weight)

    def pictures(self, batch: Batch) -> Batch:
        """Flow without its offset, so that what rests has no colour."""
        if self.flow is None:
            return batch
        return {**batch, "flow": batch["flow"].astype(jnp.float32) - 128.0}

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """Of which two rows an item is made."""
        items = len(batch["vision"]) // 2
        kind = "difference" if self.flow is None else "flow"
        return {"": [f"match: own {kind}\nno match: row below", "... row above"] * items}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        frames = 1 if stream == "vision" else self.frames
        return even_clip_times(record, count, frames, self.stride)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        if stream == "vision":
            return {"vision": squares_at(record, self.crop, times)}
        if stream == "flow":
            numbers = clip_numbers(record, times, self.frames - 1, self.stride)
            return {"flow": flow_clips(record, numbers, (self.crop,) * 2, self.bound)}
        numbers = clip_numbers(record, times, self.frames, self.stride)
        frames = square(record.need_frames()(numbers.ravel()), self.crop)
        return {"difference": frames.reshape(*numbers.shape, *frames.shape[1:])}
