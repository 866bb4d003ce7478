"""Shuffle and Learn (Misra, Zitnick and Hebert, "Shuffle and Learn: Unsupervised Learning using
Temporal Order Verification", ECCV 2016): are these three frames in order?"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssl_jax.data.image import resize
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import frame_motion, verified_tuple
from ssl_jax.knobs import at_least, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.heads import Classifier, last
from ssl_jax.objectives.balanced_accuracy import balanced_accuracy
from ssl_jax.objectives.classification import classification
from ssl_jax.ops.fold import fold, unfold

# Places in a < b < c < d < e of the frames that are shown: in order, and the two wrong ways.
TUPLES = ((1, 2, 3), (1, 0, 3), (1, 4, 3))
TRIES = 10  # tuples drawn, if the frames that should differ look alike


class VerificationNet(nn.Module):
    """One trunk for all frames; the last layers of an example's frames are classified together."""

    vision: nn.Module

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        frames = batch["vision"]  # (b, 3, h, w, c)
        features = unfold(last(self.vision(fold(frames), train)), frames.shape[1])
        return Classifier(2, name="head")(features, train)


@dataclasses.dataclass(frozen=True)
class ShuffleAndLearn(Method):
    """Tells three frames in order, forwards or backwards, from frames whose middle one is wrong.

    Of five frames a < b < c < d < e of a video, (b, c, d) is in order, (b, a, d) and (b, e, d) are
    not; each is shown backwards half of the time, which keeps its class. Shortcuts: right and wrong
    tuples have their first and last frame in common, so these alone tell nothing. Where the middle
    frame hardly differs between the two there is nothing to learn: tuples are drawn where much
    moves, and drawn again if c looks like a or e. A constant answer is right in `wrong` of all
    rows: judge by 'balanced_accuracy', of which chance is 0.5. Differs from the paper: motion is
    the difference of frames, not optical flow; the threshold `differ` is ours, as none was
    published; colours are red, green, blue where Caffe had them the other way round.

    Batch: views {"vision": uint8 (5 size size 3)}, in true order; augment {"vision": uint8
    (b 3 size size 3), "target": int32 (b)}, 1 for frames in order.

    Attributes:
      vision: the trunk; in the paper CaffeNet with BatchNorm up to fc7.
      size: to which squares frames are resized, whatever that does to their proportions.
      longest: frames between b and d, or as far as the video allows.
      apart: frames at least between a and b, and between d and e.
      wrong: fraction of tuples that are not in order.
      motion_stride: motion is measured between every so many-th frame of the video; 0: not at all,
        all tuples are equally likely.
      differ: least mean squared difference of c to a and to e, of pixels in 0..1. After ten tuples
        that differ less, the last is taken.
      mean: of the channels, in 0..255, subtracted.
    """

    vision: nn.Module
    size: int = 227
    longest: int = 60
    apart: int = 15
    wrong: float = 0.75
    motion_stride: int = 10
    differ: float = 1e-3
    mean: tuple[float, float, float] = (123.68, 116.779, 103.939)

    def __post_init__(self):
        at_least(self, 1, "size", "apart")
        at_least(self, 2, "longest")
        at_least(self, 0, "motion_stride", "differ")
        within(self, 0, 1, "wrong")

    @property
    def net(self) -> nn.Module:
        return VerificationNet(self.vision)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        magnitudes = self._motion(record)
        for _ in range(TRIES):
            numbers = verified_tuple(record.num_frames, rng, self.longest, self.apart, magnitudes)
            frames = resize(record.need_frames()(numbers), (self.size, self.size))
            a, _, c, _, e = frames.astype(np.float32) / 255
            if min(np.square(c - a).mean(), np.square(c - e).mean()) >= self.differ:
                break
        return {"vision": frames}

    def _motion(self, record: Record) -> Float[np.ndarray, "t"] | None:
        """How much moves at each frame of the video; None for all alike."""
        if not 0 < self.motion_stride < record.num_frames:
            return None
        frames = record.need_frames()(np.arange(0, record.num_frames, self.motion_stride))
        motion = np.repeat(frame_motion(frames), self.motion_stride)
        return np.pad(motion, (0, record.num_frames - len(motion)), mode="edge")

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        frames = batch["vision"]
        key_wrong, key_which, key_reverse = jax.random.split(key, 3)
        rows = (len(frames),)
        wrong = jax.random.bernoulli(key_wrong, self.wrong, rows)
        which = jnp.where(wrong, jax.random.randint(key_which, rows, 1, len(TUPLES)), 0)
        shown = jnp.array(TUPLES)[which]
        backwards = jax.random.bernoulli(key_reverse, shape=rows)[:, None]
        shown = jnp.where(backwards, shown[:, ::-1], shown)
        picked = jax.vmap(lambda video, numbers: video[numbers])(frames, shown)
        return {"vision": picked, "target": 1 - wrong.astype(jnp.int32)}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return 255.0 * x - jnp.array(self.mean)

    def objective(self, outputs: jax.Array, batch: Batch):
        loss, metrics = classification(outputs, batch["target"])
        balanced = balanced_accuracy(outputs, batch["target"])
        return loss, {**metrics, "balanced_accuracy": balanced}

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """Whether the frames are in order."""
        return {"target": [("wrong", "in order")[k] for k in np.asarray(batch["target"])]}

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        frames = record.need_frames()([record.frame_at(time) for time in times])
        return {"vision": resize(frames, (self.size, self.size))}
