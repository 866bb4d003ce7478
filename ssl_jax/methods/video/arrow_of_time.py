"""Arrow of time (Wei, Lim, Zisserman and Freeman, "Learning and Using the Arrow of Time", CVPR
2018; T-CAM): does this video run forwards or backwards?"""

import dataclasses
from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from ssl_jax.data.clips import clip_numbers, even_clip_times
from ssl_jax.data.flow import SMALLEST, flow_to_bytes, optical_flow
from ssl_jax.data.image import center_crop, cover, crop
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import even_frames, random_clip
from ssl_jax.data.shots import brightest_lines, content_box
from ssl_jax.data.stabilise import laid_over
from ssl_jax.knobs import above, at_least, no_larger, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.heads import last
from ssl_jax.objectives.classification import several_classes
from ssl_jax.ops.augment import corner_crop
from ssl_jax.ops.fold import fold, unfold

LOOKS = 5  # frames of a video by which its black borders are found


class ActivationHead(nn.Module):
    """Convolutions, and a score for every place of the map: their mean is the answer.

    The same as a linear layer on the average over the map, whose weights applied to the map itself
    are its class activations (Zhou et al. 2016).
    """

    hidden: tuple[int, ...]
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        for number, features in enumerate(self.hidden, start=1):
            conv = nn.Conv(features, (3, 3), kernel_init=init, name=f"conv{number}")
            x = jax.nn.relu(conv(x))
            norm = nn.BatchNorm(
                use_running_average=not train, momentum=0.9, epsilon=1e-3, name=f"bn{number}"
            )
            x = nn.Dropout(self.dropout, deterministic=not train)(norm(x))
        return nn.Dense(1, name="score")(x)  # (b, h, w, 1)


class ArrowNet(nn.Module):
    """One trunk for all chunks of a clip, whose maps are joined."""

    vision: nn.Module
    hidden: tuple[int, ...]
    dropout: float

    def setup(self):
        self.head = ActivationHead(self.hidden, self.dropout)

    def activation(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """The score for backwards at every place: {'activation': (b h w 1)}."""
        chunks = batch["vision"]  # (b, n, h, w, d)
        maps = unfold(last(self.vision(fold(chunks), train)), chunks.shape[1])
        joined = jnp.moveaxis(maps, 1, 3)  # (b, h, w, n, c)
        return {"activation": self.head(joined.reshape(*joined.shape[:3], -1), train)}

    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        return self.activation(batch, train)["activation"].mean((1, 2, 3))  # (b)


@dataclasses.dataclass(frozen=True)
class ArrowOfTime(Method):
    """Tells forwards (0) from backwards (1) by optical flow in two chunks of ten frames each.

    The flow of a video played backwards is that of its frames in reverse order, not the flow
    forwards negated. Shortcuts: black borders, whose compression differs in time, are cut off;
    camera motion is compensated, because people zoom and pan in preferred directions. Differs from
    the paper:
    DIS flow instead of TV-L1; the frames of one clip are stabilised by shift, rotation and zoom
    from frame to frame, not 41 frames by homographies to the middle one; clips are not filtered by
    how much they move. flow=False is our variant, not the paper's: the network sees RGB frames.

    Batch: views {"vision": uint8 (n t height width 2), "target": int32}, n chunks of t flow fields
    as bytes (of frames: 3 channels); augment {"vision": uint8 (b n t crop crop 2), "target": int32
    (b)}. The trunk takes a chunk as one image of 2 t channels: u and v of the first field, of the
    second, ...

    Attributes:
      vision: the trunk; in the paper VGG-16 with BatchNorm up to conv5_3.
      chunks: n, that pass through the trunk one by one and are joined.
      chunk: t, flow fields or frames of each.
      stride: every how many-th frame of the video is taken.
      flow: optical flow is seen; otherwise frames.
      bound: of the flow's components, in pixels a frame: beyond it they are clipped.
      cut_borders: black borders are cut off.
      stabilise: the frames of a clip are laid over its middle one.
      height, width: to which the middle of each frame is resized, after its borders are cut.
      crop: side of the square that the network sees, at a corner or in the middle.
      hidden: widths of the convolutions after the chunks are joined.
      dropout: rate, after each of these.
    """

    vision: nn.Module
    chunks: int = 2
    chunk: int = 10
    stride: int = 1
    flow: bool = True
    bound: float = 20.0
    cut_borders: bool = True
    stabilise: bool = True
    height: int = 256
    width: int = 340
    crop: int = 224
    hidden: tuple[int, ...] = (1024, 1024)
    dropout: float = 0.5

    def __post_init__(self):
        at_least(self, 1, "chunks", "chunk", "stride", "crop", "hidden")
        at_least(self, SMALLEST if self.flow else 1, "height", "width")
        above(self, 0, "bound")
        within(self, 0, 1, "dropout")
        no_larger(self, "crop", "height")
        no_larger(self, "crop", "width")

    @property
    def net(self) -> nn.Module:
        return ArrowNet(self.vision, self.hidden, self.dropout)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        count = self._frames(self.chunks)
        frames = self._read(record, random_clip(record.num_frames, count, rng, self.stride))
        backwards = rng.random() < 0.5
        seen = self._seen(frames[::-1] if backwards else frames)
        chunked = seen.reshape(self.chunks, self.chunk, *seen.shape[1:])
        return {"vision": chunked, "target": np.int32(backwards)}

    def _frames(self, chunks: int) -> int:
        """Of the video that so many chunks take: flow needs one more."""
        return chunks * self.chunk + self.flow

    def _read(self, record: Record, numbers: np.ndarray) -> UInt8[np.ndarray, "t h w 3"]:
        """Frames in true order: cropped, resized and stabilised alike whichever way they run."""
        decode = record.need_frames()
        frames = decode(numbers)
        if self.cut_borders:
            looks = decode(np.unique(even_frames(record.num_frames, LOOKS)))
            frames = crop(frames, *content_box(brightest_lines(looks), *frames.shape[1:3]))
        frames = cover(frames, (self.height, self.width))
        return laid_over(frames, np.arange(len(frames))) if self.stabilise else frames

    def _seen(self, frames: np.ndarray) -> UInt8[np.ndarray, "t h w c"]:
        return flow_to_bytes(optical_flow(frames), self.bound) if self.flow else frames

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        return {**batch, "vision": corner_crop(key, batch["vision"], self.crop)}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        x = jnp.moveaxis(255.0 * x - 128.0, -4, -2)  # (... h w t c)
        return x.reshape(*x.shape[:-2], -1)

    def objective(self, outputs: jax.Array, batch: Batch):
        return several_classes(outputs[:, None], 2 * batch["target"][:, None] - 1)

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        """'vision' takes one chunk; 'activation', which gives class activations, all of a clip."""
        return {"vision": ("vision",), "activation": ("vision",)}

    def pictures(self, batch: Batch) -> Batch:
        """Flow without its offset, so that what rests has no colour."""
        vision = batch["vision"].astype(jnp.float32) - 128.0 if self.flow else batch["vision"]
        return {**batch, "vision": vision}

    def words(self, batch: Batch) -> dict[str, list[str]]:
        return {"target": [("forwards", "backwards")[k] for k in np.asarray(batch["target"])]}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        chunks = self.chunks if stream == "activation" else 1
        return even_clip_times(record, count, self._frames(chunks), self.stride)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        chunks = self.chunks if stream == "activation" else 1
        numbers = clip_numbers(record, times, self._frames(chunks), self.stride)
        size = (self.crop, self.crop)
        seen = np.stack([center_crop(self._seen(self._read(record, k)), size) for k in numbers])
        if stream == "activation":
            seen = seen.reshape(len(seen), self.chunks, self.chunk, *seen.shape[2:])
        return {"vision": seen}
