"""Mel-frequency cepstral coefficients as HTK and MATLAB's `mfcc` make them, on the device."""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32

from ssl_jax.config import ConfigError
from ssl_jax.ops.mfcc import FULL_SCALE
from ssl_jax.ops.spectrogram import from_mel, to_mel


def htk_mfcc(
    wave: Float[Array, "*b s"],
    sample_rate: int = 16000,
    window: float = 0.025,
    hop: float = 0.010,
    bands: int = 40,
    low: float = 300.0,
    high: float = 3700.0,
    coefficients: int = 13,
    emphasis: float = 0.97,
    lifter: int = 22,
) -> Float[Array, "*b t f"]:
    """Cepstral coefficients 1, 2, ... of the wave's frames; the one that tells loudness is dropped.

    The defaults are Speech2Vid's (Chung, Jamaludin, Zisserman 2017). Other than `ops.mfcc`: a
    symmetric Hamming window, magnitudes in place of powers, bands between exact frequencies, and
    only whole frames: 0.35 s have 33, 35 need 5840 samples at 16 kHz.

    Args:
      wave: samples in -1..1; counted in 16-bit steps.
      sample_rate: in Hz.
      window, hop: of a frame, in seconds.
      bands: triangular mel bands of height 1 from `low` to `high` Hz.
      coefficients: of the cosine transform, the first of which is not returned: f is one less.
      emphasis: every sample loses so much of the one before.
      lifter: coefficient n is weighted by 1 + lifter / 2 sin(pi n / lifter).

    Bands below 1 count as 1: silence has a logarithm, which it has not in other tools. Raises
    ConfigError for a lifter below 1, a wave shorter than a frame, or a band without a bin.
    """
    if lifter < 1:
        raise ConfigError(f"htk_mfcc: lifter={lifter} must be 1 or more")
    size, step = round(window * sample_rate), round(hop * sample_rate)
    fft = 1 << (size - 1).bit_length()
    x = FULL_SCALE * wave.astype(jnp.float32)
    count = (x.shape[-1] - size) // step + 1
    if count < 1:
        raise ConfigError(f"htk_mfcc: {x.shape[-1]} samples hold no frame of {size}")
    x = jnp.concatenate([x[..., :1], x[..., 1:] - emphasis * x[..., :-1]], axis=-1)
    frames = x[..., step * np.arange(count)[:, None] + np.arange(size)]
    magnitude = jnp.abs(jnp.fft.rfft(frames * np.hamming(size).astype(np.float32), fft))
    exact = lax.Precision.HIGHEST
    matrix = _bands(sample_rate, fft, bands, low, high)
    logs = jnp.log(jnp.maximum(jnp.matmul(magnitude, matrix, precision=exact), 1.0))
    return jnp.matmul(logs, _cosines(bands, coefficients, lifter), precision=exact)


@functools.cache
def _bands(
    sample_rate: int, fft: int, bands: int, low: float, high: float
) -> Float32[np.ndarray, "f bands"]:
    mels = np.linspace(to_mel(low, "htk"), to_mel(high, "htk"), bands + 2)
    corners = from_mel(mels, "htk")
    bins = np.linspace(0, sample_rate / 2, fft // 2 + 1)[:, None]
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (bins - left) / (middle - left), (right - bins) / (right - middle)
    matrix = np.maximum(0, np.minimum(rising, falling))
    empty = np.flatnonzero(matrix.max(0) == 0)
    if len(empty):
        raise ConfigError(
            f"htk_mfcc: bands {empty.tolist()} of {bands} hold no bin of an fft of {fft} at "
            f"{sample_rate} Hz; raise window or lower the number of bands"
        )
    return matrix.astype(np.float32)


@functools.cache
def _cosines(bands: int, coefficients: int, lifter: int) -> Float32[np.ndarray, "bands f"]:
    n, k = np.arange(bands)[:, None] + 0.5, np.arange(1, coefficients)
    weights = 1 + lifter / 2 * np.sin(np.pi * k / lifter)
    return (np.sqrt(2 / bands) * np.cos(np.pi * n * k / bands) * weights).astype(np.float32)
