"""Images and the audio that goes with them, in files of the same name."""

import logging

import media
import numpy as np
import pytest
from PIL import Image

from ssl_jax.config import ConfigError
from ssl_jax.data.matched_audio import frame_and_audio
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.image_with_audio import ImageWithAudio

RATE = 8000


def write(folder):
    for name in ("frames/a", "audio", "french"):
        (folder / name).mkdir(parents=True)
    for number, name in enumerate(("bear", "dog")):
        pixels = np.full((8, 8, 3), 100 + number, np.uint8)
        Image.fromarray(pixels).save(folder / f"frames/a/{name}.png")
    for number, name in enumerate(("audio/bear", "french/bear", "audio/cat")):
        wave = np.full((1, (1 + number) * RATE), 0.1 * (1 + number))
        media.write(folder / f"{name}.wav", frames=0, wave=wave, rate=RATE)
    images = FolderSource(str(folder / "frames"), kinds=("image",))
    return images, FolderSource(str(folder), kinds=("audio",))


def test_files_of_one_name_are_one_record(tmp_path, caplog):
    images, audio = write(tmp_path)
    source = ImageWithAudio(images, audio)
    with caplog.at_level(logging.WARNING):
        assert len(source) == 2
    assert "1 of 3 audio files have no image of their name" in caplog.text
    assert [source[n].name for n in range(2)] == [
        "a/bear.png audio/bear.wav",
        "a/bear.png french/bear.wav",
    ]
    record = source[1]
    assert (record.index, record.num_frames, record.duration) == (1, 1, 2.0)
    assert record.label == 0
    assert source.label_names == ("a",)
    # What methods of image and sound begin with.
    frame, heard = frame_and_audio(record, np.random.default_rng(0), 4, 1.0, RATE)
    assert (frame == 100).all()
    np.testing.assert_allclose(heard, 0.2, atol=1e-3)
    assert heard.shape == (1, RATE)


def test_names_that_never_meet_are_told(tmp_path):
    images, audio = write(tmp_path)
    (tmp_path / "frames/a/bear.png").unlink()
    with pytest.raises(ConfigError, match=r"is called as an image is.*: dog, bear"):
        len(ImageWithAudio(FolderSource(images.path, kinds=("image",)), audio))


def test_what_is_broken_or_named_twice(tmp_path, caplog):
    images, audio = write(tmp_path)
    (tmp_path / "frames/a/empty.png").touch()
    (tmp_path / "audio/broken.wav").write_bytes(b"RIFF")
    with caplog.at_level(logging.WARNING):
        assert len(ImageWithAudio(images, audio)) == 2
    assert "2 of 4 audio files have no image of their name, or cannot be read" in caplog.text
    (tmp_path / "frames/b").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "frames/b/dog.png")
    again = FolderSource(images.path, kinds=("image",))
    with pytest.raises(
        ConfigError, match=r"two images are called 'dog', a/dog\.png and b/dog\.png"
    ):
        len(ImageWithAudio(again, audio))
