"""Audio that is much shorter than its video: only where the track is, there is audio."""

import flax.linen as nn
import media
import numpy as np
import pytest

from ssl_jax import prepare
from ssl_jax.config import ConfigError
from ssl_jax.data import sampling, shards
from ssl_jax.data.record import MediaError, Record, audio_span
from ssl_jax.data.sources.array_record import ArrayRecordSource
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.methods.audio.correspondence import Correspondence

RATE = 16000


def video(folder, name, begin, seconds, codec="pcm_s16le"):
    """Ten seconds of frames with `seconds` of noise from `begin` on."""
    return media.write(
        folder / name,
        frames=100,
        fps=10,
        wave=media.noise(seconds, RATE),
        rate=RATE,
        audio_codec=codec,
        audio_start=round(begin * RATE),
    )


@pytest.mark.parametrize(
    ("track", "expected"),
    [
        ((0.0, 10.0), (0.0, 10.0)),
        ((0.0, 9.9), (0.0, 10.0)),
        ((0.05, 10.4), (0.0, 10.0)),
        ((-0.5, 9.0), (0.0, 9.0)),
        ((3.0, 4.5), (3.0, 4.5)),
        ((12.0, 13.0), (0.0, 0.0)),
        ((-3.0, -1.0), (0.0, 0.0)),
    ],
)
def test_span_of_a_track(track, expected):
    assert audio_span(*track, 10.0) == expected


def test_need_audio_asks_the_track_and_not_the_video():
    def record(**changes):
        return Record("a.mp4", 0, 100, 10.0, audio=lambda a, b: None, duration=10.0, **changes)

    assert record().need_audio(10.0) is not None
    assert record(audio_span=(2.0, 4.0)).need_audio(2.0) is not None
    with pytest.raises(MediaError, match=r"a\.mp4: lasts 10\.00 s with 2\.00 s of audio, 2\.50 s"):
        record(audio_span=(2.0, 4.0)).need_audio(2.5)
    with pytest.raises(MediaError, match=r"with 0\.00 s of audio"):
        record(audio_span=(0.0, 0.0)).need_audio()


@pytest.mark.parametrize(
    ("name", "begin", "seconds"),
    [("a.mov", 0.0, 1.0), ("a.mov", 9.0, 1.0), ("a.mkv", 4.0, 1.5), ("a.mp4", 0.0, 1.0)],
)
def test_a_record_with_little_audio_is_left_out_by_name(tmp_path, name, begin, seconds, caplog):
    codec = "aac" if name.endswith("mp4") else "pcm_s16le"
    video(tmp_path, name, begin, seconds, codec)
    media.write(tmp_path / "full.mov", 100, fps=10, wave=media.noise(9.9, RATE), rate=RATE)
    source = FolderSource(str(tmp_path), need=("frames", "audio"), min_seconds=10.0)
    assert [record.name for record in source] == ["full.mov"]
    assert "1 audio too short" in caplog.text
    source[0].need_audio(10.0)
    record = FolderSource(str(tmp_path), kinds=("video",), need=("audio",))[0]
    assert record.name == name
    assert record.audible == pytest.approx((begin, begin + seconds), abs=0.07)
    with pytest.raises(MediaError, match=name):
        record.need_audio(2.0)


def test_segments_beyond_the_track_have_no_audio(tmp_path):
    video(tmp_path, "a.mov", 0.0, 3.0)
    rows = ["path,start,end", "a.mov,0,2", "a.mov,2,4", "a.mov,6,8"]
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    every = FolderSource(str(tmp_path), manifest="list.csv")
    assert [record.audible for record in every] == [(0.0, 2.0), (0.0, pytest.approx(1.0)), (0, 0)]
    kept = FolderSource(str(tmp_path), manifest="list.csv", need=("audio",))
    assert len(kept) == 2
    assert len(FolderSource(str(tmp_path), "list.csv", need=("audio",), min_seconds=2.0)) == 1


def test_shards_know_the_track_of_every_shot(tmp_path, monkeypatch):
    folder = tmp_path / "media"
    folder.mkdir()
    video(folder, "late.mov", 9.0, 1.0)
    video(folder, "full.mov", 0.0, 9.9)
    monkeypatch.setattr(prepare, "run", lambda jobs, *_: [shards.make(job) for job in jobs])
    whole = shards.Options(whole=True)
    done = prepare.prepare(str(folder), str(tmp_path / "shards"), options=whole)
    assert done["records_with_audio"] == 2
    prepared = (str(tmp_path / "shards"),)
    spans = {record.name: record.audible for record in ArrayRecordSource(prepared)}
    assert spans == {"full.mov": (0.0, 10.0), "late.mov": (pytest.approx(9.0), 10.0)}
    long = ArrayRecordSource(prepared, need=("audio",), min_seconds=2.0)
    assert [record.name for record in long] == ["full.mov"]
    with pytest.raises(ConfigError, match="nothing is left"):
        len(ArrayRecordSource(prepared, need=("audio",), min_seconds=11.0))


@pytest.mark.parametrize(("begin", "seconds"), [(0.0, 2.0), (8.0, 2.0), (3.99, 2.3)])
def test_no_window_of_a_method_lies_in_the_silence_beyond_the_track(tmp_path, begin, seconds):
    video(tmp_path, "a.mov", begin, seconds)
    record = FolderSource(str(tmp_path))[0]
    method = Correspondence(
        vision=nn.Dense(1),
        audio=nn.Dense(1),
        short_side=8,
        crop=8,
        sample_rate=RATE,
        within=1,
        apart=0.3,
    )
    rngs = [np.random.default_rng(seed) for seed in range(30)]
    waves = [method.views(record, rng)["audio"] for rng in rngs]
    times = method.times(record, "audio", 5)
    waves.append(method.clips(record, "audio", times)["audio"])
    assert method.times(record, "vision", 5) == times
    for wave in np.concatenate(waves):
        assert np.count_nonzero(wave) > 0.94 * RATE  # but for one step of the grid, 0.04 s
    assert min(times) == pytest.approx(begin, abs=0.04)
    assert max(times) == pytest.approx(begin + seconds - 1.0, abs=0.05)


def test_frames_of_a_video_without_audio_are_evaluated_all_the_same(tmp_path):
    video(tmp_path, "a.mov", 0.0, 0.5)
    media.write(tmp_path / "b.mp4", 100, fps=10)
    method = Correspondence(vision=nn.Dense(1), audio=nn.Dense(1), crop=8)
    for record in FolderSource(str(tmp_path)):
        assert len(method.clips(record, "vision", method.times(record, "vision", 3))["vision"]) == 3
        with pytest.raises(MediaError, match=record.name):
            method.times(record, "audio", 3)


def test_windows_of_a_span():
    rng = np.random.default_rng(0)
    starts = [sampling.audio_window(6.0, 1.0, rng, None, begin=2.5) for _ in range(200)]
    assert 2.5 <= min(starts) < 2.7
    assert 4.8 < max(starts) <= 5.0
    away = [sampling.audio_window(6.0, 1.0, rng, 0.5, (3.0, 1.0), 2.0) for _ in range(50)]
    assert set(away) == {2.0, 4.0, 4.5, 5.0}
    assert sampling.even_times(6.0, 1.0, 3, begin=2.0) == [2.0, 3.5, 5.0]
    assert sampling.even_times(6.0, 1.0, 1, begin=2.0) == [3.5]
    for wrong in (sampling.even_times, sampling.audio_window):
        with pytest.raises(ValueError, match=r"a video of 0\.5 s"):
            wrong(3.0, 1.0, *([1] if wrong is sampling.even_times else [rng]), begin=2.5)
