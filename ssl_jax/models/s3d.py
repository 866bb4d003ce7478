"""S3D and S3D-G, inception networks whose 3-D convolutions are split into space and time.

Parameters: 7,910,048, and 9,135,056 with gates.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.models.layers import check_trunk
from ssl_jax.models.resnet3d import ConvBN3D
from ssl_jax.ops.pooling import max_pool

# Channels of the four branches: 1x1x1; 1x1x1 and 3x3x3; the same, narrower; pooling and 1x1x1.
BLOCKS = {
    "mixed3b": (64, (96, 128), (16, 32), 32),
    "mixed3c": (128, (128, 192), (32, 96), 64),
    "mixed4b": (192, (96, 208), (16, 48), 64),
    "mixed4c": (160, (112, 224), (24, 64), 64),
    "mixed4d": (128, (128, 256), (24, 64), 64),
    "mixed4e": (112, (144, 288), (32, 64), 64),
    "mixed4f": (256, (160, 320), (32, 128), 128),
    "mixed5b": (256, (160, 320), (32, 128), 128),
    "mixed5c": (384, (192, 384), (48, 128), 128),
}


class S3D(nn.Module):
    """S3D trunk (Xie, Sun, Huang, Tu and Murphy 2018); with `gated`, S3D-G.

    Called with clips (b t h w c), returns their layers: conv1, conv2, mixed3b, mixed3c, mixed4b to
    mixed4f, mixed5b, mixed5c (b t h w c), all after ReLU and gates, and pool (b d), the mean of
    mixed5c over time and space. 16 frames of 224 pixels end as 2x7x7, or as 16x7x7 without
    `time_strides`.

    Attributes:
      gated: every branch of a block, and conv2, is multiplied by sigmoid(W m + b), m its mean over
        time and space: channels are weighed by what the whole clip shows.
      time_strides: strides halve time three times; without them it stays whole, as SpeedNet (Benaim
        et al. 2020) has it.
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths.
      dtype: of the computation.
    """

    gated: bool = False
    time_strides: bool = True
    bn_momentum: float = 0.9
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], train: bool) -> dict[str, Array]:
        step = 2 if self.time_strides else 1
        x = self._conv(x, 64, 7, "conv1", train, (step, 2, 2))
        layers = {"conv1": x}
        x = max_pool(x, (1, 3, 3), (1, 2, 2), padding=(0, 1, 1))
        x = self._conv(x, 64, 1, "conv2_reduce", train)
        x = layers["conv2"] = self._gate(self._conv(x, 192, 3, "conv2", train), "conv2_gate")
        x = max_pool(x, (1, 3, 3), (1, 2, 2), padding=(0, 1, 1))
        for name, channels in BLOCKS.items():
            if name == "mixed4b":
                x = max_pool(x, 3, (step, 2, 2), padding=1)
            elif name == "mixed5b":
                x = max_pool(x, (step, 2, 2))
            x = layers[name] = self._mixed(x, channels, name, train)
        layers["pool"] = x.mean((1, 2, 3))
        return layers

    def _mixed(self, x: Array, channels: tuple, name: str, train: bool) -> Array:
        """An inception block: four branches side by side."""
        point, middle, narrow, pooled = channels
        branches = [self._conv(x, point, 1, f"{name}_point", train)]
        for number, (reduced, out) in enumerate((middle, narrow), start=1):
            small = self._conv(x, reduced, 1, f"{name}_reduce{number}", train)
            branches.append(self._conv(small, out, 3, f"{name}_conv{number}", train))
        around = max_pool(x, 3, 1, padding=1)
        branches.append(self._conv(around, pooled, 1, f"{name}_pooled", train))
        gated = [self._gate(y, f"{name}_gate{k}") for k, y in enumerate(branches, start=1)]
        return jnp.concatenate(gated, axis=-1)

    def _conv(self, x, channels: int, size: int, name: str, train: bool, strides=(1, 1, 1)):
        """A convolution, split if it is larger than a point, each part with BN and ReLU."""
        channels = max(1, round(channels * self.width))
        conv = ConvBN3D(
            channels,
            (size,) * 3,
            strides,
            middle=channels if size > 1 else 0,
            bn_momentum=self.bn_momentum,
            bn_eps=1e-3,
            dtype=self.dtype,
            name=name,
        )
        return jax.nn.relu(conv(x, train))

    def _gate(self, x: Float[Array, "b t h w c"], name: str) -> Float[Array, "b t h w c"]:
        if not self.gated:
            return x
        weights = nn.Dense(x.shape[-1], dtype=self.dtype, name=name)(x.mean((1, 2, 3)))
        return x * jax.nn.sigmoid(weights)[:, None, None, None]
