"""AlexNet that stays a map to its end, as colorization and split-brain autoencoders trained it."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least
from ssl_jax.models.layers import GroupedConv, check_trunk
from ssl_jax.ops.pooling import max_pool


class DenseAlexNet(nn.Module):
    """Fully convolutional AlexNet (Zhang, Isola, Efros 2016 and 2017): 180 pixels end as 12x12.

    The last pooling does not shrink, and fc6 is a dilated convolution that keeps the size. No LRN;
    BN without scale and offset between every convolution and its ReLU; no dropout. Pooled sizes
    round up, as in Caffe. A side of 16 n + 1 to 16 n + 4 pixels ends as n + 1 cells, of which cell
    i is centred at pixel 16 i (with a conv1_stride of 2: 8 n + 1 or 8 n + 2 pixels, and 8 i).

    Called with images of any number of channels (b h w c), returns their layers, all maps
    (b h w c): conv1, pool1, conv2, pool2, conv3, conv4, conv5, pool5, fc6, fc7; after BN and ReLU.

    Attributes:
      groups: of conv2, conv4 and conv5: 2 as on two GPUs; 1 in a half of a split-brain.
      conv1_stride: 4; with 2 the last cells are 8 pixels apart, for small images.
      fc6, fc7: widths.
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths; a half of a split-brain has 0.5.
      dtype: of the computation.
    """

    groups: int = 2
    conv1_stride: int = 4
    fc6: int = 4096
    fc7: int = 4096
    bn_momentum: float = 0.9
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        at_least(self, 1, "groups", "conv1_stride", "fc6", "fc7")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        layers = {}
        x = layers["conv1"] = self._conv(x, "conv1", 96, 11, train, self.conv1_stride, padding=5)
        x = layers["pool1"] = max_pool(x, 3, 2, padding=1, ceil=True)
        x = layers["conv2"] = self._conv(x, "conv2", 256, 5, train, groups=self.groups)
        x = layers["pool2"] = max_pool(x, 3, 2, padding=1, ceil=True)
        x = layers["conv3"] = self._conv(x, "conv3", 384, 3, train)
        x = layers["conv4"] = self._conv(x, "conv4", 384, 3, train, groups=self.groups)
        x = layers["conv5"] = self._conv(x, "conv5", 256, 3, train, groups=self.groups)
        x = layers["pool5"] = max_pool(x, 3, 1, padding=1)
        x = layers["fc6"] = self._dense(x, "fc6", self.fc6, 6, train)
        layers["fc7"] = self._dense(x, "fc7", self.fc7, 1, train)
        return layers

    def _conv(self, x, name, channels, size, train, stride=1, padding=None, groups=1):
        # The width is rounded so that both groups get as many channels.
        share = max(1, round(channels * self.width / self.groups))
        x = GroupedConv(
            features=share * self.groups,
            size=size,
            stride=stride,
            padding=size // 2 if padding is None else padding,
            groups=groups,
            dtype=self.dtype,
            name=name,
        )(x)
        return jax.nn.relu(self._norm(x, name, train))

    def _dense(self, x, name, features, size, train):
        x = nn.Conv(
            max(1, round(features * self.width)),
            (size, size),
            kernel_dilation=2,
            padding=size - 1,  # even windows have no middle: with dilation 2 this keeps the size
            dtype=self.dtype,
            name=name,
        )(x)
        return jax.nn.relu(self._norm(x, name, train))

    def _norm(self, x, name, train):
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=self.bn_momentum,
            epsilon=1e-5,
            use_scale=False,
            use_bias=False,
            dtype=self.dtype,
            name=f"{name}_bn",
        )(x)
