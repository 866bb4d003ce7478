"""Three strided convolutions: a small trunk for coarse maps."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.knobs import above, one_of
from ssl_jax.models.layers import DTYPES

CONVS = ((32, 5, 4), (64, 3, 2), (64, 3, 2))  # channels, side and stride


class StridedConvs(nn.Module):
    """5x5 stride 4 and twice 3x3 stride 2, each with ReLU: 160 x 208 pixels end as 10 x 13.

    Called with images of any number of channels (b h w c), returns their layers: conv1, conv2,
    conv3 (b h w c). It is a network of our own.

    Attributes:
      width: multiplies all widths.
      dtype: of the computation.
    """

    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        above(self, 0, "width")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        del train
        layers = {}
        for number, (channels, side, stride) in enumerate(CONVS, start=1):
            conv = nn.Conv(
                max(1, round(channels * self.width)),
                (side, side),
                stride,
                kernel_init=nn.initializers.he_normal(),
                dtype=self.dtype,
                name=f"conv{number}",
            )
            x = layers[f"conv{number}"] = jax.nn.relu(conv(x))
        return layers
