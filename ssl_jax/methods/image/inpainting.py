"""Inpainting (Pathak, Krahenbuhl, Donahue, Darrell, Efros, "Context Encoders: Feature Learning by
Inpainting", CVPR 2016): what is missing in the hole, given all around it?"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.record import Record
from ssl_jax.data.squares import even_squares, random_square
from ssl_jax.method import Batch, Example, Method
from ssl_jax.models.decoders import Adversary, PictureDecoder
from ssl_jax.objectives.reconstruction import adversarial, weighted_squares
from ssl_jax.ops.augment import random_crop, random_flip
from ssl_jax.ops.corruption import random_blocks, random_regions, square_mask

HOLES = ("centre", "block", "region")


class InpaintingNet(nn.Module):
    """Trunk, decoder, and a critic of the decoder's pictures; returns (picture, its answers)."""

    vision: nn.Module
    side: int  # of the picture that is made
    decoder: tuple[int, ...]
    critic: tuple[int, ...]  # () is none

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> tuple[jax.Array, tuple | None]:
        layers = self.vision(batch["vision"], train)
        made = PictureDecoder(self.decoder, name="decoder")(layers[list(layers)[-1]], train)
        if made.shape[1] != self.side:
            made = jax.image.resize(made, (len(made), self.side, self.side, 3), "linear")
        if not self.critic:
            return made, None
        return made, Adversary(self.critic, name="adversary")(batch["target"], made, train)


@dataclasses.dataclass(frozen=True)
class Inpainting(Method):
    """Draws the hidden part of a picture; squared error, and if wanted an adversarial loss.

    The paper has two systems. To *inpaint*: holes='centre', `ContextEncoder` and a critic. The
    decoder makes the middle square alone, which overlaps what is seen by some pixels, where errors
    weigh ten times as much. For *features*: holes='region', AlexNet up to pool5, no critic. The
    decoder makes the whole picture, whose hidden part counts. Shortcut: with a fixed hole the
    network learns its border, hence the random regions for features; the critic sees the generated
    square alone, or the seam would betray it.

    One loss and one optimiser train both players: the critic's error on pictures behind which the
    gradient stops, and the generator's on answers of a critic whose weights are held still. The two
    gradients reach disjoint weights, so one step does what two alternating ones do, both by the
    critic as it was before the step.

    Against the released code: that means one learning rate, where the generator's was ten times the
    critic's; the error that is shown weighs the overlap too; decoders of both systems have BN.
    Regions are made from noise, as there, where the paper cuts out object shapes, and every picture
    has its own, not the batch.

    Attributes:
      vision: the trunk; its last layer, a code or maps, feeds the decoder.
      holes: 'centre', 'block' (overlapping squares) or 'region' (blobs), a quarter of the picture.
      size: side of the network's input in pixels.
      stored: side of the square that the host hands over, from which is cropped.
      overlap: by so many pixels the middle square reaches into what is seen, on each side.
      decoder: widths of the decoder's layers.
      critic: widths of the critic's layers; () is none.
      adversarial: share of the adversarial loss in the generator's; the rest is squared error.
      fill: colour of the hole, in 0..255; the default is that of the code, ImageNet's mean with
        its channels in another order.
    """

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
        if self.holes not in HOLES:
            raise ValueError(f"holes is one of {', '.join(HOLES)}, not {self.holes!r}")
        if self.critic and self.holes != "centre":
            raise ValueError("a critic judges the middle square: critic=() or holes='centre'")

    @property
    def net(self) -> nn.Module:
        side = self.size // 2 if self.holes == "centre" else self.size
        return InpaintingNet(self.vision, side, self.decoder, self.critic)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        crop, flip, hole = jax.random.split(key, 3)
        images = random_flip(flip, random_crop(crop, batch["vision"], self.size))
        images = self.prepare("vision", images)
        if self.holes == "centre":
            hidden = self.hole()[None]
            target = _middle(images, self.size // 2)
            border = _middle(1 - hidden, self.size // 2)
            weight = jnp.broadcast_to(1 + 9 * border, (*target.shape[:3], 1))
        else:
            draw = {"block": random_blocks, "region": random_regions}[self.holes]
            hidden = draw(hole, len(images), self.size)
            # The mean over hidden pixels, not over all.
            target, weight = images, hidden / hidden.mean((1, 2, 3), keepdims=True)
        return {"vision": self.hide(images, hidden), "target": target, "weight": weight}

    def hole(self) -> jax.Array:
        """The mask (size size 1) of the middle square as it is hidden: less the overlap."""
        return square_mask(self.size, self.size // 2 - 2 * self.overlap)

    def hide(self, images: jax.Array, hidden: jax.Array) -> jax.Array:
        return jnp.where(hidden > 0, jnp.array(self.fill) / 127.5 - 1, images)

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        """Bytes are taken to -1..1; what `augment` made already is."""
        return raw.astype(jnp.float32) / 127.5 - 1 if raw.dtype == jnp.uint8 else raw

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
        """Fills the middle hole of pictures: uint8 (b h w 3) -> uint8 (b size size 3).

        The largest middle square of a picture is resized to `size` pixels first.
        """
        pixels = _middle(jnp.asarray(images, jnp.float32), min(images.shape[1:3]))
        pixels = jax.image.resize(pixels, (len(pixels), self.size, self.size, 3), "linear")
        pictures, hidden = pixels / 127.5 - 1, self.hole()[None]
        net = dataclasses.replace(self, critic=()).net
        made, _ = net.apply(variables, {"vision": self.hide(pictures, hidden)}, train=False)
        around = (self.size - made.shape[1]) // 2
        made = jnp.pad(made, ((0, 0), (around, around), (around, around), (0, 0)))
        filled = jnp.where(hidden > 0, made, pictures)
        return jnp.round((filled.clip(-1, 1) + 1) * 127.5).astype(jnp.uint8)

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        return even_squares(record, self.size, count)


def _middle(images: jax.Array, side: int) -> jax.Array:
    top, left = ((length - side) // 2 for length in images.shape[1:3])
    return images[:, top : top + side, left : left + side]
