"""VGG-16 (Simonyan and Zisserman 2015) with batch normalisation.

The knobs that make the published networks:

    Arrow of time      the defaults                                         14,723,136
    Cross and Learn    bn_after_relu=False, bn_eps=1e-5, pool5=True,       117,487,680
                       fc6=4096, of a frame (parameters of three channels)
"""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.knobs import above, at_least, within
from ssl_jax.models.layers import check_trunk
from ssl_jax.ops.pooling import max_pool

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels and convolutions of each


class VGG16(nn.Module):
    """Thirteen 3x3 convolutions in five blocks, 2x2 max pooling between blocks.

    224 pixels end as 14x14, or pooled once more as 7x7.

    Called with images of any number of channels (b h w c), returns the last layer of every block,
    maps (b h w c): conv1_2, conv2_2, conv3_3, conv4_3, conv5_3; then pool5 (b h w c) and fc6 (b d)
    where they exist, the latter after ReLU and dropout.

    Attributes:
      bn_after_relu: order conv-ReLU-BN (Wei et al. 2018) instead of conv-BN-ReLU.
      bn_momentum: fraction of the past in the running statistics.
      bn_eps: added to BN's variance.
      pool5: max pooling after the last block too.
      fc6: width of a dense layer on pool5; 0: no such layer.
      dropout: rate, at the output of fc6.
      width: multiplies all widths.
      dtype: of the computation.

    Raises:
      ConfigError: fc6 without pool5.
    """

    bn_after_relu: bool = True
    bn_momentum: float = 0.9
    bn_eps: float = 1e-3
    pool5: bool = False
    fc6: int = 0
    dropout: float = 0.5
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        above(self, 0, "bn_eps")
        at_least(self, 0, "fc6")
        within(self, 0, 1, "dropout")
        if self.fc6 and not self.pool5:
            raise ConfigError("fc6 needs pool5; set pool5=True as well")
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
                norm = nn.BatchNorm(
                    use_running_average=not train,
                    momentum=self.bn_momentum,
                    epsilon=self.bn_eps,
                    dtype=self.dtype,
                    name=f"{name}_bn",
                )
                x = norm(jax.nn.relu(x)) if self.bn_after_relu else jax.nn.relu(norm(x))
            layers[name] = x
        if self.pool5:
            x = layers["pool5"] = max_pool(x, 2, 2)
        if self.fc6:
            width = max(1, round(self.fc6 * self.width))
            x = nn.Dense(width, dtype=self.dtype, name="fc6")(x.reshape(len(x), -1))
            drop = nn.Dropout(self.dropout, deterministic=not train)
            layers["fc6"] = drop(jax.nn.relu(x))
        return layers
