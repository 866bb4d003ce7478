"""Sub-bands of a wave and their envelopes: published edges, an independent transform, rates."""

import numpy as np
import pytest
from scipy import signal

from ssl_jax.config import ConfigError
from ssl_jax.ops.subbands import band_edges, envelopes, responses


def tone(seconds: float = 1.0, rate: int = 20_000) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * 1000 * t) * (1 + 0.5 * np.sin(2 * np.pi * 4 * t)) / 1.5


def test_edges_are_evenly_spaced_on_the_erb_scale():
    edges = band_edges(30)
    np.testing.assert_allclose(edges[:4], [20, 51.692, 87.420, 127.699], atol=5e-4)
    np.testing.assert_allclose(edges[-3:], [7819.456, 8844.458, 10000], atol=5e-4)
    with pytest.raises(ConfigError, match="bands=0"):
        band_edges(0)


@pytest.mark.parametrize("bands", [1, 30, 40])
def test_squared_responses_sum_up_to_one_everywhere(bands):
    found = responses(np.linspace(0, 10_000, 4001), bands)
    assert found.shape == (bands + 2, 4001)
    np.testing.assert_allclose(np.sum(found**2, axis=0), 1, rtol=1e-12)


def test_envelopes_of_a_tone():
    found = envelopes(tone(), 20_000)
    assert found.shape == (400, 32)
    means = found.mean(0)
    assert means.argmax() == 13
    np.testing.assert_allclose(means[12:15], [0.000049, 0.681118, 0.570653], atol=5e-7)
    assert found[:, 13].std() / means[13] == pytest.approx(0.112464, abs=5e-7)


def test_envelopes_are_those_of_scipys_hilbert_transform():
    wave = np.random.default_rng(0).normal(size=6000) * 0.1
    found = envelopes(wave, 20_000, bands=5, rate=60, exponent=0.5)
    filters = responses(np.fft.rfftfreq(6000, 1 / 20_000), 5)
    parts = np.fft.irfft(filters * np.fft.rfft(wave), 6000)
    expected = signal.resample(np.abs(signal.hilbert(parts, axis=1)) ** 0.5, 18, axis=1).T
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_other_rates_are_resampled_and_the_end_is_cut():
    slow = envelopes(tone(1.0, 8000), 8000, rate=60)
    fast = envelopes(tone(1.0), 20_000, rate=60)
    np.testing.assert_allclose(slow, fast, atol=1e-3)
    assert envelopes(tone(1.04), 20_000, rate=60).shape == (60, 32)  # 50 ms at 60 Hz are whole
    assert envelopes(tone(1.12), 20_000, rate=90).shape == (99, 32)
    with pytest.raises(ConfigError, match=r"400 samples at 20000 Hz .* 1000 are needed"):
        envelopes(tone(0.02), 20_000, rate=60)
    assert not envelopes(np.zeros(2000), 20_000).any()
