"""Networks for audio."""

import flax.linen as nn
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least
from ssl_jax.models.l3 import l3_layers
from ssl_jax.models.layers import check_trunk


class AudioNet(nn.Module):
    """Audio trunk of L3-Net (Arandjelovic, Zisserman 2017) and AVE-Net (2018).

    Called with log spectrograms (b t f), returns their layers: conv1_1, conv1_2, conv2_1, ...
    conv4_2 (b t f c; after BN and ReLU), and pool (b d), the maximum of conv4_2 over time and
    frequency. One second of 200 frames and 257 bins ends as 12x16 (first_stride 2) or 25x32.

    Attributes:
      first_stride: of conv1_1: 1 (L3-Net) or 2 (AVE-Net).
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths.
      remat: recompute convolutions, BN and ReLU in the backward pass: less memory, more time.
      dtype: of the computation.
    """

    first_stride: int = 2
    bn_momentum: float = 0.9
    width: float = 1.0
    remat: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        at_least(self, 1, "first_stride")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b t f"], train: bool) -> dict[str, Array]:
        return l3_layers(self, x[..., None], train)
