"""VGG-M (Chatfield et al., "Return of the Devil in the Details", BMVC 2014)."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.knobs import above, at_least, one_of, within
from ssl_jax.models.alexnet import local_response_norm
from ssl_jax.models.layers import DTYPES
from ssl_jax.ops.pooling import max_pool

# Channels, side, stride and padding of each convolution.
CONVS = ((96, 7, 2, 0), (256, 5, 2, 1), (512, 3, 1, 1), (512, 3, 1, 1), (512, 3, 1, 1))


class VGGM(nn.Module):
    """Five convolutions and two dense layers, of which the last is narrower: VGG-M-2048.

    Called with images of any number of channels (b h w c), returns their layers: conv1, ... conv5
    (b h w c; after ReLU), pool5 (b h w c), fc6 and fc7 (b d; after ReLU and dropout). Local
    response normalisation and pooling follow conv1 and conv2. 224 pixels become 109, 54, 26, 13 and
    6, for pooled sizes are rounded up.

    Attributes:
      fc6, fc7: widths.
      dropout: rate, at fc6 and fc7.
      width: multiplies all widths.
      dtype: of the computation.
    """

    fc6: int = 4096
    fc7: int = 2048
    dropout: float = 0.5
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "fc6", "fc7")
        within(self, 0, 1, "dropout")
        above(self, 0, "width")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        layers = {}
        for number, (channels, side, stride, padding) in enumerate(CONVS, start=1):
            name = f"conv{number}"
            x = nn.Conv(
                self._wide(channels),
                (side, side),
                stride,
                padding=padding,
                kernel_init=nn.initializers.he_normal(),
                dtype=self.dtype,
                name=name,
            )(x)
            x = layers[name] = jax.nn.relu(x)
            if number <= 2:
                x = max_pool(local_response_norm(x), 3, 2, ceil=True)
        x = layers["pool5"] = max_pool(x, 3, 2, ceil=True)
        x = x.reshape(len(x), -1)
        for name, features in (("fc6", self.fc6), ("fc7", self.fc7)):
            dense = nn.Dense(
                self._wide(features),
                kernel_init=nn.initializers.he_normal(),
                dtype=self.dtype,
                name=name,
            )
            drop = nn.Dropout(self.dropout, deterministic=not train)
            x = layers[name] = drop(jax.nn.relu(dense(x)))
        return layers

    def _wide(self, features: int) -> int:
        return max(1, round(features * self.width))
