"""The networks of Speech2Vid (Chung, Jamaludin, Zisserman 2017), of a published training code.

FaceNet, SpeechEncoder and FaceDecoder together have 41,748,325 parameters with five stills of 112
pixels (15 channels), 41,691,877 with one.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.knobs import at_least, one_of
from ssl_jax.models.layers import DTYPES, check_trunk
from ssl_jax.ops.pooling import max_pool


class FaceNet(nn.Module):
    """Who is it? Five convolutions with BN and ReLU, two dense layers.

    Called with stills stacked as channels (b h w c), returns conv1, pool1, conv2, pool2, conv3,
    conv4, conv5 (b h w c), fc6 and fc7 (b d). 112 pixels become 56, 28, 14, 7 and 7.

    Attributes:
      embedding: width of fc7.
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths but the embedding's.
      dtype: of the computation.

    Raises ConfigError for sides that are no multiple of 16.
    """

    embedding: int = 256
    bn_momentum: float = 0.8
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        at_least(self, 1, "embedding")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        if x.shape[1] % 16 or x.shape[2] % 16:
            raise ConfigError(f"FaceNet: sides of {x.shape[1:3]} must be multiples of 16")
        layers = {}
        x = layers["conv1"] = _conv(self, "conv1", x, 96, 7, 2, train)
        x = layers["pool1"] = max_pool(x, 3, 2, "SAME")
        x = layers["conv2"] = _conv(self, "conv2", x, 256, 5, 2, train)
        x = layers["pool2"] = max_pool(x, 3, 2, "SAME")
        for name in ("conv3", "conv4", "conv5"):
            x = layers[name] = _conv(self, name, x, 512, 3, 1, train)
        return {**layers, **_dense(self, x)}


class SpeechEncoder(nn.Module):
    """What is said? Five convolutions with BN and ReLU, two dense layers.

    Called with cepstral coefficients (b t f), returns conv1, ... conv5 (b f t c), fc6 and fc7
    (b d). 35 columns of 12 coefficients end as 6x9. Attributes are `FaceNet`'s.
    """

    embedding: int = 256
    bn_momentum: float = 0.8
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        at_least(self, 1, "embedding")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b t f"], train: bool) -> dict[str, Array]:
        layers = {}
        x = x.swapaxes(1, 2)[..., None]
        x = layers["conv1"] = _conv(self, "conv1", x, 64, 3, 1, train)
        x = layers["conv2"] = _conv(self, "conv2", x, 128, 3, 1, train)
        x = max_pool(x, 3, (1, 2), "SAME")
        for name, channels in (("conv3", 256), ("conv4", 256), ("conv5", 512)):
            x = layers[name] = _conv(self, name, x, channels, 3, 1, train)
        return {**layers, **_dense(self, max_pool(x, 3, 2, "SAME"))}


class FaceDecoder(nn.Module):
    """A frame (b h w 3) in 0..1, of both embeddings and of the identity's maps.

    Called with the layers of `FaceNet` and of `SpeechEncoder`. pool2, conv2 and pool1 of the
    identity join the decoder's maps of their size, so that what does not move is handed on.

    Attributes are `FaceNet`'s.
    """

    bn_momentum: float = 0.8
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, face: dict[str, Array], speech: dict[str, Array], train: bool
    ) -> Float[Array, "b h w 3"]:
        x = jnp.concatenate([face["fc7"], speech["fc7"]], axis=-1)
        b, h, w, _ = face["pool2"].shape
        x = nn.Dense(2 * h * w, dtype=self.dtype, name="unfold")(x)
        x = jax.nn.relu(x).reshape(b, h, w, 2)
        x = _up(self, "up1", x, 512, 6, 1, train)
        x = _up(self, "up2", x, 256, 5, 1, train)
        for name, skip, channels in (
            ("up3", "pool2", 96),
            ("up4", "conv2", 96),
            ("up5", "pool1", 64),
        ):
            x = _up(self, name, jnp.concatenate([x, face[skip]], axis=-1), channels, 5, 2, train)
        x = nn.ConvTranspose(3, (5, 5), (2, 2), dtype=self.dtype, name="frame")(x)
        return jax.nn.sigmoid(x.astype(jnp.float32))


class Deblurring(nn.Module):
    """What is added to a generated frame (b h w 3) to sharpen it: 3x3 convolutions with ReLU.

    The last one begins at zero, so that at first nothing is added. How deep the authors' is, is not
    known.

    Attributes:
      depth: convolutions, of which the last has three channels.
      channels: of the others.
      dtype: of the computation.
    """

    depth: int = 11
    channels: int = 64
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "depth", "channels")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
        x, options = 2.0 * x - 1.0, {"kernel_size": (3, 3), "dtype": self.dtype}
        init = nn.initializers.he_normal()
        for number in range(1, self.depth):
            conv = nn.Conv(self.channels, kernel_init=init, name=f"conv{number}", **options)
            x = jax.nn.relu(conv(x))
        last = nn.Conv(3, kernel_init=nn.initializers.zeros, name="residual", **options)
        return last(x).astype(jnp.float32)


def _wide(module: nn.Module, channels: int) -> int:
    return max(1, round(channels * module.width))


def _conv(
    module: nn.Module, name: str, x: Array, channels: int, size: int, stride: int, train: bool
) -> Array:
    conv = nn.Conv(_wide(module, channels), (size, size), stride, dtype=module.dtype, name=name)
    return _bn_relu(module, name, conv(x), train)


def _up(
    module: nn.Module, name: str, x: Array, channels: int, size: int, stride: int, train: bool
) -> Array:
    conv = nn.ConvTranspose(
        _wide(module, channels), (size, size), (stride, stride), dtype=module.dtype, name=name
    )
    return _bn_relu(module, name, conv(x), train)


def _bn_relu(module: nn.Module, name: str, x: Array, train: bool) -> Array:
    norm = nn.BatchNorm(
        use_running_average=not train,
        momentum=module.bn_momentum,
        epsilon=1e-5,
        dtype=module.dtype,
        name=f"{name}_bn",
    )
    return jax.nn.relu(norm(x))


def _dense(module: nn.Module, x: Array) -> dict[str, Array]:
    x = x.reshape(len(x), -1)
    x = jax.nn.relu(nn.Dense(_wide(module, 512), dtype=module.dtype, name="fc6")(x))
    fc7 = nn.Dense(module.embedding, dtype=module.dtype, name="fc7")(x)
    return {"fc6": x, "fc7": jax.nn.relu(fc7)}
