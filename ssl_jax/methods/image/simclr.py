"""SimCLR (Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning of
Visual Representations", ICML 2020): which two views are of the same picture?"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.image import square
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import even_frames, random_frame
from ssl_jax.method import Batch, Example, Method
from ssl_jax.models.heads import MLPHead
from ssl_jax.objectives.contrastive import nt_xent
from ssl_jax.ops.augment import (
    colour_jitter,
    gaussian_blur,
    random_flip,
    random_grey,
    random_resized_crop,
)


class SimCLRNet(nn.Module):
    """Both views in one pass (so that BatchNorm sees both) through trunk and projection head."""

    vision: nn.Module
    hidden: tuple[int, ...]
    embedding: int

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> tuple[jax.Array, jax.Array]:
        # A row's two views stay neighbours, hence on the device that holds the row.
        views = jnp.stack([batch["vision"], batch["pair"]], axis=1)
        layers = self.vision(views.reshape(-1, *views.shape[2:]), train)
        head = MLPHead(hidden=self.hidden, out=self.embedding, name="head")
        z = head(layers["pool"], train).reshape(len(views), 2, -1)
        return z[:, 0], z[:, 1]


@dataclasses.dataclass(frozen=True)
class SimCLR(Method):
    """Tells each view's partner among all other views of the global batch (NT-Xent).

    Shortcuts: two crops of one picture share their colour histogram, hence the colour jitter and
    grey; BatchNorm statistics of a device's own rows would tell who is whose neighbour, hence they
    are global. Inputs stay in [0, 1], as the authors' released code has them.

    Against the released code: the loss is the paper's mean over 2N rows (theirs is twice that);
    blur draws its width per view, not per batch; pictures reach the device as centre squares, and
    features are read from the whole square, not from its middle 0.875.

    Attributes:
      vision: the trunk; its layer 'pool' feeds the head.
      size: side of the network's input in pixels.
      stored: side of the square that the host hands over, from which views are cropped.
      hidden, embedding: widths of the projection head.
      temperature: of the softmax.
      area: smallest and largest share of the square that a crop covers.
      strength: of the colour jitter; 1 for ImageNet, 0.5 for CIFAR, 0 for none.
      grey: probability of dropping colour.
      blur: probability of blurring; 0 for small pictures.
    """

    vision: nn.Module
    size: int = 224
    stored: int = 256
    hidden: tuple[int, ...] = (2048,)
    embedding: int = 128
    temperature: float = 0.1
    area: tuple[float, float] = (0.08, 1.0)
    strength: float = 1.0
    grey: float = 0.2
    blur: float = 0.5

    @property
    def net(self) -> nn.Module:
        return SimCLRNet(self.vision, self.hidden, self.embedding)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        number = random_frame(record.num_frames, rng)
        return {"vision": square(record.need_frames()([number]), self.stored)[0]}

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        first, second = jax.random.split(key)
        images = batch["vision"].astype(jnp.float32) / 255.0
        return {"vision": self.view(first, images), "pair": self.view(second, images)}

    def view(self, key: jax.Array, images: jax.Array) -> jax.Array:
        """One random view of each picture, in [0, 1]."""
        crop, flip, jitter, grey, blur = jax.random.split(key, 5)
        images = random_resized_crop(crop, images, self.size, self.area)
        images = random_flip(flip, images)
        if self.strength:
            images = colour_jitter(jitter, images, self.strength, probability=0.8)
        if self.grey:
            images = random_grey(grey, images, self.grey)
        if self.blur:
            images = gaussian_blur(blur, images, self.blur)
        return images.clip(0.0, 1.0)

    def objective(self, outputs: tuple[jax.Array, jax.Array], batch: Batch):
        return nt_xent(*outputs, self.temperature)

    def clips(self, record: Record, modality: str, count: int) -> np.ndarray:
        return square(record.need_frames()(even_frames(record.num_frames, count)), self.size)
