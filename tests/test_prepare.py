"""Shards of real videos: what is in them, that it fits the videos, that a run can be killed."""

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import media
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ssl_jax import prepare
from ssl_jax.config import ConfigError
from ssl_jax.data import flac, image, sampling, shards, shots
from ssl_jax.data.flow import flow_from_bytes, flow_of, flow_to_bytes
from ssl_jax.data.media import Limits
from ssl_jax.data.record import Caption, MediaError
from ssl_jax.data.sources.array_record import ArrayRecordSource
from ssl_jax.data.sources.folder import FolderSource

RATE = 16000
UNEVEN = (
    np.cumsum([0, *[40, 40, 20, 90, 40, 33, 34, 60, 25] * 6][:54]) / 1000
)  # seconds, variable frame rate


@pytest.fixture
def serial(monkeypatch):
    """Shards one after the other, without Beam; what Beam does has its own test."""
    monkeypatch.setattr(prepare, "run", lambda jobs, *_: [shards.make(job) for job in jobs])


def scene(number, seed, height=48, width=80):
    """A smooth random background that moves to the right."""
    ground = np.random.default_rng(seed).integers(30, 225, (4, 6, 3)).astype(np.uint8)
    ground = cv2.resize(ground, (2 * width, height), interpolation=cv2.INTER_CUBIC)
    return ground[:, number % width : number % width + width]


def letterbox(number):
    frame = np.zeros((64, 80, 3), np.uint8)
    frame[8:56] = scene(number, 5)
    return frame


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    (root / "a").mkdir()
    (root / "b").mkdir()
    cut = {"draw": lambda n: scene(n, 1 if n < 30 else 2), "options": {"g": "250"}}
    media.write(root / "a" / "cut.mov", 70, wave=media.noise(3, RATE), **cut)
    media.write(root / "a" / "letterbox.mp4", 20, draw=letterbox)
    wave, rate = media.noise(4, 22050, channels=6, seed=1) / 2, 22050
    uneven = {"times": UNEVEN, "options": {"g": "12", "bf": "2"}}
    media.write(root / "b" / "uneven.mkv", len(UNEVEN), wave=wave, rate=rate, **uneven)
    media.write(root / "b" / "sound.wav", 0, wave=media.noise(1.5, 8000), rate=8000)
    Image.fromarray(media.picture(7)).save(root / "b" / "picture.png")
    (root / "b" / "broken.mp4").write_text("no video")
    data = (root / "a" / "cut.mov").read_bytes()
    (root / "b" / "cut_off.mov").write_bytes(data[: len(data) // 2])
    return str(root)


@pytest.fixture(scope="module")
def whole(videos, tmp_path_factory):
    """The videos as shards of their own size, uncut, with flow: (folder, manifest.json)."""
    out = str(tmp_path_factory.mktemp("whole"))
    options = shards.Options(short_side=0, sample_rate=RATE, whole=True, flow=True, quality=95)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "run", lambda jobs, *_: [shards.make(job) for job in jobs])
        return out, prepare.prepare(videos, out, options=options, num_shards=3)


def test_manifest_counts_and_names_what_was_rejected(whole):
    out, manifest = whole
    with open(os.path.join(out, "manifest.json")) as stream:
        assert json.load(stream) == json.loads(json.dumps(manifest))
    assert manifest["files"] == 7
    assert manifest["records"] == 5
    assert manifest["records_with_audio"] == 3
    assert manifest["frames"] == 70 + 20 + len(UNEVEN) + 1
    assert manifest["label_names"] == ("a", "b")
    rejected = {line["path"]: line["reason"] for line in manifest["rejected"]}
    assert rejected.keys() == {"b/broken.mp4", "b/cut_off.mov"}
    assert all(reason and "\n" not in reason for reason in rejected.values())
    assert [shard["records"] for shard in manifest["shards"]] == [2, 0, 3]
    assert [len(shard["sha256"]) for shard in manifest["shards"]] == [64] * 3


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_shards_hold_what_the_folder_does(videos, whole, data):
    source = ArrayRecordSource((whole[0],))
    folder = FolderSource(videos, need=(), min_seconds=0.01, sample_rate=RATE)  # the readable ones
    assert len(source) == len(folder) == 5
    index = data.draw(st.integers(0, 4))
    ours, theirs = source[index], folder[index]
    for field in ("name", "index", "num_frames", "fps", "sample_rate", "duration", "label"):
        assert getattr(ours, field) == getattr(theirs, field), field
    assert ours.captions == theirs.captions
    np.testing.assert_array_equal(ours.times, theirs.times)
    if theirs.frames:
        numbers = data.draw(st.lists(st.integers(0, ours.num_frames - 1), max_size=6))
        stored, decoded = ours.frames(numbers), theirs.frames(numbers)
        assert stored.shape == decoded.shape
        assert np.abs(stored.astype(int) - decoded).sum() <= 3 * stored.size  # JPEG's loss
    if theirs.audio:
        start = data.draw(st.floats(-1.9, ours.duration))
        stop = data.draw(st.floats(start, ours.duration + 1.9))
        np.testing.assert_allclose(
            ours.audio(start, stop), theirs.audio(start, stop), atol=1 / 32768
        )


def test_frames_are_the_right_ones(videos, whole):
    uneven = next(r for r in ArrayRecordSource((whole[0],)) if r.name == "b/uneven.mkv")
    numbers = [53, 0, 7, 8, 9, 53, 31]
    assert media.numbers_of(uneven.frames(numbers)) == numbers
    np.testing.assert_allclose(uneven.times, UNEVEN, atol=1e-3)
    for wrong in ([54], [-1]):
        with pytest.raises(MediaError, match=r"b/uneven\.mkv: frame .* it has 54"):
            uneven.frames(wrong)
    with pytest.raises(MediaError, match=r"audio from .* was asked for"):
        uneven.audio(0, 20)


def test_click_and_flash_stay_together(tmp_path, serial):
    """At the same time in an uneven video with a sound of six channels, cut and resampled."""
    flash = 40
    click = round(UNEVEN[flash] * 44100)
    wave = np.zeros((6, 4 * 44100))
    wave[:, click] = 0.9
    (tmp_path / "in").mkdir()

    def draw(number):
        frame = scene(0, 3 if number < 20 else 4)
        return np.full_like(frame, 255) if number == flash else frame

    options = {"times": UNEVEN, "draw": draw, "wave": wave, "rate": 44100}
    media.write(tmp_path / "in" / "f.mkv", len(UNEVEN), options={"bf": "2"}, **options)
    out = str(tmp_path / "out")
    for rate in (0, RATE):
        knobs = shards.Options(short_side=32, sample_rate=rate)
        prepare.prepare(str(tmp_path / "in"), out + str(rate), options=knobs)
        source = ArrayRecordSource((out + str(rate),))
        assert [r.num_frames for r in source] == [20, 34]  # the flash is no cut
        shot = source[1]
        bright = shot.frames(range(34)).mean((1, 2, 3))
        assert bright.argmax() == flash - 20
        assert shot.extra["start"] == pytest.approx(UNEVEN[20], abs=1e-3)
        heard = np.abs(shot.audio(0.0, shot.duration)).argmax()
        begin = round(UNEVEN[20] * shot.sample_rate)  # samples are counted from the video's zero
        assert begin + heard == round(UNEVEN[flash] * shot.sample_rate)
        assert shot.frame_at((heard + 1) / shot.sample_rate) == flash - 20


def test_shots_borders_and_sizes(videos, tmp_path, serial):
    out = str(tmp_path / "out")
    knobs = shards.Options(short_side=32)
    manifest = prepare.prepare(videos, out, options=knobs, num_shards=2)
    source = ArrayRecordSource((out,), kinds=("video",), min_frames=20)
    names = [record.name for record in source]
    assert names[:3] == ["a/cut.mov from 0.00 s", "a/cut.mov from 1.20 s", "a/letterbox.mp4"]
    before, after, boxed = (source[i] for i in range(3))
    assert (before.num_frames, after.num_frames) == (30, 40)
    assert manifest["frames"] == 70 + 20 + len(UNEVEN) + 1
    assert (before.duration, after.duration) == pytest.approx((1.2, 1.6))
    original = FolderSource(videos, kinds=("video",), min_frames=20)[0]
    wanted = image.resize_short(original.frames([30, 69]), 32)
    got = after.frames([0, 39])
    assert got.shape == (2, 32, 53, 3)
    assert np.abs(got.astype(int) - wanted).mean() < 4  # of 255: JPEG at quality 90
    np.testing.assert_allclose(after.audio(0.0, 1.6), original.audio(1.2, 2.8), atol=1 / 32768)
    assert before.extra["box"] == (0, 0, 32, 53)
    top, left, height, width = boxed.extra["box"]
    assert (left, width) == (0, 40)
    assert top == pytest.approx(4, abs=1)
    assert top + height == pytest.approx(28, abs=1)
    assert boxed.frames([0])[0, :3].max() < 30  # the border is told, not cut off


def test_motion_and_flow(whole):
    source = ArrayRecordSource((whole[0],))
    record = source[0]
    frames = record.frames(range(record.num_frames))
    energy = record.extra["motion"]
    assert energy.shape == (69,)
    np.testing.assert_allclose(energy, sampling.frame_motion(frames), atol=0.5)
    assert energy.argmax() == 29  # the cut
    numbers = [10, 68, 7, 8]
    flow = flow_of(record, numbers)
    assert flow.shape == (4, 48, 80, 2)
    assert np.array_equal(flow, record.extra["flow"](numbers))
    middle = np.median(flow[:, 8:-8, 16:-16].reshape(4, -1, 2), axis=1)
    np.testing.assert_allclose(middle, [[-1, 0]] * 4, atol=0.4)  # the window moves to the right
    computed = flow_of(dataclasses.replace(record, extra={}), numbers)
    step = 2 * record.extra["flow_bound"] / 255
    assert np.median(np.abs(flow - computed)) <= step
    np.testing.assert_allclose(flow, computed, atol=1)
    assert record.extra["flow_motion"].shape == (69,)
    with pytest.raises(MediaError, match="flow 69 was asked for, it has 69"):
        record.extra["flow"]([69])
    with pytest.raises(MediaError, match="has 70 frames, 71 are needed"):
        flow_of(record, [69])


def test_flow_as_bytes():
    levels = flow_to_bytes(np.array([0.0, 1, -1, 20, 30, -20, -25]), 20.0)
    assert levels.tolist() == [128, 134, 121, 255, 255, 0, 0]
    assert flow_from_bytes(np.array([128], np.uint8), 20.0)[0] == 0
    values = np.linspace(-5, 5, 101)
    back = flow_from_bytes(flow_to_bytes(values, 5.0), 5.0)
    np.testing.assert_allclose(back, values, atol=10 / 255)


def test_cuts():
    still = np.stack([scene(n, 1) for n in range(60)])
    other = np.stack([scene(n, 2) for n in range(60)])
    assert shots.find_cuts(shots.looks(still), 25.0) == []
    assert shots.find_cuts(shots.looks(np.concatenate([still, other])), 25.0) == [60]
    flash = still.copy()
    flash[30] = 255
    assert shots.find_cuts(shots.looks(flash), 25.0) == []
    fade = np.linspace(0, 1, 60)[:, None, None, None]
    mixed = (still * (1 - fade) + other * fade).astype(np.uint8)
    assert shots.find_cuts(shots.looks(mixed), 25.0) == []
    for length in (1, 2, 3, 4):
        assert shots.find_cuts(shots.looks(still[:length]), 25.0) == []


def test_faint_cuts_and_the_strongest_of_cuts_that_are_close():
    still = np.full((30, 32, 32, 3), 90, np.uint8)
    still[:, :, 16:] = 150
    faint = np.concatenate([still, still + np.uint8(9)])  # the same scene but for a little light
    assert shots.find_cuts(shots.looks(faint), 25.0) == [30]
    camera = (still + np.arange(30, dtype=np.uint8)[:, None, None, None] * 3).clip(0, 255)
    assert shots.find_cuts(shots.looks(camera), 25.0) == []  # light that changes slowly
    # Something large comes into view five frames before the cut.
    before, after = still.copy(), 255 - still
    before[25:, :, :10] = (240, 20, 20)
    assert shots.find_cuts(shots.looks(np.concatenate([before, after])), 25.0) == [30]


@pytest.mark.parametrize("seed", range(3))
def test_every_hard_cut_of_varied_contrast_is_found(seed):
    rng = np.random.default_rng(seed)
    parts, cuts, dark = [], [], False
    for number in range(40):
        dark = not dark if number % 4 == 3 else dark
        count = int(rng.integers(16, 30))
        shot = np.stack([scene(k, 100 * seed + number) for k in range(count)]).astype(np.float64)
        shot = shot * (0.35 if dark else 1.0) + rng.normal(0, 2, shot.shape)
        parts.append(shot.clip(0, 255).astype(np.uint8))
        cuts.append(count)
    look = shots.looks(np.concatenate(parts))
    assert shots.find_cuts(look, 25.0) == np.cumsum(cuts)[:-1].tolist()


def test_shots_of_segments_are_named_by_the_seconds_of_their_video(videos, tmp_path, serial):
    listing = tmp_path / "list.csv"
    listing.write_text("path,split,start,end\na/cut.mov,train,0,2.8\na/cut.mov,test,0.4,2.8\n")
    out = str(tmp_path / "out")
    prepare.prepare(videos, out, manifest=str(listing))
    names = [[r.name for r in ArrayRecordSource((out,), split=s)] for s in ("train", "test")]
    assert names[0] == ["a/cut.mov from 0.00 s", "a/cut.mov from 1.20 s"]
    assert names[1] == ["a/cut.mov from 0.40 s", "a/cut.mov from 1.20 s"]


@pytest.mark.parametrize("bframes", [0, 3])
def test_threads_change_no_byte(tmp_path, bframes):
    """A long video is decoded by stretches, with groups of frames closed, open or uneven."""
    folder = tmp_path / "videos"
    folder.mkdir()
    options = {"x264-params": f"keyint=30:open-gop=1:bframes={bframes}"}
    media.write(folder / "long.mp4", 500, options=options)
    one = FolderSource(str(folder)).items
    written = {}
    for threads in (1, 2, 5):
        file = str(tmp_path / f"{threads}.array_record")
        knobs = shards.Options(short_side=24, audio="flac")
        job = shards.Job(str(folder), tuple(one), knobs, Limits(), file, threads=threads)
        report = shards.make(job)
        written[threads] = (report["sha256"], report["frames"])
    assert len(set(written.values())) == 1
    assert report["frames"] == 500


def test_manifest_rows_become_records(videos, tmp_path, serial):
    text = (
        "path,label,split,caption,start,end,person\n"
        "a/cut.mov,walk,train,before and after,0.4,2,anna\n"
        "a/cut.mov,walk,train,after,1.6,,anna\n"
        "a/letterbox.mp4,run,test,,,,ben\n"
        "b/uneven.mkv,run,test,,1,2,ben\n"
    )
    listing = tmp_path / "list.csv"
    listing.write_text(text)
    out = str(tmp_path / "out")
    manifest = prepare.prepare(videos, out, manifest=str(listing), options=shards.Options())
    assert manifest["records_by_split"] == {"test": 2, "train": 2}
    train, test = (ArrayRecordSource((out,), split=name) for name in ("train", "test"))
    assert train.label_names == ("run", "walk")
    assert [r.label for r in train] == [1, 1]
    assert train[0].captions == (Caption("before and after", 0.4, 1.2),)
    spans = [(c.text, c.start, c.end) for c in train[1].captions]
    assert [text for text, *_ in spans] == ["before and after", "after"]
    assert [times for _, *times in spans] == [
        pytest.approx([0, 0.8]),
        pytest.approx([0.4, float("inf")]),
    ]
    assert train[0].extra["person"] == "anna"
    segment = next(r for r in test if r.name == "b/uneven.mkv")
    other = FolderSource(videos, manifest=str(listing), split="test")[1]
    assert segment.num_frames == other.num_frames
    numbers = range(segment.num_frames)
    assert media.numbers_of(segment.frames(numbers)) == media.numbers_of(other.frames(numbers))
    with pytest.raises(ConfigError, match=r"no split 'val', there is \['test', 'train'\]"):
        len(ArrayRecordSource((out,), split="val"))


def test_source_chooses_pickles_and_joins(whole, tmp_path, videos, caplog):
    out = whole[0]
    sounds = ArrayRecordSource((out,), need=("audio",), min_seconds=2.0)
    assert [r.name for r in sounds] == ["a/cut.mov", "b/uneven.mkv"]
    assert any("2 of 5 records; left out: 1 too short, 2 without" in m for m in caplog.messages)
    copy = pickle.loads(pickle.dumps(sounds))
    assert copy == sounds
    assert copy[1].frames([5]).tobytes() == sounds[1].frames([5]).tobytes()
    assert [r.name for r in ArrayRecordSource((out,), kinds=("image",))] == ["b/picture.png"]
    again = str(tmp_path / "again")
    os.symlink(out, again)
    twice = ArrayRecordSource((out, again))
    assert [r.name for r in twice] == 2 * [r.name for r in ArrayRecordSource((out,))]
    assert [r.index for r in ArrayRecordSource((out, again), limit=4)] == [0, 1, 2, 3]
    for paths, message in (
        ((), "must be folders"),
        ((videos,), r"no manifest\.json"),
    ):
        with pytest.raises(ConfigError, match=message):
            len(ArrayRecordSource(paths))
    with pytest.raises(ConfigError, match="'movie' is none of"):
        ArrayRecordSource((out,), kinds=("movie",))
    with pytest.raises(ConfigError, match="nothing is left of 5 records"):
        len(ArrayRecordSource((out,), min_frames=1000))


def test_a_damaged_shard_is_named(whole, tmp_path):
    out = tmp_path / "damaged"
    out.mkdir()
    for name in os.listdir(whole[0]):
        data = bytearray((Path(whole[0]) / name).read_bytes())
        if name.startswith("shard-00000") and name.endswith("record"):
            data[20000:100000] = bytes(80000)
        (out / name).write_bytes(data)
    record = ArrayRecordSource((str(out),))[0]
    with pytest.raises(MediaError, match=r"shard-00000-of-00003\.array_record"):
        record.frames(range(record.num_frames))


# Sound as FLAC, limits


def test_flac_is_the_same_sound_in_less_room(tmp_path, serial):
    (tmp_path / "in").mkdir()
    time = np.arange(5 * 22050) / 22050
    tone = np.stack([0.4 * np.sin(440 * 6.2832 * time), np.round(time % 1) - 0.5])
    media.write(tmp_path / "in" / "a.wav", 0, wave=tone, rate=22050)
    media.write(tmp_path / "in" / "b.mov", 30, wave=media.noise(1.2, RATE), rate=RATE)
    for sound in ("pcm", "flac"):
        knobs = shards.Options(sample_rate=0, audio=sound)
        made = prepare.prepare(str(tmp_path / "in"), str(tmp_path / sound), options=knobs)
        assert made["records_with_audio"] == 2
    pcm, coded = (ArrayRecordSource((str(tmp_path / sound),)) for sound in ("pcm", "flac"))
    for plain, packed in zip(pcm, coded, strict=True):
        assert plain.duration == packed.duration
        for start, stop in ((0.0, plain.duration), (-1.5, 0.7), (0.9, 1.1), (0.25, 0.25)):
            np.testing.assert_array_equal(plain.audio(start, stop), packed.audio(start, stop))
    np.testing.assert_allclose(coded[0].audio(1.0, 2.0), tone.mean(0)[22050:44100], atol=2e-4)
    plain, packed = (os.path.getsize(next((tmp_path / s).glob("*.array_record"))) for s in SOUNDS)
    assert packed < 0.8 * plain


SOUNDS = ("pcm", "flac")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10000), st.integers(0, 2**32 - 1), st.sampled_from([3, 900, 32767]))
def test_flac_gives_back_every_sample(count, seed, loudest):
    samples = np.random.default_rng(seed).integers(-loudest - 1, loudest + 1, count).astype("<i2")
    parts = flac.encode(samples)
    np.testing.assert_array_equal(flac.decode(parts), samples)


def test_damaged_flac_is_an_error_not_a_noise(tmp_path, serial):
    samples = np.random.default_rng(0).integers(-9000, 9000, RATE).astype("<i2")
    parts = flac.encode(samples)
    for place in (20, 500, -3):
        damaged = bytearray(parts[2])
        damaged[place] ^= 4
        with pytest.raises(ValueError, match="Invalid data"):
            flac.decode([*parts[:2], bytes(damaged), *parts[3:]])


@pytest.mark.parametrize(
    ("flag", "path", "reason"),
    [
        ("--max_pixels=4000", "a/letterbox.mp4", "80x64 pixels are more than limits.pixels"),
        ("--max_seconds=2.5", "a/cut.mov", r"lasts 2.8 s, limits.seconds=2.5"),
        ("--max_bytes=100000", "b/uneven.mkv", "bytes are more than limits.bytes"),
    ],
)
def test_limits_reject_by_name(flag, path, reason, videos, tmp_path, serial):
    out = tmp_path / "out"
    assert prepare.main([f"--input={videos}", f"--output={out}", "--short_side=32", flag]) == 0
    with open(out / "manifest.json") as stream:
        rejected = {line["path"]: line["reason"] for line in json.load(stream)["rejected"]}
    assert reason in rejected[path]


def contents(folder):
    return {
        name: (folder / name).read_bytes()
        for name in sorted(os.listdir(folder))
        if not name.endswith(".unfinished")
    }


def test_killed_and_started_again_gives_the_same_shards(videos, tmp_path, serial):
    """By Beam in a process of its own, against the shards made one after the other."""
    expected, out = tmp_path / "expected", tmp_path / "out"
    knobs = shards.Options(short_side=32)
    prepare.prepare(videos, str(expected), options=knobs, num_shards=7)
    command = [sys.executable, "-m", "ssl_jax.prepare", f"--input={videos}", f"--output={out}"]
    command += ["--short_side=32", "--shards=7"]
    run = subprocess.Popen([*command, "--direct_num_workers=1"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    while not list(out.glob("*.json")) and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    done = list(out.glob("shard-*.json"))
    assert 1 <= len(done) < 7
    assert not (out / "manifest.json").exists()
    with pytest.raises(ConfigError, match=r"no manifest\.json of a finished"):
        len(ArrayRecordSource((str(out),)))
    kept = {file: file.stat().st_mtime_ns for file in done}
    again = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "7/7" in again.stderr
    assert "2 rejected" in again.stdout
    assert contents(out) == contents(expected)
    assert {file: file.stat().st_mtime_ns for file in done} == kept


def test_workers_of_beam_in_other_processes_give_the_same_bytes(tmp_path, serial):
    """Jobs and code travel to them as they do to the machines of a remote runner."""
    videos, expected, out = (tmp_path / name for name in ("videos", "expected", "out"))
    videos.mkdir()
    for seed in range(3):
        wave = media.noise(1, RATE, seed=seed)
        media.write(videos / f"{seed}.mp4", 20, draw=lambda n, seed=seed: scene(n, seed), wave=wave)
    prepare.prepare(str(videos), str(expected), options=shards.Options(short_side=32), num_shards=3)
    command = [sys.executable, "-m", "ssl_jax.prepare", f"--input={videos}", f"--output={out}"]
    command += ["--short_side=32", "--shards=3", "--runner=DirectRunner"]
    command += ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    subprocess.run(command, capture_output=True, timeout=300, check=True)
    assert contents(out) == contents(expected)


def test_damage_is_made_anew_and_other_knobs_are_refused(videos, tmp_path, serial):
    out = tmp_path / "out"
    make = lambda quality: prepare.prepare(  # noqa: E731
        videos, str(out), options=shards.Options(short_side=16, quality=quality), num_shards=1
    )
    first = make(50)["shards"][0]["sha256"]
    shard = out / "shard-00000-of-00001.array_record"
    written = shard.stat().st_mtime_ns
    assert make(50)["shards"][0]["sha256"] == first
    assert shard.stat().st_mtime_ns == written
    data = shard.read_bytes()
    shard.write_bytes(data[:-100])
    assert make(50)["shards"][0]["sha256"] == first
    assert shard.read_bytes() == data
    with pytest.raises(ConfigError, match=r"out: holds shards made with quality=50, now quality=6"):
        make(60)
    (out / "manifest.json").unlink()  # as an interrupted run leaves it
    with pytest.raises(ConfigError, match=r"short_side=16, quality=50, now short_side=32, quality"):
        prepare.prepare(videos, str(out), options=shards.Options(short_side=32), num_shards=1)
    knobs = shards.Options(short_side=16, quality=50)
    with pytest.raises(ConfigError, match=f"input={videos}, now input={videos}/a:"):
        prepare.prepare(f"{videos}/a", str(out), options=knobs, num_shards=1)
    assert shard.read_bytes() == data
    assert make(50)["shards"][0]["sha256"] == first
    with pytest.raises(ConfigError, match=r"holds shard-00000-of-00001.* of another run"):
        prepare.prepare(videos, str(out), num_shards=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--input=DIR is needed"),
        (["--input={videos}"], "--output=DIR is needed"),
        (["--input=nowhere", "--output={out}"], "there is no folder 'nowhere'"),
        (["--input={videos}", "--output={out}", "--qualty=3"], "unknown argument --qualty=3"),
        (["--input={videos}", "--output={out}", "--quality=x"], "invalid int value: 'x'"),
        (["--input={videos}", "--output={out}", "--quality=300"], "quality=300 must be 1 to 100"),
        (["--input={videos}", "--output={out}", "--short_side=-1"], "short_side=-1"),
        (["--input={videos}", "--output={out}", "--sample_rate=5"], "sample_rate=5"),
        (["--input={videos}", "--output={out}", "--flow_bound=nan"], "flow_bound=nan"),
        (["--input={videos}", "--output={out}", "--audio=mp3"], "invalid choice: 'mp3'"),
        (["--input={videos}", "--output={out}", "--max_pixels=0"], "limits.pixels=0 must be"),
        (["--input=nostore://x", "--output={out}"], "nostore://x: Protocol not known"),
        (["--input={videos}", "--output={out}", "--shards=-2"], "shards=-2 must be"),
        (["--input={videos}", "--output={out}", "--manifest=x.csv"], "x.csv: cannot be read"),
        (["--input={videos}", "--output={out}", "--runner=Walker"], "runner='Walker'"),
        (["--input={broken}", "--output={out}"], "no file could be used"),
    ],
)
def test_mistakes_cost_one_line(arguments, message, videos, tmp_path, capsys, monkeypatch):
    if "--runner=Walker" not in arguments:
        monkeypatch.setattr(prepare, "run", lambda jobs, *_: [shards.make(job) for job in jobs])
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "x.mp4").write_text("no video")
    places = {"videos": videos, "out": tmp_path / "out", "broken": broken}
    assert prepare.main([argument.format(**places) for argument in arguments]) == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1
    assert not (tmp_path / "out" / "manifest.json").exists()
