"""SyncNet's two networks (Chung and Zisserman 2016), of the released version for mouths.

LipNet       11,275,136 parameters, five grey frames of 112 pixels as channels
SpeechNet     2,896,384 parameters, twenty columns of twelve cepstral coefficients
"""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.models.layers import check_trunk
from ssl_jax.ops.pooling import max_pool

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")


class LipNet(nn.Module):
    """Five convolutions without padding, and two dense layers; BN and ReLU after each.

    Called with images whose channels are neighbouring frames (b h w c), returns conv1, ... conv5
    (b h w c), fc6 and fc7 (b d), all after ReLU. 112 pixels end as 6x6.

    Attributes:
      embedding: width of fc7.
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths but the embedding's.
      dtype: of the computation.

    Raises ConfigError for images of less than 49 pixels, of which no map would be left.
    """

    embedding: int = 128
    bn_momentum: float = 0.9
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        if min(x.shape[1:3]) < 49:
            raise ConfigError(
                f"LipNet: images of {x.shape[1:3]} are too small, 49 pixels are needed"
            )
        layers = {}
        x = layers["conv1"] = _conv(self, "conv1", x, 96, 3, train, "VALID")
        x = max_pool(x, 3, 2)
        x = layers["conv2"] = _conv(self, "conv2", x, 256, 5, train, "VALID")
        x = max_pool(x, 3, 2)
        for name in ("conv3", "conv4", "conv5"):
            x = layers[name] = _conv(self, name, x, 512, 3, train, "VALID")
        return {**layers, **_dense(self, max_pool(x, 3, 3), train)}


class SpeechNet(nn.Module):
    """Five convolutions and two dense layers; BN and ReLU after each.

    Called with cepstral coefficients (b t f), returns conv1, ... conv5 (b f t c), fc6 and fc7 (b
    d), all after ReLU. 20 columns of 12 coefficients end as 5x4. Attributes are `LipNet`'s.
    """

    embedding: int = 128
    bn_momentum: float = 0.9
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b t f"], train: bool) -> dict[str, Array]:
        layers = {}
        x = x.swapaxes(1, 2)[..., None]
        x = layers["conv1"] = _conv(self, "conv1", x, 64, 3, train, "SAME")
        x = layers["conv2"] = _conv(self, "conv2", x, 128, 3, train, "SAME")
        x = max_pool(x, (1, 3), (1, 2))
        for name in ("conv3", "conv4", "conv5"):
            x = layers[name] = _conv(self, name, x, 256, 3, train, "SAME")
        return {**layers, **_dense(self, max_pool(x, 3, 2), train)}


def _conv(
    module: nn.Module, name: str, x: Array, channels: int, size: int, train: bool, padding: str
) -> Array:
    channels = max(1, round(channels * module.width))
    x = nn.Conv(channels, (size, size), padding=padding, dtype=module.dtype, name=name)(x)
    return _bn_relu(module, name, x, train)


def _dense(module: nn.Module, x: Array, train: bool) -> dict[str, Array]:
    x = x.reshape(len(x), -1)
    x = nn.Dense(max(1, round(256 * module.width)), dtype=module.dtype, name="fc6")(x)
    fc6 = _bn_relu(module, "fc6", x, train)
    fc7 = nn.Dense(module.embedding, dtype=module.dtype, name="fc7")(fc6)
    return {"fc6": fc6, "fc7": _bn_relu(module, "fc7", fc7, train)}


def _bn_relu(module: nn.Module, name: str, x: Array, train: bool) -> Array:
    norm = nn.BatchNorm(
        use_running_average=not train,
        momentum=module.bn_momentum,
        epsilon=1e-5,
        dtype=module.dtype,
        name=f"{name}_bn",
    )
    return jax.nn.relu(norm(x))
