"""The convolutions of a discriminator of videos (VGAN), which are a trunk for clips."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least, given, one_of, within
from ssl_jax.models.layers import DTYPES, Conv3D
from ssl_jax.models.two_stream_generator import WEIGHTS, around_one


class LeakyC3D(nn.Module):
    """VGAN's discriminator without its answer (Vondrick, Pirsiavash and Torralba 2016).

    4x4x4 convolutions of stride 2 with leaky ReLU (slope 0.2) and, but for the first, BN.

    Called with clips (b t h w c), returns their layers: conv1, conv2, ... (b t h w c). With the
    default channels 11,025,088 parameters; 32 frames of 64 pixels end as 2x4x4.

    Attributes:
      channels: of the convolutions.
      bn_momentum: fraction of the past in the running statistics.
      dtype: of the computation.
    """

    channels: tuple[int, ...] = (64, 128, 256, 512)
    bn_momentum: float = 0.9
    dtype: str = "float32"

    def __post_init__(self):
        given(self, "channels")
        at_least(self, 1, "channels")
        within(self, 0, 1, "bn_momentum")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], train: bool) -> dict[str, Array]:
        layers = {}
        for number, channels in enumerate(self.channels, start=1):
            conv = Conv3D(
                channels,
                (4, 4, 4),
                (2, 2, 2),
                padding=(1, 1, 1),
                kernel_init=WEIGHTS,
                dtype=self.dtype,
                name=f"conv{number}",
            )
            x = conv(x)
            if number > 1:
                x = nn.BatchNorm(
                    use_running_average=not train,
                    momentum=self.bn_momentum,
                    epsilon=1e-3,
                    scale_init=around_one,
                    dtype=self.dtype,
                    name=f"bn{number}",
                )(x)
            x = layers[f"conv{number}"] = jax.nn.leaky_relu(x, 0.2)
        return layers
