"""AlexNet in the variants that self-supervised papers of 2015-2018 trained.

The knobs that make the published networks (every knob not named keeps its default):

    Shuffle & Learn  lrn=True, normed=NORMED_DEEP, bn_affine=False
    OPN              lrn=True, normed=NORMED_DEEP, fc6=1024, fc7=0
    Odd-one-out      lrn=True, normed=(), fc6=128, fc7=0
    Wang & Gupta     lrn=True, normed=(), fc7=1024, dropout=0.0
    context          lrn=True, normed=NORMED_DEEP, bn_affine=False, groups=1, conv1_padding=5,
                     fc7=0, dropout=0.0
    jigsaw           lrn=True, normed=(), conv1_stride=2, fc6=1024, fc7=0
    counting         normed=(), dropout=0.0
    Cross and Learn  normed=CONVS, bn_after_relu=True, conv1_padding=2, ceil_pooling=False,
                     fc7=0, dropout_before=True
    RotNet           channels=(64, 192, 384, 256, 256), groups=1, conv1_padding=2,
                     ceil_pooling=False, fc_bias=False, dropout=0.0, weight_init='he'

All but the last two were trained with weight_init='caffe' or the like on BGR values of 0..255 less
their mean. For inputs near unit scale, and without BN everywhere, keep 'lecun'.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.knobs import at_least, one_of, within
from ssl_jax.models.layers import GroupedConv, check_trunk
from ssl_jax.ops.pooling import max_pool

CONVS = ("conv1", "conv2", "conv3", "conv4", "conv5")
FCS = ("fc6", "fc7")
NORMED_DEEP = ("conv3", "conv4", "conv5", "fc6", "fc7")  # what the Caffe nets normalised


class AlexNet(nn.Module):
    """AlexNet trunk (Krizhevsky, Sutskever, Hinton 2012, as CaffeNet: pooling before LRN).

    Called with images (b h w c), returns their layers: conv1, pool1, conv2, pool2, conv3, conv4,
    conv5, pool5 (b h w c), then fc6 and fc7 (b d) where they exist; convolutions after ReLU and
    BN, fc6 and fc7 also after dropout. pool1 and pool2 are as pooled, before LRN.

    Attributes:
      channels: of conv1 to conv5.
      groups: of conv2, conv4 and conv5, which saw half the channels each on two GPUs.
      conv1_stride, conv1_padding: of the 11x11 convolution.
      ceil_pooling: round pooled sizes up as Caffe does.
      lrn: local response normalisation after pool1 and pool2.
      normed: names of the layers with batch normalisation.
      bn_affine: BN has scale and offset.
      bn_momentum: fraction of the past in the running statistics; Caffe's is 0.999.
      bn_after_relu: order conv-ReLU-BN instead of conv-BN-ReLU.
      fc6, fc7: widths; 0: no such layer.
      fc_bias: fc6 and fc7 have a bias.
      dropout: rate, at fc6 and fc7.
      dropout_before: drops the inputs of fc6 and fc7 instead of their outputs.
      weight_init: 'lecun'; 'he': over the outputs, for the convolutions; or 'caffe': N(0, 0.01) for
        convolutions and N(0, 0.005) for fc6 and fc7.
      one_biases: names of the layers whose bias starts at 1 instead of 0, as Caffe's conv2, conv4,
        conv5, fc6 and fc7 did.
      width: multiplies all widths.
      dtype: of the computation.

    Raises:
      ConfigError: a name that no layer has, an unknown `weight_init`, fc7 without fc6, or an input
        too small to pool.
    """

    channels: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    groups: int = 2
    conv1_stride: int = 4
    conv1_padding: int = 0
    ceil_pooling: bool = True
    lrn: bool = False
    normed: tuple[str, ...] = CONVS + FCS
    bn_affine: bool = True
    bn_momentum: float = 0.9
    bn_after_relu: bool = False
    fc6: int = 4096
    fc7: int = 4096
    fc_bias: bool = True
    dropout: float = 0.5
    dropout_before: bool = False
    weight_init: str = "lecun"
    one_biases: tuple[str, ...] = ()
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        at_least(self, 1, "channels", "groups", "conv1_stride")
        at_least(self, 0, "conv1_padding", "fc6", "fc7")
        within(self, 0, 1, "dropout")
        one_of(self, "weight_init", ("lecun", "he", "caffe"))
        one_of(self, "normed", CONVS + FCS)
        one_of(self, "one_biases", CONVS + FCS)
        if self.fc7 and not self.fc6:
            raise ConfigError("fc7 needs fc6; set fc7=0 as well")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        layers = {}
        x = layers["conv1"] = self._conv(x, 1, 11, self.conv1_padding, train)
        x = layers["pool1"] = self._pool(x)
        x = layers["conv2"] = self._conv(self._lrn(x), 2, 5, 2, train)
        x = layers["pool2"] = self._pool(x)
        x = layers["conv3"] = self._conv(self._lrn(x), 3, 3, 1, train)
        x = layers["conv4"] = self._conv(x, 4, 3, 1, train)
        x = layers["conv5"] = self._conv(x, 5, 3, 1, train)
        x = layers["pool5"] = self._pool(x)
        x = x.reshape(x.shape[0], -1)
        for name, features in (("fc6", self.fc6), ("fc7", self.fc7)):
            if features:
                x = layers[name] = self._fc(x, name, features, train)
        return layers

    def _conv(self, x, number: int, size: int, padding: int, train: bool):
        name = f"conv{number}"
        groups = self.groups if number in (2, 4, 5) else 1
        # The width is rounded so that both groups get as many channels.
        share = max(1, round(self.channels[number - 1] * self.width / self.groups))
        inits = {
            "lecun": nn.initializers.lecun_normal(),
            "he": nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            "caffe": nn.initializers.normal(0.01),
        }
        x = GroupedConv(
            features=share * self.groups,
            size=size,
            stride=self.conv1_stride if number == 1 else 1,
            padding=padding,
            groups=groups,
            kernel_init=inits[self.weight_init],
            bias_init=self._bias_init(name),
            dtype=self.dtype,
            name=name,
        )(x)
        return self._relu_and_norm(x, name, train)

    def _fc(self, x, name: str, features: int, train: bool):
        drop = nn.Dropout(self.dropout, deterministic=not train)
        if self.dropout_before:
            x = drop(x)
        caffe = self.weight_init == "caffe"
        x = nn.Dense(
            max(1, round(features * self.width)),
            use_bias=self.fc_bias,
            kernel_init=nn.initializers.normal(0.005) if caffe else nn.initializers.lecun_normal(),
            bias_init=self._bias_init(name),
            dtype=self.dtype,
            name=name,
        )(x)
        x = self._relu_and_norm(x, name, train)
        return x if self.dropout_before else drop(x)

    def _bias_init(self, name: str):
        return nn.initializers.ones if name in self.one_biases else nn.initializers.zeros

    def _relu_and_norm(self, x, name: str, train: bool):
        if name not in self.normed:
            return jax.nn.relu(x)
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.bn_momentum,
            epsilon=1e-5,
            use_scale=self.bn_affine,
            use_bias=self.bn_affine,
            dtype=self.dtype,
            name=f"{name}_bn",
        )
        return norm(jax.nn.relu(x)) if self.bn_after_relu else jax.nn.relu(norm(x))

    def _pool(self, x):
        return max_pool(x, 3, 2, ceil=self.ceil_pooling)

    def _lrn(self, x):
        return local_response_norm(x) if self.lrn else x


def local_response_norm(
    x: Float[Array, "b h w c"], size: int = 5, alpha: float = 1e-4, beta: float = 0.75
) -> Float[Array, "b h w c"]:
    """x / (1 + alpha / size * sum of squares over the `size` nearest channels) ** beta.

    Krizhevsky et al. 2012 with Caffe's alpha, which is divided by `size`; TensorFlow's is not.
    """
    squares = jnp.square(x.astype(jnp.float32))
    channels = x.shape[-1]
    squares = jnp.pad(squares, ((0, 0), (0, 0), (0, 0), (size // 2, size - 1 - size // 2)))
    total = sum(lax.slice_in_dim(squares, i, i + channels, axis=-1) for i in range(size))
    return (x / (1 + alpha / size * total) ** beta).astype(x.dtype)
