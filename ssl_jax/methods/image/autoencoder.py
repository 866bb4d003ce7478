"""Autoencoders, plain (Hinton and Salakhutdinov, "Reducing the Dimensionality of Data with Neural
Networks", Science 2006) and denoising (Vincent et al., ICML 2008): give the clean picture back."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.record import Record
from ssl_jax.data.squares import even_squares, random_square
from ssl_jax.method import Batch, Example, Method
from ssl_jax.models.decoders import DenseDecoder
from ssl_jax.objectives.reconstruction import binary_cross_entropy, weighted_squares
from ssl_jax.ops.corruption import CORRUPTIONS, corrupt
from ssl_jax.ops.warp import random_affine

LOSSES = ("cross_entropy", "squares")


class AutoencoderNet(nn.Module):
    """Trunk and a dense decoder of its last layer: the logits of every pixel (b n)."""

    vision: nn.Module
    decoder: tuple[int, ...]
    pixels: int
    sparse: int

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        layers = self.vision(batch["vision"], train)
        last = layers[list(layers)[-1]]
        decode = DenseDecoder(self.decoder, self.pixels, self.sparse, name="decoder")
        return decode(last.reshape(len(last), -1))


@dataclasses.dataclass(frozen=True)
class Autoencoder(Method):
    """Grey pictures squeezed through a narrow code, or spoilt, and given back as they were.

    The shortcut is the identity, which teaches nothing: a code narrower than the picture forbids
    it, and so does noise. Noise is never part of the target. Shifts, turns and scales, which make
    more pictures out of few, are: a picture so changed is what has to be given back.

    Against the papers: all layers are trained at once and share no weights, where theirs are
    trained one after the other beforehand; so does Caffe's example, whose stack of layers, initial
    weights and loss are the defaults here.

    Attributes:
      vision: the trunk; in Caffe's example `DenseEncoder`.
      size: side of the pictures in pixels. Colours are averaged: the network sees one channel.
      decoder: widths of the decoder's hidden layers.
      sparse: weights that the decoder's units start with; see `DenseEncoder`.
      loss_name: 'cross_entropy' (a pixel is the probability of white; summed over pixels) or
        'squares' (their mean).
      corruption: 'none', 'masking', 'gaussian' or 'salt_pepper'; see `ssl_jax.ops.corruption`.
      amount: of the corruption, a probability or a deviation.
      shift: along each axis at most so many sides of the picture.
      scale: smallest and largest magnification.
      degrees: turned by at most so much.
    """

    vision: nn.Module
    size: int = 28
    decoder: tuple[int, ...] = (250, 500, 1000)
    sparse: int = 15
    loss_name: str = "cross_entropy"
    corruption: str = "none"
    amount: float = 0.25
    shift: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    degrees: float = 0.0

    def __post_init__(self):
        if self.loss_name not in LOSSES:
            raise ValueError(f"loss_name is one of {', '.join(LOSSES)}, not {self.loss_name!r}")
        if self.corruption not in CORRUPTIONS:
            raise ValueError(
                f"corruption is one of {', '.join(CORRUPTIONS)}, not {self.corruption!r}"
            )

    @property
    def net(self) -> nn.Module:
        return AutoencoderNet(self.vision, self.decoder, self.size**2, self.sparse)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.size, rng)}

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        place, noise = jax.random.split(key)
        clean = self.prepare("vision", batch["vision"])
        if self.shift or self.degrees or self.scale != (1.0, 1.0):
            clean = random_affine(
                place, clean, self.size, None, self.shift, self.scale, self.degrees
            )
        return {"vision": corrupt(noise, clean, self.corruption, self.amount), "target": clean}

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        """Bytes (b h w 3) become grey pictures (b h w 1) in 0..1; what `augment` made is so."""
        if raw.dtype != jnp.uint8:
            return raw
        return raw.astype(jnp.float32).mean(-1, keepdims=True) / 255.0

    def objective(self, outputs: jax.Array, batch: Batch):
        target = batch["target"].reshape(len(outputs), -1)
        squares = weighted_squares(jax.nn.sigmoid(outputs), target, jnp.ones(()))
        entropy = binary_cross_entropy(outputs, target)
        metrics = {"squared_error": squares, "cross_entropy": entropy}
        return entropy if self.loss_name == "cross_entropy" else squares, metrics

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        return even_squares(record, self.size, count)
