"""Spectrograms against a slow loop, librosa's numbers and the sizes that papers print."""

import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.ops import spectrogram
from ssl_jax.ops.spectrogram import log_mel, log_spectrogram, mel_matrix


def chirp(samples: int = 8000, rate: int = 16000) -> np.ndarray:
    t = np.arange(samples) / rate
    wave = 0.5 * np.sin(2 * np.pi * 440 * t) + 0.1 * np.sin(2 * np.pi * 3000 * t * t)
    return wave.astype(np.float32)


def test_a_second_at_48_khz_has_the_frames_of_l3_and_ave_net():
    wave = jnp.zeros((2, 48000))
    assert log_spectrogram(wave).shape == (2, 200, 257)
    assert log_spectrogram(wave, pad_end=False).shape == (2, 199, 257)
    assert log_spectrogram(wave[:, None], pad_end=False).shape == (2, 1, 199, 257)
    # MMV: 3.2 s, window 2048, hop 1024, 80 bands.
    bands = log_mel(jnp.zeros((1, 153600)), 48000, 80, 80.0, 7600.0, 2048, 1024, 2048)
    assert bands.shape == (1, 150, 80)


@pytest.mark.parametrize("pad_end", [False, True])
def test_magnitudes_against_a_slow_loop(pad_end):
    wave = chirp(101)
    window, hop, fft = 20, 7, 32
    hann = np.sin(np.pi * np.arange(window) / window) ** 2
    padded = np.concatenate([wave, np.zeros(window)]) if pad_end else wave
    starts = range(0, len(wave) if pad_end else len(wave) - window + 1, hop)
    expected = np.array(
        [
            [
                abs(sum(frame[n] * np.exp(-2j * np.pi * k * n / fft) for n in range(window)))
                for k in range(fft // 2 + 1)
            ]
            for frame in (hann * padded[s : s + window] for s in starts)
        ]
    )
    found = spectrogram.magnitudes(jnp.asarray(wave), window, hop, fft, pad_end)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_tone_peaks_in_its_bin_and_twice_the_amplitude_adds_log_2():
    rate, fft = 48000, 512
    tone = jnp.asarray(np.sin(2 * np.pi * 12 * rate / fft * np.arange(4800) / rate), jnp.float32)
    layers = log_spectrogram(tone, pad_end=False)
    assert (np.argmax(layers, axis=-1) == 12).all()
    wave = jnp.asarray(chirp())
    for features in (log_spectrogram, lambda w: log_mel(w, 16000)):
        once, twice = features(wave), features(2 * wave)
        heard = once > np.log(1e-5) + 2
        assert 0.3 < heard.mean() < 1
        np.testing.assert_allclose(twice[heard], once[heard] + np.log(2), atol=1e-3)


def test_silence_is_the_floor_and_bfloat16_waves_become_float32():
    silence = jnp.zeros((1, 600), jnp.bfloat16)
    found = log_spectrogram(silence, floor=1e-3)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, np.log(1e-3), rtol=1e-6)


def test_mel_scales_have_their_known_values():
    assert spectrogram.to_mel(1000.0, "htk") == pytest.approx(999.9855, abs=1e-4)
    assert spectrogram.to_mel(8000.0, "htk") == pytest.approx(2840.0230, abs=1e-4)
    assert spectrogram.to_mel(1000.0, "slaney") == pytest.approx(15.0)
    assert spectrogram.to_mel(4000.0, "slaney") == pytest.approx(35.16376, abs=1e-5)
    hertz = np.array([0.0, 60, 999, 1000, 1001, 7800])
    for scale in ("htk", "slaney"):
        mels = spectrogram.to_mel(hertz, scale)
        np.testing.assert_allclose(spectrogram.from_mel(mels, scale), hertz, atol=1e-9)


def test_slaney_bands_are_librosas():
    # librosa.filters.mel(sr=16000, n_fft=512, n_mels=64, fmin=60, fmax=7800), version 0.11.0
    matrix = mel_matrix(16000, 512, 64, 60.0, 7800.0, "slaney")
    np.testing.assert_array_equal(np.flatnonzero(matrix[:, 0]), [2, 3, 4])
    np.testing.assert_allclose(matrix[2:5, 0], [0.00122883, 0.01658915, 0.0123915], rtol=1e-5)
    np.testing.assert_allclose(
        matrix[50:54, 30] * 1e3, [5.745449, 11.48754, 9.738163, 4.257053], rtol=1e-6
    )
    np.testing.assert_allclose(matrix[238, 63], 0.00281824, rtol=1e-5)
    # and log(max(mel @ |stft|, 1e-5)) of the chirp, its 400-sample windows in the middle of 512.
    bands = log_mel(jnp.asarray(chirp()[56:]), 16000, scale="slaney", pad_end=False)
    golden = [[-1.4099288, -4.161185, -9.952899], [-7.314302, -4.1630025, -7.8017526]]
    np.testing.assert_allclose(
        bands[jnp.array([0, 20])][:, jnp.array([0, 10, 20])], golden, atol=1e-4
    )


def test_htk_bands_are_triangles_straight_in_mel():
    matrix = mel_matrix(16000, 512, 40, 100.0, 7000.0, "htk")
    edges = np.linspace(*(2595 * np.log10(1 + f / 700) for f in (100, 7000)), 42)
    for k in range(257):
        mel = 2595 * np.log10(1 + k * 8000 / 256 / 700)
        for band in range(40):
            left, middle, right = edges[band : band + 3]
            slope = (mel - left) if mel < middle else (right - mel)
            weight = max(0.0, slope / (middle - left))
            assert matrix[k, band] == pytest.approx(weight, abs=1e-5)


def test_bands_without_a_bin_are_refused():
    # BraVe's published configuration at 48 kHz has 16 bands that are always silent.
    empty = "[0, 3, 4, 5, 6, 9, 10, 11, 14, 15, 18, 19, 22, 25, 28, 31]"
    with pytest.raises(ValueError, match="hold no bin of an fft of 320 at 48000 Hz") as error:
        mel_matrix(48000, 320, 80, 80.0, 7600.0, "htk")
    assert empty in str(error.value)
    assert mel_matrix(16000, 320, 80, 80.0, 7600.0, "htk").shape == (161, 80)
    mel_matrix(48000, 2048, 80, 80.0, 7600.0, "htk")  # VATT
    mel_matrix(16000, 512, 64, 125.0, 7500.0, "htk")  # VGGish
    mel_matrix(48000, 2048, 256, 0.0, 24000.0, "slaney")  # OpenL3


def test_mistakes_are_named():
    wave = jnp.zeros((1, 300))
    with pytest.raises(ValueError, match="a wave of 300 samples holds no window of 480"):
        log_spectrogram(wave, pad_end=False)
    with pytest.raises(ValueError, match="fft=256 is shorter than window=480"):
        log_spectrogram(wave, fft=256)
    with pytest.raises(ValueError, match="mel scale is one of"):
        mel_matrix(16000, 512, 40, 60.0, 7000.0, "bark")
    with pytest.raises(ValueError, match=r"high=9000 <= 8000 Hz"):
        mel_matrix(16000, 512, 40, 60.0, 9000.0, "htk")
