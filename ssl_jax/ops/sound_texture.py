"""Statistics of a sound texture: what a place sounds like, whatever sounds at a moment.

On the host, in float64, as the envelopes are that they are of. McDermott and Simoncelli, Neuron
2011, as Owens et al., "Ambient Sound Provides Supervision for Visual Learning", ECCV 2016.
"""

import functools

import numpy as np
from jaxtyping import Float, Float32

from ssl_jax.ops.subbands import envelopes

ENVELOPE_RATE = 400  # Hz
BANDS = 32  # thirty, a low-pass and a high-pass
MODULATIONS = 0.5 * 400 ** (np.arange(10) / 9)  # Hz, centres of the bands of modulation
APART = (1, 2, 3, 5)  # bands whose envelopes are correlated
EPSILON = float(np.finfo(np.float32).eps)

# Where each group of statistics ends.
GROUPS = {"mean": 32, "deviation": 64, "correlation": 181, "modulation": 501, "loudness": 502}


def sound_texture(
    wave: Float[np.ndarray, "s"], sample_rate: int, by_loudness: bool = False
) -> Float32[np.ndarray, "502"]:
    """How loud 32 bands are, how unsteady, which go together, and how fast each of them changes.

    Of the envelopes of the bands (`subbands.envelopes`, 400 a second): 32 means; 32 deviations,
    each over its mean; 117 correlations of bands 1, 2, 3 and 5 apart; of each band what share of
    its deviation lies in ten bands of modulation about 0.5 to 200 Hz (320); and the loudness.

    Args:
      wave: in -1..1.
      sample_rate: its rate in Hz.
      by_loudness: envelopes are divided by the loudness, the median over time of their length,
        which is the last statistic; otherwise that is 0.

    Raises ConfigError for a wave too short for an envelope (2.5 ms).
    """
    x = envelopes(wave, sample_rate, BANDS - 2, ENVELOPE_RATE)
    loudness = 0.0
    if by_loudness:
        loudness = float(np.median(np.linalg.norm(x, axis=1)))
        x = x / (EPSILON + loudness)
    mean = x.mean(axis=0)
    away = x - mean
    variance = np.square(away).mean(axis=0)
    deviation = np.sqrt(variance / (EPSILON + mean**2))
    first, second = np.array([(i, i + d) for d in APART for i in range(BANDS - d)]).T
    products = (away[:, first] * away[:, second]).mean(axis=0)
    scale = np.sqrt(variance[first] * variance[second])
    # A band that does not change goes together with none.
    alike = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    return np.concatenate(
        [mean, deviation, alike, _modulation(x, variance).ravel(), [loudness]], dtype=np.float32
    )


def _modulation(
    x: Float[np.ndarray, "t 32"], variance: Float[np.ndarray, "32"]
) -> Float[np.ndarray, "32 10"]:
    """Of each band the deviation that a filter of modulation lets through, over the whole."""
    size = len(x)
    power = np.square(np.abs(np.fft.rfft(x, axis=0))) / size**2
    power[1 : (size + 1) // 2] *= 2  # the mirrored half; by Parseval's theorem a mean square
    through = power.T @ np.square(_modulation_bank(size))
    return np.sqrt(through / (EPSILON + variance[:, None]))


@functools.lru_cache(maxsize=4)
def _modulation_bank(size: int) -> Float[np.ndarray, "f 10"]:
    """What each filter lets through of envelopes of so many samples: half a cosine from 0 Hz up."""
    f = np.fft.rfftfreq(size, 1 / ENVELOPE_RATE)[:, None]
    inside = (f > 0) & (f < 2 * MODULATIONS)
    bank = np.where(inside, np.cos(np.pi * (f - MODULATIONS) / (2 * MODULATIONS)), 0.0)
    # In the middle the squares sum to about 1.
    middle = (f[:, 0] >= MODULATIONS[3]) & (f[:, 0] <= MODULATIONS[6])
    total = np.square(bank[middle]).sum(axis=1)
    return bank / np.sqrt(total.mean()) if len(total) else bank
