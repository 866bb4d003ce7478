"""Colorization (Zhang, Isola and Efros, "Colorful Image Colorization", ECCV 2016): which colours
had this black-and-white picture?"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.record import Record
from ssl_jax.data.squares import even_squares, random_square
from ssl_jax.method import Batch, Example, Method
from ssl_jax.objectives.colour import (
    ab_bins,
    annealed_mean,
    colour_cross_entropy,
    fit_map,
    rebalancing,
    soft_bins,
)
from ssl_jax.ops.augment import random_crop, random_flip
from ssl_jax.ops.colour import lab_to_rgb, resize_corners, rgb_to_lab

PRIOR_STEPS = 1000  # steps that the mean of the colours seen reaches back over


class ColorizationNet(nn.Module):
    """Trunk and a linear classifier of the 313 colours at every cell; counts colours in training.

    Beside the weights it keeps how frequent every colour was (collection 'prior').
    """

    vision: nn.Module
    neighbours: int
    sigma: float

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> tuple[jax.Array, jax.Array]:
        layers = self.vision(batch["vision"], train)
        count = len(ab_bins())
        logits = nn.Conv(count, (1, 1), name="head")(layers[list(layers)[-1]])
        prior = self.variable("prior", "frequencies", jnp.full, count, 1 / count, jnp.float32)
        steps = self.variable("prior", "steps", jnp.zeros, (), jnp.int32)
        if train:
            seen = soft_bins(batch["target"], self.neighbours, self.sigma).mean((0, 1, 2))
            steps.value = jnp.minimum(steps.value + 1, PRIOR_STEPS)
            prior.value = prior.value + (seen - prior.value) / steps.value
        return logits, prior.value


@dataclasses.dataclass(frozen=True)
class Colorization(Method):
    """Predicts the distribution of every place's colour from the lightness L of the picture.

    Colours are the 313 bins of (a, b); rare ones weigh more, or everything would come out in dull
    browns. The net sees L alone, which holds no trace of the colour. Pictures without any colour do
    not count.

    Against the paper: how frequent colours are is counted in training, in place of a file counted
    beforehand, and counts soft-encoded colours, which smooths; L comes as (L - 50) / 50 (theirs is
    L - 50: BN follows); no k-means initialisation. Against the released code: the loss that is
    shown is the weighted one, which theirs weighs only in the gradient; 5 neighbours, not 10.

    Attributes:
      vision: the trunk, whose last layer is a map: `DenseAlexNet` to learn features, `DilatedVGG`
        to colour pictures.
      size: side of the network's square input in pixels.
      stored: side of the square that the host hands over, from which crops are cut.
      stride: every so many pixels, along both axes, one colour is predicted; predictions are
        enlarged to that grid. 8 for `DenseAlexNet`, 4 for `DilatedVGG`.
      neighbours, sigma: number and width of the bins that a colour is spread over.
      uniform: share of the uniform distribution in the prior that colours are weighed by; 1 weighs
        them all alike.
      temperature: of the softmax whose mean is the colour that is painted.
    """

    vision: nn.Module
    size: int = 180
    stored: int = 256
    stride: int = 8
    neighbours: int = 5
    sigma: float = 5.0
    uniform: float = 0.5
    temperature: float = 0.38

    @property
    def net(self) -> nn.Module:
        return ColorizationNet(self.vision, self.neighbours, self.sigma)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        key_crop, key_flip = jax.random.split(key)
        images = random_flip(key_flip, random_crop(key_crop, batch["vision"], self.size))
        target = rgb_to_lab(images[:, :: self.stride, :: self.stride])[..., 1:]
        return {"vision": images, "target": target}

    def prepare(self, stream: str, raw: jax.Array) -> jax.Array:
        return (rgb_to_lab(raw)[..., :1] - 50.0) / 50.0

    def objective(self, outputs: tuple[jax.Array, jax.Array], batch: Batch):
        logits, prior = outputs
        target, weights = batch["target"], rebalancing(prior, self.uniform)
        logits = fit_map(logits, target)
        loss, metrics = colour_cross_entropy(logits, target, weights, self.neighbours, self.sigma)
        away = annealed_mean(logits, self.temperature) - target
        return loss, {**metrics, "error": jnp.mean(jnp.linalg.norm(away, axis=-1))}

    def clips(self, record: Record, stream: str, count: int) -> np.ndarray:
        return even_squares(record, self.size, count)

    def apply_to(self, variables: dict, images: jax.Array) -> jax.Array:
        """Pictures in new colours: uint8 (b h w 3) of any size, of which only L is read.

        The net sees them as squares of its own size; its colours are enlarged and put on the
        picture's own lightness.
        """
        rgb, (b, h, w, _) = images.astype(jnp.float32) / 255.0, images.shape
        small = jax.image.resize(rgb, (b, self.size, self.size, 3), "linear").clip(0.0, 1.0)
        inputs = {"vision": self.prepare("vision", small)}
        logits, _ = self.net.apply(variables, inputs, train=False)
        ab = resize_corners(annealed_mean(logits, self.temperature), h, w)
        lab = jnp.concatenate([rgb_to_lab(images)[..., :1], ab], axis=-1)
        return jnp.round(255 * lab_to_rgb(lab)).astype(jnp.uint8)
