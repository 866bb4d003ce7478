"""Ready-made sets: the MNIST family's own files, and TensorFlow Datasets without TensorFlow."""

import gzip
import os
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.pipeline import Loading
from ssl_jax.data.record import MediaError
from ssl_jax.data.record_batches import record_batches
from ssl_jax.data.sources.idx import IdxSource
from ssl_jax.data.sources.tfds import TfdsSource, _dtypes_without_tensorflow


def idx(values: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, values.ndim])
    return head + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (9, 4, 3)).astype(np.uint8)
LABELS = np.arange(9, dtype=np.uint8)


def write_set(folder, images="train-images-idx3-ubyte.gz", labels="train-labels-idx1-ubyte.gz"):
    for name, values in ((images, IMAGES), (labels, LABELS)):
        data = idx(values)
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


@pytest.mark.parametrize(
    ("split", "images", "labels"),
    [
        ("train", "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        ("test", "t10k-images-idx3-ubyte", "t10k-labels.idx1-ubyte.gz"),
        ("test", "emnist-letters-test-images-idx3-ubyte", "emnist-letters-test-labels-idx1-ubyte"),
    ],
)
def test_idx_files_under_their_usual_names(tmp_path, split, images, labels):
    write_set(tmp_path, images, labels)
    source = pickle.loads(pickle.dumps(IdxSource(str(tmp_path), split)))
    assert len(source) == 9
    record = source[4]
    assert (record.index, record.label, record.num_frames) == (4, 4, 1)
    frames = record.frames([0, 0])
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, np.broadcast_to(IMAGES[4][..., None], (2, 4, 3, 3)))
    frames[:] = 0  # a copy: nobody else sees this
    assert source[4].frames([0]).any()
    assert len(IdxSource(str(tmp_path), split, limit=5)) == 5
    with pytest.raises(IndexError):
        IdxSource(str(tmp_path), split, limit=5)[5]
    with pytest.raises(MediaError, match=r"test 4|train 4"):
        record.frames([1])


def test_an_uncompressed_copy_beside_the_compressed(tmp_path):
    write_set(tmp_path)
    write_set(tmp_path, "train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    assert len(IdxSource(str(tmp_path))) == 9


def test_missing_idx_files_say_where_to_get_them(tmp_path):
    with pytest.raises(ConfigError, match=r"t10k-images-idx3-ubyte.*TfdsSource.*'fashion_mnist'"):
        len(IdxSource(str(tmp_path), "test"))
    with pytest.raises(ConfigError, match=r"no folder .*nowhere"):
        len(IdxSource(str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match="'val' must be one of"):
        IdxSource(str(tmp_path), "val")
    for name in ("a", "b"):
        write_set(tmp_path, f"{name}-train-images-idx3-ubyte", f"{name}-train-labels-idx1-ubyte")
    with pytest.raises(ConfigError, match="several sets, a-train-images"):
        len(IdxSource(str(tmp_path)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no idx file"),
        (b"<html>not found</html>", "is no idx file"),
        (idx(LABELS), "is no idx file of bytes in 3 axes"),
        (idx(IMAGES)[:-1], "holds 107 values, its header says"),
        (idx(IMAGES[:8]), "holds 8 images, but .*labels.* 9"),
    ],
)
def test_broken_idx_files_are_named(tmp_path, content, message):
    write_set(tmp_path, "train-images-idx3-ubyte")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(MediaError, match=f"train-images-idx3-ubyte: {message}"):
        len(IdxSource(str(tmp_path)))


def test_a_cut_gz_is_named(tmp_path):
    write_set(tmp_path)
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(MediaError, match=r"train-images-idx3-ubyte\.gz: cannot be read"):
        len(IdxSource(str(tmp_path)))


# TensorFlow Datasets


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    import tensorflow_datasets as tfds
    import tfds_sets  # noqa: F401  (makes the sets known by name)

    folder = str(tmp_path_factory.mktemp("tfds"))
    from tensorflow_datasets.core.features import audio_feature, feature

    with _dtypes_without_tensorflow(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature, "tf", audio_feature.tf)  # asked only when a set is written
        for name in ("tiny_pictures", "tiny_videos", "tiny_clips", "tiny_sounds", "tiny_texts"):
            builder = tfds.builder(name, data_dir=folder, file_format="array_record")
            builder.download_and_prepare()
    return folder


def test_pictures_of_tfds(prepared):
    source = pickle.loads(pickle.dumps(TfdsSource("tiny_pictures", "train", prepared)))
    assert len(source) == 7
    assert source.label_names == ("even", "odd")
    numbers = set()
    for i in range(7):
        record = source[i]
        number = int(record.extra["number"])
        numbers.add(number)
        assert (record.index, record.num_frames, record.label) == (i, 1, number % 2)
        frames = record.frames([0])
        assert frames.shape == (1, 6, 5, 3)
        assert (frames == 10 * number).all()
    assert numbers == set(range(7))
    assert len(TfdsSource("tiny_pictures", "train[:3]", prepared)) == 3
    with pytest.raises(IndexError):
        source[7]


def test_videos_of_tfds(prepared):
    source = TfdsSource("tiny_videos", "test", prepared, fps=8.0)
    record = source[1]
    number = int(record.extra["number"])
    assert (record.num_frames, record.fps, record.duration, record.label) == (4, 8.0, 0.5, -1)
    assert record.frames(np.array([3, 0]))[:, 0, 0, 0].tolist() == [10 * number + 3, 10 * number]
    with pytest.raises(MediaError, match=r"tiny_videos test 1: frame 4 .* has 4"):
        record.frames([4])


def test_videos_with_sound_and_labels_of_tfds(prepared):
    source = pickle.loads(pickle.dumps(TfdsSource("tiny_clips", "train", prepared, fps=5.0)))
    assert source.label_names == ("walk", "run")
    for i in range(2):
        record = source[i]
        assert (record.num_frames, record.fps, record.sample_rate) == (3, 5.0, 100)
        assert record.duration == pytest.approx(0.6)
        frames = record.frames([2, 0])[:, 0, 0, 0].tolist()
        assert frames == [10 * record.label + 2, 10 * record.label]  # the video, not the poster
        ramp = np.arange(60) * 50 * (record.label + 1) / 32768  # the mean of both channels
        np.testing.assert_allclose(record.audio(0.1, 0.6), ramp[10:], atol=1e-6)
        ends = record.audio(-0.1, 0.7)
        assert len(ends) == 80
        assert not ends[:10].any()
        assert not ends[70:].any()
        assert "poster" in record.extra


def test_sounds_of_tfds(prepared):
    with pytest.raises(ConfigError, match="does not state its sample rate; give sample_rate"):
        TfdsSource("tiny_sounds", "train", prepared)[0]
    source = TfdsSource("tiny_sounds", "train", prepared, sample_rate=100)
    batches = record_batches(source, lambda r: {"n": np.int64(r.index)}, 3, Loading())
    [(batch, valid)] = batches
    assert valid == 2
    [broken] = {0, 1, 2} - set(batch["n"].tolist())
    with pytest.raises(MediaError, match=f"tiny_sounds train {broken}: its audio holds"):
        source[broken]
    good = [source[i] for i in batch["n"][:2].tolist()]
    assert (good[0].num_frames, good[0].frames, good[0].duration) == (0, None, 0.5)
    assert good[0].audio(0.06, 0.09).tolist() == pytest.approx([0.1, 0.2, 0.1])
    # As `librispeech` has them.
    number = int(good[0].extra["speaker_id"])
    assert good[0].extra["speaker"] == str(number)
    assert good[0].captions[0].text == f"said {number - 10}"


def test_texts_of_tfds(prepared):
    def texts(**knobs):
        source = TfdsSource("tiny_texts", "train", prepared, **knobs)
        return sorted([c.text for c in source[i].captions] for i in range(len(source)))

    assert texts() == [[], ["Καλημέρα κόσμε"]]
    assert texts(text="titles") == [["a", "नमस्ते"]] * 2
    assert texts(text="short/en", language="el") == [["brief"]] * 2
    record = TfdsSource("tiny_texts", "train", prepared, text="short/en", language="el")[0]
    assert record.captions[0].language == "el"
    assert (record.num_frames, record.frames, record.audio, record.label) == (0, None, None, -1)
    assert record.extra["file_name"].endswith(b".txt")
    with pytest.raises(ConfigError, match="has no text='shrot'; it has file_name"):
        texts(text="shrot")


def test_unprepared_sets_say_how_to_prepare_them(prepared, tmp_path):
    command = r"tfds\.builder\('tiny_pictures', data_dir=.*file_format='array_record'\)"
    with pytest.raises(ConfigError, match=command) as caught:
        len(TfdsSource("tiny_pictures", "train", str(tmp_path)))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"no split 'val', there is \['train'\]"):
        len(TfdsSource("tiny_pictures", "val", prepared))
    with pytest.raises(ConfigError, match="knows no set 'no_such_set'") as caught:
        len(TfdsSource("no_such_set", "train", prepared))
    assert "\n" not in str(caught.value)


def test_tensorflow_stays_out(prepared):
    program = f"""
import sys
from ssl_jax.data.sources.tfds import TfdsSource
record = TfdsSource("tiny_pictures", "train", {prepared!r})[0]
assert record.frames([0]).shape == (1, 6, 5, 3)
assert "tensorflow_datasets" in sys.modules
assert "tensorflow" not in sys.modules
assert "jax" not in sys.modules
"""
    here = os.path.dirname(__file__)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=here, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
