"""A leading ~ is the user's home folder wherever a path is taken."""

import gzip
import os

import numpy as np
import pytest
from PIL import Image

import ssl_jax
from ssl_jax import config as configs
from ssl_jax.command import arguments_of, parse, parser_of
from ssl_jax.config import ConfigError
from ssl_jax.data import decode, paths
from ssl_jax.data.clusters_file import write_clusters
from ssl_jax.data.permutations_file import read_permutations
from ssl_jax.data.sources.files import FilesSource
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.idx import IdxSource
from ssl_jax.data.sources.mix import Mix
from ssl_jax.seeds import over_seeds


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    """A home folder with images, and another folder to work in, which must stay empty."""
    images = tmp_path / "home" / "images"
    images.mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (8, 8)).save(images / f"{name}.png")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    assert not os.listdir(tmp_path / "work")


def test_paths_below_home(at_home):
    assert paths.names("~/images") == paths.below("~/images") == ["a.png", "b.png"]
    assert paths.is_folder("~/images")
    assert paths.exists("~/images/a.png")
    assert paths.read("~/images/a.png") == (at_home / "images" / "a.png").read_bytes()
    assert paths.state("~/images/a.png")[0] == (at_home / "images" / "a.png").stat().st_size
    paths.make_folder("~/new/one")
    with open(paths.draft("~/new/one/x"), "w") as file:
        file.write("x")
    paths.put(file.name, "~/new/one/x")
    assert paths.read_text("~/new/one/x").read() == "x"
    paths.remove("~/new/one/x")
    assert not os.listdir(at_home / "new" / "one")
    # Only at the beginning, and not within a URL.
    assert paths.join("/data", "~/x") == "/data/~/x"
    assert paths.home("memory://~/x") == "memory://~/x"


def test_sources_and_files_below_home(at_home):
    (at_home / "list.csv").write_text("path,label\na.png,cat\n")
    assert len(FolderSource("~/images")) == 2
    assert FolderSource("~/images", manifest="~/list.csv").label_names == ("cat",)
    assert FilesSource(("~/images/a.png",))[0].num_frames == 1
    assert decode.probe("~/images/a.png").width == 8
    assert decode.read_frames("~/images/a.png", [0]).shape == (1, 8, 8, 3)
    for name, axes in (("images-idx3", (2, 3, 3)), ("labels-idx1", (2,))):
        head = bytes([0, 0, 8, len(axes)]) + np.array(axes, ">u4").tobytes()
        with gzip.open(at_home / f"train-{name}-ubyte.gz", "wb") as file:
            file.write(head + bytes(int(np.prod(axes))))
    assert len(IdxSource("~")) == 2
    write_clusters("~/clusters/x.npz", np.arange(2), np.zeros(2, np.uint32))
    assert (at_home / "clusters" / "x.npz").exists()
    (at_home / "orders.txt").write_text("0 1\n1 0\n")
    assert read_permutations("~/orders.txt").shape == (2, 2)


def test_knobs_and_arguments_below_home(at_home):
    config = configs.call(Mix, sources=(configs.call(FolderSource, path="~/images"),))
    assert configs.build(config).sources[0].path == str(at_home / "images")
    (at_home / "mine.py").write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config(variant=''):\n"
        "    return ConfigDict({'resume': '', 'name': variant})\n"
    )
    found = parse(
        "train", ["--config=~/mine.py:x", "--workdir=~/runs/x", "--config.resume=~/runs/y"]
    )
    assert found.workdir == str(at_home / "runs" / "x")
    assert (found.config.resume, found.config.name) == (str(at_home / "runs" / "y"), "x")
    parser = parser_of("test", "")
    parser.add_argument("runs", nargs="*")
    known = arguments_of(parser, ["~/a", "b~"])
    assert known.runs == [str(at_home / "a"), "b~"]


def test_runs_below_home(at_home):
    (at_home / "run").mkdir()
    with pytest.raises(ConfigError, match=f"no trained run in {at_home}/run"):
        ssl_jax.load("~/run")
    with pytest.raises(ConfigError, match=f"{at_home}/run/results.json is missing"):
        over_seeds(["~/run", "~/run"])
