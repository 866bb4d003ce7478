"""C3D, the plain 3-D convolutional network for clips, in two sizes."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from ssl_jax.knobs import above, one_of
from ssl_jax.models.layers import DTYPES, Conv3D, check_trunk
from ssl_jax.ops.pooling import global_avg_pool, max_pool


class C3D(nn.Module):
    """C3D trunk (Tran et al. 2015) with BN after every convolution (Xu et al. 2019, VCOP).

    Called with clips (b t h w c), returns their layers: conv1, conv2, conv3, conv4, conv5
    (b t h w c; after BN and ReLU, before the pooling that follows), and pool (b d), the mean of
    conv5 over time and space. 16 frames of 112 pixels reach conv5 as 2x7x7. Convolutions keep
    their biases, as in VCOP.

    Attributes:
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths.
      remat: recompute convolutions, BN and ReLU in the backward pass: less memory, more time.
      dtype: of the computation.
    """

    bn_momentum: float = 0.9
    width: float = 1.0
    remat: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], train: bool) -> dict[str, Array]:
        layers = {}
        block = nn.remat(C3D._block, static_argnums=(2, 3, 4)) if self.remat else C3D._block
        for number, (channels, count) in enumerate(
            ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2)), start=1
        ):
            if number > 1:
                # The first pooling keeps time, not to merge it too early.
                x = max_pool(x, (1, 2, 2) if number == 2 else (2, 2, 2))
            for letter in "ab"[:count]:
                x = block(self, x, f"conv{number}{letter}", channels, train)
            layers[f"conv{number}"] = x
        layers["pool"] = global_avg_pool(x)
        return layers

    def _block(self, x: Array, name: str, channels: int, train: bool) -> Array:
        """Convolution, BN, ReLU."""
        x = Conv3D(
            max(1, round(channels * self.width)),
            (3, 3, 3),
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
            name=name,
        )(x)
        x = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.bn_momentum,
            epsilon=1e-5,
            dtype=self.dtype,
            name=f"{name}_bn",
        )(x)
        return jax.nn.relu(x)


class SmallC3D(nn.Module):
    """The C3D of five convolutions that Tran et al. 2015 explored with, as in MotionPred.

    Called with clips (b t h w c), returns their layers: conv1, ... conv5 (b t h w c; after ReLU,
    before the pooling that follows), fc6 and fc7 (b d; after ReLU). 16 frames of 112 pixels reach
    fc6 as 1x4x4x256: pooled sizes are rounded up. No BN.

    Attributes:
      weight_init: 'published': N(0, 0.01), in fc6 and fc7 N(0, 0.005) with biases of 1; for
        pixels of 0..255 less their mean. 'he': variances as in and out of each layer.
      width: multiplies all widths.
      dtype: of the computation.
    """

    weight_init: str = "published"
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        above(self, 0, "width")
        one_of(self, "dtype", DTYPES)
        one_of(self, "weight_init", ("published", "he"))
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], train: bool) -> dict[str, Array]:
        del train
        layers, published = {}, self.weight_init == "published"
        normal, ones = nn.initializers.normal, nn.initializers.ones
        he = nn.initializers.he_normal()
        for number, channels in enumerate((64, 128, 256, 256, 256), start=1):
            name = f"conv{number}"
            init = normal(0.01) if published else he
            conv = Conv3D(self._wide(channels), kernel_init=init, dtype=self.dtype, name=name)
            x = layers[name] = jax.nn.relu(conv(x))
            x = max_pool(x, (1, 2, 2) if number == 1 else (2, 2, 2), ceil=True)
        x = x.reshape(len(x), -1)
        for name in ("fc6", "fc7"):
            dense = nn.Dense(
                self._wide(2048),
                kernel_init=normal(0.005) if published else he,
                bias_init=ones if published else nn.initializers.zeros,
                dtype=self.dtype,
                name=name,
            )
            x = layers[name] = jax.nn.relu(dense(x))
        return layers

    def _wide(self, channels: int) -> int:
        return max(1, round(channels * self.width))
