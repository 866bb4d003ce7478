"""The VGG-type network that L3-Net and AVE-Net use for pictures, and (`audio.py`) for sound."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.ops.pooling import global_max_pool, max_pool


class L3Net(nn.Module):
    """Vision trunk of L3-Net (Arandjelovic, Zisserman 2017) and AVE-Net (2018).

    Called with pictures (b h w c), returns their layers: conv1_1, conv1_2, conv2_1, ... conv4_2
    (b h w c; after BN and ReLU), and pool (b d), the maximum of conv4_2 over space.

    Attributes:
      first_stride: of conv1_1: 1 (L3-Net: 224 pixels end as 28x28) or 2 (AVE-Net: 14x14).
      bn_momentum: share of the past in the running statistics.
      width: multiplies all widths.
      dtype: of the computation.
    """

    first_stride: int = 2
    bn_momentum: float = 0.9
    width: float = 1.0
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        return l3_layers(x, train, self.first_stride, self.bn_momentum, self.width, self.dtype)


def l3_layers(
    x: Float[Array, "b h w c"],
    train: bool,
    first_stride: int,
    bn_momentum: float,
    width: float,
    dtype: str,
) -> dict[str, Array]:
    """Body of `L3Net` and `AudioNet`: to be called inside a compact module, which owns the weights.

    Eight 3x3 convolutions, each with BN and ReLU, and 2x2 max pooling after the first three pairs.
    Pooling rounds down: a spectrogram of 257 bins ends in 16 rows (32 with first_stride 1).
    """
    layers = {}
    for number, channels in enumerate((64, 128, 256, 512), start=1):
        if number > 1:
            x = max_pool(x, 2)
        for index in (1, 2):
            name = f"conv{number}_{index}"
            x = nn.Conv(
                max(1, round(channels * width)),
                (3, 3),
                first_stride if name == "conv1_1" else 1,
                padding=1,
                kernel_init=nn.initializers.he_normal(),
                dtype=dtype,
                name=name,
            )(x)
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=bn_momentum,
                epsilon=1e-5,
                dtype=dtype,
                name=f"{name}_bn",
            )(x)
            x = layers[name] = jax.nn.relu(x)
    layers["pool"] = global_max_pool(x)
    return layers
