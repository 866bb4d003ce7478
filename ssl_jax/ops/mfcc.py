"""Log mel filterbanks and mel-frequency cepstral coefficients, on the device."""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32

from ssl_jax.config import ConfigError
from ssl_jax.ops.spectrogram import from_mel, to_mel

FULL_SCALE = 32768.0  # of 16-bit samples, of which the published coefficients are
SILENCE = np.float32(np.finfo(np.float64).eps)  # the smallest power, as in other tools


def log_filterbank(
    wave: Float[Array, "*b s"],
    sample_rate: int = 48000,
    window: float = 0.020,
    hop: float = 0.010,
    bands: int = 40,
    fft: int = 1024,
    emphasis: float = 0.97,
) -> Float[Array, "*b t f"]:
    """Natural logarithm of the power in mel bands; arguments as of `mfcc`.

    The defaults are those of AVTS (Korbar et al. 2018): a second at 48 kHz gives 99 frames of 40
    bands.

    Raises ConfigError if a frame is longer than the transform, or if a band holds no bin of it.
    """
    power = _power(wave, sample_rate, window, hop, fft, emphasis)
    return _log_bands(power, sample_rate, bands, fft)


def mfcc(
    wave: Float[Array, "*b s"],
    sample_rate: int = 16000,
    window: float = 0.025,
    hop: float = 0.010,
    bands: int = 26,
    coefficients: int = 13,
    fft: int = 512,
    emphasis: float = 0.97,
    lifter: int = 22,
) -> Float[Array, "*b t f"]:
    """Cepstral coefficients of the wave's frames; the first is the logarithm of the energy.

    The defaults are SyncNet's (Chung, Zisserman 2016): at 16 kHz frames of 400 samples every 160,
    not windowed, of which the last is filled up with zeros. So 0.2 s have 19 frames; 3440 samples
    fill twenty.

    Args:
      wave: samples in -1..1; counted in 16-bit steps, so that energies are those of other tools.
      sample_rate: in Hz.
      window, hop: of a frame, in seconds.
      bands: triangular mel bands (HTK's scale) from 0 to half the rate, of the power spectrum.
      coefficients: of the cosine transform that are kept, f.
      fft: length of the transform.
      emphasis: every sample loses so much of the one before.
      lifter: coefficient n is weighted by 1 + lifter / 2 sin(pi n / lifter).

    Raises ConfigError for a lifter below 1, if a frame is longer than the transform, or if a band
    holds no bin of it.
    """
    if lifter < 1:
        raise ConfigError(f"mfcc: lifter={lifter} must be 1 or more")
    power = _power(wave, sample_rate, window, hop, fft, emphasis)
    logs = _log_bands(power, sample_rate, bands, fft)
    cosines = jnp.matmul(logs, _cosine_matrix(bands, coefficients), precision=lax.Precision.HIGHEST)
    weights = 1 + lifter / 2 * np.sin(np.pi * np.arange(coefficients) / lifter)
    energy = jnp.log(jnp.maximum(power.sum(-1), SILENCE))
    return jnp.concatenate(
        [energy[..., None], cosines[..., 1:] * weights[1:].astype(np.float32)], axis=-1
    )


def _power(
    wave: Float[Array, "*b s"],
    sample_rate: int,
    window: float,
    hop: float,
    fft: int,
    emphasis: float,
) -> Float[Array, "*b t f"]:
    """Power spectra of frames, of which the last is filled up."""
    size, step = round(window * sample_rate), round(hop * sample_rate)
    if size > fft:
        raise ConfigError(f"filterbank: window={window} has {size} samples, more than fft={fft}")
    x = FULL_SCALE * wave.astype(jnp.float32)
    x = jnp.concatenate([x[..., :1], x[..., 1:] - emphasis * x[..., :-1]], axis=-1)
    samples = x.shape[-1]
    count = 1 + max(0, -(-(samples - size) // step))
    missing = max(0, (count - 1) * step + size - samples)
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
    frames = x[..., step * np.arange(count)[:, None] + np.arange(size)]
    return jnp.abs(jnp.fft.rfft(frames, fft)) ** 2 / fft


def _log_bands(
    power: Float[Array, "*b t f"], sample_rate: int, bands: int, fft: int
) -> Float[Array, "*b t bands"]:
    matrix = _band_matrix(sample_rate, fft, bands)
    # Highest precision: an accelerator's default would round the products to bfloat16.
    energies = jnp.matmul(power, matrix, precision=lax.Precision.HIGHEST)
    return jnp.log(jnp.maximum(energies, SILENCE))


@functools.cache
def _band_matrix(sample_rate: int, fft: int, bands: int) -> Float32[np.ndarray, "f bands"]:
    """Triangles whose corners are whole bins."""
    mels = np.linspace(0, to_mel(sample_rate / 2, "htk"), bands + 2)
    corners = np.floor((fft + 1) * from_mel(mels, "htk") / sample_rate).astype(int)
    bins = np.arange(fft // 2 + 1)[:, None]
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (bins - left) / np.maximum(middle - left, 1)
    falling = (right - bins) / np.maximum(right - middle, 1)
    inside = np.where(bins < middle, rising, falling)
    matrix = np.where((bins >= left) & (bins < right), inside, 0.0)
    empty = np.flatnonzero(matrix.max(0) == 0)
    if len(empty):
        raise ConfigError(
            f"filterbank: bands {empty.tolist()} of {bands} hold no bin of an fft of {fft} at "
            f"{sample_rate} Hz; raise fft or lower the number of bands"
        )
    return matrix.astype(np.float32)


@functools.cache
def _cosine_matrix(bands: int, coefficients: int) -> Float32[np.ndarray, "bands f"]:
    """The orthonormal cosine transform, type II."""
    n, k = np.arange(bands)[:, None] + 0.5, np.arange(coefficients)
    matrix = np.sqrt(2 / bands) * np.cos(np.pi * n * k / bands)
    matrix[:, 0] /= np.sqrt(2)
    return matrix.astype(np.float32)
