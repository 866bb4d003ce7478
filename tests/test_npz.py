"""Damaged files of arrays: every reader answers with one line that names the file."""

import gzip
import io

import numpy as np
import pytest

from ssl_jax import fuse
from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import fingerprint
from ssl_jax.data.clusters_file import cluster_of, write_clusters
from ssl_jax.data.npz import read_npy, read_npz
from ssl_jax.data.permutations_file import read_permutations
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sources.idx import IdxSource
from ssl_jax.evals.finetuned import Scores
from ssl_jax.training.start import trunks_of


def packed(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def single(array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def idx(folder, data: bytes) -> None:
    """A source of one image whose labels are this file."""
    images = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2]) + bytes(4)
    (folder / "train-images-idx3-ubyte").write_bytes(images)
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(data)
    len(IdxSource(str(folder)))


NOISE = np.random.default_rng(0).normal(size=(6, 2))
TABLE = np.stack([np.roll(np.arange(9), k) for k in range(9)])
READERS = {
    "clusters.npz": (
        packed(labels=np.arange(20, dtype=np.int32), names=np.arange(20, dtype=np.uint32)),
        lambda path: cluster_of(str(path), Record("x", 99, 1, 1.0)),
    ),
    "scores.npz": (
        packed(names=np.array([*"abcdef"]), labels=np.arange(6) % 2, softmax=NOISE, logits=NOISE),
        lambda path: fuse.read(str(path)),
    ),
    "trunk.npz": (
        packed(**{"vision/params/conv1/kernel": NOISE}),
        lambda path: trunks_of(str(path)),
    ),
    "set.npy": (single(TABLE), lambda path: read_permutations(str(path))),
    "labels.gz": (
        gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]), mtime=0),
        lambda path: idx(path.parent, path.read_bytes()),
    ),
}


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    changed, place = bytearray(data), rng.integers(len(data))
    match rng.integers(4):
        case 0:
            changed[place] ^= 1 << rng.integers(8)
        case 1:
            del changed[place:]
        case 2:
            changed[place:place] = rng.bytes(4)
        case _:
            changed[place : place + 3] = rng.bytes(3)
    return bytes(changed)


@pytest.mark.parametrize("name", READERS)
def test_damage_is_one_line_that_names_the_file(name, tmp_path):
    data, read = READERS[name]
    rng, refused = np.random.default_rng(0), 0
    for trial in range(150):
        folder = tmp_path / str(trial)  # some readers keep what they have read
        folder.mkdir()
        path = folder / name
        path.write_bytes(damaged(data, rng))
        message = ""
        try:
            read(path)
        except (ConfigError, MediaError) as error:
            message = str(error)
        assert message == "" or str(folder) in message
        assert "\n" not in message
        refused += bool(message)
    assert refused > 75  # the rest hit what says nothing, as the time of day


def test_arrays_come_back_whole(tmp_path):
    (tmp_path / "two.npz").write_bytes(packed(a=NOISE, b=TABLE))
    found = read_npz(str(tmp_path / "two.npz"))
    assert sorted(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"], NOISE)
    (tmp_path / "one.npy").write_bytes(single(TABLE))
    np.testing.assert_array_equal(read_npy(str(tmp_path / "one.npy")), TABLE)
    with pytest.raises(MediaError, match="single array"):
        read_npz(str(tmp_path / "one.npy"))


def test_clusters_that_do_not_fit_their_names_are_refused(tmp_path):
    path = str(tmp_path / "clusters.npz")
    labels, names = np.arange(3, dtype=np.int32), np.arange(2, dtype=np.uint32)
    np.savez(path, labels=labels, names=names)
    with pytest.raises(ConfigError, match=r"clusters do not fit.*ssl_jax\.cluster"):
        cluster_of(path, Record("x", 0, 1, 1.0))


def test_scores_and_clusters_come_back(tmp_path):
    scores = Scores(("a", "b"), np.array([0, 1]), NOISE[:2], NOISE[:2])
    fuse.write(scores, str(tmp_path / "scores.npz"))
    np.testing.assert_array_equal(fuse.read(str(tmp_path / "scores.npz")).logits, NOISE[:2])
    path = str(tmp_path / "clusters.npz")
    write_clusters(path, np.array([4], np.int32), np.array([fingerprint("x")], np.uint32))
    assert cluster_of(path, Record("x", 0, 1, 1.0)) == 4
