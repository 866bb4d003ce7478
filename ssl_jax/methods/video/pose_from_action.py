"""Pose from Action (Purushwalkam and Gupta, "Pose from Action: Unsupervised Learning of Pose
Features based on Motion", 2016): could this motion lead from one frame to the other?"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from ssl_jax.data.clips import clip_numbers, even_clip_times
from ssl_jax.data.flow import cover_flow, crop_and_flip, flow_of, flow_to_bytes
from ssl_jax.data.image import center_crop, cover
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import starts_apart
from ssl_jax.knobs import above, at_least, no_larger, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.heads import pooled
from ssl_jax.objectives.classification import classification
from ssl_jax.ops.fold import fold, unfold

MATCH, OTHER_TIME, OTHER_VIDEO = range(3)  # where the motion comes from
GREY = 128


class PoseFromActionNet(nn.Module):
    """One trunk for both frames, one for the motion between, two dense layers for all three."""

    vision: nn.Module
    flow: nn.Module
    hidden: int

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        """Logits (b 2)."""
        frames = unfold(pooled(self.vision(fold(batch["vision"]), train)), 2)  # (b 2 d)
        motion = pooled(self.flow(batch["flow"], train))
        features = jnp.concatenate([frames.reshape(len(frames), -1), motion], axis=-1)
        # Places of soft-argmax hardly differ from row to row: without this the dense layers see
        # nearly the same for all.
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            use_scale=False,
            use_bias=False,
            name="norm",
        )
        features = norm(features)
        hidden = jax.nn.relu(nn.Dense(self.hidden, name="hidden")(features))
        return nn.Dense(2, name="answer")(hidden)


@dataclasses.dataclass(frozen=True)
class PoseFromAction(Method):
    """Tells whether optical flow is what happened between two frames (1), or not (0).

    Shortcuts: motion of another video is known by its scene or its shaking camera, without a look
    at poses: other motion is taken from another time of the same video, no frame of it shared. How
    much moves would tell, too: both motions differ in that by a factor of two at most, or as little
    as in `tries` times. Flow shows the outline of who moves, in the first frame: what is learned
    from the later frame shows with later=False.

    Differs from the paper: there other motion seems to come from other videos (other_videos=1); how
    wide the two dense layers are, how inputs are scaled, that features are normalised over the
    batch and the optimizer are ours; flow is DIS
    unless other flow is stored with the record.

    Batch: views {"vision": uint8 (2 crop crop 3), "flow": uint8 (t crop crop 2), bytes as of
    `data.flow.flow_to_bytes`, "kind": int32}; augment {..., "target": int32 (b)}, where "flow" of
    kind 2 is that of the row before. The trunk of flow takes one image of 2 t channels: u and v of
    the first field, of the second, ...

    Attributes:
      vision, flow: the trunks; in the paper both VGG-M.
      fields: t, of flow; the two frames are so many frames apart.
      height, width: to which the middle of each frame is resized.
      crop: side of the square that the networks see, the same of frames and flow.
      bound: of the flow's components, in pixels a frame: beyond it they are clipped.
      tries: how many times of the video are tried to find one where about as much moves.
      other_videos: share of the other motion that comes from other videos.
      later: the later frame is seen; otherwise it is grey, to see what it is good for.
      hidden: width of the first dense layer.
    """

    vision: nn.Module
    flow: nn.Module
    fields: int = 12
    height: int = 256
    width: int = 340
    crop: int = 224
    bound: float = 20.0
    tries: int = 4
    other_videos: float = 0.0
    later: bool = True
    hidden: int = 2048

    trunks: ClassVar[tuple[str, ...]] = ("vision", "flow")

    def __post_init__(self):
        at_least(self, 1, "fields", "height", "width", "crop", "tries", "hidden")
        above(self, 0, "bound")
        within(self, 0, 1, "other_videos")
        no_larger(self, "crop", "height")
        no_larger(self, "crop", "width")

    @property
    def size(self) -> int:
        """Side of the frames that evaluation reads."""
        return self.crop

    @property
    def net(self) -> nn.Module:
        return PoseFromActionNet(self.vision, self.flow, self.hidden)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        span = self.fields + 1
        frames = record.need_frames(2 * span)
        starts = np.arange(record.num_frames - span + 1)
        # Not one in the middle of a short video, beside which no other motion fits.
        start = int(rng.choice(starts[np.maximum(starts, starts[-1] - starts) >= span]))
        kind = MATCH
        if rng.random() < 0.5:
            kind = OTHER_VIDEO if rng.random() < self.other_videos else OTHER_TIME
        flow = self._flow(record, start)
        if kind == OTHER_TIME:
            flow = self._as_strong(record, start, flow, rng)
        images = cover(frames([start, start + self.fields]), (self.height, self.width))
        images, flow = crop_and_flip(images, flow, self.crop, rng)
        return {
            "vision": images,
            "flow": flow_to_bytes(flow, self.bound),
            "kind": np.int32(kind),
        }

    def _flow(self, record: Record, start: int) -> Float32[np.ndarray, "t h w 2"]:
        numbers = start + np.arange(self.fields)
        return cover_flow(flow_of(record, numbers), (self.height, self.width))

    def _as_strong(self, record: Record, start: int, own: np.ndarray, rng: np.random.Generator):
        """Flow of another time at which about as much moves."""

        def apart(flow: np.ndarray) -> float:
            """By how many factors of two their magnitudes differ."""
            strengths = [np.hypot(*np.moveaxis(x, -1, 0)).sum() + 1e-6 for x in (flow, own)]
            return float(abs(np.log2(strengths[0] / strengths[1])))

        best = None
        others = starts_apart(record.num_frames, start, self.fields + 1)
        for other in rng.permutation(others)[: self.tries].tolist():
            flow = self._flow(record, other)
            if best is None or apart(flow) < apart(best):
                best = flow
            if apart(best) <= 1:
                break
        return best

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        frames, flow, kind = batch["vision"], batch["flow"], batch["kind"]
        elsewhere = (kind == OTHER_VIDEO)[:, None, None, None, None]
        flow = jnp.where(elsewhere, jnp.roll(flow, 1, axis=0), flow)
        if not self.later:
            frames = frames.at[:, 1].set(GREY)
        return {
            "vision": frames,
            "flow": flow,
            "kind": kind,
            "target": (kind == MATCH).astype(jnp.int32),
        }

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        if name == "vision":
            return 2.0 * x - 1.0
        pixels = (255.0 * x - 128.0) * (2 * self.bound / 255)
        pixels = jnp.moveaxis(pixels, -4, -2)  # (... h w t 2)
        return pixels.reshape(*pixels.shape[:-2], -1)

    def objective(self, outputs: jax.Array, batch: Batch):
        """With other videos also the accuracy on what matches and either kind of other motion."""
        loss, metrics = classification(outputs, batch["target"])
        if self.other_videos:
            right = outputs.argmax(-1) == batch["target"]
            for name, left_out in (("time", OTHER_VIDEO), ("video", OTHER_TIME)):
                counted = batch["kind"] != left_out
                share = jnp.sum(right & counted) / jnp.maximum(jnp.sum(counted), 1)
                metrics[f"{name}_accuracy"] = share
        return loss, metrics

    def pictures(self, batch: Batch) -> Batch:
        """Flow without its offset, so that what rests has no colour."""
        return {**batch, "flow": batch["flow"].astype(jnp.float32) - 128.0}

    def words(self, batch: Batch) -> dict[str, list[str]]:
        meanings = "other motion", "its motion"
        return {"target": [meanings[k] for k in np.asarray(batch["target"])]}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        if stream == "vision":
            return super().times(record, stream, count)
        return even_clip_times(record, count, self.fields + 1)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        if stream == "vision":
            return super().clips(record, stream, times)
        record.need_frames(2)
        # Of a short video the last field is repeated.
        numbers = np.minimum(clip_numbers(record, times, self.fields), record.num_frames - 2)
        flow = cover_flow(flow_of(record, numbers.ravel()), (self.height, self.width))
        levels = center_crop(flow_to_bytes(flow, self.bound), (self.crop, self.crop))
        return {"flow": levels.reshape(*numbers.shape, *levels.shape[1:])}
