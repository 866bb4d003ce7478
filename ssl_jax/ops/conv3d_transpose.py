"""Transposed 3-D convolution that doubles all sides of clips, with a faster form for the CPU."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.ops.conv3d import IMPLS, conv3d


def conv3d_transpose(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "4 4 4 c o"], impl: str = "auto"
) -> Float[Array, "b 2*t 2*h 2*w o"]:
    """A transposed convolution with a 4x4x4 kernel, stride 2 and, as PyTorch counts it, padding 1.

    On every axis output 2 i + r, r being 0 or 1, is

        kernel[r] x[i + r - 1] + kernel[r + 2] x[i + r]

    where x is 0 beyond its ends. (PyTorch's kernel is this one turned around.)

    Args:
      kernel: taps of time, height and width; then channels in and out.
      impl: 'native' (a convolution of x with zeros between its cells), 'fold' (a convolution that
        makes the eight outputs between neighbouring cells at once, without the zeros), or 'auto':
        fold where the program is compiled for a CPU, native elsewhere.

    Raises:
      ConfigError: unknown `impl`.
    """
    if impl not in IMPLS:
        raise ConfigError(f"conv3d_transpose: impl is one of {IMPLS}, not {impl!r}")
    if impl == "auto":
        return lax.platform_dependent(x, kernel, cpu=_fold, default=_native)
    return _fold(x, kernel) if impl == "fold" else _native(x, kernel)


def _native(x: Array, kernel: Array) -> Array:
    layout = ("NDHWC", "DHWIO", "NDHWC")
    return lax.conv_transpose(x, kernel, (2, 2, 2), ((2, 2),) * 3, dimension_numbers=layout)


def _fold(x: Array, kernel: Array) -> Array:
    # Two neighbours on every axis, x[j - 1] and x[j], make the outputs 2 j - 1 and 2 j: eight of
    # them, which come out of one convolution as channels. Rows of taps: 1 and 3, then 0 and 2.
    o = kernel.shape[-1]
    taps = jnp.array([[1, 3], [0, 2]])
    kernel = kernel[taps][:, :, taps][:, :, :, :, taps]  # output and tap by turns
    kernel = kernel.transpose(1, 3, 5, 6, 0, 2, 4, 7).reshape(2, 2, 2, -1, 8 * o)
    # Padded ahead: the gradient of a convolution that pads is many times slower on CPU.
    out = conv3d(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0))), kernel, padding="VALID")
    b, t, h, w, _ = out.shape
    out = out.reshape(b, t, h, w, 2, 2, 2, o).transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return out.reshape(b, 2 * t, 2 * h, 2 * w, o)[:, 1:-1, 1:-1, 1:-1]
