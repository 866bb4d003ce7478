"""Residual network for short clips, 2-D in its first two stages and 3-D in its last two (DPC).

Parameters: 14,057,536 with layers=(2, 2, 2, 2), 32,422,208 with (3, 4, 6, 3).
"""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least
from ssl_jax.models.layers import check_trunk
from ssl_jax.models.resnet3d import ConvBN3D
from ssl_jax.ops.pooling import max_pool


class ResNet2D3D(nn.Module):
    """2D3D-ResNet trunk (Han, Xie and Zisserman 2019, "Dense Predictive Coding").

    Called with clips (b t h w c), returns their layers: stem, stage1, stage2, stage3, stage4
    (b t h w c), map (b h w c), the mean of stage4 over time, and pool (b c), the mean of map over
    space. All are after ReLU but the last three: stage4 ends without one, so that its values have
    either sign. Convolutions see one frame at a time up to stage2 and three from stage3 on, where
    strides halve time too: 5 frames of 128 pixels end as 2x4x4. The last stage is as wide as the
    third, 256.

    Attributes:
      layers: blocks of the four stages; (2, 2, 2, 2) is the network of 18 layers, (3, 4, 6, 3) that
        of 34.
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths.
      dtype: of the computation.
    """

    layers: tuple[int, int, int, int] = (2, 2, 2, 2)
    bn_momentum: float = 0.9
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        at_least(self, 1, "layers")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], train: bool) -> dict[str, Array]:
        channels = max(1, round(64 * self.width))
        x = self._conv_bn(channels, (1, 7, 7), (1, 2, 2), "stem")(x, train)
        x = jax.nn.relu(x)
        layers = {"stem": x}
        x = max_pool(x, (1, 3, 3), (1, 2, 2), padding=(0, 1, 1))
        for stage, wider in enumerate((1, 2, 4, 4), start=1):
            for number in range(1, self.layers[stage - 1] + 1):
                final = stage == 4 and number == self.layers[3]
                x = self._block(x, channels * wider, stage, number, train)
                x = x if final else jax.nn.relu(x)
            layers[f"stage{stage}"] = x
        layers["map"] = x.mean(1)
        layers["pool"] = layers["map"].mean((1, 2))
        return layers

    def _block(self, x: Array, channels: int, stage: int, number: int, train: bool) -> Array:
        """Two convolutions and a shortcut, before the ReLU."""
        kernel = (3, 3, 3) if stage > 2 else (1, 3, 3)
        stride = 2 if stage > 1 and number == 1 else 1
        strides = (stride if stage > 2 else 1, stride, stride)
        name = f"stage{stage}_block{number}"
        out = jax.nn.relu(self._conv_bn(channels, kernel, strides, f"{name}_first")(x, train))
        out = self._conv_bn(channels, kernel, (1, 1, 1), f"{name}_second")(out, train)
        if stride != 1 or x.shape[-1] != channels:
            x = self._conv_bn(channels, (1, 1, 1), strides, f"{name}_shortcut")(x, train)
        return out + x

    def _conv_bn(self, channels, kernel_size, strides, name) -> ConvBN3D:
        return ConvBN3D(
            channels,
            kernel_size,
            strides,
            middle=0,
            bn_momentum=self.bn_momentum,
            bn_eps=1e-5,
            dtype=self.dtype,
            name=name,
        )
