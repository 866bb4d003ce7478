"""From features back to images; and a critic that tells real images from generated ones."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.knobs import above, at_least, given
from ssl_jax.models.encoders import sparse_normal


class ChannelwiseDense(nn.Module):
    """Every channel's map fully connected with itself, channels apart (Pathak et al. 2016).

    It carries what is seen in one corner to the others at h^2 w^2 weights a channel: 331,776 in all
    for 256 maps of 6x6, where a dense layer would have 84,934,656. Parameters: `kernel` (c, h w,
    h w) and `bias` (c, h w).
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal", batch_axis=(0,))
        kernel = self.param("kernel", init, (c, h * w, h * w))
        bias = self.param("bias", nn.initializers.zeros, (c, h * w))
        flat = x.astype(jnp.float32).reshape(b, h * w, c)
        return (jnp.einsum("bic,cij->bjc", flat, kernel) + bias.T).reshape(b, h, w, c)


class ImageDecoder(nn.Module):
    """An image in -1..1 from a code or from maps, the side doubled at every layer.

    A code (b d) is first unfolded to 4x4 by a transposed convolution. Maps (b h w c) first pass
    `ChannelwiseDense` and a convolution that mixes channels. Then follow 4x4 transposed
    convolutions of stride 2, one fewer than there are channels, with BN and ReLU, and a last one
    with tanh. The defaults turn a code into 64x64, as in the authors' code of Pathak et al. 2016.

    Attributes:
      channels: of the layers, the first of which does not double the side.
      width: multiplies all of them.
    """

    channels: tuple[int, ...] = (512, 256, 128, 64)
    width: float = 1.0

    def __post_init__(self):
        given(self, "channels")
        at_least(self, 1, "channels")
        above(self, 0, "width")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."], train: bool) -> Float[Array, "b h2 w2 3"]:
        first, *others = (max(1, round(c * self.width)) for c in self.channels)
        init = nn.initializers.normal(0.02)
        options = {"use_bias": False, "kernel_init": init}
        if x.ndim == 2:
            x = x[:, None, None, :]
            x = nn.ConvTranspose(first, (4, 4), padding="VALID", name="unfold", **options)(x)
        else:
            x = ChannelwiseDense(name="channelwise")(x)
            x = nn.Conv(first, (3, 3), name="mix", **options)(x)
        x = self._norm(x, 1, train)
        for number, features in enumerate(others, start=2):
            x = nn.ConvTranspose(features, (4, 4), (2, 2), name=f"deconv{number}", **options)(x)
            x = self._norm(x, number, train)
        x = nn.ConvTranspose(3, (4, 4), (2, 2), kernel_init=init, name="picture")(x)
        return jnp.tanh(x.astype(jnp.float32))

    def _norm(self, x, number: int, train: bool):
        norm = nn.BatchNorm(
            use_running_average=not train, momentum=0.9, epsilon=1e-5, name=f"bn{number}"
        )
        return jax.nn.relu(norm(x))


class Critic(nn.Module):
    """Is this image real? One logit (DCGAN's discriminator, Radford et al. 2016).

    4x4 convolutions of stride 2 with leaky ReLU and, but for the first, BN; then one convolution
    that covers what is left: 64x64 pixels end at 4x4 with the default channels.

    Attributes:
      channels: of the convolutions.
      width: multiplies them.
    """

    channels: tuple[int, ...] = (64, 128, 256, 512)
    width: float = 1.0

    def __post_init__(self):
        given(self, "channels")
        at_least(self, 1, "channels")
        above(self, 0, "width")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], train: bool) -> Float[Array, "b"]:
        init = nn.initializers.normal(0.02)
        for number, channels in enumerate(self.channels, start=1):
            x = nn.Conv(
                max(1, round(channels * self.width)),
                (4, 4),
                2,
                padding=1,
                use_bias=number == 1,
                kernel_init=init,
                name=f"conv{number}",
            )(x)
            if number > 1:
                x = nn.BatchNorm(
                    use_running_average=not train, momentum=0.9, epsilon=1e-5, name=f"bn{number}"
                )(x)
            x = jax.nn.leaky_relu(x, 0.2)
        logit = nn.Conv(1, x.shape[1:3], padding="VALID", kernel_init=init, name="logit")(x)
        return logit.reshape(len(x))


class Adversary(nn.Module):
    """A critic asked three times, so that one backward pass trains both players.

    Called with real and generated images, returns logits of the real ones; of the generated ones,
    whose gradient stops at the image (it trains the critic alone); and the same of the generated
    ones, whose gradient stops at the critic's weights (it trains the generator alone).

    Attributes:
      channels, width: of the `Critic`.
    """

    channels: tuple[int, ...] = (64, 128, 256, 512)
    width: float = 1.0

    def __post_init__(self):
        given(self, "channels")
        at_least(self, 1, "channels")
        above(self, 0, "width")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, real: Float[Array, "b h w 3"], fake: Float[Array, "b h w 3"], train: bool
    ) -> tuple[Float[Array, "b"], Float[Array, "b"], Float[Array, "b"]]:
        critic = Critic(self.channels, self.width, name="critic")
        on_real = critic(real, train)
        on_fake = critic(jax.lax.stop_gradient(fake), train)
        ask = nn.map_variables(
            lambda module, x: module(x, train), "params", trans_in_fn=jax.lax.stop_gradient
        )
        return on_real, on_fake, ask(critic, fake)


class DenseDecoder(nn.Module):
    """Dense sigmoid layers from a code to the logits of every value of an image.

    Attributes:
      hidden: widths of the sigmoid layers.
      out: number of values.
      sparse: as in `DenseEncoder`.
      width: multiplies the widths of the sigmoid layers.
    """

    hidden: tuple[int, ...]
    out: int
    sparse: int = 15
    width: float = 1.0

    def __post_init__(self):
        at_least(self, 1, "hidden", "out")
        at_least(self, 0, "sparse")
        above(self, 0, "width")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b out"]:
        init = sparse_normal(self.sparse)
        for number, features in enumerate(self.hidden, start=1):
            features = max(1, round(features * self.width))
            x = jax.nn.sigmoid(nn.Dense(features, kernel_init=init, name=f"dense{number}")(x))
        return nn.Dense(self.out, kernel_init=init, name="values")(x)
