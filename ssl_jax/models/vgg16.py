"""VGG-16's convolutions (Simonyan and Zisserman 2015) with batch normalisation."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.models.layers import check_trunk
from ssl_jax.ops.pooling import max_pool

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels and convolutions of each


class VGG16(nn.Module):
    """Thirteen 3x3 convolutions in five blocks, 2x2 max pooling between blocks and not at the end.

    Each convolution is followed by ReLU, then by BN, in the order of Wei et al. 2018. 224 pixels
    end as 14x14.

    Called with images of any number of channels (b h w c), returns the last layer of every block,
    maps (b h w c): conv1_2, conv2_2, conv3_3, conv4_3, conv5_3.

    Attributes:
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths.
      dtype: of the computation.
    """

    bn_momentum: float = 0.9
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        layers = {}
        for block, (channels, count) in enumerate(BLOCKS, start=1):
            if block > 1:
                x = max_pool(x, 2, 2)
            for number in range(1, count + 1):
                name = f"conv{block}_{number}"
                x = nn.Conv(
                    max(1, round(channels * self.width)),
                    (3, 3),
                    kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
                    dtype=self.dtype,
                    name=name,
                )(x)
                x = nn.BatchNorm(
                    use_running_average=not train,
                    momentum=self.bn_momentum,
                    epsilon=1e-3,
                    dtype=self.dtype,
                    name=f"{name}_bn",
                )(jax.nn.relu(x))
            layers[name] = x
        return layers
