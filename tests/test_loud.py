"""The records that can be heard."""

import logging
import pickle

import media
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.loud import LoudSource, measure

RATE = 8000


def tone(seconds: float, amplitude: float, silent: float = 0.0) -> np.ndarray:
    """(1, s), the first `silent` seconds of it without a sound."""
    times = np.arange(round(seconds * RATE)) / RATE
    wave = amplitude * np.sin(2 * np.pi * 440 * times)
    wave[times < silent] = 0
    return wave[None]


@pytest.fixture
def folder(tmp_path):
    waves = {
        "a/loud.wav": tone(4, 0.3, silent=1.0),
        "a/soft.wav": tone(2, 0.01),
        "b/mute.wav": tone(2, 0.0),
        "b/shout.wav": tone(2, 0.8),
    }
    for name, wave in waves.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        media.write(tmp_path / name, frames=0, wave=wave, rate=RATE)
    (tmp_path / "b/broken.wav").write_bytes(b"RIFF")
    return tmp_path


def names(source) -> list[str]:
    return [source[number].name for number in range(len(source))]


def test_loudness_is_the_root_mean_square(folder):
    source = FolderSource(str(folder))
    found = {source.items[n].path: measure(source[n]) for n in (0, 1, 3, 4)}
    assert found["b/shout.wav"].rms == pytest.approx(0.8 / np.sqrt(2), rel=1e-3)
    # A quarter of it is silent, which the mean square knows.
    assert found["a/loud.wav"].rms == pytest.approx(0.3 * np.sqrt(0.75 / 2), rel=1e-3)
    assert found["a/loud.wav"][1:3] == (4, 1)
    assert found["b/mute.wav"][1:3] == (2, 2)


def test_what_is_soft_or_broken_is_left_out_and_told(folder, caplog):
    with caplog.at_level(logging.WARNING):
        loud = LoudSource(FolderSource(str(folder)), min_loudness=0.1)
        assert names(loud) == ["a/loud.wav", "b/shout.wav"]
    assert [loud[n].index for n in range(2)] == [0, 1]
    assert "3 of 5 records are left out, 1 of them broken or without audio" in caplog.text
    assert "16.7 % are silent, and 0.0 % have no audio" in caplog.text
    assert loud.label_names == ("a", "b")
    assert loud[1].label == 1
    assert names(pickle.loads(pickle.dumps(loud))) == names(loud)
    with pytest.raises(ConfigError, match=r"min_loudness=0\.9: nothing is left, 5 of 5"):
        len(LoudSource(FolderSource(str(folder)), min_loudness=0.9))


def test_files_are_decoded_once_and_again_when_they_change(folder, monkeypatch):
    source = FolderSource(str(folder))
    assert len(LoudSource(source)) == 2
    heard = []
    monkeypatch.setattr(
        "ssl_jax.data.sources.loud.measure",
        lambda record: heard.append(record.name) or measure(record),
    )
    assert len(LoudSource(source, min_loudness=0.1)) == 2
    assert heard == []
    media.write(folder / "a/soft.wav", frames=0, wave=tone(3, 0.5), rate=RATE)
    assert names(LoudSource(source)) == ["a/loud.wav", "a/soft.wav", "b/shout.wav"]
    assert heard == ["a/soft.wav"]
