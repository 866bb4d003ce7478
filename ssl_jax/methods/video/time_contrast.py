"""Time-contrastive networks (Sermanet et al., "Time-Contrastive Networks: Self-Supervised Learning
from Video", ICRA 2018; TCN): do two frames of a video show the same moment?"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import views_of
from ssl_jax.data.image import square
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import random_clip
from ssl_jax.knobs import at_least, no_larger, one_of
from ssl_jax.method import Batch, Example, Method, State, scaled
from ssl_jax.models.heads import last
from ssl_jax.objectives.time_contrast import n_pairs, time_triplet
from ssl_jax.ops.augment import jitter_colours, random_resized_crop


class TimeContrastNet(nn.Module):
    """The trunk's last layer for every frame, (b n d)."""

    vision: nn.Module

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        frames = batch["vision"]
        features = last(self.vision(frames.reshape(-1, *frames.shape[2:]), train))
        return features.reshape(*frames.shape[:2], -1)


@dataclasses.dataclass(frozen=True)
class TimeContrast(Method):
    """Frames of one moment of a video embed nearer to one another than other moments of it.

    pairs="window", the paper's single view: frames in a row of one camera; those up to `positive`
    apart belong together, those more than `negative` apart do not. pairs="cameras", its multi-view:
    random moments, each seen by two of the cameras that a record has (its own frames and
    `extra["views"]`; see the sources `Cameras`, and `SecondCamera`, a stand-in). Frames of
    different videos never meet, so that no place, person or light tells them apart.

    Shortcuts: a clock, a score or a progress bar on the screen tells the moment: mask it. A single
    view does not keep the network from encoding the camera. Every frame has a cut and colours of
    its own, so that neither its border nor its brightness is followed.

    Differs from the paper: a batch holds as many videos as it has rows, its released code one; the
    zoom only goes in, not out to 0.8. The network is trained whole, where the paper keeps a base
    that was trained on ImageNet: see `SoftArgmaxTrunk.still`.

    Batch: views {"vision": uint8 (frames stored stored 3), "time": int32 (frames), frame numbers};
    augment {"vision": float32 (b frames size size 3), "time": int32 (b frames)}, both in a random
    order of frames; with cameras the first view of every moment, then the second ones in another
    order. Control: control=('time',), in batches of two videos or more.

    Attributes:
      vision: the trunk.
      pairs: 'window' or 'cameras'.
      criterion: 'triplet', semi-hard, of embeddings of unit length; 'npairs', with cameras.
      frames: of a video in the batch; with cameras two of each moment.
      stride: every how many-th frame of the video is taken.
      window: with cameras: moments are drawn from so many frames in a row, at the stride.
      positive, negative: largest distance of a positive, and of what is no negative, in frames of
        the video.
      margin: of the triplet loss.
      weight: of the n-pairs loss's squared lengths.
      stored: side of the square that the host hands over, in pixels.
      size: side of the network's input.
      zoom: largest.
    """

    vision: nn.Module
    pairs: str = "window"
    criterion: str = "triplet"
    frames: int = 36
    stride: int = 1
    window: int = 580
    positive: int = 6
    negative: int = 12
    margin: float = 0.2
    weight: float = 0.002
    stored: int = 299
    size: int = 299
    zoom: float = 3.0

    def __post_init__(self):
        one_of(self, "pairs", ("window", "cameras"))
        one_of(self, "criterion", ("triplet", "npairs"))
        at_least(self, 2, "frames")
        at_least(self, 1, "stride", "window", "positive", "stored", "size", "zoom")
        at_least(self, 0, "margin", "weight", "negative")
        no_larger(self, "positive", "negative")
        if self.pairs == "window" and self.criterion == "npairs":
            raise ConfigError("criterion='npairs' compares two cameras: it needs pairs='cameras'")
        if self.pairs == "window" and (self.frames - 1) * self.stride <= self.negative:
            raise ConfigError(
                f"frames={self.frames} at stride={self.stride} hold no negative, which is more "
                f"than negative={self.negative} frames away"
            )
        if self.pairs == "cameras" and (self.frames % 2 or self.frames // 2 > self.window):
            raise ConfigError(
                f"frames={self.frames} must be two of each moment, of at most window={self.window}"
            )

    @property
    def net(self) -> nn.Module:
        return TimeContrastNet(self.vision)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        if self.pairs == "window":
            decode = record.need_frames()
            times = random_clip(record.num_frames, self.frames, rng, self.stride)
            return {"vision": square(decode(times), self.stored), "time": times.astype(np.int32)}
        cameras, moments = views_of(record, at_least=2), self.frames // 2
        # A shorter video is its own window, as long as it has enough moments.
        most = 1 + (record.num_frames - 1) // self.stride
        around = random_clip(
            record.num_frames, max(moments, min(self.window, most)), rng, self.stride
        )
        times = rng.permutation(around)[:moments]
        chosen = np.stack([rng.permutation(len(cameras))[:2] for _ in times])  # camera of each
        frames: list = [None] * self.frames
        for number, decode in enumerate(cameras):
            rows, columns = np.nonzero(chosen == number)
            if len(rows):
                seen = square(decode(times[rows]), self.stored)
                for row, column, frame in zip(rows, columns, seen, strict=True):
                    frames[2 * row + column] = frame
        return {"vision": np.stack(frames), "time": times.repeat(2).astype(np.int32)}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_crop, key_colour, key_order = jax.random.split(key, 3)
        frames, time = scaled(batch["vision"]), batch["time"]
        b, n = time.shape
        flat = frames.reshape(b * n, *frames.shape[2:])
        area = (1 / self.zoom**2, 1.0)
        flat = random_resized_crop(key_crop, flat, self.size, area, (1.0, 1.0), "linear")
        # Brightness moves by up to an eighth, saturation by up to a half, as in the released code.
        flat = jitter_colours(key_colour, flat, (0.125, 0.0, 0.5, 0.0), additive_brightness=True)
        frames = flat.reshape(b, n, *flat.shape[1:])
        # An order of its own for every video, or the control would find all rows' times alike.
        if self.pairs == "cameras":  # the first views in their order, the second ones in another
            second = jnp.argsort(jax.random.uniform(key_order, (b, n // 2)), axis=1)
            first = jnp.broadcast_to(jnp.arange(n // 2), second.shape)
            order = jnp.concatenate([2 * first, 2 * second + 1], axis=1)
        else:
            order = jnp.argsort(jax.random.uniform(key_order, (b, n)), axis=1)
        frames = jax.vmap(lambda video, places: video[places])(frames, order)
        return {"vision": frames, "time": jnp.take_along_axis(time, order, axis=1)}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return 2.0 * x - 1.0

    def objective(self, outputs: jax.Array, batch: Batch):
        if self.criterion == "npairs":
            half, time = self.frames // 2, batch["time"]
            own = jnp.argmax(time[:, :half, None] == time[:, None, half:], axis=2)
            return n_pairs(outputs[:, :half], outputs[:, half:], own, self.weight)
        apart = (self.positive, self.negative) if self.pairs == "window" else (0, 0)
        return time_triplet(outputs, batch["time"], *apart, self.margin)

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """When the first nine frames were, counted from the earliest of all."""
        times = np.asarray(batch["time"])
        return {"frame": [" ".join(map(str, row - row.min())) for row in times[:, :9]]}
