"""Inception v3 (Szegedy et al. 2016), up to where its maps are first halved by a block."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.knobs import above
from ssl_jax.models.layers import check_trunk
from ssl_jax.ops.pooling import max_pool

# Widths of the branches of the three blocks: 1x1; 5x5 behind 1x1; 3x3 twice behind 1x1; 1x1 behind
# the mean.
BLOCKS = {"mixed5b": 32, "mixed5c": 64, "mixed5d": 64}


class InceptionV3(nn.Module):
    """The stem and the three blocks of 35x35 cells: what TCN takes (Mixed_5d of TF-slim).

    Called with images (b h w c), returns their layers: conv1a, conv2b, conv4a, mixed5b, mixed5c,
    mixed5d (b h w c); of 299 pixels a side mixed5d is 35x35x288. Convolutions have no bias; BN has
    an offset and no scale, as in TF-slim.

    Attributes:
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths.
      dtype: of the computation.
    """

    bn_momentum: float = 0.9997
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        above(self, 0, "width")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        def conv(x, features, size, name, stride=1, padding="VALID"):
            features = max(1, round(features * self.width))
            return conv_offset(
                x, features, size, train, name, stride, padding, self.bn_momentum, self.dtype
            )

        layers = {}
        x = layers["conv1a"] = conv(x, 32, 3, "conv1a", 2)
        x = conv(x, 32, 3, "conv2a")
        x = layers["conv2b"] = conv(x, 64, 3, "conv2b", padding="SAME")
        x = conv(max_pool(x, 3, 2), 80, 1, "conv3b")
        x = layers["conv4a"] = conv(x, 192, 3, "conv4a")
        x = max_pool(x, 3, 2)
        for block, behind_mean in BLOCKS.items():

            def branch(x, features, size, name, block=block):
                return conv(x, features, size, f"{block}_{name}", padding="SAME")

            five = branch(branch(x, 48, 1, "five1"), 64, 5, "five2")
            three = branch(branch(x, 64, 1, "three1"), 96, 3, "three2")
            three = branch(three, 96, 3, "three3")
            mean = nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)
            mean = branch(mean, behind_mean, 1, "mean")
            x = jnp.concatenate([branch(x, 64, 1, "one"), five, three, mean], axis=-1)
            layers[block] = x
        return layers


def conv_offset(
    x: Float[Array, "b h w c"],
    features: int,
    size: int,
    train: bool,
    name: str,
    stride: int,
    padding: str,
    bn_momentum: float,
    dtype: str,
) -> Float[Array, "b h2 w2 d"]:
    """A convolution without bias, BN without scale, ReLU: TF-slim's. They belong to the caller."""
    x = nn.Conv(
        features,
        (size, size),
        stride,
        padding=padding,
        use_bias=False,
        dtype=dtype,
        name=f"{name}_conv",
    )(x)
    x = nn.BatchNorm(
        use_running_average=not train,
        momentum=bn_momentum,
        epsilon=1e-3,
        use_scale=False,
        dtype=dtype,
        name=f"{name}_bn",
    )(x)
    return jax.nn.relu(x)
