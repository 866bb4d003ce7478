"""Joint discriminators: is it an image with its code, or a latent vector with its image?"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least, given, one_of, within
from ssl_jax.models.latent_norm import LatentNorm
from ssl_jax.models.layers import DTYPES


class ConvDiscriminator(nn.Module):
    """DCGAN's discriminator as bidirectional GANs train it, of pairs (Donahue et al. 2017).

    5x5 convolutions of stride 2 with leaky ReLU (slope 0.2); each but the first has the latent
    vector added and BN (`LatentNorm`). No biases. The logit starts as 0.

    Called with images (b h w c), latents (b z) or None, the kind of pair, 'real' or 'generated',
    and train; returns logits (b), float32, positive for 'real'. A batch is of one kind; BN's
    statistics are that kind's own.

    Attributes:
      channels: of the convolutions.
      bn_momentum: fraction of the past in the running statistics.
      dtype: of the computation.
    """

    channels: tuple[int, ...] = (64, 128, 256, 512)
    bn_momentum: float = 0.99
    dtype: str = "float32"

    def __post_init__(self):
        given(self, "channels")
        at_least(self, 1, "channels")
        _check(self)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b h w c"],
        latents: Float[Array, "b z"] | None,
        kind: str,
        train: bool,
    ) -> Float[Array, "b"]:
        x, init = images, nn.initializers.normal(0.02)
        options = {"bn_momentum": self.bn_momentum, "dtype": self.dtype}
        for number, channels in enumerate(self.channels, start=1):
            x = nn.Conv(
                channels,
                (5, 5),
                2,
                padding=2,
                use_bias=False,
                kernel_init=init,
                dtype=self.dtype,
                name=f"conv{number}",
            )(x)
            if number > 1:
                # As a sum of 25 places: the map of z shall weigh as much as the convolution.
                norm = LatentNorm(init_std=0.02 * 25, name=f"conv{number}_norm", **options)
                x = norm(x, latents, train, kind)
            x = jax.nn.leaky_relu(x, 0.2)
        return _logit(x)


class DenseDiscriminator(nn.Module):
    """The joint discriminator of Donahue et al. 2017 for MNIST; called as `ConvDiscriminator`.

    Dense layers with leaky ReLU (slope 0.2); each but the first has the latent vector added and BN
    without scale and offset (`LatentNorm`). No biases. The logit starts as 0.

    Attributes:
      hidden: widths of the layers.
      bn_momentum: fraction of the past in the running statistics.
      dtype: of the computation.
    """

    hidden: tuple[int, ...] = (1024, 1024)
    bn_momentum: float = 0.99
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "hidden")
        _check(self)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b h w c"],
        latents: Float[Array, "b z"] | None,
        kind: str,
        train: bool,
    ) -> Float[Array, "b"]:
        x, init = images.reshape(len(images), -1), nn.initializers.normal(0.02)
        options = {"bn_momentum": self.bn_momentum, "dtype": self.dtype}
        for number, features in enumerate(self.hidden, start=1):
            x = nn.Dense(
                features, use_bias=False, kernel_init=init, dtype=self.dtype, name=f"dense{number}"
            )(x)
            if number > 1:
                norm = LatentNorm(affine=False, name=f"dense{number}_norm", **options)
                x = norm(x, latents, train, kind)
            x = jax.nn.leaky_relu(x, 0.2)
        return _logit(x)


def _logit(x: Array) -> Float[Array, "b"]:
    dense = nn.Dense(1, use_bias=False, kernel_init=nn.initializers.zeros, name="logit")
    return dense(x.reshape(len(x), -1).astype(jnp.float32))[:, 0]


def _check(discriminator: nn.Module) -> None:
    within(discriminator, 0, 1, "bn_momentum")
    one_of(discriminator, "dtype", DTYPES)
