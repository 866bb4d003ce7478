"""The dilated VGG-style network that colours images (Zhang, Isola and Efros 2016)."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.models.layers import check_trunk

# Channels, number of convolutions, stride of the last one, and dilation of each block.
BLOCKS = (
    (64, 2, 2, 1),
    (128, 2, 2, 1),
    (256, 3, 2, 1),
    (512, 3, 1, 1),
    (512, 3, 1, 2),
    (512, 3, 1, 2),
    (512, 3, 1, 1),
)


class DilatedVGG(nn.Module):
    """Seven blocks of 3x3 convolutions down to 1/8, an eighth that goes back up to 1/4.

    Strides stand in place of pooling, and dilation in place of the last two of VGG's. Each
    convolution is followed by ReLU, each of the first seven blocks then by BN without scale and
    offset. 176 pixels end as 44x44. With the classifier of 313 colours it has the published
    32,230,393 parameters.

    Called with images of any number of channels (b h w c), returns the last layer of every
    block, maps (b h w c): conv1_2, conv2_2, conv3_3, conv4_3, conv5_3, conv6_3, conv7_3, conv8_3.

    Attributes:
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths.
      remat: recompute blocks in the backward pass: less memory, a third more time.
      dtype: of the computation.
    """

    bn_momentum: float = 0.9
    width: float = 1.0
    remat: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        layers = {}
        block = DilatedVGG._block
        block = nn.remat(block, static_argnums=(2, 3)) if self.remat else block
        for number, (_, count, _, _) in enumerate(BLOCKS, start=1):
            x = layers[f"conv{number}_{count}"] = block(self, x, number, train)
        up = nn.ConvTranspose(
            self._features(256),
            (4, 4),
            (2, 2),
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
            name="conv8_1",
        )(x)
        x = self._conv(jax.nn.relu(up), "conv8_2", 256, 1, 1)
        layers["conv8_3"] = self._conv(x, "conv8_3", 256, 1, 1)
        return layers

    def _block(self, x: Array, number: int, train: bool) -> Array:
        """Convolutions with ReLU, then BN."""
        channels, count, stride, dilation = BLOCKS[number - 1]
        for index in range(1, count + 1):
            name = f"conv{number}_{index}"
            x = self._conv(x, name, channels, stride if index == count else 1, dilation)
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=self.bn_momentum,
            epsilon=1e-5,
            use_scale=False,
            use_bias=False,
            dtype=self.dtype,
            name=f"{name}_bn",
        )(x)

    def _features(self, channels: int) -> int:
        return max(1, round(channels * self.width))

    def _conv(self, x, name: str, channels: int, stride: int, dilation: int):
        x = nn.Conv(
            self._features(channels),
            (3, 3),
            stride,
            padding=dilation,
            kernel_dilation=dilation,
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
            name=name,
        )(x)
        return jax.nn.relu(x)
