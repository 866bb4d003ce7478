"""Layers that several trunks are made of."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.knobs import above, one_of, within
from ssl_jax.ops.conv3d import conv3d

# What a trunk may compute in.
DTYPES = ("float32", "bfloat16", "float16", "float64")


def check_trunk(trunk: nn.Module) -> None:
    """ConfigError for a `width`, `bn_momentum` or `dtype` out of range: most trunks have these."""
    above(trunk, 0, "width")
    within(trunk, 0, 1, "bn_momentum")
    one_of(trunk, "dtype", DTYPES)


class GroupedConv(nn.Module):
    """Square 2-D convolution whose groups of output channels each see one group of inputs.

    Parameters: `kernel` (h w c/groups o) and, with `use_bias`, `bias` (o). Computed as one
    convolution a group, because grouped ones are many times slower on CPU and no faster elsewhere
    for two groups.
    """

    features: int
    size: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        if x.shape[-1] % self.groups or self.features % self.groups:
            raise ConfigError(
                f"GroupedConv: {x.shape[-1]} -> {self.features} channels do not divide into "
                f"{self.groups} groups"
            )
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
        inputs = jnp.split(x.astype(self.dtype), self.groups, axis=-1)
        kernels = jnp.split(kernel, self.groups, axis=-1)
        outputs = [
            lax.conv_general_dilated(
                part,
                weights,
                (self.stride, self.stride),
                ((self.padding, self.padding),) * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            for part, weights in zip(inputs, kernels, strict=True)
        ]
        out = jnp.concatenate(outputs, axis=-1)
        if self.use_bias:
            out = out + self.param("bias", self.bias_init, (self.features,)).astype(self.dtype)
        return out


class Conv3D(nn.Module):
    """Layer of `conv3d`: parameters `kernel` (kt kh kw c o) and `bias` (o), whatever `impl`.

    Attributes:
      features: channels out.
      kernel_size, strides, padding, impl: see `conv3d`; sizes and strides are (t, h, w).
      use_bias: adds a bias that starts at zero.
      kernel_init: initialiser of the kernel.
      dtype: of the computation; parameters are float32.
    """

    features: int
    kernel_size: tuple[int, int, int] = (3, 3, 3)
    strides: tuple[int, int, int] = (1, 1, 1)
    padding: str | tuple = "SAME"
    use_bias: bool = True
    dtype: str = "float32"
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    impl: str = "auto"

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t2 h2 w2 o"]:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
        out = conv3d(x.astype(self.dtype), kernel, self.strides, self.padding, self.impl)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            out = out + bias.astype(self.dtype)
        return out


def nan_where_unfit(call: Callable, args: tuple, kwargs: dict, context):
    """In place of a dense layer whose weights are for another number of inputs: NaN."""
    module = context.module
    if isinstance(module, nn.Dense) and context.method_name == "__call__":
        x, kernel = args[0], module.get_variable("params", "kernel")
        if kernel.shape[0] != x.shape[-1]:
            return jnp.full((*x.shape[:-1], kernel.shape[1]), jnp.nan, x.dtype)
    return call(*args, **kwargs)
