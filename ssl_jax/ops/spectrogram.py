"""Log spectrograms and log-mel spectrograms of waves, on the device."""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32

from ssl_jax.config import ConfigError

MEL_SCALES = ("htk", "slaney")


def log_spectrogram(
    wave: Float[Array, "*b s"],
    window: int = 480,
    hop: int = 240,
    fft: int = 512,
    pad_end: bool = True,
    floor: float = 1e-5,
) -> Float[Array, "*b t f"]:
    """Natural logarithm of the magnitude of the short-time Fourier transform.

    The defaults are those of AVE-Net (Arandjelovic, Zisserman 2018): a second at 48 kHz gives 200
    frames (199 without padding, as in L3-Net) of 257 bins.

    Args:
      wave: samples in -1..1.
      window: samples of a frame, weighted by a periodic Hann window.
      hop: samples between the starts of frames.
      fft: length of the transform, window and zeros; f = fft // 2 + 1.
      pad_end: silence follows the wave, t = ceil(s / hop); otherwise only whole frames count,
        t = (s - window) // hop + 1.
      floor: smaller magnitudes count as this one, so that silence has a logarithm.

    Raises:
      ConfigError: the transform is shorter than the window, or the wave too short for a frame.
    """
    return jnp.log(jnp.maximum(magnitudes(wave, window, hop, fft, pad_end), floor))


def log_mel(
    wave: Float[Array, "*b s"],
    sample_rate: int,
    mels: int = 64,
    low: float = 60.0,
    high: float = 7800.0,
    window: int = 400,
    hop: int = 160,
    fft: int = 512,
    scale: str = "htk",
    pad_end: bool = True,
    floor: float = 1e-5,
) -> Float[Array, "*b t f"]:
    """Natural logarithm of magnitudes summed in mel bands; arguments as of both functions here.

    Twice the amplitude adds log 2 everywhere above the floor.
    """
    matrix = mel_matrix(sample_rate, fft, mels, low, high, scale)
    # Highest precision: an accelerator's default would round the products to bfloat16.
    bands = jnp.matmul(
        magnitudes(wave, window, hop, fft, pad_end), matrix, precision=lax.Precision.HIGHEST
    )
    return jnp.log(jnp.maximum(bands, floor))


def magnitudes(
    wave: Float[Array, "*b s"], window: int, hop: int, fft: int, pad_end: bool
) -> Float[Array, "*b t f"]:
    """Magnitudes of the short-time Fourier transform, in float32; see `log_spectrogram`."""
    if fft < window:
        raise ConfigError(f"spectrogram: fft={fft} is shorter than window={window}; raise fft")
    samples = wave.shape[-1]
    count = -(-samples // hop) if pad_end else (samples - window) // hop + 1
    if count < 1:
        raise ConfigError(
            f"spectrogram: a wave of {samples} samples holds no window of {window}; use a longer "
            "wave or pad_end"
        )
    missing = max(0, (count - 1) * hop + window - samples)
    wave = jnp.pad(wave.astype(jnp.float32), [(0, 0)] * (wave.ndim - 1) + [(0, missing)])
    starts = hop * np.arange(count)
    frames = wave[..., starts[:, None] + np.arange(window)]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    return jnp.abs(jnp.fft.rfft(frames * hann.astype(np.float32), fft))


@functools.cache
def mel_matrix(
    sample_rate: int, fft: int, mels: int, low: float, high: float, scale: str = "htk"
) -> Float32[np.ndarray, "f mels"]:
    """Weights of overlapping triangular bands, evenly spaced in mel from `low` to `high` Hz.

    Args:
      sample_rate: in Hz.
      fft: length of the transform, of which there are fft // 2 + 1 bins.
      mels: number of bands.
      low, high: where the first band begins and the last ends, in Hz.
      scale: 'htk': 2595 log10(1 + f / 700), triangles straight in mel, of height 1 (TensorFlow's);
        'slaney': linear below 1 kHz, triangles straight in Hz, of area 1 (librosa's).

    Raises:
      ConfigError: an unknown scale, limits that are out of order or above half the sample rate, or
        bands so narrow that no bin falls into them: their features would be constant.
    """
    if scale not in MEL_SCALES:
        raise ConfigError(f"mel scale is one of {MEL_SCALES}, not {scale!r}")
    if not 0 <= low < high <= sample_rate / 2:
        raise ConfigError(f"mel bands: 0 <= low={low:g} < high={high:g} <= {sample_rate / 2:g} Hz")
    edges = np.linspace(to_mel(low, scale), to_mel(high, scale), mels + 2)
    bins = np.linspace(0, sample_rate / 2, fft // 2 + 1)[:, None]
    if scale == "htk":
        bins = to_mel(bins, scale)
    else:
        edges = from_mel(edges, scale)
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - left) / (middle - left)
    falling = (right - bins) / (right - middle)
    matrix = np.maximum(0, np.minimum(rising, falling))
    empty = np.flatnonzero(matrix.max(0) == 0)
    if len(empty):
        raise ConfigError(
            f"mel bands {empty.tolist()} of {mels} hold no bin of an fft of {fft} at {sample_rate} "
            "Hz and would be constant; raise fft or low, or lower the number of bands"
        )
    if scale == "slaney":
        matrix *= 2 / (right - left)
    return matrix.astype(np.float32)


def to_mel(hertz: float | np.ndarray, scale: str) -> float | np.ndarray:
    """Hz to mel: 1000 Hz are 999.9855 (htk) or 15 (slaney)."""
    if scale == "htk":
        return 2595 * np.log10(1 + hertz / 700)
    # Linear to 1 kHz, then 27 steps for each factor 6.4.
    above = 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4)
    return np.where(np.asarray(hertz) < 1000, np.asarray(hertz) * 3 / 200, above)


def from_mel(mel: float | np.ndarray, scale: str) -> float | np.ndarray:
    """The inverse of `to_mel`."""
    if scale == "htk":
        return 700 * (10 ** (np.asarray(mel) / 2595) - 1)
    above = 1000 * 6.4 ** ((np.maximum(mel, 15) - 15) / 27)
    return np.where(np.asarray(mel) < 15, np.asarray(mel) * 200 / 3, above)
