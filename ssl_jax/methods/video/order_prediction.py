"""Order prediction (Lee, Huang, Singh and Yang, "Unsupervised Representation Learning by Sorting
Sequences", ICCV 2017; OPN): what is the order of the shuffled frames, up to reversal?"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.image import center_crop, resize_short
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import (
    frame_motion,
    high_motion_patch,
    ordered_tuple,
    random_clip,
)
from ssl_jax.knobs import at_least, no_larger, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.heads import PairwiseOrderHead, last
from ssl_jax.objectives.classification import classification
from ssl_jax.objectives.order import ORDERS_UP_TO_REVERSAL
from ssl_jax.ops.augment import channel_split, random_flip, spatial_jitter


class OrderNet(nn.Module):
    """One trunk for all frames, its last layer compared in pairs, and a class per order."""

    vision: nn.Module
    hidden: int
    dropout: float

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        frames = batch["vision"]  # (b, n, h, w, c)
        layers = self.vision(frames.reshape(-1, *frames.shape[2:]), train)
        features = last(layers).reshape(*frames.shape[:2], -1)
        classes = len(ORDERS_UP_TO_REVERSAL)
        head = PairwiseOrderHead(
            classes=classes,
            hidden=self.hidden,
            pair_order="distance",
            norm=True,
            dropout=self.dropout,
            name="head",
        )
        return head(features, train)


@dataclasses.dataclass(frozen=True)
class OrderPrediction(Method):
    """Sorts four frames of a moving part of a video; an order and its reverse are one class.

    Shortcuts: channel splitting shows one random colour channel of each frame, so that chromatic
    aberration tells nothing; each frame is shifted by a few pixels of its own, so that edges of
    the resting background tell nothing; frames and window are taken where something moves.
    Differs from the paper: motion is the difference of frames, not optical flow, and the four
    frames come from `candidates` neighbouring ones (at the stride), not from the whole video.

    Batch: views {"vision": uint8 (4 window window 3)}, in true order; augment {"vision": uint8
    (b 4 crop crop 3), "target": int32 (b)}.

    Attributes:
      vision: the trunk; in the paper CaffeNet with an fc6 of 1024.
      candidates: frames among which the four are drawn by their motion.
      stride: every how many-th frame of the video is a candidate.
      short_side: to which videos are resized.
      window: side of the square cut where most moves.
      crop: side of the square that the network sees, cut at random from the window.
      shift: largest shift of a single frame in pixels.
      splitting: each frame shows one colour channel; off, as in the paper's ablation, for videos
        that went through no lens.
      hidden: width of the comparison of two frames.
      dropout: rate, on the comparisons.
      mean: grey value subtracted from pixels in 0..255.
    """

    vision: nn.Module
    candidates: int = 12
    stride: int = 4
    short_side: int = 240
    window: int = 100
    crop: int = 80
    shift: int = 5
    splitting: bool = True
    hidden: int = 512
    dropout: float = 0.5
    mean: float = 96.5

    def __post_init__(self):
        at_least(self, 4, "candidates")
        at_least(self, 1, "stride", "short_side", "window", "crop", "hidden")
        at_least(self, 0, "shift")
        within(self, 0, 1, "dropout")
        no_larger(self, "crop", "window")
        no_larger(self, "window", "short_side")

    @property
    def net(self) -> nn.Module:
        return OrderNet(self.vision, self.hidden, self.dropout)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        numbers = random_clip(record.num_frames, self.candidates, rng, self.stride)
        frames = resize_short(record.need_frames()(numbers), self.short_side)
        motion = frame_motion(frames)
        chosen = ordered_tuple(np.append(motion, motion[-1]), 4, rng)  # a last frame's is unknown
        frames = frames[chosen]
        y, x = high_motion_patch(frames, self.window)
        return {"vision": frames[:, y : y + self.window, x : x + self.window]}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        flip, shift, split, order, reverse = jax.random.split(key, 5)
        frames = random_flip(flip, batch["vision"])
        frames = spatial_jitter(shift, frames, self.crop, self.shift)
        if self.splitting:
            frames = channel_split(split, frames)
        orders = jnp.array(ORDERS_UP_TO_REVERSAL)
        target = jax.random.randint(order, (len(frames),), 0, len(orders))
        shown = orders[target]
        backwards = jax.random.bernoulli(reverse, shape=(len(frames), 1))
        shown = jnp.where(backwards, shown[:, ::-1], shown)
        return {"vision": jax.vmap(lambda video, o: video[o])(frames, shown), "target": target}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        # One grey value for all: after channel splitting no channel has a colour of its own.
        return 255.0 * x - self.mean

    def objective(self, outputs: jax.Array, batch: Batch):
        return classification(outputs, batch["target"])

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """The true number of each frame as they are shown, from 0; or the reverse."""
        orders = [ORDERS_UP_TO_REVERSAL[k] for k in np.asarray(batch["target"])]
        ways = [(" ".join(map(str, order)), " ".join(map(str, order[::-1]))) for order in orders]
        return {"order": [f"{there}\nor {back}" for there, back in ways]}

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        frames = record.need_frames()([record.frame_at(time) for time in times])
        # At the scale of training, of which the trunk has seen only cuts.
        return {"vision": center_crop(resize_short(frames, self.short_side), (self.crop,) * 2)}
