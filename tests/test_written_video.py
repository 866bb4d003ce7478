"""Video files with audio of our own: frames and samples come back, from the same time on."""

import media
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError
from ssl_jax.data.sources.files import FilesSource
from ssl_jax.data.written_video import copy_with_audio, write_video


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_copy_has_every_frame_and_the_other_audio(tmp_path, suffix):
    path = media.write(tmp_path / f"a.{suffix}", frames=60, wave=media.noise(2.4, 8000), rate=8000)
    wave = np.float32(media.noise(2.4, 16000, seed=1)[0])
    copy_with_audio(path, str(tmp_path / "there" / "b.mkv"), wave, 16000)
    (made,) = FilesSource((str(tmp_path / "there" / "b.mkv"),))
    assert made.num_frames == 60
    assert media.numbers_of(made.frames(list(range(60)))) == list(range(60))
    assert made.sample_rate == 16000
    np.testing.assert_allclose(made.audio(0.5, 2.3), wave[8000:36800], atol=1e-4)


def test_written_frames_and_audio_are_read_again(tmp_path):
    frames = np.stack([media.picture(k, height=49) for k in range(40)])
    t = np.arange(25600) / 16000
    wave = np.float32(0.5 * np.sin(2 * np.pi * 440 * t) * (t > 0.8))
    write_video(str(tmp_path / "a.mp4"), frames, 25, wave, 16000)
    (made,) = FilesSource((str(tmp_path / "a.mp4"),))
    assert (made.num_frames, made.fps) == (40, 25)
    read = made.frames(list(range(40)))
    assert read.shape == (40, 48, 80, 3)
    assert media.numbers_of(read) == list(range(40))
    assert np.abs(made.audio(0.1, 0.7)).max() < 0.01
    assert made.audio(0.9, 1.5).std() == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_what_cannot_be_read_or_written_is_one_line(tmp_path):
    wave = np.zeros(800, np.float32)
    path = media.write(tmp_path / "a.wav", frames=0, wave=media.noise(0.5, 8000), rate=8000)
    with pytest.raises(MediaError, match=r"a\.wav: has no frames"):
        copy_with_audio(path, str(tmp_path / "b.mkv"), wave, 8000)
    with pytest.raises(MediaError, match=r"none\.mp4: cannot be copied"):
        copy_with_audio(str(tmp_path / "none.mp4"), str(tmp_path / "b.mkv"), wave, 8000)
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(ConfigError, match=r"cannot write /proc/none/a\.mp4"):
        write_video("/proc/none/a.mp4", frames, 25, wave, 8000)
