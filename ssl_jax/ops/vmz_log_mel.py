"""Log-mel spectrograms as the audio networks of VMZ take them (XDC's encoders), on the device."""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32

from ssl_jax.config import ConfigError
from ssl_jax.ops.spectrogram import from_mel, to_mel

# Of powers: about the square of 16 bits' full scale, so that sounds lie above e, and silence below.
GAIN = 1080674186.3482928


def vmz_log_mel(
    wave: Float[Array, "*b s"],
    sample_rate: int = 16000,
    window: float = 0.016,
    hop: float = 0.02,
    bands: int = 40,
) -> Float[Array, "*b t f"]:
    """Logarithm of the power in mel bands, straight where that is small: x / e below e, else ln x.

    Two seconds at 16 kHz give 100 frames of 40 bands, as wide as the networks' input. (VMZ's frames
    lie 10 ms apart, and it stretches what there is to 100.)

    Args:
      wave: samples in -1..1.
      sample_rate: in Hz.
      window, hop: of a frame, in seconds; its window is Hann's, symmetric. Only whole frames count.
      bands: triangles from 0 Hz to half the rate, evenly spaced in HTK's mel, to either side at
        least a bin wide, and of sum 1.

    Raises ConfigError for a wave shorter than a window, or a band without a bin.
    """
    size, step = round(window * sample_rate), round(hop * sample_rate)
    count = (wave.shape[-1] - size) // step + 1
    if count < 1:
        raise ConfigError(
            f"log-mel: a wave of {wave.shape[-1]} samples holds no window of {size}; raise seconds"
        )
    frames = wave[..., step * np.arange(count)[:, None] + np.arange(size)].astype(jnp.float32)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / (size - 1))
    fft = 2 ** int(np.ceil(np.log2(size)))
    power = jnp.abs(jnp.fft.rfft(frames * hann.astype(np.float32), fft)) ** 2
    matrix = _band_matrix(sample_rate, fft, bands)
    x = np.float32(GAIN) * jnp.matmul(power, matrix, precision=lax.Precision.HIGHEST)
    # The inner maximum: the branch that is not taken must not have a logarithm of zero.
    return jnp.where(x > np.e, jnp.log(jnp.maximum(x, 1.0)), x / np.float32(np.e))


@functools.cache
def _band_matrix(sample_rate: int, fft: int, bands: int) -> Float32[np.ndarray, "f bands"]:
    bins = np.arange(fft // 2 + 1)[:, None]
    mels = np.linspace(0, to_mel(sample_rate / 2, "htk"), bands + 2)
    # In bins. VMZ takes their distance for rate / 2 / (fft / 2 + 1), a little less than it is, so
    # that all bands lie 1 / 129 too high; the published networks have learnt with that.
    corners = from_mel(mels, "htk") / (sample_rate / 2 / len(bins))
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (middle - bins) / np.maximum(1, middle - left)
    falling = (bins - middle) / np.maximum(1, right - middle)
    matrix = np.maximum(0, 1 - np.where(bins < middle, rising, falling))
    empty = np.flatnonzero(matrix.max(0) == 0)
    if len(empty):
        raise ConfigError(
            f"log-mel: bands {empty.tolist()} of {bands} hold no bin of an fft of {fft} at "
            f"{sample_rate} Hz; lower the number of bands"
        )
    return (matrix / matrix.sum(0)).astype(np.float32)
