"""Generators: images from latent vectors."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least, given, one_of, within
from ssl_jax.models.latent_norm import LatentNorm
from ssl_jax.models.layers import DTYPES


class ConvGenerator(nn.Module):
    """DCGAN's generator as bidirectional GANs train it (Donahue et al. 2017).

    A dense layer, BN of every unit apart, ReLU: maps of 4x4. Then 5x5 transposed convolutions of
    stride 2; each but the last has the latent vector added (`LatentNorm`), BN and ReLU. No biases.

    Called with latents (b z), returns images in 0..1 of `image_shape`, float32.

    Attributes:
      channels: of the 4x4 maps and of all transposed convolutions but the last.
      colours: channels of the images, 1 or 3.
      bn_momentum: fraction of the past in the running statistics.
      dtype: of the computation.
    """

    channels: tuple[int, ...] = (512, 256, 128, 64)
    colours: int = 3
    bn_momentum: float = 0.99
    dtype: str = "float32"

    def __post_init__(self):
        given(self, "channels")
        at_least(self, 1, "channels")
        _check(self)
        super().__post_init__()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """h, w, c: the side is 4, doubled once for every entry of `channels`."""
        side = 4 * 2 ** len(self.channels)
        return side, side, self.colours

    @nn.compact
    def __call__(self, latents: Float[Array, "b z"], train: bool) -> Float[Array, "b h w c"]:
        first, *others = self.channels
        weights = {"use_bias": False, "kernel_init": nn.initializers.normal(0.02)}
        weights["dtype"] = self.dtype
        x = nn.Dense(first * 16, name="unfold", **weights)(latents)
        x = jax.nn.relu(self._norm("unfold_norm", 0.0)(x, None, train))
        x = x.reshape(len(x), 4, 4, first)
        for number, channels in enumerate(others, start=1):
            x = nn.ConvTranspose(channels, (5, 5), (2, 2), name=f"deconv{number}", **weights)(x)
            # As a sum of 25 places: the map of z shall weigh as much as the convolution.
            x = jax.nn.relu(self._norm(f"deconv{number}_norm", 0.02 * 25)(x, latents, train))
        x = nn.ConvTranspose(self.colours, (5, 5), (2, 2), name="image", **weights)(x)
        return jax.nn.sigmoid(x.astype(jnp.float32))

    def _norm(self, name: str, init_std: float) -> LatentNorm:
        options = {"init_std": init_std, "bn_momentum": self.bn_momentum, "dtype": self.dtype}
        return LatentNorm(name=name, **options)


class DenseGenerator(nn.Module):
    """The generator of Donahue et al. 2017 for MNIST.

    Dense layers with BN without scale and offset and ReLU, the latent vector being added again to
    each but the first (`LatentNorm`); no biases. Weights start as N(0, 0.02).

    Called with latents (b z), returns images in 0..1 of `image_shape`, float32.

    Attributes:
      hidden: widths of the layers.
      size: side of the images in pixels.
      colours: channels of the images, 1 or 3.
      bn_momentum: fraction of the past in the running statistics.
      dtype: of the computation.
    """

    hidden: tuple[int, ...] = (1024, 1024)
    size: int = 28
    colours: int = 1
    bn_momentum: float = 0.99
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "hidden", "size")
        _check(self)
        super().__post_init__()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """h, w, c."""
        return self.size, self.size, self.colours

    @nn.compact
    def __call__(self, latents: Float[Array, "b z"], train: bool) -> Float[Array, "b h w c"]:
        weights = {"use_bias": False, "kernel_init": nn.initializers.normal(0.02)}
        weights["dtype"] = self.dtype
        x = latents
        for number, features in enumerate(self.hidden, start=1):
            x = nn.Dense(features, name=f"dense{number}", **weights)(x)
            norm = LatentNorm(
                affine=False,
                bn_momentum=self.bn_momentum,
                dtype=self.dtype,
                name=f"dense{number}_norm",
            )
            x = jax.nn.relu(norm(x, latents if number > 1 else None, train))
        x = nn.Dense(self.size**2 * self.colours, name="image", **weights)(x)
        return jax.nn.sigmoid(x.astype(jnp.float32)).reshape(-1, *self.image_shape)


def _check(generator: nn.Module) -> None:
    one_of(generator, "colours", (1, 3))
    within(generator, 0, 1, "bn_momentum")
    one_of(generator, "dtype", DTYPES)
