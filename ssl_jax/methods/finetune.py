"""Fine-tuning: a trunk, as another run has left it or fresh, is trained on with a head for labels.

The trunk's weights come with the experiment's `init_from`. Without it this is training from
scratch, the number that every fine-tuned one stands beside.
"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.clips import clip_numbers, even_clip_times
from ssl_jax.data.flow import SMALLEST
from ssl_jax.data.flow_levels import flow_clips, flow_levels, mirrored
from ssl_jax.data.image import center_crop, cover, resize, ten_crops
from ssl_jax.data.moving import moving_flow, moving_frames
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import even_clips, random_clip, random_frame
from ssl_jax.data.sampling.clips import span_of
from ssl_jax.knobs import above, ascending, at_least, one_of, within
from ssl_jax.method import Batch, Example, Method, State, scaled
from ssl_jax.methods.label_tasks import Joints, OneLabel, SeveralLabels
from ssl_jax.models.finetuned import FinetuneNet
from ssl_jax.ops.augment import colour_jitter, random_crop, random_flip, random_resized_crop
from ssl_jax.ops.flow import flow_channels, random_flow_flip, reversed_flow
from ssl_jax.ops.frame_difference import frame_differences


@dataclasses.dataclass(frozen=True)
class Finetune(Method):
    """Trains a trunk and a new head on labels: of images, of videos by their frames or clips.

    A batch holds one random frame or clip of each record; test clips are spread evenly over a
    video, and `evals.finetuned` averages the network's answers. `encode` gives the head's answers
    too, as the layer 'head'.

    Nothing is divided into training and validation records here (some released codes choose the
    best epoch by test or training videos): the last step is what counts.

    Batch: views {"vision" or "difference": uint8 (height width 3), or (t height width 3) with
    `frames`, or "flow": uint8 (t-1 height width 2), see `data.flow_levels`; "target": as the task
    says}; augment the same at `crop`.

    Attributes:
      task: `OneLabel`, `SeveralLabels` or `Joints`.
      vision: the trunk of images or clips; or
      difference: the trunk of frame differences, stacked as channels (Cross and Learn); or
      flow: the trunk of optical flow, (frames - 1) x 2 channels. Give one of the three, best by the
        name that the trunk has in the run that `init_from` names.
      frames: of a clip; 0: the trunk takes single images. One less are the differences or fields of
        flow.
      stride: every how many-th frame of the video. A video shorter than a clip repeats its last
        frame.
      candidates: frames, at that stride, that are decoded to find where much moves: such windows
        are more likely in training (Sayed et al. 2018). 0: all are alike.
      reverse: probability that a training clip runs backwards; flow is negated then.
      height, width: to which the host resizes frames.
      fit: 'stretch', whatever that does to their proportions, or 'cut', the largest middle window.
      crop: side of the square that the network sees.
      padding: images are mirrored outwards by so many pixels before the random crop is cut.
      area: smallest and largest share of the image, of random boxes that are resized to `crop`,
        in place of the plain crop; (): the plain crop.
      aspect: smallest and largest width / height of these boxes; (1.0, 1.0) only changes scales.
      flip: probability of a mirrored image.
      jitter: strength of SimCLR's colour jitter; 0: none.
      crops: of every test frame or clip: 1, the middle; 10, also the corners, and all mirrored.
        Evaluators' `clips` counts crops: 25 frames with 10 crops are 250.
      mean, std: of the channels, pixels in 0..1; give those that the trunk was trained with. The
        defaults leave pixels as they are. Differences are taken after that: std=(1/255,) * 3 makes
        them those of bytes.
      bound: of flow, in pixels of the resized video; what is beyond is cut to it.
      centred: each field of flow less its mean, as Cross and Learn; the arrow of time's trunk was
        trained without.
      layer: of the trunk, from which the head takes; '': the last. Layers behind it only cost time:
        build the trunk without them (`init_from` leaves out what it does not need).
      pool: maps are averaged ('mean'), their maximum taken ('max') or all of them ('flat').
      hidden: widths of dense layers with ReLU between trunk and answer, such as (4096, 4096).
      dropout: rate, at the inputs of the head's dense layers.
      still: the trunk computes as in evaluation: BatchNorm normalises by the statistics that came
        with it and keeps them, and its dropout is off. Goes with `optimizer.freeze=('vision',)`,
        which alone keeps weights but not statistics.

    Raises ConfigError for knobs that do not go together.
    """

    task: OneLabel | SeveralLabels | Joints
    vision: nn.Module | None = None
    difference: nn.Module | None = None
    flow: nn.Module | None = None
    frames: int = 0
    stride: int = 1
    candidates: int = 0
    reverse: float = 0.0
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
    bound: float = 20.0
    centred: bool = True
    layer: str = ""
    pool: str = "mean"
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    still: bool = False

    def __post_init__(self):
        if len(self.trunks) != 1:
            raise ConfigError("finetune: give one trunk, vision, difference or flow")
        if self.vision is None and self.frames < 2:
            raise ConfigError(
                f"finetune: differences and flow need frames=2 or more, not {self.frames}"
            )
        if not self.frames and (self.candidates or self.reverse):
            raise ConfigError("finetune: candidates and reverse are of clips: give frames")
        one_of(self, "fit", ("stretch", "cut"))
        one_of(self, "pool", ("mean", "max", "flat"))
        one_of(self, "crops", (1, 10))
        at_least(self, SMALLEST if self.flow is not None else 1, "height", "width")
        at_least(self, 1, "stride", "crop", "hidden")
        at_least(self, 0, "frames", "candidates", "padding", "jitter")
        above(self, 0, "area", "aspect", "std", "bound")
        within(self, 0, 1, "area", "flip", "reverse", "dropout")
        ascending(self, "aspect")
        if len(self.area) not in (0, 2):
            raise ConfigError(f"finetune: area={self.area} must be a smallest and a largest share")
        if self.area:
            ascending(self, "area")
        if self.flow is not None and (self.area or self.padding or self.jitter):
            raise ConfigError("finetune: flow takes plain crops: set area=(), padding=0, jitter=0")
        if self.flow is not None and isinstance(self.task, Joints):
            raise ConfigError("finetune: joints are of frames, not of flow: give vision")
        if isinstance(self.task, Joints) and not self._sees_whole_pictures:
            raise ConfigError(
                "finetune: joints would have to move with the image: set height=width=crop, "
                "fit='stretch', flip=0.0, padding=0, area=(), crops=1"
            )

    @property
    def _sees_whole_pictures(self) -> bool:
        moved = self.flip or self.padding or self.area or self.crops > 1 or self.fit == "cut"
        return not moved and self.height == self.width == self.crop

    @property
    def trunks(self) -> tuple[str, ...]:
        kinds = ("vision", "difference", "flow")
        return tuple(kind for kind in kinds if getattr(self, kind) is not None)

    @property
    def net(self) -> nn.Module:
        return FinetuneNet(
            self.vision,
            self.difference,
            self.flow,
            self.task.outputs,
            self.layer,
            self.pool,
            self.hidden,
            self.dropout,
            self.still,
        )

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        (stream,) = self.trunks
        window = rng, self.stride, self.candidates
        if stream == "flow":
            numbers, flow = moving_flow(record, self.frames - 1, *window)
            size, pixels = flow.shape[1:3], flow_levels(flow, *self._flow_knobs)
        else:
            if self.candidates:
                numbers, frames = moving_frames(record, self.frames, *window)
            else:
                numbers = self._numbers(record.num_frames, rng)
                frames = record.need_frames()(numbers)
            size, pixels = frames.shape[1:3], self._resized(frames)
        target = self.task.target(record, int(numbers[0]), size)
        return {stream: pixels if self.frames else pixels[0], "target": target}

    def _numbers(self, there: int, rng: np.random.Generator) -> np.ndarray:
        """Of a random frame or clip; the last frame is repeated in a video that is too short."""
        if not self.frames:
            return np.array([random_frame(there, rng)])
        if there < span_of(self.frames, self.stride):
            return even_clips(there, 1, self.frames, self.stride)[0]
        return random_clip(there, self.frames, rng, self.stride)

    def _resized(self, frames: np.ndarray) -> np.ndarray:
        size = (self.height, self.width)
        return resize(frames, size) if self.fit == "stretch" else cover(frames, size)

    @property
    def _flow_knobs(self) -> tuple[tuple[int, int], float, bool]:
        return (self.height, self.width), self.bound, self.fit == "stretch"

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        (stream,) = self.trunks
        key_crop, key_flip, key_colour, key_reverse = jax.random.split(key, 4)
        images = batch[stream]
        if self.area or self.jitter:
            images = scaled(images)
        if self.area:
            images = random_resized_crop(key_crop, images, self.crop, self.area, self.aspect)
            images = images.clip(0.0, 1.0)
        else:
            images = random_crop(key_crop, images, self.crop, self.padding)
        if self.flip:
            flip = random_flow_flip if stream == "flow" else random_flip
            images = flip(key_flip, images, self.flip)
        if self.jitter:
            images = colour_jitter(key_colour, images, self.jitter)
        if self.reverse:
            chosen = jax.random.bernoulli(key_reverse, self.reverse, (len(images),))
            if stream == "flow":
                images = reversed_flow(images, chosen)
            else:
                chosen = chosen[:, None, None, None, None]
                images = jnp.where(chosen, images[:, ::-1], images)
        return {**batch, stream: images}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        if name == "flow":
            return flow_channels(x, self.centred)
        x = (x - jnp.array(self.mean)) / jnp.array(self.std)
        return frame_differences(x) if name == "difference" else x

    def objective(self, outputs: jax.Array, batch: Batch):
        return self.task.loss(outputs, batch["target"])

    def words(self, batch: Batch) -> dict[str, list[str]]:
        return {"": [self.task.words(target) for target in np.asarray(batch["target"])]}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        """Each place is asked for `crops` times in a row."""
        places = -(-count // self.crops)
        times = even_clip_times(record, places, max(self.frames, 1), self.stride)
        return np.repeat(times, self.crops)[:count].tolist()

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """With ten crops, every ten times in a row are the crops of the first of them."""
        count, length = len(times), max(self.frames - (stream == "flow"), 1)
        numbers = clip_numbers(record, times[:: self.crops], length, self.stride)
        if stream == "flow":
            frames = flow_clips(record, numbers, *self._flow_knobs)
            frames = frames.reshape(-1, *frames.shape[2:])
        else:
            frames = self._resized(record.need_frames()(numbers.ravel()))
        if self.crops == 1:
            cut = center_crop(frames, (self.crop, self.crop))[None]
        else:
            cut = ten_crops(frames, self.crop)
        if self.crops > 1 and stream == "flow":
            cut[5:] = mirrored(cut[:5])
        # (crops, places * frames, ...) -> all crops of the first place, then of the second, ...
        cut = cut.reshape(self.crops, *numbers.shape, *cut.shape[2:]).swapaxes(0, 1)
        rows = cut.reshape(-1, *cut.shape[2:])[:count]
        return {stream: rows if self.frames else rows[:, 0]}

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        return self.net.apply(variables, self.inputs(inputs), train=False, method="layers")
