"""Autoencoders, plain (Hinton and Salakhutdinov, "Reducing the Dimensionality of Data with Neural
Networks", Science 2006) and denoising (Vincent, Larochelle, Bengio and Manzagol, "Extracting and
Composing Robust Features with Denoising Autoencoders", ICML 2008): what was the clean image?"""

import dataclasses
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.record import Record
from ssl_jax.data.squares import random_square
from ssl_jax.knobs import above, ascending, at_least, one_of, within
from ssl_jax.method import Batch, Example, Method, State, scaled
from ssl_jax.models.decoders import DenseDecoder
from ssl_jax.models.heads import last
from ssl_jax.objectives.reconstruction import binary_cross_entropy, weighted_squares
from ssl_jax.ops.corruption import CORRUPTIONS, corrupt
from ssl_jax.ops.warp import random_affine

CRITERIA = ("cross_entropy", "squares")


class AutoencoderNet(nn.Module):
    """Trunk and a dense decoder of its last layer: the logits of every pixel (b n)."""

    vision: nn.Module
    decoder: tuple[int, ...]
    pixels: int
    sparse: int

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        code = last(self.vision(batch["vision"], train))
        decode = DenseDecoder(self.decoder, self.pixels, self.sparse, name="decoder")
        return decode(code.reshape(len(code), -1))

    def reconstruction(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """Images and what is given back of them, in 0..1 (b h w 1)."""
        images = batch["vision"]
        back = jax.nn.sigmoid(self(batch, train)).reshape(images.shape)
        return {"target": images, "image": back}


@dataclasses.dataclass(frozen=True)
class Autoencoder(Method):
    """Grey images squeezed through a narrow code, or corrupted, and given back as they were.

    The shortcut is the identity, which teaches nothing: a code narrower than the image forbids it,
    and so does noise. Noise is never part of the target. Shifts, turns and scales, which make more
    images out of few, are: an image so changed is what has to be given back.

    Differs from the papers: all layers are trained at once and share no weights, where theirs are
    trained one after the other beforehand; so does Caffe's example, whose stack of layers, initial
    weights and loss are the defaults here.

    Batch: views {"vision": uint8 (size size 3)}; augment {"vision": float (b size size 1),
    corrupted, "target": float 0..1 (b size size 1)}.

    Attributes:
      vision: the trunk; in Caffe's example `DenseEncoder`.
      size: side of the images in pixels. Colours are averaged: the network sees one channel.
      decoder: widths of the decoder's hidden layers.
      sparse: weights that the decoder's units start with; see `DenseEncoder`.
      criterion: 'cross_entropy' (a pixel is the probability of white; summed over pixels) or
        'squares' (their mean).
      corruption: 'none', 'masking', 'gaussian' or 'salt_pepper'; see `ssl_jax.ops.corruption`.
      amount: of the corruption, a probability or a deviation.
      shift: along each axis at most so many sides of the image.
      scale: smallest and largest magnification.
      degrees: turned by at most so much.

    Raises ConfigError for an unknown criterion or corruption.
    """

    vision: nn.Module
    size: int = 28
    decoder: tuple[int, ...] = (250, 500, 1000)
    sparse: int = 15
    criterion: str = "cross_entropy"
    corruption: str = "none"
    amount: float = 0.25
    shift: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    degrees: float = 0.0

    def __post_init__(self):
        one_of(self, "criterion", CRITERIA)
        one_of(self, "corruption", CORRUPTIONS)
        at_least(self, 1, "size", "decoder")
        at_least(self, 0, "sparse", "amount", "shift", "degrees")
        above(self, 0, "scale")
        ascending(self, "scale")
        if self.corruption in ("masking", "salt_pepper"):  # it is a probability
            within(self, 0, 1, "amount")

    @property
    def net(self) -> nn.Module:
        return AutoencoderNet(self.vision, self.decoder, self.size**2, self.sparse)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.size, rng)}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        place, noise = jax.random.split(key)
        clean = grey(scaled(batch["vision"]))
        if self.shift or self.degrees or self.scale != (1.0, 1.0):
            clean = random_affine(
                place, clean, self.size, None, self.shift, self.scale, self.degrees
            )
        return {"vision": corrupt(noise, clean, self.corruption, self.amount), "target": clean}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return grey(x)

    def objective(self, outputs: jax.Array, batch: Batch):
        target = batch["target"].reshape(len(outputs), -1)
        squares = weighted_squares(jax.nn.sigmoid(outputs), target, jnp.ones(()))
        entropy = binary_cross_entropy(outputs, target)
        metrics = {"squared_error": squares, "cross_entropy": entropy}
        return entropy if self.criterion == "cross_entropy" else squares, metrics

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        """The trunk, and what the decoder gives back."""
        return {**super().streams, "reconstruction": ("vision",)}


def grey(images: jax.Array) -> jax.Array:
    """The mean of the channels (b h w 1); of one channel, itself."""
    return images.mean(-1, keepdims=True)
