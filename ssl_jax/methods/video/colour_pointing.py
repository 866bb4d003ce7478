"""Tracking by colorizing (Vondrick, Shrivastava, Fathi, Guadarrama and Murphy, "Tracking Emerges by
Colorizing Videos", ECCV 2018): where in earlier frames is the colour of this grey frame's place?"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.data.image import square
from ssl_jax.data.record import Record, Source
from ssl_jax.data.sampling import even_times, timed_clip
from ssl_jax.knobs import above, at_least, one_of, within
from ssl_jax.method import Batch, Example, Method, Refreshed, State, scaled
from ssl_jax.models.heads import last
from ssl_jax.objectives.pointing import copied, pointing
from ssl_jax.ops.colour import lab_to_rgb, rgb_to_lab


class PointingNet(nn.Module):
    """The trunk's last map of every frame, (b t h w d); channels that are dropped are zero."""

    vision: nn.Module

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        clips = batch["vision"]
        if "kept" in batch:
            clips = clips * batch["kept"][:, None, None, None, :]
        return last(self.vision(clips, train))


@dataclasses.dataclass(frozen=True)
class ColourPointing(Method):
    """Colours the last frame of a clip with colours copied from the frames before it.

    The network sees grey frames only, so that it has to find what moved where. Each place of the
    last frame points, by similarity of features, at all places of the others, and takes their
    colours: its features can carry any label along, such as masks (`evals.propagation`). Colours
    are `colours` clusters of (a, b), found by k-means before step 1 (the state "colours").

    Shortcuts: where nothing moves, the same place has the right colour, so the frames lie 1/6 s
    apart, and the metrics say how good the same place is ('same_place') and how often the network
    is right where it is not ('moved'). Frames in colour would be matched by their colours alone:
    they are grey, or with channels="lab" lose channels at random, in all frames of a clip alike.

    Differs from the paper: grey is the L of Lab. Colours are those of a square's mean in RGB. How
    the 3-D convolutions are made is not in the text that could be read; see `PointingTrunk`.

    Batch: views {"vision": uint8 (frames size size 3)}; augment {"vision": the same with a leading
    b, "references": int32 (b frames-1 h w) and "target": int32 (b h w), the cells' colours,
    "centres": float32 (colours 2), a table, not rows; with channels="lab" also "kept": float32
    (b 3), what the channels are multiplied by}.

    Attributes:
      vision: the trunk, whose last layer is a map of every frame.
      frames: of a clip: three references and the target.
      rate: frames per second.
      size: side of the square input in pixels.
      cell: side of the square that a place of the trunk's map stands for, in pixels.
      colours: number of colours.
      colour_records: videos of whose colours they are the clusters, one frame each.
      channels: 'grey', or 'lab': all three channels, of which one or two are dropped and the rest
        scaled up (CorrFlow, Lai and Xie 2019).
      keep_all: share of the clips that keep all three.
      radius: places farther than so many cells are not pointed at (CorrFlow: 6 cells of 4 pixels);
        0: all are.
      temperature: of the softmax.
    """

    vision: nn.Module
    frames: int = 4
    rate: float = 6.0
    size: int = 256
    cell: int = 8
    colours: int = 16
    colour_records: int = 256
    channels: str = "grey"
    keep_all: float = 0.3
    radius: int = 0
    temperature: float = 1.0

    def __post_init__(self):
        at_least(self, 2, "frames", "colours")
        at_least(self, 1, "size", "cell", "colour_records")
        above(self, 0, "rate", "temperature")
        one_of(self, "channels", ("grey", "lab"))
        within(self, 0, 1, "keep_all")
        at_least(self, 0, "radius")
        if self.size % self.cell:
            raise ConfigError(f"size={self.size} must be a multiple of cell={self.cell}")

    @property
    def net(self) -> nn.Module:
        return PointingNet(self.vision)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        decode = record.need_frames(self.frames)
        times = timed_clip(record.duration, self.frames, self.rate, rng)
        frames = decode([record.frame_at(time) for time in times])
        return {"vision": square(frames, self.size)}

    def init(self, key: jax.Array, batch: Batch, records: int) -> dict:
        key_augment, key_net = jax.random.split(key)
        # Until the first refresh: pale colours of all hues.
        hues = 2 * jnp.pi * jnp.arange(self.colours) / self.colours
        centres = 25.0 * jnp.stack([jnp.cos(hues), jnp.sin(hues)], axis=-1)
        state = {"colours": {"centres": centres}}
        return {**self.init_net(key_net, self.augment(batch, state, key_augment)), **state}

    def refresh(self, frozen, source: Source, key: jax.Array) -> Refreshed:
        found, _ = frozen.inputs(source, "vision", limit=self.colour_records)
        ab = self.cell_colours(jnp.asarray(found["vision"][:, 0, 0]))
        _, centres, _ = frozen.k_means(np.asarray(ab).reshape(-1, 2), self.colours, key, restarts=5)
        return Refreshed({"colours": {"centres": centres.astype(np.float32)}})

    def cell_colours(self, frames: jax.Array) -> Float[Array, "*b h w 2"]:
        """(a, b) of the mean of each cell's pixels."""
        *rows, height, width, channels = frames.shape
        sides = height // self.cell, self.cell, width // self.cell, self.cell
        return rgb_to_lab(scaled(frames).reshape(*rows, *sides, channels).mean((-4, -2)))[..., 1:]

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        clips, centres = batch["vision"], state["colours"]["centres"]
        colours = nearest(self.cell_colours(clips), centres)
        answers = {"references": colours[:, :-1], "target": colours[:, -1], "centres": centres}
        if self.channels == "grey":
            return {"vision": clips, **answers}
        return {"vision": clips, "kept": kept_channels(key, len(clips), self.keep_all), **answers}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        lab = rgb_to_lab(x)
        grey = lab[..., :1] / 50.0 - 1.0
        return grey if self.channels == "grey" else jnp.concatenate([grey, lab[..., 1:] / 50.0], -1)

    def objective(self, outputs: jax.Array, batch: Batch):
        references, target = batch["references"], batch["target"]
        if outputs.shape[2:4] != target.shape[1:]:
            raise ConfigError(
                f"cell={self.cell} makes {target.shape[1]} cells a side, the trunk's map has "
                f"{outputs.shape[2]}: they must be as many"
            )
        knobs = self.colours, self.radius, self.temperature
        found = copied(outputs[:, :-1], outputs[:, -1], references, *knobs)
        return pointing(found, target, references[:, -1])

    def pictures(self, batch: Batch) -> Batch:
        """The clip, its target grey, and the colours of the cells of all frames."""
        clips = scaled(batch["vision"])
        grey = rgb_to_lab(clips[:, -1:])[..., :1] / 100.0
        shown = jnp.concatenate([clips[:, :-1], jnp.broadcast_to(grey, clips[:, -1:].shape)], 1)
        numbers = jnp.concatenate([batch["references"], batch["target"][:, None]], axis=1)
        ab = batch["centres"][numbers]
        lab = jnp.concatenate([jnp.full((*numbers.shape, 1), 60.0), ab], axis=-1)
        painted = lab_to_rgb(lab).repeat(self.cell, 2).repeat(self.cell, 3)
        return {"frames, the last is asked for": shown, "their colours": painted}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        span = self.frames / self.rate
        return even_times(max(record.duration, span), span, count)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        seconds = [start + k / self.rate for start in times for k in range(self.frames)]
        frames = record.need_frames()([record.frame_at(time) for time in seconds])
        frames = square(frames, self.size)
        return {"vision": frames.reshape(len(times), self.frames, *frames.shape[1:])}


def nearest(ab: Float[Array, "*n 2"], centres: Float[Array, "k 2"]) -> Int[Array, "*n"]:
    """The number of the nearest centre; no matrix product, whose rounding would swap neighbours."""
    away = jnp.square(ab[..., None, :] - centres)
    return jnp.argmin(jnp.sum(away, axis=-1), axis=-1).astype(jnp.int32)


def kept_channels(key: jax.Array, count: int, keep_all: float) -> Float[Array, "b 3"]:
    """What the channels of each clip are multiplied by: 1, or 0 and 3 / (number that is left)."""
    key_all, key_number, key_order = jax.random.split(key, 3)
    place = jnp.argsort(jax.random.uniform(key_order, (count, 3)), axis=1)
    left = jax.random.randint(key_number, (count, 1), 1, 3)  # one or two
    dropped = jnp.where(place < left, 3.0 / left, 0.0)
    everything = jax.random.bernoulli(key_all, keep_all, (count, 1))
    return jnp.where(everything, 1.0, dropped)
