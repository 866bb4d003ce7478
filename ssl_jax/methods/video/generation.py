"""VGAN (Vondrick, Pirsiavash and Torralba, "Generating Videos with Scene Dynamics", NIPS 2016): is
this clip real, or was it generated?"""

import dataclasses
from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data.clips import clip_numbers, even_clip_times
from ssl_jax.data.image import square
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import random_clip
from ssl_jax.data.stabilise import laid_over
from ssl_jax.knobs import at_least
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.heads import last
from ssl_jax.models.two_stream_generator import WEIGHTS
from ssl_jax.objectives.video_generation import video_generation


class GenerationNet(nn.Module):
    """A generator, and the discriminator: the trunk and two logits, for real and for generated."""

    vision: nn.Module
    generator: nn.Module

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """Logits (b 2) of real clips; of generated ones, once for each player; and the mask."""
        made = self.generator(batch["latent"], train)
        answer = nn.Dense(2, kernel_init=WEIGHTS, name="answer")
        real = answer(flat(last(self.vision(batch["vision"], train))))
        weights = self.vision.variables["params"], answer.variables
        trunk, head = (part.clone(parent=None, name=None) for part in (self.vision, answer))
        # Generated clips have running statistics of their own.
        kept = {name: x for name, x in self.vision.variables.items() if name != "params"}
        own = self.variable("batch_stats", "of_generated", lambda: kept)

        rngs = {"dropout": self.make_rng("dropout")} if train else {}

        def judged(weights: tuple, clips: jax.Array) -> tuple[jax.Array, dict]:
            variables = {"params": weights[0], **own.value}
            layers, new = trunk.apply(variables, clips, train, mutable=list(kept), rngs=rngs)
            return head.apply(weights[1], flat(last(layers))), new

        stop = jax.lax.stop_gradient
        generated, new = judged(weights, stop(made["video"]))
        fooled, _ = judged(stop(weights), made["video"])
        if train:
            own.value = new
        return {"real": real, "generated": generated, "fooled": fooled, "mask": made["mask"]}

    def generated(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """What the generator makes of latents, in 0..1, the layers named as its outputs."""
        made = self.generator(batch["latent"], train)
        return {k: x if k == "mask" else (x + 1) / 2 for k, x in made.items()}


def flat(maps: jax.Array) -> jax.Array:
    return maps.reshape(len(maps), -1).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Generation(Method):
    """A generator draws videos, a discriminator tells them from real ones and is the trunk.

    The generator lays a moving foreground over a background that rests, by a mask of its own; a
    small penalty on the mask has it use the background. This holds for videos whose camera rests:
    others are stabilised. To tell real from generated clips the discriminator has to know how
    things look and move. Shortcuts: traces of compression and a drifting camera, which the
    generator can hardly draw, tell real clips; stabilising is the only defence.

    One loss and one optimizer train both players in one step: the discriminator's error, of which
    the gradient stops at the generated clips, and the generator's, of which it stops at the
    discriminator's weights. The two gradients reach disjoint weights, both by the discriminator as
    it was before the step. Watch the metric 'mask', the mean of the mask: near 0 the generator
    draws a photograph, near 1 it leaves the background unused.

    Differs from the released code: there the generator's step goes through activations of the
    discriminator from before its update with weights from after it; here both are from before.
    Frames are laid over the middle one by shift, rotation and zoom, not over the first by a
    homography. A clip is never filled up by its last frame. BN has running statistics for real
    clips, by which the trunk is probed, and others for generated ones. The conditional generator,
    which is given the first frame, is not there.

    Batch: views {"vision": uint8 (frames size size 3)}; augment {"vision": uint8 (b frames size
    size 3), "latent": float (b latent), N(0, 1)}. There is no target that could be shuffled.

    Attributes:
      vision: the discriminator's convolutions; its last layer is flattened for the answer.
      generator: whose videos have `frames` frames of `size` pixels.
      frames: of a clip.
      stride: every how many-th frame of the video is taken.
      size: side of the square in pixels.
      latent: width of z.
      mask_weight: of the penalty on the mean of the mask.
      stabilise: the frames of a clip are laid over its middle one.

    Raises ConfigError for a generator that draws videos of another size.
    """

    vision: nn.Module
    generator: nn.Module
    frames: int = 32
    stride: int = 1
    size: int = 64
    latent: int = 100
    mask_weight: float = 0.1
    stabilise: bool = True

    def __post_init__(self):
        at_least(self, 1, "frames", "stride", "size", "latent")
        at_least(self, 0, "mask_weight")
        drawn = self.generator.frames, self.generator.side
        if drawn != (self.frames, self.size):
            raise ConfigError(
                f"frames={self.frames} and size={self.size} must be those that the generator "
                f"draws: {drawn[0]} and {drawn[1]}"
            )

    @property
    def net(self) -> nn.Module:
        return GenerationNet(self.vision, self.generator)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        numbers = random_clip(record.num_frames, self.frames, rng, self.stride)
        return {"vision": self._read(record, numbers)}

    def _read(self, record: Record, numbers: np.ndarray) -> UInt8[np.ndarray, "t h w 3"]:
        frames = record.need_frames()(numbers)
        if self.stabilise:
            frames = laid_over(frames, np.arange(len(frames)))
        return square(frames, self.size)

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        return {**batch, "latent": jax.random.normal(key, (len(batch["vision"]), self.latent))}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return x if name == "latent" else 2.0 * x - 1.0

    def objective(self, outputs: dict, batch: Batch):
        return video_generation(**outputs, mask_weight=self.mask_weight)

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        """The trunk, and what the generator makes of latents, which records only number."""
        return {"vision": ("vision",), "generated": ("latent",)}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return even_clip_times(record, count, self.frames, self.stride)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        if stream == "generated":
            rng = np.random.default_rng(record.index)
            return {"latent": np.float32(rng.normal(size=(len(times), self.latent)))}
        numbers = clip_numbers(record, times, self.frames, self.stride)
        return {"vision": np.stack([self._read(record, row) for row in numbers])}

    def pictures(self, batch: Batch) -> Batch:
        return {"vision": batch["vision"]}
