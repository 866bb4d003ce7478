"""Sub-bands of a wave as the ear divides it, and their envelopes: a cochleagram.

On the host, in float64: targets are made once for every example, and so exactly. McDermott and
Simoncelli, Neuron 2011, as Owens et al., "Ambient Sound Provides Supervision for Visual Learning",
ECCV 2016 and "Visually Indicated Sounds", CVPR 2016 use them.
"""

import functools
import math

import numpy as np
from jaxtyping import Float

from ssl_jax.config import ConfigError

RATE = 20_000  # Hz, to which waves are resampled first
LOW, HIGH = 20.0, 10_000.0  # Hz, of the bands


def to_erb(hertz: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Hz on the scale of equivalent rectangular bandwidths, on which all bands are equally wide."""
    return 9.265 * np.log1p(hertz / 228.8455)


def band_edges(bands: int, low: float = LOW, high: float = HIGH) -> Float[np.ndarray, "n"]:
    """`bands` + 2 edges in Hz; band k reaches from edge k to edge k + 2.

    ConfigError for less than one band, or limits out of order.
    """
    if bands < 1 or not 0 <= low < high:
        raise ConfigError(f"subbands: bands={bands} from {low:g} to {high:g} Hz")
    first, last = to_erb(np.array([low, high])).tolist()
    return 228.8455 * np.expm1(np.linspace(first, last, bands + 2) / 9.265)


def responses(
    hertz: Float[np.ndarray, "f"], bands: int, low: float = LOW, high: float = HIGH
) -> Float[np.ndarray, "k f"]:
    """What each filter lets through: k = bands + 2, with a low-pass before and a high-pass after.

    Half cosines on the ERB scale. At every frequency the squares of all of them sum up to 1.
    """
    places = to_erb(hertz)
    edges = to_erb(band_edges(bands, low, high))
    lower, upper = edges[:-2, None], edges[2:, None]
    inside = (places > lower) & (places < upper)
    cosines = np.where(
        inside, np.cos(np.pi * (places - (lower + upper) / 2) / (upper - lower)), 0.0
    )
    below = np.where(places < edges[1], np.sqrt(1 - cosines[0] ** 2), 0.0)
    above = np.where(places > edges[-2], np.sqrt(1 - cosines[-1] ** 2), 0.0)
    return np.concatenate([below[None], cosines, above[None]])


def envelopes(
    wave: Float[np.ndarray, "s"],
    sample_rate: int,
    bands: int = 30,
    rate: int = 400,
    exponent: float = 0.3,
) -> Float[np.ndarray, "t k"]:
    """How loud each band is over time: the cochleagram of a wave.

    From 0 to 1, but for a little below 0 where resampling rings.

    The wave is resampled to 20 kHz and filtered from 20 Hz to 10 kHz; the magnitude of each band's
    analytic signal is compressed, and then resampled. All resampling is by the Fourier transform:
    the wave counts as periodic.

    Args:
      wave: in -1..1.
      sample_rate: its rate in Hz.
      bands: k = bands + 2.
      rate: envelopes per second. The wave's end is cut off so that t is whole: at 400 Hz to a
        multiple of 2.5 ms, at 60 Hz of 50 ms, at 90 Hz of 100 ms.
      exponent: of the compression.

    Raises ConfigError for bands or rates that cannot be, and for a wave too short.
    """
    from scipy import fft, signal

    if not 1 <= rate <= RATE or exponent <= 0:
        raise ConfigError(f"envelopes: rate={rate} must be 1 to {RATE}, exponent={exponent} > 0")
    x = np.asarray(wave, np.float64)
    samples = round(len(x) * RATE / sample_rate)
    if samples and sample_rate != RATE:
        x = signal.resample(x, samples)
    common = math.gcd(RATE, rate)
    blocks = len(x) * common // RATE
    if not blocks:
        raise ConfigError(
            f"envelopes: {samples} samples at {RATE} Hz are too few for a rate of {rate}; "
            f"{RATE // common} are needed"
        )
    x = np.clip(x[: blocks * RATE // common], -1, 1)
    spectrum = np.zeros((bands + 2, len(x)), np.complex128)
    half = len(x) // 2 + 1
    spectrum[:, :half] = _one_sided(len(x), bands) * fft.rfft(x)
    analytic = fft.ifft(spectrum, overwrite_x=True)
    compressed = (analytic.real**2 + analytic.imag**2) ** (exponent / 2)
    steps = blocks * rate // common
    return np.clip(signal.resample(compressed, steps, axis=1), -1, 1).T


@functools.lru_cache(maxsize=4)
def _one_sided(samples: int, bands: int) -> Float[np.ndarray, "k f"]:
    """Responses whose inverse transform, without negative frequencies, is the analytic signal."""
    doubled = 2 * responses(fft_frequencies(samples), bands)
    doubled[:, 0] /= 2
    if samples % 2 == 0:
        doubled[:, -1] /= 2
    return doubled


def fft_frequencies(samples: int) -> Float[np.ndarray, "f"]:
    """Hz of the bins of a real transform at 20 kHz."""
    return np.fft.rfftfreq(samples, 1 / RATE)
