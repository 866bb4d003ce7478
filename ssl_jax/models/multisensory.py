"""The network of multisensory features (Owens and Efros 2018): two streams, and what joins them.

VideoStream   125 frames of 224 pixels end as 32x28x28x64
WaveStream    87,588 samples end as 86x256
Fusion        of both: 16x7x7x512, and a score for every place of it
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.knobs import at_least
from ssl_jax.models.layers import Conv3D, check_trunk
from ssl_jax.ops.pooling import largest, max_pool


class VideoStream(nn.Module):
    """Trunk of the video alone.

    Called with clips (b t h w c), returns their layers: conv1, block1, block2 (b t h w c), all
    after BN and ReLU.

    Attributes:
      bn_momentum: fraction of the past in the running statistics; 0.9997 in the released code.
      width: multiplies all widths.
      dtype: of the computation.
    """

    bn_momentum: float = 0.9997
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], train: bool) -> dict[str, Array]:
        layers, wide = {}, _widths(self, 64)
        x = _conv(self, "conv1", x, wide, (5, 7, 7), (2, 2, 2))
        x = layers["conv1"] = _bn_relu(self, "bn1", x, train)
        x = max_pool(x, (1, 3, 3), (1, 2, 2), "SAME")
        for number, strides in enumerate(((1, 1, 1), (2, 2, 2)), start=1):
            x = layers[f"block{number}"] = _block(
                self, f"block{number}", x, wide, (3, 3, 3), strides, train
            )
        return layers


class WaveStream(nn.Module):
    """Trunk of the audio alone.

    Called with waves (b s), returns their layers: conv1, block1, block2, block3 (b t c), all after
    BN and ReLU. Every layer, and a pooling after conv1, takes a fourth of the rate: 1024 samples
    become one. Attributes are `VideoStream`'s.
    """

    bn_momentum: float = 0.9997
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b s"], train: bool) -> dict[str, Array]:
        layers = {}
        x = _conv(self, "conv1", x[..., None], _widths(self, 64), (65,), (4,))
        x = layers["conv1"] = _bn_relu(self, "bn1", x, train)
        x = max_pool(x, 4)
        for number, channels in enumerate((128, 128, 256), start=1):
            wide = _widths(self, channels)
            x = layers[f"block{number}"] = _block(
                self, f"block{number}", x, wide, (15,), (4,), train
            )
        return layers


class Fusion(nn.Module):
    """The rest, which takes the last layers of both streams.

    Called with maps of the video (b t h w c) and of the audio (b n d), returns merged, block1, ...
    block6 (b t h w c), pool (b d), the mean of block6 over time and space, and activation
    (b h w 1): the mean over time of the score that every place has. Its own mean is the answer, and
    it is a class activation map (Zhou et al. 2016).

    Attributes:
      last_stride: of block5 in space; 1 gives maps of 14x14 in place of 7x7.
      others are `VideoStream`'s.
    """

    last_stride: int = 2
    bn_momentum: float = 0.9997
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        at_least(self, 1, "last_stride")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, video: Float[Array, "b t h w c"], audio: Float[Array, "b n d"], train: bool
    ) -> dict[str, Array]:
        t, channels = video.shape[1], video.shape[-1]
        wide = _widths(self, 128)
        audio = _conv(self, "audio", fit_time(audio, t), wide, (3,), (1,))
        audio = _bn_relu(self, "audio_bn", audio, train)
        tiled = jnp.broadcast_to(audio[:, :, None, None], (*video.shape[:-1], wide))
        x = jnp.concatenate([video, tiled], axis=-1)
        # Around the two convolutions go the first and the last channels: video's and audio's.
        if channels > wide:
            raise ConfigError(f"Fusion: {channels} channels of video are more than {wide} of audio")
        ends = x[..., :channels], x[..., x.shape[-1] - (wide - channels) :]
        around = jnp.concatenate(ends, axis=-1)
        x = _conv(self, "merge1", x, _widths(self, 512), (1, 1, 1), (1, 1, 1))
        x = _bn_relu(self, "merge1_bn", x, train)
        x = _conv(self, "merge2", x, wide, (1, 1, 1), (1, 1, 1))
        layers = {"merged": _bn_relu(self, "merge2_bn", x + around, train)}
        last = (1, self.last_stride, self.last_stride)
        plan = ((128, (1, 1, 1)), (128, (1, 1, 1)), (256, (2, 2, 2)), (256, (1, 1, 1)))
        x = layers["merged"]
        for number, (own, strides) in enumerate((*plan, (512, last), (512, (1, 1, 1))), start=1):
            x = layers[f"block{number}"] = _block(
                self, f"block{number}", x, _widths(self, own), (3, 3, 3), strides, train
            )
        scores = nn.Dense(1, name="score")(x.astype(jnp.float32))
        return {**layers, "pool": x.mean((1, 2, 3)), "activation": scores.mean(1)}


def fit_time(x: Float[Array, "b n c"], count: int) -> Float[Array, "b count c"]:
    """Maxima over time of `count` windows as even as can be, which overlap or repeat where needed.

    Window i runs from floor(i n / count) to ceil((i + 1) n / count). In place of fractional
    pooling, whose windows are drawn at random in training.
    """
    n = x.shape[1]
    windows = [(i * n // count, -(-(i + 1) * n // count)) for i in range(count)]
    return jnp.stack([largest(x[:, low:high], 1) for low, high in windows], axis=1)


def _widths(module: nn.Module, channels: int) -> int:
    return max(1, round(channels * module.width))


def _conv(module: nn.Module, name: str, x: Array, channels: int, size: tuple, strides: tuple):
    """Without bias: BN comes after each, or after a sum with it."""
    layer = Conv3D if len(size) == 3 else nn.Conv
    return layer(channels, size, strides, use_bias=False, dtype=module.dtype, name=name)(x)


def _bn_relu(module: nn.Module, name: str, x: Array, train: bool) -> Array:
    norm = nn.BatchNorm(
        use_running_average=not train,
        momentum=module.bn_momentum,
        epsilon=1e-3,
        dtype=module.dtype,
        name=name,
    )
    return jax.nn.relu(norm(x))


def _block(
    module: nn.Module,
    name: str,
    x: Array,
    channels: int,
    size: tuple,
    strides: tuple,
    train: bool,
) -> Array:
    """BN and ReLU of the sum of two convolutions and what goes around them."""
    around, one = x, (1,) * len(size)
    if strides != one or x.shape[-1] != channels:
        around = _conv(module, f"{name}_around", x, channels, one, strides)
    x = _conv(module, f"{name}_conv1", x, channels, size, strides)
    x = _bn_relu(module, f"{name}_bn1", x, train)
    x = _conv(module, f"{name}_conv2", x, channels, size, one)
    return _bn_relu(module, f"{name}_bn2", x + around, train)
