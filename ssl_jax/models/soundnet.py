"""Networks of one dimension for waves: SoundNet's two trunks, and its heads."""

from collections.abc import Sequence

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.knobs import above, at_least, one_of
from ssl_jax.models.layers import check_trunk
from ssl_jax.ops.pooling import max_pool

# depth: channels, kernel, stride, padding and pooling of each convolution of the trunk.
LAYERS = {
    8: (
        *((16, 64, 2, 32, 8), (32, 32, 2, 16, 8), (64, 16, 2, 8, 1), (128, 8, 2, 4, 1)),
        *((256, 4, 2, 2, 4), (512, 4, 2, 2, 1), (1024, 4, 2, 2, 1)),
    ),
    5: ((32, 64, 2, 32, 8), (64, 32, 2, 16, 8), (128, 16, 2, 8, 8), (256, 8, 2, 4, 1)),
}


class SoundNet(nn.Module):
    """Trunk of SoundNet (Aytar, Vondrick, Torralba 2016), without the heads that it counts.

    Called with waves (b s), returns their layers (b t c), after BN and ReLU: conv1, pool1, conv2,
    ... Pooling is by maxima and rounds down. 441,000 samples, 20 s at 22,050 Hz, end as 15 steps
    of 1024 channels (depth 8; 2,874,320 parameters) or 54 of 256 (5; 462,240).

    Attributes:
      depth: 8 or 5, heads counted.
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths.
      dtype: of the computation.
    """

    depth: int = 8
    bn_momentum: float = 0.9
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        one_of(self, "depth", LAYERS)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b s"], train: bool) -> dict[str, Array]:
        x, layers = x[..., None], {}
        for number, layer in enumerate(LAYERS[self.depth], start=1):
            channels, kernel, stride, padding, pool = layer
            x = nn.Conv(
                max(1, round(channels * self.width)),
                (kernel,),
                stride,
                padding=padding,
                kernel_init=nn.initializers.normal(0.01),
                dtype=self.dtype,
                name=f"conv{number}",
            )(x)
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=self.bn_momentum,
                epsilon=1e-5,
                scale_init=scale_init,
                dtype=self.dtype,
                name=f"conv{number}_bn",
            )(x)
            x = layers[f"conv{number}"] = jax.nn.relu(x)
            if pool > 1:
                x = layers[f"pool{number}"] = max_pool(x, pool)
        return layers


def scale_init(key: jax.Array, shape: Sequence[int], dtype) -> jax.Array:
    """Normal about 1, by 0.02."""
    return 1.0 + 0.02 * jax.random.normal(key, shape, dtype)


class SoundHead(nn.Module):
    """A convolution over time: a prediction for each stretch of audio.

    Attributes:
      classes: channels out.
      kernel, stride, padding: in steps of the trunk's last layer; of SoundNet's 8 layers 8, 2, 0,
        of its 5 layers 16, 12, 4.
    """

    classes: int
    kernel: int = 8
    stride: int = 2
    padding: int = 0

    def __post_init__(self):
        at_least(self, 1, "classes", "kernel", "stride")
        above(self, -1, "padding")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b n k"]:
        return nn.Conv(
            self.classes,
            (self.kernel,),
            self.stride,
            padding=self.padding,
            kernel_init=nn.initializers.normal(0.01),
            name="conv",
        )(x)
