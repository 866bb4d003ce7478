"""Odd-one-out (Fernando, Bilen, Gavves and Gould, "Self-Supervised Video Representation Learning
With Odd-One-Out Networks", CVPR 2017; O3N): the frames of which clip are not in order?"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ssl_jax.data.clips import clip_numbers, even_clip_times
from ssl_jax.data.image import center_crop, resize_short
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import odd_one_out
from ssl_jax.knobs import at_least, no_larger, one_of
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.heads import Classifier, last
from ssl_jax.objectives.classification import classification
from ssl_jax.ops.augment import random_crop, random_flip
from ssl_jax.ops.dynamic_image import dynamic_image
from ssl_jax.ops.fold import fold, unfold
from ssl_jax.ops.frame_difference import frame_differences

ENCODINGS = ("stack", "sum", "dynamic")
FUSIONS = ("concat", "difference")


def sum_of_differences(x: Float[Array, "b n d"]) -> Float[Array, "b d"]:
    """The sum of x_i - x_j over all pairs i < j: zero for items that are all alike.

    Of six items the weights are (5, 3, 1, -1, -3, -5).
    """
    n = x.shape[1]
    x = x.astype(jnp.float32)  # what is alike must cancel
    weights = jnp.arange(n - 1, -n, -2, dtype=x.dtype)
    return jnp.einsum("bnd,n->bd", x, weights, precision=jax.lax.Precision.HIGHEST)


class OddOneOutNet(nn.Module):
    """One trunk for all clips, whose last layers are fused; a class for each place."""

    vision: nn.Module
    fusion: str
    hidden: int

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        clips = batch["vision"]  # (b, n, h, w, d)
        x = unfold(last(self.vision(fold(clips), train)), clips.shape[1])
        x = x.reshape(*x.shape[:2], -1)
        x = sum_of_differences(x) if self.fusion == "difference" else x.reshape(len(x), -1)
        x = jax.nn.relu(nn.Dense(self.hidden, name="fc7")(x))
        return Classifier(clips.shape[1], name="head")(x, train)


@dataclasses.dataclass(frozen=True)
class OddOneOut(Method):
    """Finds the one clip of several of a video whose frames are not in order.

    Shortcuts: the odd clip is in any place with the same probability; all clips are of one video
    and are cut and mirrored alike. The network sees motion alone: a clip is one image of
    differences. Where these are summed up, which leaves the last frame minus the first, an odd
    clip's first and last frame never both keep their places, or nobody could find it. No code was
    published; cropping, mirroring and the width of the layer after the fusion are ours.

    Batch: views {"vision": uint8 (n t short_side short_side 3), "target": int32}, n clips of t
    frames and the place of the odd one; augment {"vision": uint8 (b n t crop crop 3), "target":
    int32 (b)}. The trunk takes images of the channels of `encoding`.

    Attributes:
      vision: the trunk; in the paper AlexNet with an fc6 of 128.
      clips_per_video: how many clips, one of which is odd.
      frames: of each clip.
      window: frames of the video in a row of which those of a clip are drawn; `frames` for frames
        in a row, 0 for the whole video.
      encoding: 'stack': the differences of neighbouring frames as channels, (frames - 1) x 3 of
        them; 'sum': their sum; 'dynamic': the clip's dynamic image. The latter have 3 channels.
      fusion: of the clips' features: 'concat', side by side, or the 'difference' of all pairs,
        summed up.
      hidden: width of the layer between the fusion and the classes.
      short_side: to which videos are resized.
      crop: side of the square that the network sees.
    """

    vision: nn.Module
    clips_per_video: int = 6
    frames: int = 6
    window: int = 9
    encoding: str = "stack"
    fusion: str = "difference"
    hidden: int = 128
    short_side: int = 256
    crop: int = 227

    def __post_init__(self):
        at_least(self, 2, "clips_per_video")
        at_least(self, 3, "frames")
        at_least(self, 0, "window")
        at_least(self, 1, "hidden", "short_side", "crop")
        one_of(self, "encoding", ENCODINGS)
        one_of(self, "fusion", FUSIONS)
        no_larger(self, "crop", "short_side")
        if self.window:
            no_larger(self, "frames", "window")

    @property
    def net(self) -> nn.Module:
        return OddOneOutNet(self.vision, self.fusion, self.hidden)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        numbers, odd = odd_one_out(
            record.num_frames,
            rng,
            self.clips_per_video,
            self.frames,
            self.window,
            ends_move=self.encoding == "sum",
        )
        return {"vision": self._read(record, numbers), "target": np.int32(odd)}

    def _read(self, record: Record, numbers: np.ndarray) -> np.ndarray:
        """Frames (n t short_side short_side 3) of these numbers (n t)."""
        decoded, places = np.unique(numbers, return_inverse=True)
        frames = resize_short(record.need_frames()(decoded), self.short_side)
        frames = center_crop(frames, (self.short_side,) * 2)
        return frames[places.reshape(numbers.shape)]

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_crop, key_flip = jax.random.split(key)
        frames = random_crop(key_crop, batch["vision"], self.crop)
        return {**batch, "vision": random_flip(key_flip, frames)}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        x = 255.0 * x  # (... t h w 3)
        if self.encoding == "sum":
            return x[..., -1, :, :, :] - x[..., 0, :, :, :]
        if self.encoding == "dynamic":
            return dynamic_image(x)
        stacked = frame_differences(x.reshape(-1, *x.shape[-4:]))
        return stacked.reshape(*x.shape[:-4], *stacked.shape[1:])

    def objective(self, outputs: jax.Array, batch: Batch):
        return classification(outputs, batch["target"])

    def pictures(self, batch: Batch) -> Batch:
        """The clips side by side, each as one picture of all its frames (in two lines if even)."""
        b, n, t, h, w, c = batch["vision"].shape
        lines = 2 if t % 2 == 0 else 1
        grid = batch["vision"].reshape(b, n, lines, t // lines, h, w, c)
        grid = jnp.moveaxis(grid, 3, 4).reshape(b, n, lines * h, t // lines * w, c)
        return {"vision": grid, "target": batch["target"]}

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """Which clip is odd, from 1 at the left."""
        return {"target": [f"clip {k + 1}" for k in np.asarray(batch["target"])]}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return even_clip_times(record, count, self.frames)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        frames = self._read(record, clip_numbers(record, times, self.frames))
        inside = (self.short_side - self.crop) // 2
        cut = slice(inside, inside + self.crop)
        return {"vision": frames[:, :, cut, cut]}
