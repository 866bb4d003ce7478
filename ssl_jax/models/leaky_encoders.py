"""Encoders with leaky ReLU, as bidirectional GANs train them."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least, one_of, within
from ssl_jax.models.layers import DTYPES, GroupedConv, check_trunk
from ssl_jax.ops.pooling import max_pool


class LeakyAlexNet(nn.Module):
    """AlexNet's convolutions with leaky ReLU: the encoder of Donahue et al. 2017 for photographs.

    No biases, no LRN, no dropout, no dense layers; BN with scale and offset from conv2 on, before
    the leaky ReLU (slope 0.2). Weights start as N(0, 0.02). 64 pixels end at 4x4, 112 at 7x7.

    Called with images (b h w c), returns their layers: conv1, pool1, conv2, pool2, conv3, conv4,
    conv5 (b h w c).

    Attributes:
      channels: of conv1 to conv5.
      conv1_padding, pool_padding: the authors trained with 5 and 1, and fine-tuned the same weights
        with 0 and 0, Caffe's.
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths.
      dtype: of the computation.
    """

    channels: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    conv1_padding: int = 5
    pool_padding: int = 1
    bn_momentum: float = 0.99
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        at_least(self, 1, "channels")
        at_least(self, 0, "conv1_padding", "pool_padding")
        within(self, 0, 1, "pool_padding")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        layers = {}
        x = layers["conv1"] = self._conv(x, 1, 11, self.conv1_padding, train)
        x = layers["pool1"] = max_pool(x, 3, 2, padding=self.pool_padding)
        x = layers["conv2"] = self._conv(x, 2, 5, 2, train)
        x = layers["pool2"] = max_pool(x, 3, 2, padding=self.pool_padding)
        for number in (3, 4, 5):
            x = layers[f"conv{number}"] = self._conv(x, number, 3, 1, train)
        return layers

    def _conv(self, x, number: int, size: int, padding: int, train: bool):
        # The width is rounded so that both groups get as many channels.
        share = max(1, round(self.channels[number - 1] * self.width / 2))
        x = GroupedConv(
            features=2 * share,
            size=size,
            stride=4 if number == 1 else 1,
            padding=padding,
            groups=2 if number in (2, 4, 5) else 1,
            use_bias=False,
            kernel_init=nn.initializers.normal(0.02),
            dtype=self.dtype,
            name=f"conv{number}",
        )(x)
        if number > 1:
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=self.bn_momentum,
                epsilon=1e-5,
                dtype=self.dtype,
                name=f"conv{number}_bn",
            )(x)
        return jax.nn.leaky_relu(x, 0.2)


class LeakyDense(nn.Module):
    """Dense layers with leaky ReLU: the encoder of Donahue et al. 2017 for MNIST.

    No biases; BN without scale and offset from the second layer on, before the leaky ReLU (slope
    0.2). Weights start as N(0, 0.02).

    Called with arrays (b ...), returns their layers: dense1, dense2, ... (b d).

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
        within(self, 0, 1, "bn_momentum")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."], train: bool) -> dict[str, Array]:
        x, layers = x.reshape(len(x), -1), {}
        for number, features in enumerate(self.hidden, start=1):
            init = nn.initializers.normal(0.02)
            dense = nn.Dense(
                features, use_bias=False, kernel_init=init, dtype=self.dtype, name=f"dense{number}"
            )
            x = dense(x)
            if number > 1:
                x = nn.BatchNorm(
                    use_running_average=not train,
                    momentum=self.bn_momentum,
                    epsilon=1e-5,
                    use_scale=False,
                    use_bias=False,
                    dtype=self.dtype,
                    name=f"dense{number}_bn",
                )(x)
            x = layers[f"dense{number}"] = jax.nn.leaky_relu(x, 0.2)
        return layers
