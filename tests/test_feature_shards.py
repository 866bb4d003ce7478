"""A run's features in shards: those that the run gives, of every moment; kept when whole."""

import dataclasses
import json
import math
import shutil

import media
import numpy as np
import pytest
import tiny

from ssl_jax import prepare, train
from ssl_jax.applying import feature_shards
from ssl_jax.applying.features_over_time import features_over_time
from ssl_jax.config import ConfigError
from ssl_jax.data import shards
from ssl_jax.data.sources.array_record import ArrayRecordSource
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.data.stored_features import feature_seconds, strongest_features
from ssl_jax.methods.audio.transcription import Transcription
from ssl_jax.methods.finetune import Finetune
from ssl_jax.methods.label_tasks import OneLabel
from ssl_jax.training.trained import load

MANIFEST = """path,label,split,caption,start,end
long.mp4,walk,train,steps,0,2
long.mp4,walk,train,a door,2,4
short.mp4,stand,test,silence,0,0.5
broken.mp4,walk,train,nothing,0,1
"""


def shade(number: int) -> np.ndarray:
    return np.full((32, 32, 3), 3 * number, np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    workdir = str(tmp_path_factory.mktemp("run"))
    train.fit(tiny.experiment(steps=2), workdir)
    return workdir


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("videos")
    media.write(path / "long.mp4", 80, fps=20, draw=shade)
    media.write(path / "short.mp4", 12, fps=20, draw=lambda number: shade(80 - number))
    (path / "broken.mp4").write_text("no video")
    (path / "list.csv").write_text(MANIFEST)
    return str(path)


BY_MANIFEST = ("--manifest=list.csv", "--rate=2", "--shards=2")


def made(folder: str, run: str, output, *flags: str) -> int:
    asked = (f"--input={folder}", f"--output={output}", f"--features={run}:hidden", *flags)
    return prepare.main(list(asked))


def allowing(path: str, max_failed: float):
    """The run, with another share of records that may fail."""
    frozen = load(path)
    return dataclasses.replace(
        frozen, loading=dataclasses.replace(frozen.loading, max_failed=max_failed)
    )


@pytest.fixture(scope="module")
def features(folder, run, tmp_path_factory):
    output = tmp_path_factory.mktemp("features")
    assert made(folder, run, output, *BY_MANIFEST) == 0
    return output


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory) -> str:
    """The same videos as shards, made one after the other, without Beam."""
    output = str(tmp_path_factory.mktemp("shards"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "run", lambda jobs, *_: [shards.make(job) for job in jobs])
        prepare.prepare(folder, output, "list.csv", shards.Options(whole=True))
    return output


@pytest.mark.parametrize("kind", ["folder", "shards"])
def test_each_row_is_what_the_run_sees_at_its_time(kind, folder, whole, run, features, tmp_path):
    if kind == "folder":
        videos = FolderSource(folder, manifest="list.csv")
    else:
        videos, features = ArrayRecordSource((whole,)), tmp_path
        assert made(whole, run, features, "--rate=2") == 0
    readable = [videos[number] for number in range(2)]
    source, frozen = ArrayRecordSource((str(features),)), load(run)
    assert [record.name for record in source] == [video.name for video in readable]
    assert source.label_names == videos.label_names
    for record, video in zip(source, readable, strict=True):
        rows = math.ceil(2 * video.duration - 1e-6)
        assert (record.label, record.captions) == (video.label, video.captions)
        assert record.extra["path"] in ("long.mp4", "short.mp4")
        assert record.extra["split"] == video.extra["split"]
        assert record.duration == pytest.approx(video.duration)
        assert (record.num_frames, record.fps, record.audio) == (0, 2, None)
        found = record.extra["features"]
        assert (found.dtype, found.shape) == (np.float16, (rows, 16))
        times = [k / 2 for k in range(rows)]
        expected = frozen.encode("vision", frozen.method.clips(video, "vision", times))["hidden"]
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
        strongest = strongest_features(record, "features", 2.0, 0.0, 1.0)
        np.testing.assert_array_equal(strongest, np.float32(found[:2].max(axis=0)))
    assert len(ArrayRecordSource((str(features),), split="test")) == 1


def test_what_cannot_be_read_is_named_by_its_path_in_the_input(folder, features):
    text = (features / "manifest.json").read_text()
    content = json.loads(text)
    (rejected,) = content["rejected"]
    assert rejected["path"] == "broken.mp4"
    assert folder not in text
    assert content["records"] == 2
    assert content["seconds"] == pytest.approx(4.6)


def test_a_record_of_a_damaged_shard_is_named_by_its_video(whole, run, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_shards, "load", lambda path: allowing(path, 1.0))
    shutil.copytree(whole, tmp_path / "shards")
    (shard,) = (tmp_path / "shards").glob("*.array_record")
    damaged = bytearray(shard.read_bytes())
    damaged[200:260] = bytes(60)
    shard.write_bytes(damaged)
    assert made(str(tmp_path / "shards"), run, tmp_path / "out") == 0
    text = (tmp_path / "out" / "manifest.json").read_text()
    rejected = json.loads(text)["rejected"]
    assert [line["path"] for line in rejected] == ["long.mp4"]
    assert rejected[0]["reason"].startswith(f"{shard.name}: is damaged")
    assert str(tmp_path / "shards") not in text


class Bar:
    def __init__(self, *_):
        self.done = 0

    def update(self, count: int = 1):
        self.done += count

    def close(self):
        pass


def test_kept_shards_count_as_if_they_were_made(
    folder, run, features, tmp_path, monkeypatch, capsys
):
    bars = []
    monkeypatch.setattr(feature_shards, "progress_bar", lambda *_: bars.append(Bar()) or bars[-1])
    kept = tmp_path / "kept"
    shutil.copytree(features, kept)
    assert made(folder, run, kept, *BY_MANIFEST) == 0
    assert [bar.done for bar in bars] == [3]
    monkeypatch.setattr(feature_shards, "load", lambda path: allowing(path, 0.0))
    for output in (tmp_path / "fresh", kept):
        assert made(folder, run, output, *BY_MANIFEST) == 2
        line = capsys.readouterr().err
        assert "broken.mp4: " in line
        assert "1 of 3 records read have failed by now, more than data.max_failed=0.0" in line


def test_shards_that_are_whole_are_kept_and_others_made_again(folder, run, features, capsys):
    first, second = sorted(features.glob("*.array_record"))
    bytes_, kept = second.read_bytes(), first.stat().st_mtime_ns
    second.write_bytes(b"damaged")
    (features / "manifest.json").unlink()
    assert made(folder, run, features, *BY_MANIFEST) == 0
    assert (first.stat().st_mtime_ns, second.read_bytes()) == (kept, bytes_)
    assert "2 records, 1 rejected" in capsys.readouterr().out
    assert made(folder, run, features, "--manifest=list.csv", "--rate=3", "--shards=2") == 2
    assert "holds shards made with rate=2.0, now rate=3.0" in capsys.readouterr().err
    assert made(folder, run, features, "--manifest=list.csv", "--rate=2", "--shards=1") == 2
    assert "holds shards made with shards=2, now shards=1" in capsys.readouterr().err


def test_more_videos_than_a_shard_takes_make_all_of_them_again(folder, run, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_shards, "RECORDS_A_SHARD", 2)
    videos, output = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    names = []
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        shutil.copy(f"{folder}/short.mp4", videos / name)
        names.append(name)
        assert made(str(videos), run, output) == 0
        assert [record.name for record in ArrayRecordSource((str(output),))] == names
    left = [f"shard-0000{k}-of-00002{end}" for k in range(2) for end in (".array_record", ".json")]
    assert sorted(file.name for file in output.iterdir()) == ["manifest.json", *left]


def test_shards_of_another_command_are_not_removed(folder, whole, run, tmp_path, capsys):
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    before = sorted(output.iterdir())
    assert made(folder, run, output, "--manifest=list.csv", "--shards=2") == 2
    assert "of another command; give an empty folder" in capsys.readouterr().err
    assert sorted(output.iterdir()) == before


def test_what_changed_since_is_made_again(folder, run, tmp_path):
    videos, trained, output = tmp_path / "videos", tmp_path / "run", tmp_path / "out"
    shutil.copytree(folder, videos)
    shutil.copytree(run, trained)

    def once() -> tuple[tuple[str, ...], list[int], bytes]:
        assert made(str(videos), str(trained), output, "--manifest=list.csv", "--shards=1") == 0
        source = ArrayRecordSource((str(output),))
        labels = [record.label for record in source]
        return source.label_names, labels, source[0].extra["features"].tobytes()

    names, labels, before = once()
    # A class more moves the numbers of the others.
    (videos / "list.csv").write_text(MANIFEST.replace("short.mp4,stand", "short.mp4,sit"))
    renamed, moved, same = once()
    assert [names[k] for k in labels] == ["walk", "stand"]
    assert [renamed[k] for k in moved] == ["walk", "sit"]
    assert same == before
    # Another training run to the same step, in the same place.
    shutil.rmtree(trained)
    train.fit(tiny.experiment(steps=2, seed=1), str(trained))
    assert once()[2] != before


class Cut(tiny.MeanColour):
    def times(self, record, stream, count):
        return [record.duration * k / count for k in range(count)]


def test_inputs_that_are_parts_of_a_record_have_no_rate(run):
    frozen = load(run)
    frozen = dataclasses.replace(frozen, method=Cut(frozen.method.vision))
    with pytest.raises(ConfigError, match="Cut cuts the records of stream 'vision'"):
        features_over_time(frozen, "vision", "pool", 1.0, SyntheticSource(size=1), 0)


@pytest.mark.parametrize(
    ("method", "stream"),
    [
        (Transcription(tiny.TinyTrunk()), "audio"),
        (Finetune(OneLabel(3), tiny.TinyTrunk(), crops=10), "vision"),
    ],
    ids=["utterances", "ten crops"],
)
def test_inputs_that_are_the_same_at_all_times_have_no_rate(method, stream, run):
    frozen = dataclasses.replace(load(run), method=method)
    with pytest.raises(ConfigError, match=f"has the same inputs of stream '{stream}' at all times"):
        features_over_time(frozen, stream, "pool", 1.0, SyntheticSource(size=1), 0)


def test_a_record_of_one_frame_has_rows_that_are_equal(run):
    source = SyntheticSource(size=1, frames=1, fps=1.0, height=32, width=32)
    _, rows = features_over_time(load(run), "vision", "pool", 3.0, source, 0)
    assert rows.shape == (3, 16)
    np.testing.assert_allclose(rows, rows[:1].repeat(3, 0), rtol=1e-6)


def test_methods_refuse_features_of_another_rate(features):
    record = ArrayRecordSource((str(features),))[0]
    assert feature_seconds(record, "features", 2.0) == pytest.approx(4.0)
    with pytest.raises(ConfigError, match=r"has 2 rows of features per second, not 5; set method"):
        feature_seconds(record, "features", 5.0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--features=nowhere:hidden",), "no trained run in nowhere"),
        (("--features=hidden",), "features is RUN:LAYER"),
        (("--features={run}:hiden",), "hiden"),
        (("--features={run}:hidden", "--stream=sight"), "sight"),
        (("--features={run}:hidden", "--rate=0"), "rate=0 must be a positive number"),
        (("--features={run}:hidden", "--flow"), "--flow is not for --features"),
        (("--rate=2",), "--rate needs --features=RUN:LAYER"),
    ],
)
def test_mistakes_cost_one_line(flags, message, folder, run, tmp_path, capsys):
    asked = [f"--input={folder}", f"--output={tmp_path / 'out'}"]
    assert prepare.main(asked + [flag.format(run=run) for flag in flags]) == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1


def test_the_input_is_not_written_over(whole, run, capsys):
    assert made(whole, run, whole) == 2
    assert "is the input; give another folder" in capsys.readouterr().err
    assert len(ArrayRecordSource((whole,))) == 2
