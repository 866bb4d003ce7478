"""Network in network for images of 32 pixels, as RotNet trained it on CIFAR."""

import flax.linen as nn
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least
from ssl_jax.models.conv_bn_relu import conv_bn_relu
from ssl_jax.models.layers import check_trunk
from ssl_jax.ops.pooling import avg_pool, global_avg_pool, max_pool


class NIN(nn.Module):
    """Network in network (Lin et al. 2014) of 3, 4 or 5 blocks (Gidaris, Singh, Komodakis 2018).

    A block is three convolutions, the last two of them 1x1, each followed by BN and ReLU.
    Called with images (b h w c), returns their layers: block1 (max-pooled to half the side),
    block2 (average-pooled to a quarter), block3, ... (b h w c), and pool (b d), the mean of the
    last block over space.

    Attributes:
      blocks: at least 3.
      pool_block3: average-pools block3 too, if it is not the last.
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths.
      remat: recompute convolutions, BN and ReLU in the backward pass: less memory, more time.
      dtype: of the computation.

    Raises:
      ConfigError: fewer than 3 blocks.
    """

    blocks: int = 4
    pool_block3: bool = False
    bn_momentum: float = 0.9
    width: float = 1.0
    remat: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        at_least(self, 3, "blocks")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        layers = {}
        conv = nn.remat(NIN._conv, static_argnums=(2, 3, 4, 5, 6)) if self.remat else NIN._conv
        for number in range(1, self.blocks + 1):
            channels = (192, 160, 96) if number == 1 else (192, 192, 192)
            size = 5 if number <= 2 else 3
            for index, features in enumerate(channels):
                one = size if index == 0 else 1
                x = conv(self, x, f"block{number}", index + 1, features, one, train)
            if number == 1:
                x = max_pool(x, 3, 2, padding=1)
            elif number == 2 or (number == 3 and self.pool_block3 and self.blocks > 3):
                x = avg_pool(x, 3, 2, padding=1)
            layers[f"block{number}"] = x
        layers["pool"] = global_avg_pool(x)
        return layers

    def _conv(self, x: Array, block: str, index: int, features: int, size: int, train: bool):
        """Convolution, BN, ReLU."""
        features = max(1, round(features * self.width))
        names = f"{block}_conv{index}", f"{block}_bn{index}"
        return conv_bn_relu(x, features, size, train, names, self.bn_momentum, self.dtype)
