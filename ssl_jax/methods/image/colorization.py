"""Colorization (Zhang, Isola and Efros, "Colorful Image Colorization", ECCV 2016): which colours
had this black-and-white image?"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.record import Record
from ssl_jax.data.squares import random_square
from ssl_jax.knobs import above, at_least, no_larger, within
from ssl_jax.method import Batch, Example, Method, Params, State, scaled
from ssl_jax.models.heads import last
from ssl_jax.objectives.colour import (
    COLOURS,
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
    """Trunk and a linear classifier of the 313 colours at every cell: logits (b h w 313)."""

    vision: nn.Module

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> jax.Array:
        layers = self.vision(batch["vision"], train)
        return nn.Conv(COLOURS, (1, 1), name="head")(last(layers))


@dataclasses.dataclass(frozen=True)
class Colorization(Method):
    """Predicts the distribution of every place's colour from the lightness L of the image.

    Colours are the 313 bins of (a, b); rare ones weigh more, or everything would come out in dull
    browns. How frequent each was in the steps before is the state "prior". The net sees L alone,
    which holds no trace of the colour. Images without any colour do not count.

    Differs from the paper: how frequent colours are is counted in training, in place of a file
    counted beforehand, and counts soft-encoded colours, which smooths; L comes as (L - 50) / 50
    (theirs is L - 50: BN follows); no k-means initialisation. Differs from the released code: the
    loss that is shown is the weighted one, which theirs weighs only in the gradient; 5 neighbours,
    not 10.

    Batch: views {"vision": uint8 (stored stored 3)}; augment {"vision": uint8 (b size size 3),
    "target": float (b h w 2), a and b, "weights": float (313), of the colours, not of the rows}.

    Attributes:
      vision: the trunk, whose last layer is a map: `DenseAlexNet` to learn features, `DilatedVGG`
        to colour images.
      size: side of the network's square input in pixels.
      stored: side of the square that the host hands over, from which crops are cut.
      stride: every so many pixels, along both axes, one colour is predicted; predictions are
        enlarged to that grid. 8 for `DenseAlexNet`, 4 for `DilatedVGG`.
      neighbours, sigma: number and width of the bins that a colour is spread over.
      uniform: fraction of the uniform distribution in the prior that colours are weighed by; 1
        weighs them all alike.
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

    def __post_init__(self):
        at_least(self, 1, "size", "stored", "stride", "neighbours")
        above(self, 0, "sigma", "uniform", "temperature")
        within(self, 0, 1, "uniform")
        no_larger(self, "size", "stored")

    @property
    def net(self) -> nn.Module:
        return ColorizationNet(self.vision)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def init(self, key: jax.Array, batch: Batch, records: int) -> dict:
        key_augment, key_net = jax.random.split(key)
        frequencies = jnp.full(COLOURS, 1 / COLOURS)
        prior = {"frequencies": frequencies, "steps": jnp.zeros((), jnp.int32)}
        puzzle = self.augment(batch, {"prior": prior}, key_augment)
        return {**self.init_net(key_net, puzzle), "prior": prior}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_crop, key_flip = jax.random.split(key)
        images = random_flip(key_flip, random_crop(key_crop, batch["vision"], self.size))
        target = rgb_to_lab(images[:, :: self.stride, :: self.stride])[..., 1:]
        weights = rebalancing(state["prior"]["frequencies"], self.uniform)
        return {"vision": images, "target": target, "weights": weights}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return (rgb_to_lab(x)[..., :1] - 50.0) / 50.0

    def objective(self, outputs: jax.Array, batch: Batch):
        target, bins = batch["target"], (self.neighbours, self.sigma)
        logits = fit_map(outputs, target)
        loss, metrics = colour_cross_entropy(logits, target, batch["weights"], *bins)
        away = annealed_mean(logits, self.temperature) - target
        return loss, {**metrics, "error": jnp.mean(jnp.linalg.norm(away, axis=-1))}

    def after(self, params: Params, state: State, batch: Batch, outputs: Any) -> State:
        """Moves the prior to the mean of the colours seen, in the last `PRIOR_STEPS` or so."""
        prior = state["prior"]
        seen = soft_bins(batch["target"], self.neighbours, self.sigma).mean((0, 1, 2))
        steps = jnp.minimum(prior["steps"] + 1, PRIOR_STEPS)
        frequencies = prior["frequencies"] + (seen - prior["frequencies"]) / steps
        return {**state, "prior": {"frequencies": frequencies, "steps": steps}}

    def apply_to(self, variables: dict, images: jax.Array) -> jax.Array:
        """Images in new colours: uint8 (b h w 3) of any size, of which only L is read.

        The net sees them as squares of its own size; its colours are enlarged and put on the
        image's own lightness.
        """
        rgb, (b, h, w, _) = scaled(images), images.shape
        small = jax.image.resize(rgb, (b, self.size, self.size, 3), "linear").clip(0.0, 1.0)
        inputs = {"vision": self.prepare("vision", small)}
        logits = self.net.apply(variables, inputs, train=False)
        ab = resize_corners(annealed_mean(logits, self.temperature), h, w)
        lab = jnp.concatenate([rgb_to_lab(rgb)[..., :1], ab], axis=-1)
        return jnp.round(255 * lab_to_rgb(lab)).astype(jnp.uint8)
