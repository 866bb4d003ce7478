"""Small trunks: Exemplar-CNN's, the context encoder's, and a stack of dense layers."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.knobs import above, at_least, given, one_of, within
from ssl_jax.models.layers import DTYPES
from ssl_jax.ops.pooling import max_pool


class ConvNet(nn.Module):
    """Plain convolutional network without normalisation (Dosovitskiy et al. 2014).

    5x5 convolutions with ReLU, all but the last followed by 2x2 max pooling, and a layer that sees
    the whole map of a training patch. That layer is a convolution as well, so larger images give
    a map of features. The paper's nets: channels=(64, 64), fc=128; the defaults; and
    channels=(92, 256, 512), fc=1024.

    Called with images (b h w c), returns their layers: pool1, pool2, ..., the last convolution
    conv3 (b h w c), and fc (b h w d).

    Attributes:
      channels: of the convolutions.
      fc: width of the last layer.
      window: side of the map that it sees: that of the patch, halved by every pooling.
      dropout: rate, at fc.
      width: multiplies all widths.
      dtype: of the computation.
    """

    channels: tuple[int, ...] = (64, 128, 256)
    fc: int = 512
    window: int = 8
    dropout: float = 0.5
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        given(self, "channels")
        at_least(self, 1, "channels", "fc", "window")
        within(self, 0, 1, "dropout")
        above(self, 0, "width")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        layers = {}
        for number, channels in enumerate(self.channels, start=1):
            x = jax.nn.relu(self._conv(channels, 5, "SAME", f"conv{number}")(x))
            if number < len(self.channels):
                x = max_pool(x, 2)
            layers[f"pool{number}" if number < len(self.channels) else f"conv{number}"] = x
        x = jax.nn.relu(self._conv(self.fc, self.window, "VALID", "fc")(x))
        layers["fc"] = nn.Dropout(self.dropout, deterministic=not train)(x)
        return layers

    def _conv(self, features: int, size: int, padding: str, name: str) -> nn.Conv:
        return nn.Conv(
            max(1, round(features * self.width)),
            (size, size),
            padding=padding,
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
            name=name,
        )


class ContextEncoder(nn.Module):
    """Encoder that halves the side at every layer, down to one code (Pathak et al. 2016).

    4x4 convolutions of stride 2 with leaky ReLU and, but for the first, BN; then one convolution
    that covers what is left. The defaults are those of the authors' code for images of 128
    pixels. Weights start as N(0, 0.02).

    Called with images (b h w c), returns their layers: conv1, conv2, ... (b h w c) and code
    (b d). The side is fixed by the first call.

    Attributes:
      channels: of the convolutions.
      code: width of the code.
      width: multiplies all widths.
      dtype: of the computation.
    """

    channels: tuple[int, ...] = (64, 64, 128, 256, 512)
    code: int = 4000
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        given(self, "channels")
        at_least(self, 1, "channels", "code")
        above(self, 0, "width")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        layers = {}
        for number, channels in enumerate(self.channels, start=1):
            x = self._conv(x, f"conv{number}", channels, 4, 2, 1, number > 1, train)
            layers[f"conv{number}"] = x
        x = self._conv(x, "code", self.code, x.shape[1], 1, 0, True, train)
        layers["code"] = x.reshape(len(x), -1)
        return layers

    def _conv(self, x, name, features, size, stride, padding, norm: bool, train: bool):
        x = nn.Conv(
            max(1, round(features * self.width)),
            (size, size),
            stride,
            padding=padding,
            use_bias=not norm,
            kernel_init=nn.initializers.normal(0.02),
            dtype=self.dtype,
            name=name,
        )(x)
        if norm:
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=0.9,
                epsilon=1e-5,
                dtype=self.dtype,
                name=f"{name}_bn",
            )(x)
        return jax.nn.leaky_relu(x, 0.2)


class DenseEncoder(nn.Module):
    """Dense sigmoid layers and a linear code: the encoder of Caffe's MNIST autoencoder.

    It is the network of Hinton and Salakhutdinov 2006 (with layers 1000-500-250-30), trained at
    once.

    Called with arrays (b ...), returns their layers: dense1, dense2, ... and code (b d).

    Attributes:
      hidden: widths of the sigmoid layers.
      code: width of the code.
      sparse: weights start as N(0, 1), about so many for each unit, the others as 0; 0: LeCun's
        rule for all.
      width: multiplies the widths of the sigmoid layers.
      dtype: of the computation.
    """

    hidden: tuple[int, ...] = (1000, 500, 250)
    code: int = 30
    sparse: int = 15
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "hidden", "code")
        at_least(self, 0, "sparse")
        above(self, 0, "width")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."], train: bool) -> dict[str, Array]:
        del train
        x, layers = x.reshape(len(x), -1), {}
        for number, features in enumerate(self.hidden, start=1):
            features = max(1, round(features * self.width))
            x = jax.nn.sigmoid(self._dense(features, f"dense{number}")(x))
            layers[f"dense{number}"] = x
        layers["code"] = self._dense(self.code, "code")(x)
        return layers

    def _dense(self, features: int, name: str) -> nn.Dense:
        init = sparse_normal(self.sparse)
        return nn.Dense(features, kernel_init=init, dtype=self.dtype, name=name)


def sparse_normal(count: int) -> nn.initializers.Initializer:
    """N(0, 1) for about `count` weights of each unit, 0 for the others (Martens 2010).

    It starts sigmoid layers apart from one another without driving them into saturation. A count
    of 0 is LeCun's rule instead.
    """
    if not count:
        return nn.initializers.lecun_normal()

    def init(key, shape, dtype="float32"):
        key_value, key_place = jax.random.split(key)
        kept = jax.random.bernoulli(key_place, min(1.0, count / shape[0]), shape)
        return jax.random.normal(key_value, shape, dtype) * kept

    return init
