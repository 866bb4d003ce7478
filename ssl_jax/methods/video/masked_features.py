"""CBT (Sun, Baradel, Murphy and Schmid, "Learning Video Representations using Contrastive
Bidirectional Transformer", 2019), its visual part: what was to be seen in the steps left out?"""

import dataclasses
from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from ssl_jax.data.image import square
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import even_times, timed_clip
from ssl_jax.knobs import above, at_least, one_of, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.heads import last, pooled
from ssl_jax.models.transformer import Transformer
from ssl_jax.objectives.masked_features import masked_nce, neighbours
from ssl_jax.ops.fold import fold, unfold

NEGATIVES = ("batch", "video")


class MaskedFeaturesNet(nn.Module):
    """A trunk for the clip of every step, and a transformer over the steps' features."""

    vision: nn.Module
    transformer: Transformer
    still: bool

    @nn.compact
    def sequence(
        self, clips: jax.Array, hidden: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """What the transformer says of every step (b r n d), those `hidden` (b r n) not being seen,
        r times; and the features of the clip of every step by itself (b n d)."""
        found = pooled(self.vision(fold(clips), train and not self.still))
        features = unfold(found, clips.shape[1]).astype(jnp.float32)
        # Most of a feature is what all steps share: without this products hardly differ.
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            use_scale=False,
            use_bias=False,
            name="norm",
        )
        features = norm(features)
        mask = self.param("mask", nn.initializers.normal(0.02), features.shape[2:])
        positions = self.param("positions", sinusoids, features.shape[1:])
        seen = jnp.where(hidden[..., None], mask, features[:, None])
        said = last(self.transformer(fold(seen + positions), train)).astype(jnp.float32)
        return unfold(said, hidden.shape[1]), features

    def __call__(self, batch: Batch, train: bool) -> tuple[jax.Array, jax.Array]:
        """Of hidden steps what is predicted (b r m d), and the features of all steps (b n d)."""
        clips, places = batch["vision"], batch["hidden"]
        hidden = (jnp.arange(clips.shape[1]) == places[..., None]).any(2)
        said, features = self.sequence(clips, hidden, train)
        return jnp.take_along_axis(said, places[..., None], axis=2), features

    def context(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """Means over all steps (b d): of their features, and of what the transformer makes of
        them, none being hidden."""
        clips = batch["vision"]
        said, features = self.sequence(
            clips, jnp.zeros((len(clips), 1, clips.shape[1]), bool), train
        )
        return {"features": features.mean(1), "context": said[:, 0].mean(1)}


def sinusoids(key: jax.Array, shape: tuple[int, int], dtype=jnp.float32) -> jax.Array:
    """Initial positions (n d), those of Vaswani et al. 2017: near steps begin alike.

    As large as the features; of the usual N(0, 0.02) little would be left beside these.
    """
    del key
    n, d = shape
    rates = 10_000.0 ** (-2 * (jnp.arange(d) // 2) / d)
    angles = jnp.arange(n)[:, None] * rates
    return jnp.where(jnp.arange(d) % 2 == 0, jnp.sin(angles), jnp.cos(angles)).astype(dtype)


@dataclasses.dataclass(frozen=True)
class MaskedFeatures(Method):
    """Predicts the features of hidden steps of a video from those of the others.

    A video is a sequence of short clips, one a step; the trunk sees each by itself. The features of
    some steps are replaced by one learned vector, and a transformer, told the steps' places, has to
    say for each what it would be: closer, by scalar product, to the true feature than to any other.
    Features stay real numbers and are not clustered, which is the difference from VideoBERT.

    Shortcuts: what a video looks like, which its visible steps give away, is enough if rivals are
    of other videos: negatives="video" takes those of the same video alone. A score or a clock on
    the screen tells the place of a step: mask it. A step looks like its neighbours: `gap` frames
    are left out between steps; 'neighbours_accuracy' is what the mean of those seen achieves.
    'hidden_accuracy' does not profit from ruling out what was seen, and is to be held against
    'hidden_neighbours_accuracy'.

    The stream 'vision' reads the trunk on the clip of one step, 'context' what trunk and
    transformer say of a whole sequence.

    Differs from the paper: the visual part alone, without the text, its frozen BERT and the
    cross-modal transformer. Features are normalised over the batch, so that they differ by more
    than they share. No code was released; positions and the number of steps and blocks are ours.

    Batch: views {"vision": uint8 (steps frames size size 3)}; augment {"vision": the same (b ...),
    "hidden": int32 (b r m), places, "target": int32 (b r m), the places whose features are asked
    for: the same}. Control: control=('target',).

    Attributes:
      vision: the trunk of clips; its last layer, averaged over space and time, is the feature. In
        the paper S3D.
      steps: of a sequence.
      frames: of the clip of a step.
      rate: frames per second.
      gap: frames, at that rate, left out between steps.
      size: side of the square that the network sees, in pixels.
      masked: share of steps that are hidden, at least one.
      draws: r, how many times other steps are hidden in the same video. The trunk, which costs most
        of a step, sees the video once; the transformer sees it r times and learns from r times as
        many hidden steps. In the paper once.
      negatives: 'batch': all steps of all videos; 'video': those of the same video.
      temperature: divides scalar products.
      blocks, heads, feed_forward: of the `Transformer`, which is as wide as the feature.
      dropout: rate, in the transformer.
      still: the trunk computes as in evaluation, for features of a network that was trained before.
        Goes with `optimizer.freeze=('vision',)`.
      mean, std: of red, green and blue, for the trunk's input.
    """

    vision: nn.Module
    steps: int = 6
    frames: int = 30
    rate: float = 20.0
    gap: int = 0
    size: int = 224
    masked: float = 0.15
    draws: int = 1
    negatives: str = "batch"
    temperature: float = 1.0
    blocks: int = 2
    heads: int = 8
    feed_forward: int = 4096
    dropout: float = 0.1
    still: bool = False
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self):
        at_least(self, 2, "steps")
        at_least(self, 1, "frames", "draws", "size", "blocks", "heads", "feed_forward")
        at_least(self, 0, "gap")
        above(self, 0, "rate", "temperature", "std")
        within(self, 0, 1, "masked", "dropout")
        one_of(self, "negatives", NEGATIVES)

    @property
    def net(self) -> nn.Module:
        transformer = Transformer(self.blocks, self.heads, self.feed_forward, dropout=self.dropout)
        return MaskedFeaturesNet(self.vision, transformer, self.still)

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return {**super().streams, "context": ("vision",)}

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        start = timed_clip(record.duration, self._length(self.steps), self.rate, rng)[0]
        return {"vision": self._read(record, start, self.steps)}

    def _length(self, steps: int) -> int:
        """Frames, at the rate, from the first of so many steps to the last."""
        return steps * (self.frames + self.gap) - self.gap

    def _read(self, record: Record, start: float, steps: int) -> UInt8[np.ndarray, "n t h w 3"]:
        """The clips of so many steps; where they reach beyond the end, its last frame again."""
        first = (self.frames + self.gap) * np.arange(steps)[:, None]
        times = start + (first + np.arange(self.frames)).ravel() / self.rate
        frames = record.need_frames()([record.frame_at(time) for time in times.tolist()])
        return square(frames, self.size).reshape(steps, self.frames, self.size, self.size, 3)

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        count = max(1, round(self.masked * self.steps))
        ranks = jax.random.uniform(key, (len(batch["vision"]), self.draws, self.steps))
        places = jnp.argsort(ranks, axis=2)[..., :count].sort(axis=2).astype(jnp.int32)
        return {**batch, "hidden": places, "target": places}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return (x - jnp.array(self.mean)) / jnp.array(self.std)

    def objective(self, outputs: tuple[jax.Array, jax.Array], batch: Batch):
        predicted, features = outputs

        def of_a_draw(predicted: jax.Array, target: jax.Array):
            own = self.negatives == "video"
            loss, metrics = masked_nce(predicted, features, target, self.temperature, own)
            return loss, {**metrics, **neighbours(features, target)}

        found = jax.vmap(of_a_draw, in_axes=1)(predicted, batch["target"])
        return jax.tree.map(jnp.mean, found)

    def pictures(self, batch: Batch) -> Batch:
        """The middle frame of every step, black if it is hidden, and those of the hidden steps.

        What is hidden in the first draw.
        """
        frames = batch["vision"][:, :, self.frames // 2]
        hidden = (jnp.arange(self.steps) == batch["hidden"][:, 0, :, None]).any(1)
        seen = jnp.where(hidden[..., None, None, None], 0, frames)
        answer = jax.vmap(lambda video, places: video[places])(frames, batch["target"][:, 0])
        return {"vision": seen, "answer": answer}

    def words(self, batch: Batch) -> dict[str, list[str]]:
        return {"hidden": [" ".join(map(str, row)) for row in np.asarray(batch["target"])[:, 0]]}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        record.need_frames()
        seconds = self._length(self.steps if stream == "context" else 1) / self.rate
        return even_times(max(record.duration, seconds), seconds, count)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        if stream == "context":
            return {"vision": np.stack([self._read(record, t, self.steps) for t in times])}
        return {"vision": np.stack([self._read(record, t, 1)[0] for t in times])}
