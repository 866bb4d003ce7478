"""SimCLR (Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning of
Visual Representations", ICML 2020): which two views are of the same image?"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.image import center_crop
from ssl_jax.data.record import Record
from ssl_jax.data.squares import random_square, squares_at
from ssl_jax.knobs import above, ascending, at_least, within
from ssl_jax.method import Batch, Example, Method, State, scaled
from ssl_jax.models.heads import MLPHead, mlp_layers, pooled
from ssl_jax.objectives.contrastive import nt_xent
from ssl_jax.ops.augment import (
    colour_jitter,
    gaussian_blur,
    random_flip,
    random_grey,
    random_resized_crop,
)
from ssl_jax.ops.fold import fold, unfold


class SimCLRNet(nn.Module):
    """Both views in one pass (so that BatchNorm sees both) through trunk and projection head."""

    vision: nn.Module
    hidden: tuple[int, ...]
    embedding: int

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> tuple[jax.Array, jax.Array]:
        views = jnp.stack([batch["vision"], batch["pair"]], axis=1)
        z = pooled(self.vision(fold(views), train))
        if self.embedding:
            z = MLPHead(hidden=self.hidden, out=self.embedding, name="head")(z, train)
        z = unfold(z, 2)
        return z[:, 0], z[:, 1]


@dataclasses.dataclass(frozen=True)
class SimCLR(Method):
    """Tells each view's partner among all other views of the global batch (NT-Xent).

    Shortcuts: two crops of one image share their colour histogram, hence the colour jitter and
    grey; BatchNorm statistics of a device's own rows would tell who is whose neighbour, hence they
    are global. Inputs stay in [0, 1], as the authors' released code has them.

    Differs from the released code: the loss is the paper's mean over 2N rows (theirs is twice
    that); blur draws its width per image and view, not per view and batch; no crop is smaller than
    a tenth of the image there, whatever is asked for; images reach the device as centre squares.

    Features are those of the trunk and, after them, of the head: head1, head2, ... The second
    version (Chen et al. 2020, "Big Self-Supervised Models are Strong Semi-Supervised Learners") has
    two hidden layers and is fine-tuned from head1; the first version drops the head.

    Batch: views {"vision": uint8 (stored stored 3)}; augment {"vision", "pair": float 0..1
    (b size size 3)}, two views of every image.

    Attributes:
      vision: the trunk; its last layer, averaged over space, feeds the head.
      size: side of the network's input in pixels.
      stored: side of the square that the host hands over, from which views are cropped.
      hidden: widths of the head's hidden layers: one in the first version, two in the second; ()
        is a linear head.
      embedding: width of the head's output; 0: no head (with hidden=()).
      temperature: of the softmax.
      chunk: how many images each is compared with at once; 0: all. With batches of tens of
        thousands it saves memory; see `ssl_jax.objectives.contrastive`.
      area: smallest and largest fraction of the square that a crop covers.
      strength: of the colour jitter; 1 for ImageNet, 0.5 for CIFAR, 0 for none.
      additive_brightness: adds to the brightness, as the first version does, not multiplies.
      grey: probability of dropping colour.
      blur: probability of blurring; 0 for small images.
      blur_sigma: smallest and largest deviation of the blur in pixels.
      centre: features are read from the middle of the square, this fraction of its side; 0.875 for
        ImageNet.

    Raises ConfigError for hidden layers without an embedding.
    """

    also_prepared: ClassVar[tuple[str, ...]] = ("pair",)

    vision: nn.Module
    size: int = 224
    stored: int = 256
    hidden: tuple[int, ...] = (2048,)
    embedding: int = 128
    temperature: float = 0.1
    area: tuple[float, float] = (0.08, 1.0)
    strength: float = 1.0
    additive_brightness: bool = False
    grey: float = 0.2
    blur: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    centre: float = 1.0
    chunk: int = 0

    def __post_init__(self):
        at_least(self, 1, "size", "stored", "hidden")
        at_least(self, 0, "embedding", "strength", "chunk")
        above(self, 0, "area")
        within(self, 0, 1, "area")
        ascending(self, "area")
        above(self, 0, "temperature", "blur_sigma", "centre")
        within(self, 0, 1, "grey", "blur", "centre")
        ascending(self, "blur_sigma")
        if self.hidden and not self.embedding:
            raise ConfigError("simclr: embedding=0 is without a head; set hidden=() as well")

    @property
    def net(self) -> nn.Module:
        return SimCLRNet(self.vision, self.hidden, self.embedding)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {"vision": random_square(record, self.stored, rng)}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        first, second = jax.random.split(key)
        images = scaled(batch["vision"])
        return {"vision": self.view(first, images), "pair": self.view(second, images)}

    def view(self, key: jax.Array, images: jax.Array) -> jax.Array:
        """One random view of each image, in [0, 1]."""
        crop, flip, jitter, grey, blur = jax.random.split(key, 5)
        images = random_resized_crop(crop, images, self.size, self.area)
        images = random_flip(flip, images)
        if self.strength:
            images = colour_jitter(jitter, images, self.strength, 0.8, self.additive_brightness)
        if self.grey:
            images = random_grey(grey, images, self.grey)
        if self.blur:
            images = gaussian_blur(blur, images, self.blur, self.blur_sigma)
        return images.clip(0.0, 1.0)

    def objective(self, outputs: tuple[jax.Array, jax.Array], batch: Batch):
        return nt_xent(*outputs, self.temperature, self.chunk)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        squares = squares_at(record, round(self.size / self.centre), times)
        return {"vision": center_crop(squares, (self.size, self.size))}

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        layers = super().encode(variables, stream, inputs)
        if not self.embedding:
            return layers
        own = {name: tree["head"] for name, tree in variables.items() if "head" in tree}
        head = MLPHead(hidden=self.hidden, out=self.embedding)
        return {**layers, **mlp_layers(head, own, pooled(layers))}
