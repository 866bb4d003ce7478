"""The VGG-type network that L3-Net and AVE-Net use for images, and (`audio.py`) for audio."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least
from ssl_jax.models.layers import check_trunk
from ssl_jax.ops.pooling import global_max_pool, max_pool


class L3Net(nn.Module):
    """Vision trunk of L3-Net (Arandjelovic, Zisserman 2017) and AVE-Net (2018).

    Called with images (b h w c), returns their layers: conv1_1, conv1_2, conv2_1, ... conv4_2
    (b h w c; after BN and ReLU), and pool (b d), the maximum of conv4_2 over space.

    Attributes:
      first_stride: of conv1_1: 1 (L3-Net: 224 pixels end as 28x28) or 2 (AVE-Net: 14x14).
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
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        return l3_layers(self, x, train)


def l3_layers(module: nn.Module, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
    """Body of `L3Net` and `AudioNet`, the modules that it takes for their knobs and weights.

    Eight 3x3 convolutions, each with BN and ReLU, and 2x2 max pooling after the first three pairs.
    Pooling rounds down: a spectrogram of 257 bins ends in 16 rows (32 with first_stride 1).
    """
    layers = {}
    block = nn.remat(_block, static_argnums=(2, 3, 4, 5)) if module.remat else _block
    for number, channels in enumerate((64, 128, 256, 512), start=1):
        if number > 1:
            x = max_pool(x, 2)
        for index in (1, 2):
            name = f"conv{number}_{index}"
            stride = module.first_stride if name == "conv1_1" else 1
            x = layers[name] = block(module, x, name, channels, stride, train)
    layers["pool"] = global_max_pool(x)
    return layers


def _block(module: nn.Module, x: Array, name: str, channels: int, stride: int, train: bool):
    """Convolution, BN, ReLU."""
    x = nn.Conv(
        max(1, round(channels * module.width)),
        (3, 3),
        stride,
        padding=1,
        kernel_init=nn.initializers.he_normal(),
        dtype=module.dtype,
        name=name,
    )(x)
    x = nn.BatchNorm(
        use_running_average=not train,
        momentum=module.bn_momentum,
        epsilon=1e-5,
        dtype=module.dtype,
        name=f"{name}_bn",
    )(x)
    return jax.nn.relu(x)
