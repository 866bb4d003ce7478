"""Convolution over time whose groups of channels do not mix, with an equal, faster form for CPUs.

XLA's CPU backend takes long over groups, and longer to compile one convolution for each. Long
kernels are products of Fourier transforms, which is what the CPU computes instead.
"""

import functools

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError

IMPLS = ("auto", "native", "fourier")


def grouped_conv(
    x: Float[Array, "b t c"],
    kernel: Float[Array, "k i o"],
    padding: int = 0,
    impl: str = "auto",
) -> Float[Array, "b t2 o"]:
    """Cross-correlates sequences with a kernel over time; t2 = t + 2 padding - k + 1.

    There are c / i groups: the first i channels give the first o i / c of the outputs, and so on.

    Args:
      padding: zeros before and behind.
      impl: 'native' (lax.conv_general_dilated), 'fourier', which computes in float32 or more, or
        'auto': fourier where the program is compiled for a CPU, native elsewhere.

    Raises:
      ConfigError: unknown `impl`, or channels that do not divide into the kernel's groups.
    """
    if impl not in IMPLS:
        raise ConfigError(f"grouped_conv: impl is one of {IMPLS}, not {impl!r}")
    channels, (_, own, out) = x.shape[-1], kernel.shape
    if channels % own or out % (channels // own):
        raise ConfigError(
            f"grouped_conv: {channels} -> {out} channels do not divide into groups of {own}"
        )
    native, fourier = (functools.partial(form, padding=padding) for form in (_native, _fourier))
    if impl == "auto":
        return lax.platform_dependent(x, kernel, cpu=fourier, default=native)
    return native(x, kernel) if impl == "native" else fourier(x, kernel)


def _native(x: Array, kernel: Array, padding: int) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (1,),
        ((padding, padding),),
        dimension_numbers=("NTC", "TIO", "NTC"),
        feature_group_count=x.shape[-1] // kernel.shape[1],
    )


def _fourier(x: Array, kernel: Array, padding: int) -> Array:
    length, taps = x.shape[1], kernel.shape[0]
    groups, own = x.shape[-1] // kernel.shape[1], kernel.shape[1]
    size = 1 << (length + taps - 2).bit_length()  # so long that the ends do not meet
    wide = jnp.promote_types(x.dtype, jnp.float32)
    seen = jnp.fft.rfft(x.astype(wide), size, axis=1)
    weights = jnp.conj(jnp.fft.rfft(kernel.astype(wide), size, axis=0))
    seen = seen.reshape(*seen.shape[:2], groups, own)
    weights = weights.reshape(*weights.shape[:2], groups, -1)
    product = jnp.einsum("bfgi,figo->bfgo", seen, weights, precision=lax.Precision.HIGHEST)
    found = jnp.fft.irfft(product.reshape(*seen.shape[:2], -1), size, axis=1)
    # Lag 0 comes first, negative lags last.
    out = jnp.roll(found, padding, axis=1)[:, : length + 2 * padding - taps + 1]
    return out.astype(x.dtype)
