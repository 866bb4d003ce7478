"""A run's features in shards: those that the run gives, of every moment; kept when whole."""

import json

import media
import numpy as np
import pytest
import tiny

from ssl_jax import prepare, train
from ssl_jax.data.sources.array_record import ArrayRecordSource
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.stored_features import strongest_features
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


def made(folder: str, run: str, output, *flags: str) -> int:
    asked = (f"--input={folder}", f"--output={output}", f"--features={run}:hidden", *flags)
    return prepare.main(list(asked))


@pytest.fixture(scope="module")
def features(folder, run, tmp_path_factory):
    output = tmp_path_factory.mktemp("features")
    assert made(folder, run, output, "--manifest=list.csv", "--rate=2", "--shards=2") == 0
    return output


def test_each_row_is_what_the_run_sees_at_its_time(folder, run, features):
    source, videos = ArrayRecordSource((str(features),)), FolderSource(folder, manifest="list.csv")
    frozen = load(run)
    assert [record.name for record in source] == ["long.mp4", "short.mp4"]
    assert source.label_names == videos.label_names
    for record, rows in zip(source, (8, 2), strict=True):
        video = next(v for v in videos if v.name == record.name)
        assert (record.label, record.captions) == (video.label, video.captions)
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


def test_what_cannot_be_read_is_named(features):
    content = json.loads((features / "manifest.json").read_text())
    (rejected,) = content["rejected"]
    assert rejected["path"].endswith("/broken.mp4")
    assert content["records"] == 2
    assert content["seconds"] == pytest.approx(4.6)


def test_shards_that_are_whole_are_kept_and_others_made_again(folder, run, features, capsys):
    first, second = sorted(features.glob("*.array_record"))
    bytes_, kept = second.read_bytes(), first.stat().st_mtime_ns
    second.write_bytes(b"damaged")
    (features / "manifest.json").unlink()
    assert made(folder, run, features, "--manifest=list.csv", "--rate=2", "--shards=2") == 0
    assert (first.stat().st_mtime_ns, second.read_bytes()) == (kept, bytes_)
    assert "2 records, 1 rejected" in capsys.readouterr().out
    assert made(folder, run, features, "--manifest=list.csv", "--rate=3", "--shards=2") == 2
    assert "of something else; give an empty folder" in capsys.readouterr().err


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
