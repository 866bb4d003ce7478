"""SpeedNet (Benaim, Ephrat, Lang, Mosseri, Freeman, Rubinstein, Irani and Dekel, "SpeedNet:
Learning the Speediness in Videos", CVPR 2020): is this clip at normal speed, or sped up?"""

import dataclasses
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.clips import clip_numbers, even_clip_times
from ssl_jax.data.image import square
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import two_speeds
from ssl_jax.knobs import ascending, at_least, given, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.objectives.classification import several_classes
from ssl_jax.ops.fold import fold, unfold
from ssl_jax.ops.pooling import global_max_pool


class SpeedinessNet(nn.Module):
    """The trunk's last map, its maximum over space, the mean of that over time, and one logit.

    The batch's 'bucket' says to which of `sizes` its clips are resized first, for all rows alike.
    """

    vision: nn.Module
    sizes: tuple[int, ...]

    def setup(self):
        self.head = nn.Dense(1)

    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        clips = batch["vision"]  # (b n t h w c)
        ways = [self._at(size, train) for size in self.sizes]
        if len(ways) == 1 or self.is_initializing():  # any size has the same weights
            logits = ways[0](self, fold(clips))
        else:
            logits = nn.switch(batch["bucket"][0], ways, self, fold(clips))
        return unfold(logits, clips.shape[1])

    def _at(self, size: int, train: bool) -> Callable:
        def logits(net: "SpeedinessNet", clips: jax.Array) -> jax.Array:
            shape = (*clips.shape[:2], size, size, clips.shape[-1])
            clips = clips if clips.shape == shape else jax.image.resize(clips, shape, "linear")
            maps = [x for x in net.vision(clips, train).values() if x.ndim == 5]
            x = maps[-1]
            strongest = unfold(global_max_pool(fold(x)), x.shape[1])  # (b t c)
            return net.head(strongest.astype(jnp.float32).mean(1))[:, 0]

        # Computed again on the way back: otherwise memory would hold the activations of all sizes,
        # of which a step needs one.
        return nn.remat(logits) if len(self.sizes) > 1 else logits


@dataclasses.dataclass(frozen=True)
class Speediness(Method):
    """Tells clips at normal speed from clips that are sped up, each by itself.

    Shortcuts: traces of compression and resizing, whose scale tells that of motion: in every step
    clips have another size, drawn from `sizes`. What a video looks like, if fast things were mostly
    in fast clips: a stretch of a video is in the batch at both speeds, of which each is drawn at
    random and drops frames at random, by the same draws. A repeated frame, where too few are left:
    the draw is made again, never padded. A fixed place of the fast clip: which of the two comes
    first is drawn.

    Differs from the paper: sizes are a few, one a step, because every shape is a program of its own
    (all of them are compiled into one step), and clips are resized from squares of the largest;
    tests are puzzles like those of training, where the paper plays every frame, or every second.

    Batch: views {"vision": uint8 (2 t size size 3)}, normal and fast, at the largest size; augment
    {"vision": uint8 (b 2 t size size 3), "target": int32 (b), which of the two is fast, "bucket":
    int32 (b), which of `sizes` the net sees, the same in all rows}.

    Attributes:
      vision: the trunk, one that takes clips of any size; in the paper S3D-G without strides in
        time.
      frames: of a clip, taken from a window of three times as many.
      stride: every how many-th frame of the video counts; above 1 where things move in cycles of
        two or three frames, which would tell the speed.
      normal, fast: lowest and highest rate, in frames of the video a frame of the clip.
      sizes: sides of the square in pixels; one of them is drawn every step.
      test_size: side of the square of which features are read.
    """

    vision: nn.Module
    frames: int = 64
    stride: int = 1
    normal: tuple[float, float] = (1.0, 1.2)
    fast: tuple[float, float] = (1.7, 2.2)
    sizes: tuple[int, ...] = (64, 112, 168, 224, 280, 336)
    test_size: int = 224

    def __post_init__(self):
        at_least(self, 1, "frames", "stride", "normal", "fast", "sizes", "test_size")
        ascending(self, "normal", "fast")
        within(self, 1, 3, "normal", "fast")  # a window is three times as long as a clip
        given(self, "sizes")

    @property
    def net(self) -> nn.Module:
        return SpeedinessNet(self.vision, self.sizes)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        rates = self.normal, self.fast
        numbers = np.stack(two_speeds(record.num_frames, self.frames, rng, *rates, self.stride))
        once, places = np.unique(numbers, return_inverse=True)
        frames = square(record.need_frames()(once), max(self.sizes))
        return {"vision": frames[places.reshape(numbers.shape)]}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_place, key_size = jax.random.split(key)
        clips = batch["vision"]
        target = jax.random.bernoulli(key_place, shape=(len(clips),)).astype(jnp.int32)
        fast_first = (target == 0).reshape(-1, *(1,) * (clips.ndim - 1))
        bucket = jax.random.randint(key_size, (), 0, len(self.sizes))
        return {
            "vision": jnp.where(fast_first, clips[:, ::-1], clips),
            "target": target,
            "bucket": jnp.broadcast_to(bucket, len(clips)),
        }

    def objective(self, outputs: jax.Array, batch: Batch):
        fast = jnp.arange(2) == batch["target"][:, None]
        return several_classes(outputs, jnp.where(fast, 1, -1))

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """Which of the clips is fast, and the size that the network sees."""
        places = ["first" if place == 0 else "second" for place in np.asarray(batch["target"])]
        sizes = [f"{self.sizes[k]} pixels" for k in np.asarray(batch["bucket"])]
        return {"fast": places, "size": sizes}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return even_clip_times(record, count, self.frames, self.stride)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        numbers = clip_numbers(record, times, self.frames, self.stride)
        frames = square(record.need_frames()(numbers.ravel()), self.test_size)
        return {"vision": frames.reshape(*numbers.shape, *frames.shape[1:])}
