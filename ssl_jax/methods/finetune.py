"""Fine-tuning: a trunk, as another run has left it or fresh, is trained on with a head for labels.

The trunk's weights come with the experiment's `init_from`. Without it this is training from
scratch, the number that every fine-tuned one stands beside.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.image import center_crop, cover, resize, ten_crops
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import even_clips, even_frames, random_clip, random_frame
from ssl_jax.data.sampling.clips import span_of
from ssl_jax.method import Batch, Example, Method
from ssl_jax.methods.label_tasks import Joints, OneLabel, SeveralLabels
from ssl_jax.ops.augment import colour_jitter, random_crop, random_flip, random_resized_crop
from ssl_jax.ops.frame_difference import frame_differences
from ssl_jax.ops.pooling import global_avg_pool, global_max_pool


class FinetuneNet(nn.Module):
    """A trunk, one of its layers pooled, and dense layers: the last gives the answer."""

    vision: nn.Module | None
    difference: nn.Module | None
    outputs: int
    layer: str
    pool: str
    hidden: tuple[int, ...]
    dropout: float
    still: bool

    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        return self.layers(batch, train)["head"]

    @nn.compact
    def layers(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """The trunk's layers, and 'head', the answers (b k)."""
        stream = "difference" if self.vision is None else "vision"
        layers = getattr(self, stream)(batch[stream], train and not self.still)
        name = self.layer or list(layers)[-1]
        if name not in layers:
            raise ValueError(
                f"finetune: no layer '{name}' in the trunk; it has {', '.join(layers)}"
            )
        x = layers[name]
        if x.ndim > 2 and self.pool != "flat":
            x = global_avg_pool(x) if self.pool == "mean" else global_max_pool(x)
        x = x.reshape(len(x), -1).astype(jnp.float32)
        for number, width in enumerate(self.hidden, start=1):
            x = jax.nn.relu(nn.Dense(width, name=f"hidden{number}")(self._dropped(x, train)))
        return {**layers, "head": nn.Dense(self.outputs, name="head")(self._dropped(x, train))}

    def _dropped(self, x: jax.Array, train: bool) -> jax.Array:
        return nn.Dropout(self.dropout, deterministic=not train)(x)


@dataclasses.dataclass(frozen=True)
class Finetune(Method):
    """Trains a trunk and a fresh head on labels: of pictures, of films by their frames or clips.

    A batch holds one random frame or clip of each record; `clips` are spread evenly over a film,
    and `evals.finetuned` averages what the network says to them. `encode` gives the head's answers
    too, as the layer 'head'.

    Nothing is divided into training and validation records here (some released codes choose the
    best epoch by test or training films): the last step is what counts.

    Attributes:
      task: `OneLabel`, `SeveralLabels` or `Joints`.
      vision: the trunk of pictures or clips; or
      difference: the trunk of frame differences, stacked as channels (Cross and Learn). Give one of
        the two, by the name that the trunk has in the run that `init_from` names.
      frames: of a clip; 0: the trunk takes single pictures.
      stride: every how many-th frame of the film. One that is shorter than a clip repeats its last.
      height, width: to which the host resizes frames.
      fit: 'stretch', whatever that does to their proportions, or 'cut', the largest middle window.
      crop: side of the square that the network sees.
      padding: pictures are mirrored outwards by so many pixels before the random crop is cut.
      area: smallest and largest share of the picture, of random boxes that are resized to `crop`,
        in place of the plain crop; (): the plain crop.
      aspect: smallest and largest width / height of these boxes; (1.0, 1.0) only changes scales.
      flip: probability of a mirrored picture.
      jitter: strength of SimCLR's colour jitter; 0: none.
      crops: of every test frame or clip: 1, the middle; 10, also the corners, and all mirrored.
        `clips` counts crops: 25 frames with 10 crops are 250.
      mean, std: of the channels, pixels in 0..1; give those that the trunk was trained with. The
        defaults leave pixels as they are. (Differences are of pixels in 0..1, as they are.)
      layer: of the trunk, from which the head takes; '': the last. Layers behind it only cost time:
        build the trunk without them (`init_from` leaves out what it does not need).
      pool: maps are averaged ('mean'), their maximum taken ('max') or all of them ('flat').
      hidden: widths of dense layers with ReLU between trunk and answer, such as (4096, 4096).
      dropout: rate, at the inputs of the head's dense layers.
      still: the trunk computes as in evaluation: BatchNorm normalises by the statistics that came
        with it and keeps them, and its dropout is off. Goes with `optimizer.freeze=('vision',)`,
        which alone keeps weights but not statistics.

    Raises:
      ValueError: knobs that do not go together.
    """

    task: OneLabel | SeveralLabels | Joints
    vision: nn.Module | None = None
    difference: nn.Module | None = None
    frames: int = 0
    stride: int = 1
    height: int = 256
    width: int = 256
    fit: str = "stretch"
    crop: int = 224
    padding: int = 0
    area: tuple[float, ...] = ()
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.0
    crops: int = 1
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    layer: str = ""
    pool: str = "mean"
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    still: bool = False

    def __post_init__(self):
        if (self.vision is None) == (self.difference is None):
            raise ValueError("finetune: give one trunk, vision or difference")
        if self.difference is not None and self.frames < 2:
            raise ValueError(f"finetune: differences need frames=2 or more, not {self.frames}")
        for knob, known in (
            ("fit", ("stretch", "cut")),
            ("pool", ("mean", "max", "flat")),
            ("crops", (1, 10)),
        ):
            if getattr(self, knob) not in known:
                raise ValueError(f"finetune: {knob}={getattr(self, knob)!r} is none of {known}")
        if len(self.area) not in (0, 2):
            raise ValueError(f"finetune: area={self.area} must be a smallest and a largest share")
        if isinstance(self.task, Joints) and not self._sees_whole_pictures:
            raise ValueError(
                "finetune: joints would have to move with the picture: set height=width=crop, "
                "fit='stretch', flip=0.0, padding=0, area=(), crops=1"
            )

    @property
    def _sees_whole_pictures(self) -> bool:
        moved = self.flip or self.padding or self.area or self.crops > 1 or self.fit == "cut"
        return not moved and self.height == self.width == self.crop

    @property
    def net(self) -> nn.Module:
        return FinetuneNet(
            self.vision,
            self.difference,
            self.task.outputs,
            self.layer,
            self.pool,
            self.hidden,
            self.dropout,
            self.still,
        )

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        there, span = record.num_frames, span_of(max(self.frames, 1), self.stride)
        if not self.frames:
            numbers = np.array([random_frame(there, rng)])
        elif there < span:
            numbers = even_clips(there, 1, self.frames, self.stride)[0]
        else:
            numbers = random_clip(there, self.frames, rng, self.stride)
        frames = record.need_frames()(numbers)
        target = self.task.target(record, int(numbers[0]), frames.shape[1:3])
        frames = self._resized(frames)
        (stream,) = self.streams
        return {stream: frames if self.frames else frames[0], "target": target}

    def _resized(self, frames: np.ndarray) -> np.ndarray:
        size = (self.height, self.width)
        return resize(frames, size) if self.fit == "stretch" else cover(frames, size)

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        (stream,) = self.streams
        key_crop, key_flip, key_colour = jax.random.split(key, 3)
        images = batch[stream]
        if self.area or self.jitter:
            images = images.astype(jnp.float32) / 255.0
        if self.area:
            images = random_resized_crop(key_crop, images, self.crop, self.area, self.aspect)
            images = images.clip(0.0, 1.0)
        else:
            images = random_crop(key_crop, images, self.crop, self.padding)
        if self.flip:
            images = random_flip(key_flip, images, self.flip)
        if self.jitter:
            images = colour_jitter(key_colour, images, self.jitter)
        return {**batch, stream: images}

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        x = raw.astype(jnp.float32) / 255.0 if raw.dtype == jnp.uint8 else raw
        if stream == "difference":
            return frame_differences(x)
        return (x - jnp.array(self.mean)) / jnp.array(self.std)

    def objective(self, outputs: jax.Array, batch: Batch):
        return self.task.loss(outputs, batch["target"])

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        places = -(-count // self.crops)
        if self.frames:
            numbers = even_clips(record.num_frames, places, self.frames, self.stride)
        else:
            numbers = even_frames(record.num_frames, places)[:, None]
        frames = self._resized(record.need_frames()(numbers.ravel()))
        if self.crops == 1:
            cut = center_crop(frames, (self.crop, self.crop))[None]
        else:
            cut = ten_crops(frames, self.crop)
        # (crops, places * frames, ...) -> all crops of the first place, then of the second, ...
        cut = cut.reshape(self.crops, *numbers.shape, *cut.shape[2:]).swapaxes(0, 1)
        rows = cut.reshape(-1, *cut.shape[2:])[:count]
        return rows if self.frames else rows[:, 0]

    def encode(self, variables: dict, stream: str, raw: jax.Array) -> dict[str, jax.Array]:
        batch = {stream: self.prepare(stream, raw)}
        return self.net.apply(variables, batch, train=False, method="layers")
