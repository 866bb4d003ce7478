"""BiGAN (Donahue, Krahenbuhl and Darrell, "Adversarial Feature Learning", ICLR 2017): an image with
its code, or a random code with the image made of it?"""

import dataclasses
from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Record
from ssl_jax.data.squares import random_square
from ssl_jax.knobs import at_least, below, no_larger, one_of, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.bigan import GAMES, BiGAN
from ssl_jax.objectives.adversarial_features import (
    discriminator_loss,
    inverse_loss,
    latent_cross_entropy,
    right_answers,
)
from ssl_jax.ops.augment import random_crop


@dataclasses.dataclass(frozen=True)
class AdversarialFeatures(Method):
    """Encoder and generator against a discriminator of pairs, each made by one of the two.

    The discriminator sees (x, E(x)) and (G(z), z) and says which of the two kinds a pair is. To
    fool it, E and G have to become each other's inverse, although no image is ever compared with
    its reconstruction: hence features without a puzzle. We know of no shortcut to this question;
    what there is to leak is the kind itself, by BN: pairs of different kinds go through the
    discriminator apart, with statistics of their own.

    All three make one step at once, by one loss: the discriminator's, behind which the gradient
    stops at the pairs, plus the *inverse* loss of encoder and generator, behind which it stops at
    the discriminator's weights. The gradients reach disjoint weights. The inverse loss is the
    discriminator's with the answers exchanged; its first half trains E, its second G.

    The generator may draw smaller images than the encoder sees (size=112, 64 drawn): then the
    discriminator sees images resized to the generator's size. Features are the trunk's layers: the
    last of them is better than E(x) itself, the code, which is no layer of the trunk.

    game='images' is the paper's latent regressor, its ablation: the discriminator sees images
    alone, and the encoder is trained on generated ones only, to tell their z. With `joint` above 0
    the generator helps it; at 1 it degenerates, by the authors' code.

    Differs from the released code: BN has running statistics, where the code averages those of
    1,000 batches after training; BN's offsets take no part in weight decay.

    Batch: views {"vision": uint8 (stored stored 3)}; augment {"vision": uint8 (b size size 3),
    "latent": float -1..1 (b latent)}.

    Attributes:
      vision: the trunk; a linear map of its last layer gives the code.
      generator: `ConvGenerator` or `DenseGenerator`; with colours=1 all images are made grey.
      discriminator: `ConvDiscriminator` or `DenseDiscriminator`.
      size: side of the encoder's images in pixels.
      stored: side of the square that the host hands over, from which is cropped.
      latent: width of z, which is uniform in -1..1, and of the code.
      game: 'pairs' or 'images'; see above.
      joint: the share of the regressor's gradient that reaches the generator, with game='images';
        the authors' joint latent regressor has 0.25.
      black: what black is to the networks; white is 1. The authors have -1, and 0 on MNIST.

    Raises ConfigError for an unknown game, a `joint` without a regressor, or a regressor that sees
    images of another size than the generator draws.
    """

    vision: nn.Module
    generator: nn.Module
    discriminator: nn.Module
    size: int = 64
    stored: int = 72
    latent: int = 200
    game: str = "pairs"
    joint: float = 0.0
    black: float = -1.0

    def __post_init__(self):
        at_least(self, 1, "size", "stored", "latent")
        no_larger(self, "size", "stored")
        one_of(self, "game", GAMES)
        within(self, 0, 1, "joint")
        below(self, 1, "black")
        if self.joint and self.game == "pairs":
            raise ConfigError("joint needs the regressor: set game='images'")
        if self.game == "images" and self.generator.image_shape[0] != self.size:
            drawn = self.generator.image_shape[0]
            raise ConfigError(f"game='images': set size={drawn}, as the generator draws")

    @property
    def net(self) -> nn.Module:
        networks = self.vision, self.generator, self.discriminator
        return BiGAN(*networks, self.size, self.latent, self.game, self.joint, self.black)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        crop, draw = jax.random.split(key)
        images = random_crop(crop, batch["vision"], self.size)
        latents = jax.random.uniform(draw, (len(images), self.latent), minval=-1.0, maxval=1.0)
        return {"vision": images, "latent": latents}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        if name == "latent":
            return x
        grey = self.generator.image_shape[2] == 1
        pixels = x.mean(-1, keepdims=True) if grey else x
        return self.black + (1 - self.black) * pixels

    def objective(self, outputs: dict, batch: Batch):
        judged, fooled = outputs["judged"], outputs["fooled"]
        metrics = {"discriminator": discriminator_loss(judged), "inverse": inverse_loss(fooled)}
        if self.game == "images":
            metrics["regressor"] = latent_cross_entropy(outputs["code"], batch["latent"])
        return sum(metrics.values()), {**metrics, "discriminator_accuracy": right_answers(judged)}

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        """The trunk; G(E(x)) of images; and G(E(G(z))) of latents, which records only number."""
        images = ("vision",)
        return {"vision": images, "reconstruction": images, "generated": ("latent",)}

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        if stream != "generated":
            return super().clips(record, stream, times)
        rng = np.random.default_rng(record.index)
        return {"latent": np.float32(rng.uniform(-1.0, 1.0, (len(times), self.latent)))}

    def pictures(self, batch: Batch) -> Batch:
        return {"vision": batch["vision"]}
