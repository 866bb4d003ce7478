"""The random forest on averages of audio."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.pipeline import Loading
from ssl_jax.data.record import Record
from ssl_jax.evals.audio_forest import AudioForest, average_features

RATE = 8000
KNOBS = {"seconds": 0.5, "sample_rate": RATE, "trees": 20}
FROZEN = types.SimpleNamespace(loading=Loading())


def tone(hertz: float, label: int, fold: int, seconds: float = 0.6) -> Record:
    def audio(start, end):
        times = np.arange(round(start * RATE), round(end * RATE)) / RATE
        return (0.3 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)

    return Record(
        f"{hertz} Hz",
        0,
        num_frames=0,
        fps=0.0,
        audio=audio,
        sample_rate=RATE,
        duration=seconds,
        label=label,
        extra={"fold": str(fold)},
    )


def clips(labels) -> list[Record]:
    """Tones about 300, 900 and 2700 Hz, in four folds."""
    return [
        tone(300 * 3 ** (i % 3) + 7 * (i // 3), labels[i], 1 + i // 3 % 4)
        for i in range(len(labels))
    ]


def test_zero_crossings_are_those_of_a_tone_and_silence_has_none():
    times = np.arange(RATE) / RATE
    wave = np.sin(2 * np.pi * 500 * times + 0.1).astype(np.float32)
    features = np.asarray(average_features(jnp.asarray(wave), RATE))
    assert features.shape == (26,)
    # A tone of 500 Hz crosses zero 1000 times a second.
    assert features[12] == pytest.approx(1000 / RATE, rel=0.01)
    silent = np.asarray(average_features(jnp.zeros(RATE), RATE))
    assert np.isfinite(silent).all()
    assert silent[12] == 0


def test_pitch_is_told_across_folds_and_chance_of_labels_is_not():
    labels = [i % 3 for i in range(24)]
    found = dict(AudioForest(clips(labels), **KNOBS).run(FROZEN))
    assert found["forest"] == 1.0
    assert found["forest/std"] == 0.0
    assert found["chance"] == pytest.approx(1 / 3)
    drawn = np.random.default_rng(0).integers(0, 3, 24).tolist()
    assert dict(AudioForest(clips(drawn), **KNOBS).run(FROZEN))["forest"] < 0.75


def test_a_test_source_and_short_clips():
    labels = [i % 3 for i in range(12)]
    test = [tone(905.0, 1, 1, seconds=0.2), tone(310.0, 0, 1), tone(300.0, -1, 1)]
    found = dict(AudioForest(clips(labels), test, **KNOBS).run(FROZEN))
    assert found["forest"] == 1.0
    assert "forest/std" not in found


def test_what_does_not_fit_is_told():
    one_fold = [tone(300.0, 0, 1), tone(900.0, 1, 1)]
    with pytest.raises(ConfigError, match="all records are of fold 1: give a test source"):
        list(AudioForest(one_fold, **KNOBS).run(FROZEN))
    with pytest.raises(ConfigError, match=r"no labelled record can be read: .* has no fold"):
        list(AudioForest([tone(300.0, 0, 1)], fold_key="part", **KNOBS).run(FROZEN))
    with pytest.raises(ConfigError, match="has a label"):
        AudioForest([tone(300.0, -1, 1)], **KNOBS).check(FROZEN)
