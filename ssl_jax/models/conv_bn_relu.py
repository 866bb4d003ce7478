"""What most convolutional networks are made of, for those written as one module."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float


def conv_bn_relu(
    x: Float[Array, "b h w c"],
    features: int,
    size: int,
    train: bool,
    names: tuple[str, str],
    bn_momentum: float,
    dtype: str,
) -> Float[Array, "b h w d"]:
    """A convolution of `size` x `size` without bias, BN, ReLU.

    Its layers become the calling module's, under `names`.

    Args:
      names: of the convolution and of the BN.
      bn_momentum: fraction of the past in the running statistics.
      dtype: of the computation.
    """
    x = nn.Conv(
        features,
        (size, size),
        use_bias=False,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        dtype=dtype,
        name=names[0],
    )(x)
    x = nn.BatchNorm(
        use_running_average=not train,
        momentum=bn_momentum,
        epsilon=1e-5,
        dtype=dtype,
        name=names[1],
    )(x)
    return jax.nn.relu(x)
