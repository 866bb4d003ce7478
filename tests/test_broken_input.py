"""Broken files: refused by name, replaced or left out, counted; never zeros, a crash or a hang."""

import dataclasses
import json
import logging
import os
import shutil
import struct
from pathlib import Path

import media
import numpy as np
import pytest
import tiny
from PIL import Image

from ssl_jax import config as configs
from ssl_jax import prepare, train
from ssl_jax.config import call
from ssl_jax.data import failures, shards
from ssl_jax.data.decode import Limits, probe, read_audio, read_frames
from ssl_jax.data.pipeline import Loading, first_example, train_batches, train_dataset
from ssl_jax.data.record import MediaError
from ssl_jax.data.record_batches import record_batches
from ssl_jax.data.sources.array_record import ArrayRecordSource
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.devices.sharding import Sharding
from ssl_jax.frozen import Frozen
from ssl_jax.training.trained import load

RATE = 8000


@pytest.fixture(autouse=True)
def nothing_named_yet(monkeypatch):
    monkeypatch.setattr(failures, "_told", set())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight good videos with sound, and one file of each kind of trouble."""
    root = tmp_path_factory.mktemp("media")
    wave = media.noise(1, RATE)
    for i in range(8):

        def draw(number, first=25 * i):
            return media.picture(first + number)

        media.write(root / f"good{i}.mov", 25, wave=wave, rate=RATE, draw=draw)
    good = (root / "good0.mov").read_bytes()
    (root / "cut.mov").write_bytes(good[: len(good) // 2])
    (root / "empty.mov").write_bytes(b"")
    (root / "text.mp4").write_text("no video")
    shutil.copy(root / "good1.mov", root / "fake.png")
    Image.fromarray(media.picture(3)).save(root / "picture.jpg")
    (root / "picture.jpg").rename(root / "picture.mp4")
    media.write(root / "silent.mp4", 25)
    (root / "away.mp4").symlink_to(root / "gone.mp4")
    (root / "folder.mp4").mkdir()
    return root


BROKEN = {"cut.mov", "empty.mov", "text.mp4", "fake.png", "picture.mp4", "silent.mp4", "away.mp4"}


def views(record, rng):
    number = int(rng.integers(record.num_frames)) if record.num_frames else 0
    start = float(rng.uniform(0, 0.5))
    return {
        "sound": record.need_audio(0.5)(start, start + 0.5),
        "seen": np.int64(media.number_of(record.need_frames()([number])[0])),
        "number": np.int64(record.index),
        "draw": np.float64(rng.random()),
    }


def take(dataset, count, start=0, loading=Loading(prefetch=2)):
    batches = train_batches(dataset, loading, start)
    try:
        return [next(batches) for _ in range(count)]
    finally:
        batches.close()


def same(a, b):
    return all(np.array_equal(a[k], b[k]) for k in a)


def lines(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


# What a batch is made of


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_broken_files_are_replaced_alike_on_any_number_of_processes_and_after_a_restart(
    folder, processes
):
    source = FolderSource(str(folder))
    whole = take(train_dataset(source, views, 8, seed=1), 4)
    loading = Loading(threads=2, prefetch=2)
    parts = [
        take(train_dataset(source, views, 8, 1, p, processes), 2, start=2, loading=loading)
        for p in range(processes)
    ]
    for number, batch in enumerate(whole[2:]):
        assert same({k: np.concatenate([p[number][k] for p in parts]) for k in batch}, batch)
    for batch in whole:
        assert batch["sound"].std(axis=1).min() > 0.1  # never zeros
        names = [source[i].name for i in batch["number"].tolist()]
        first = [25 * int(name[4]) for name in names]  # what is seen is of the video that is named
        assert ((batch["seen"] >= first) & (batch["seen"] < np.add(first, 25))).all()
        assert len(set(batch["draw"].tolist())) == 8


def test_a_good_record_is_read_the_same_beside_broken_ones(folder, tmp_path):
    source = FolderSource(str(folder))
    dataset = train_dataset(source, views, 8, seed=1)
    before = [dataset[k] for k in range(3)]
    copy = shutil.copytree(folder, tmp_path / "media", symlinks=True)
    (copy / "good2.mov").write_bytes(b"")
    after = [train_dataset(FolderSource(str(copy)), views, 8, seed=1)[k] for k in range(3)]
    lost = source_number(source, "good2.mov")
    for a, b in zip(before, after, strict=True):
        kept = a["number"] == b["number"]
        assert lost not in b["number"]
        assert all(np.array_equal(a[k][kept], b[k][kept]) for k in a)
        assert (kept | (a["number"] == lost)).sum() >= 6  # others change by rare collisions only


def source_number(source, name):
    return next(i for i, item in enumerate(source.items) if item.path == name)


def test_worker_processes_skip_and_count_as_threads_do(folder, caplog):
    dataset = train_dataset(FolderSource(str(folder)), FolderViews(), 4, seed=0)
    plain = train_batches(dataset, Loading(prefetch=2))
    workers = train_batches(dataset, Loading(prefetch=2, workers=2))
    try:
        for _ in range(4):
            assert same(next(plain), next(workers))
        assert plain.failures.files == workers.failures.files > 0
    finally:
        plain.close()
        workers.close()


@dataclasses.dataclass(frozen=True)
class FolderViews:
    """`views`, but of no module that a worker process would have to find."""

    def __call__(self, record, rng):
        number = int(rng.integers(max(record.num_frames, 1)))
        record.need_audio(0.5)
        return {"number": np.int64(record.index), "sum": record.need_frames()([number]).sum()}


def test_every_failing_file_is_named_once_and_all_are_summed_up(folder, caplog):
    source = FolderSource(str(folder))
    batches = train_batches(train_dataset(source, views, 8, seed=0), Loading())
    for _ in range(12):
        next(batches)
    batches.close()
    named = [line for line in lines(caplog) if line.startswith("skipped: ")]
    assert {os.path.basename(line.split(": ")[1]) for line in named} == BROKEN
    assert len(named) == len(BROKEN) == batches.failures.files
    assert not any("\n" in line for line in named)
    assert f"; {len(BROKEN)} different ones" in lines(caplog)[-1]


# When it is too much


def test_raise_stops_at_the_first_broken_file(folder):
    dataset = train_dataset(FolderSource(str(folder)), views, 8, seed=0)
    with pytest.raises(MediaError, match=r"mov|mp4|png"):
        take(dataset, 4, loading=Loading(on_error="raise"))


def test_more_than_the_allowed_share_stops_with_the_file(folder):
    dataset = train_dataset(FolderSource(str(folder)), views, 8, seed=0)
    pattern = r"\.(mov|mp4|png): .*records read have failed.*data\.max_failed=0\.1"
    with pytest.raises(MediaError, match=pattern) as caught:
        take(dataset, 40, loading=Loading(max_failed=0.1))
    assert "\n" not in str(caught.value)
    with pytest.raises(MediaError, match="max_failed=0"):
        list(record_batches(dataset.source, sums, 4, Loading(max_failed=0.0)))


def test_a_source_of_nothing_but_broken_files_ends(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text("no video")
    source = FolderSource(str(tmp_path))
    with pytest.raises(MediaError, match=r"[ab]\.mp4: .*33 records .* failed"):
        train_dataset(source, views, 4, seed=0)[0]
    with pytest.raises(MediaError, match=r"[ab]\.mp4"):
        list(record_batches(source, sums, 4, Loading(max_failed=1.0)))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"on_error": "ignore"}, "must be one of skip, raise"),
        ({"max_failed": 1.5}, "max_failed=1.5"),
        ({"threads": -1}, "threads=-1 must be at least 0"),
        ({"workers": -1}, "workers=-1"),
    ],
)
def test_bad_knobs_are_one_line(knobs, message):
    with pytest.raises(ValueError, match=message):
        Loading(**knobs)


# Evaluation and training as a whole


def sums(record):
    frames = record.need_frames()([0])
    return {"number": np.int64(record.index), "sum": frames.sum()}


@pytest.mark.parametrize("processes", [1, 2])
def test_evaluation_leaves_broken_records_out(folder, caplog, processes):
    source = FolderSource(str(folder))
    numbers, shapes = [], []
    for process in range(processes):
        for batch, valid in record_batches(source, sums, 4, Loading(), process, processes):
            shapes.append(batch["sum"].shape)
            numbers += batch["number"][:valid].tolist()
    good = [f"good{i}.mov" for i in range(8)] + ["silent.mp4"]  # no sound is needed here
    assert sorted(numbers) == sorted(source_number(source, name) for name in good)
    assert shapes == [(4,)] * 4  # of 15 files; every process sees as many
    named = {os.path.basename(line.split(": ")[1]) for line in lines(caplog) if ": " in line}
    assert named == BROKEN - {"silent.mp4"}


def test_training_and_features_go_on_without_the_broken_files(folder, tmp_path, caplog):
    source = call(FolderSource, path=str(folder))
    config = tiny.experiment(source=source, steps=4)
    assert FolderSource(str(folder)).items[0].path == "away.mp4"  # even the first is broken
    train.fit(config, str(tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if "input/failed" in row][-1]
    assert 1 <= last["input/failed"] <= len(BROKEN)
    assert 0 <= last["input/wait"] <= 1
    features = load(tmp_path).features(configs.build(source), "vision")
    assert len(features.indices) == len(features.layers["pool"]) == 9
    assert np.isfinite(features.layers["pool"]).all()


# The files themselves


def refusals(path, limits=Limits()):
    """The lines with which a file is refused, by who reads it."""
    found = []
    for read in (
        lambda: probe(path, limits),
        lambda: read_frames(path, [0], limits),
        lambda: read_audio(path, 0.0, 0.5, RATE, limits),
    ):
        with pytest.raises(MediaError, match=Path(path).name) as caught:
            read()
        assert "\n" not in str(caught.value)
        found.append(str(caught.value))
    return found


@pytest.mark.parametrize(
    "name", ["cut.mov", "empty.mov", "text.mp4", "fake.png", "picture.mp4", "away.mp4"]
)
def test_what_cannot_be_read_is_refused_by_name(folder, name):
    refusals(folder / name)


def test_a_folder_or_a_pipe_that_is_called_like_a_video(folder, tmp_path):
    assert "is not a file" in refusals(folder / "folder.mp4")[0]
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "is not a file" in refusals(tmp_path / "pipe.mp4")[0]  # opening it would wait for ever


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(folder, tmp_path):
    path = tmp_path / "locked.mov"
    shutil.copy(folder / "good0.mov", path)
    path.chmod(0)
    refusals(path)


def test_no_frames_and_no_sound(folder, tmp_path):
    media.write(
        tmp_path / "video.mp4", 0, wave=media.noise(1, 48000), rate=48000, audio_codec="aac"
    )
    sound = FolderSource(str(tmp_path))[0]
    with pytest.raises(MediaError, match=r"video\.mp4: has 0 frames, 1 are needed"):
        sound.need_frames()
    with pytest.raises(MediaError, match=r"silent\.mp4: has no audio"):
        FolderSource(str(folder))[
            source_number(FolderSource(str(folder)), "silent.mp4")
        ].need_audio()


def float_wav(path, wave, rate=RATE):
    data = np.asarray(wave, "<f4").tobytes()
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVE"
    head += b"fmt " + struct.pack("<IHHIIHH", 16, 3, 1, rate, 4 * rate % 2**32, 4, 32)
    path.write_bytes(head + b"data" + struct.pack("<I", len(data)) + data)
    return path


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_that_are_no_sound(tmp_path, bad):
    wave = np.full(RATE, 0.25)
    path = float_wav(tmp_path / "sound.wav", wave)
    assert (read_audio(path, 0.0, 1.0, RATE) == 0.25).all()
    wave[RATE // 2] = bad
    path = float_wav(tmp_path / "bad.wav", wave)
    for rate in (RATE, 16000):
        with pytest.raises(MediaError, match=r"bad\.wav: holds samples that are not audio"):
            read_audio(path, 0.0, 1.0, rate)
    assert (read_audio(path, 0.0, 0.25, RATE) == 0.25).all()  # what is good of it


@pytest.mark.parametrize("rate", [2**31 - 1, 2_700_000])
def test_a_sample_rate_that_no_machine_could_hold(tmp_path, rate):
    path = float_wav(tmp_path / "fast.wav", np.full(RATE, 0.25), rate)
    assert f"claims {rate} samples of audio per second" in refusals(path)[0]


def test_limits_are_knobs_and_hold_before_anything_is_decoded(folder, tmp_path):
    video = folder / "good0.mov"
    for limits, text in (
        (Limits(pixels=48 * 80 - 1), "80x48 pixels are more than limits.pixels"),
        (Limits(seconds=0.5), "lasts 1 s, limits.seconds=0.5"),
        (Limits(bytes=1000), "bytes are more than limits.bytes"),
    ):
        assert all(text in line for line in refusals(video, limits))
        with pytest.raises(MediaError, match=r"good0\.mov"):
            FolderSource(str(folder), limits=limits)[
                source_number(FolderSource(str(folder)), "good0.mov")
            ]
    assert probe(video, Limits(pixels=48 * 80, seconds=1.0)).num_frames == 25
    Image.new("1", (9000, 9000)).save(tmp_path / "wide.png")
    with pytest.raises(MediaError, match=r"wide\.png: 9000x9000"):
        probe(tmp_path / "wide.png", Limits(pixels=10**6))
    for knob, none in (("pixels", 0), ("seconds", 0.0), ("bytes", 0)):
        with pytest.raises(ValueError, match=rf"limits\.{knob}={none} must be more than 0"):
            Limits(**{knob: none})
    config = call(FolderSource, path=str(folder), limits=call(Limits, pixels=10))
    configs.override(config, "limits.seconds", 2.0)
    assert configs.build(config).limits == Limits(pixels=10, seconds=2.0)


@pytest.mark.parametrize("path", ["../x.mp4", "a/../../x.mp4", "/etc/x.mp4", "a\\..\\..\\x.mp4"])
def test_a_manifest_cannot_reach_outside_its_folder(tmp_path, path):
    (tmp_path / "list.csv").write_text(f"path\n{path}\n")
    with pytest.raises(ValueError, match=r"list\.csv:2: path .* must lie inside the folder"):
        len(FolderSource(str(tmp_path), manifest="list.csv"))


# Mutations


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes flipped, a piece cut out, doubled or overwritten, numbers in the head made huge,
    or the end lost."""
    data = bytearray(data)
    kind = rng.integers(6)
    begin, length = int(rng.integers(len(data))), int(rng.integers(1, 400))
    if kind == 0:
        for place in rng.integers(len(data), size=int(rng.integers(1, 40))):
            data[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        data[begin : begin + length] = rng.bytes(length)
    elif kind == 2:
        del data[begin : begin + length]
    elif kind == 3:
        data[begin:begin] = data[begin : begin + length]
    elif kind == 4:
        for place in rng.integers(min(len(data) - 4, 1000), size=3):
            data[place : place + 4] = b"\x7f\xff\xff\xff"
    else:
        del data[begin:]
    return bytes(data)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name",
    ["video.mp4", "video.mkv", "video.ts", "old.avi", "sound.wav", "sound.flac", "p.jpg", "p.gif"],
)
def test_mutated_files_decode_or_are_refused_by_name(tmp_path, name):
    whole = tmp_path / name
    if name.startswith("p."):
        pages = [Image.fromarray(media.picture(i)) for i in range(3)]
        more = {"save_all": True, "append_images": pages[1:]} if name == "p.gif" else {}
        pages[0].save(whole, **more)
    else:
        audio = {"video.mp4": "aac", "video.ts": "aac", "sound.flac": "flac"}.get(name, "pcm_s16le")
        frames = 0 if name.startswith("sound") else 20
        codec = {"codec": "mpeg4"} if name == "old.avi" else {}
        options = {"g": "8", "bf": "2"}
        wave = media.noise(0.8, 16000)
        media.write(whole, frames, wave=wave, options=options, audio_codec=audio, **codec)
    data = whole.read_bytes()
    rng = np.random.default_rng(0)
    refused, wrong = [], []
    for number in range(20):
        path = tmp_path / f"{number}_{name}"
        path.write_bytes(mutated(data, rng))
        try:
            found = probe(path)
            if found.has_frames:
                last = found.num_frames - 1
                frames = read_frames(path, [0, last // 2, last])
                assert frames.shape == (3, found.height, found.width, 3)
            if found.has_audio:
                wave = read_audio(path, 0.0, min(found.duration, 10.0), RATE)
                assert np.isfinite(wave).all()
        except MediaError as error:
            refused.append(str(error))
            named = str(path) in refused[-1] and "\n" not in refused[-1]
            wrong += [] if named else [refused[-1]]
    assert not wrong
    assert len(refused) < 20


@pytest.mark.timeout(300)
def test_prepare_rejects_mutated_files_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "run", lambda jobs, *_: [shards.make(job) for job in jobs])
    (tmp_path / "in").mkdir()
    wave = media.noise(1.2, 16000)
    whole = media.write(tmp_path / "video.mkv", 30, wave=wave, options={"g": "8", "bf": "2"})
    sound = media.write(tmp_path / "sound.wav", 0, wave=wave)
    rng = np.random.default_rng(3)
    for number in range(24):
        for file in (whole, sound):
            path = tmp_path / "in" / f"{number:02d}_{Path(file).name}"
            path.write_bytes(mutated(Path(file).read_bytes(), rng))
    knobs = shards.Options(short_side=16, audio="flac")
    done = prepare.prepare(str(tmp_path / "in"), str(tmp_path / "out"), options=knobs)
    reasons = {line["path"]: line["reason"] for line in done["rejected"]}
    assert 0 < len(reasons) < 48
    assert all(reason and "\n" not in reason for reason in reasons.values())
    source = ArrayRecordSource((str(tmp_path / "out"),))
    assert {record.extra["path"] for record in source} | reasons.keys() == set(
        os.listdir(tmp_path / "in")
    )
    for record in source:
        if record.frames:
            record.frames([0, record.num_frames - 1])
        if record.audio:
            record.audio(0.0, record.duration)


# Where the broken files stand must not matter


def images(root, broken, good, first):
    """Images of which the broken ones sort first or last; each good one its own brightness."""
    root.mkdir()
    for number in range(broken + good):
        bad = number < broken if first else number >= good
        path = root / f"{number:03d}.png"
        Image.new("L", (32, 32), number).save(path)
        if bad:
            path.write_bytes(path.read_bytes()[:40])
    return FolderSource(str(root))


@pytest.mark.parametrize("first", [True, False])
def test_an_example_is_found_wherever_the_broken_files_stand(tmp_path, first):
    def view(record, rng):
        return {"x": record.need_frames()([0])[0]}

    source = images(tmp_path / "some", 150, 3, first)
    assert first_example(source, view, 0, Loading())["x"].shape == (32, 32, 3)
    none = images(tmp_path / "none", 40, 0, first)
    with pytest.raises(MediaError, match=r"\.png: .*none of the 40 records tried could be read"):
        first_example(none, view, 0, Loading())
    if first:
        with pytest.raises(MediaError, match=r"000\.png: cannot be read"):
            first_example(source, view, 0, Loading(on_error="raise"))


@pytest.mark.parametrize("first", [True, False])
def test_evaluation_judges_the_share_of_all_records(tmp_path, first):
    source = images(tmp_path / "many", 100, 120, first)

    def read(record):
        return {"x": record.need_frames()([0])[0, 0, 0, :1].astype(np.int64)}

    found = [b["x"][:valid, 0] for b, valid in record_batches(source, read, 8, Loading())]
    offset = 100 if first else 0
    assert np.concatenate(found).tolist() == [offset + i for i in range(120)]
    with pytest.raises(MediaError, match="more than data"):
        list(record_batches(source, read, 8, Loading(max_failed=0.4)))


@pytest.mark.parametrize("first", [True, False])
def test_a_few_inputs_are_taken_from_readable_records(tmp_path, first):
    experiment = configs.build(configs.load("configs/image/rotation_cifar10.py:tiny"))
    frozen = Frozen.of(experiment, Sharding(devices=1).mesh())
    source = images(tmp_path / "few", 30, 9, first)
    good = range(30, 39) if first else range(9)
    for limit in (1, 4, 9):
        inputs, records = frozen.inputs(source, "vision", limit=limit)
        assert len(records) == len(set(records.tolist())) == limit
        assert set(records.tolist()) <= set(good)
        assert inputs["vision"][:, 0, 0, 0, 0].tolist() == records.tolist()
    with pytest.raises(MediaError, match="none of the 20 records tried could be read"):
        frozen.inputs(images(tmp_path / "none", 20, 0, first), "vision", limit=2)
