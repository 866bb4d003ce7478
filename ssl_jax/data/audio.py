"""Waves on the host: another sample rate, a fixed length, a piece."""

import functools
import math

import numpy as np
from jaxtyping import Float32

# Zero crossings of the resampling filter on each side, in samples of the slower of both rates.
FILTER_REACH = 10
KAISER = 5.0  # beta of its window; with this reach the filter is the one that SciPy designs itself


def resample(
    wave: Float32[np.ndarray, "s"], from_rate: int, to_rate: int
) -> Float32[np.ndarray, "s2"]:
    """Band-limited resampling of a wave by a polyphase Kaiser-windowed sinc, without delay.

    Sample k of the result is at k / to_rate seconds; there are round(s * to_rate / from_rate).
    Beyond the wave's ends silence is assumed. ValueError if a rate is not a positive integer.
    """
    if from_rate < 1 or to_rate < 1 or from_rate != int(from_rate) or to_rate != int(to_rate):
        raise ValueError(f"cannot resample from {from_rate} to {to_rate} Hz: whole, positive rates")
    if from_rate == to_rate:
        return wave
    from scipy.signal import resample_poly

    common = math.gcd(int(from_rate), int(to_rate))
    up, down = int(to_rate) // common, int(from_rate) // common
    length = round(len(wave) * up / down)
    if length == 0:
        return np.zeros(0, np.float32)
    resampled = resample_poly(wave, up, down, window=_filter(max(up, down)))
    return fit_length(resampled.astype(np.float32, copy=False), length)


@functools.lru_cache(maxsize=8)  # up to a few MB each
def _filter(factor: int) -> Float32[np.ndarray, "k"]:
    """Low-pass that leaves 1 / factor of the band. Designing it takes long for a short clip."""
    from scipy.signal import firwin

    taps = firwin(2 * FILTER_REACH * factor + 1, 1 / factor, window=("kaiser", KAISER))
    return taps.astype(np.float32)


def fit_length(wave: Float32[np.ndarray, "s"], samples: int) -> Float32[np.ndarray, "s2"]:
    """The first `samples` samples; silence after the end of a shorter wave."""
    return np.pad(wave[:samples], (0, max(0, samples - len(wave))))


def cut(
    wave: Float32[np.ndarray, "s"], rate: int, start: float | int, stop: float | int
) -> Float32[np.ndarray, "s2"]:
    """The samples between two times in seconds; silence before the wave and after it."""
    first, count = round(start * rate), round((stop - start) * rate)
    piece = np.zeros(max(count, 0), np.float32)
    begin, end = max(first, 0), min(first + count, len(wave))
    if begin < end:
        piece[begin - first : end - first] = wave[begin:end]
    return piece
