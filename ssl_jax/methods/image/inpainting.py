"""Inpainting (Pathak, Krahenbuhl, Donahue, Darrell and Efros, "Context Encoders: Feature Learning
by Inpainting", CVPR 2016): what is missing in the hole, given all around it?"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Record
from ssl_jax.data.squares import random_square
from ssl_jax.knobs import at_least, given, no_larger, one_of, within
from ssl_jax.method import Batch, Example, Method, State, scaled
from ssl_jax.models.decoders import Adversary, ImageDecoder
from ssl_jax.models.heads import last
from ssl_jax.objectives.reconstruction import adversarial, weighted_squares
from ssl_jax.ops.augment import random_crop, random_flip
from ssl_jax.ops.corruption import middle_square, random_blocks, random_regions, square_mask

HOLES = ("centre", "block", "region")


class InpaintingNet(nn.Module):
    """Trunk, decoder, and a critic of the decoder's images; returns (image, its answers)."""

    vision: nn.Module
    side: int  # of the image that is made
    decoder: tuple[int, ...]
    critic: tuple[int, ...]  # () is none

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> tuple[jax.Array, tuple | None]:
        layers = self.vision(batch["vision"], train)
        made = ImageDecoder(self.decoder, name="decoder")(last(layers), train)
        if made.shape[1] != self.side:
            made = jax.image.resize(made, (len(made), self.side, self.side, 3), "linear")
        if not self.critic:
            return made, None
        return made, Adversary(self.critic, name="adversary")(batch["target"], made, train)


@dataclasses.dataclass(frozen=True)
class Inpainting(Method):
    """Draws the hidden part of an image; squared error, and if wanted an adversarial loss.

    The paper has two systems. To *inpaint*: holes='centre', `ContextEncoder` and a critic. The
    decoder makes the middle square alone, which overlaps what is seen by some pixels, where errors
    weigh ten times as much. For *features*: holes='region', AlexNet up to pool5, no critic. The
    decoder makes the whole image, whose hidden part counts. Shortcut: with a fixed hole the network
    learns its border, hence the random regions for features; the critic sees the generated square
    alone, or the seam would give it away.

    One loss and one optimizer train both players: the critic's error on images behind which the
    gradient stops, and the generator's on answers of a critic whose weights are held still. The two
    gradients reach disjoint weights, so one step does what two alternating ones do, both by the
    critic as it was before the step.

    Differs from the released code: that means one learning rate, where the generator's was ten
    times the critic's; the error that is shown weighs the overlap too; decoders of both systems
    have BN. Regions are made from noise, as there, where the paper cuts out object shapes, and
    every image has its own, not the batch.

    Batch: views {"vision": uint8 (stored stored 3)}; augment {"vision": float 0..1 (b size size 3),
    "target": float 0..1 (b side side 3), "weight": float (b side side 1)}, where side is size / 2
    for holes='centre', else size.

    Attributes:
      vision: the trunk; its last layer, a code or maps, feeds the decoder.
      holes: 'centre', 'block' (overlapping squares) or 'region' (blobs), a quarter of the image.
      size: side of the network's input in pixels.
      stored: side of the square that the host hands over, from which is cropped.
      overlap: by so many pixels the middle square reaches into what is seen, on each side.
      decoder: widths of the decoder's layers.
      critic: widths of the critic's layers; () is none.
      adversarial: fraction of the adversarial loss in the generator's; the rest is squared error.
      fill: colour of the hole, in 0..255; the default is that of the code, ImageNet's mean with
        its channels in another order.

    Raises ConfigError for unknown holes, or a critic of others than the middle square.
    """

    also_prepared: ClassVar[tuple[str, ...]] = ("target",)

    vision: nn.Module
    holes: str = "centre"
    size: int = 128
    stored: int = 350
    overlap: int = 4
    decoder: tuple[int, ...] = (512, 256, 128, 64)
    critic: tuple[int, ...] = (64, 128, 256, 512)
    adversarial: float = 0.001
    fill: tuple[float, float, float] = (117.0, 104.0, 123.0)

    def __post_init__(self):
        one_of(self, "holes", HOLES)
        at_least(self, 1, "size", "stored", "decoder", "critic")
        at_least(self, 0, "overlap")
        given(self, "decoder")
        within(self, 0, 1, "adversarial")
        no_larger(self, "size", "stored")
        if self.critic and self.holes != "centre":
            raise ConfigError("inpainting: a critic needs holes='centre'; or set critic=()")

    @property
    def net(self) -> nn.Module:
        side = self.size // 2 if self.holes == "centre" else self.size
        return InpaintingNet(self.vision, side, self.decoder, self.critic)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        crop, flip, hole = jax.random.split(key, 3)
        images = scaled(random_flip(flip, random_crop(crop, batch["vision"], self.size)))
        if self.holes == "centre":
            hidden = self.hole()
            target, seen = (middle_square(x, self.size // 2) for x in (images, 1 - hidden))
            weight = jnp.repeat(1 + 9 * seen, len(images), axis=0)
        else:
            draw = {"block": random_blocks, "region": random_regions}[self.holes]
            hidden = draw(hole, len(images), self.size)
            # The mean over hidden pixels, not over all.
            target, weight = images, hidden / hidden.mean((1, 2, 3), keepdims=True)
        return {"vision": self.hide(images, hidden), "target": target, "weight": weight}

    def hole(self) -> jax.Array:
        """The mask (1 size size 1) of the middle square as it is hidden: less the overlap."""
        return square_mask(self.size, self.size // 2 - 2 * self.overlap)[None]

    def hide(self, images: jax.Array, hidden: jax.Array) -> jax.Array:
        return jnp.where(hidden > 0, jnp.array(self.fill) / 255.0, images)

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return 2.0 * x - 1.0  # the range of the decoder's tanh

    def objective(self, outputs: tuple[jax.Array, tuple | None], batch: Batch):
        made, answers = outputs
        error = weighted_squares(made, batch["target"], batch["weight"])
        metrics = {"squared_error": error}
        if answers is None:
            return error, metrics
        critic, generator, more = adversarial(*answers)
        loss = (1 - self.adversarial) * error + self.adversarial * generator + critic
        return loss, {**metrics, "critic": critic, "generator": generator, **more}

    def apply_to(self, variables: dict, images: jax.Array | np.ndarray) -> jax.Array:
        """Fills the middle hole of images: uint8 (b h w 3) -> uint8 (b size size 3).

        The largest middle square of an image is resized to `size` pixels first.
        """
        pixels = middle_square(scaled(jnp.asarray(images)), min(images.shape[1:3]))
        pixels = jax.image.resize(pixels, (len(pixels), self.size, self.size, 3), "linear")
        inputs = {"vision": self.prepare("vision", self.hide(pixels, self.hole()))}
        generator = dataclasses.replace(self, critic=()).net  # there is no target to judge by
        made, _ = generator.apply(variables, inputs, train=False)
        around = (self.size - made.shape[1]) // 2
        made = jnp.pad(made, ((0, 0), (around, around), (around, around), (0, 0)))
        filled = jnp.where(self.hole() > 0, (made + 1) / 2, pixels)
        return jnp.round(255 * filled.clip(0.0, 1.0)).astype(jnp.uint8)
