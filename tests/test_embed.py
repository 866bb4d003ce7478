"""`Frozen.embed`: features of a handful of files."""

import dataclasses

import numpy as np
import pytest
from media import noise, picture, write
from PIL import Image

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.devices.sharding import Sharding
from ssl_jax.frozen import Frozen


@pytest.fixture(scope="module")
def frozen() -> Frozen:
    """A method that looks and listens."""
    experiment = configs.build(configs.load("audio/correspondence_audioset.py:tiny"))
    return Frozen.of(experiment, Sharding(devices=1).mesh())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("media")
    Image.fromarray(picture(700)).save(path / "a.jpg")
    wave = noise(1.6, 16000)
    write(path / "b.mp4", frames=40, wave=wave, audio_codec="aac")
    write(path / "c.wav", frames=0, wave=noise(1.0, 8000, seed=1), rate=8000)
    return path


def test_rows_are_those_of_features_in_the_order_of_the_files(frozen, folder):
    of_folder = frozen.features(FolderSource(str(folder), kinds=("image", "video")), "vision")
    rows = frozen.embed([folder / "b.mp4", folder / "a.jpg"])
    expected = of_folder.layers["embedding"][::-1]
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(rows[0] - rows[1]).max() > 1e-3
    pool = frozen.embed([str(folder / "a.jpg")], "vision", "pool")
    np.testing.assert_allclose(pool, of_folder.layers["pool"][:1], rtol=1e-5, atol=1e-6)


def test_audio_files_and_the_audio_of_videos(frozen, folder):
    rows = frozen.embed([folder / "c.wav", folder / "b.mp4", folder / "c.wav"], "audio")
    assert rows.shape == (3, 8)
    np.testing.assert_array_equal(rows[0], rows[2])
    assert np.abs(rows[0] - rows[1]).max() > 1e-3


def test_a_file_that_changed_is_read_again(frozen, folder, tmp_path):
    file = tmp_path / "one.png"
    Image.fromarray(picture(700)).save(file)
    before = frozen.embed([file])
    Image.fromarray(picture(5)).save(file)
    assert np.abs(frozen.embed([file]) - before).max() > 1e-3


def test_what_cannot_be_embedded_is_named_in_one_line(frozen, folder, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    good = folder / "b.mp4"
    for paths, stream, named in (
        ([good, tmp_path / "missing.jpg"], "vision", "missing.jpg"),
        ([good, broken], "vision", "broken.mp4"),
        ([folder / "c.wav"], "vision", "c.wav"),
        ([good, folder / "a.jpg"], "audio", "a.jpg"),
    ):
        with pytest.raises(MediaError, match=named) as raised:
            frozen.embed(paths, stream)
        assert "\n" not in str(raised.value)
    skipping = dataclasses.replace(frozen.loading, on_error="skip")
    with pytest.raises(MediaError, match="missing"):
        dataclasses.replace(frozen, loading=skipping).embed([good, tmp_path / "missing.jpg"])


def test_mistakes_of_the_caller(frozen, folder):
    with pytest.raises(ConfigError, match="list"):
        frozen.embed(str(folder / "a.jpg"))
    with pytest.raises(ConfigError, match="no files"):
        frozen.embed([])
    with pytest.raises(ConfigError, match="no stream 'sound'"):
        frozen.embed([folder / "a.jpg"], "sound")
    with pytest.raises(ConfigError, match="no layer 'fc9'"):
        frozen.embed([folder / "a.jpg"], layer="fc9")
