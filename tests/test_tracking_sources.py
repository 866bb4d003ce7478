"""DAVIS and JHMDB, written as they are distributed, and the evaluators that track on them."""

import dataclasses
import pickle
import shutil
from typing import ClassVar

import fsspec
import media
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from ssl_jax.data.annotations import joints_of, masks_of
from ssl_jax.data.media import Limits
from ssl_jax.data.record import MediaError
from ssl_jax.data.sources.davis import DavisSource
from ssl_jax.data.sources.jhmdb import JhmdbSource
from ssl_jax.data.sources.tfds import TfdsSource, _dtypes_without_tensorflow
from ssl_jax.evals.propagation import JointPropagation, MaskPropagation

# Whole, as in the set: of a shorter one Pillow would write fewer bits a pixel.
PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, *range(256)] + [7] * (3 * 256 - 9 - 256)
HEIGHT, WIDTH, FRAMES = 48, 64, 5


def left(number):
    """Where the square of a frame begins, which stands at rows 16..31 and is 16 wide."""
    return 8 + 4 * number


def square(number):
    picture = np.full((HEIGHT, WIDTH, 3), [30, 30, 220], np.uint8)
    picture[16:32, left(number) : left(number) + 16] = [220, 30, 30]
    return picture


def objects(number):
    """The square is object 2 (of a palette whose colours are other numbers), a corner is void."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[16:32, left(number) : left(number) + 16] = 2
    mask[0, :3] = 255
    return mask


def save(path, array, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if palette:
        image.putpalette(PALETTE)  # makes it 'P'; the places stay
    image.save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))


def write_davis(root, names=("bear", "camel")):
    for name in names:
        for number in range(FRAMES):
            save(root / f"JPEGImages/480p/{name}/{number:05d}.jpg", square(number))
            save(root / f"Annotations/480p/{name}/{number:05d}.png", objects(number), palette=True)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("".join(f"{name}\r\n" for name in names))
    (root / "ImageSets/2017/test-dev.txt").write_text("camel")
    return str(root)


def joints_at(number):
    """15 joints of a frame, (x, y) counted from 0: on the square, the last out of the picture."""
    x = left(number) + np.arange(15.0)
    return np.stack([x, 16 + np.arange(15.0)], axis=1) - np.eye(15)[14][:, None] * [200, 0]


def write_jhmdb(root, annotated=FRAMES, videos=False):
    lists = {
        "catch_test_split1": "a_catch.avi 1 \nb_catch.avi 2 \n",
        "swing_baseball_test_split1": "c_(x).avi 2\n",
        "swing_baseball_test_split2": "c_(x).avi 1\n",
        "catch_test_split2": "a_catch.avi 2\n",
    }
    (root / "splits").mkdir(parents=True)
    for name, text in lists.items():
        (root / f"splits/{name}.txt").write_text(text)
    for clip in ("catch/a_catch", "catch/b_catch", "swing_baseball/c_(x)"):
        folder = root / "joint_positions" / clip
        folder.mkdir(parents=True)
        joints = np.stack([joints_at(number) + 1 for number in range(annotated)])
        stored = {"pos_img": joints.transpose(2, 1, 0), "scale": np.ones((1, annotated))}
        savemat(folder / "joint_positions.mat", stored)
        if videos:
            file = root / f"ReCompressed_Videos/{clip}.avi"
            file.parent.mkdir(parents=True, exist_ok=True)
            media.write(file, frames=FRAMES, fps=30, codec="mpeg4", draw=square)
            continue
        for number in range(FRAMES):
            save(root / f"Rename_Images/{clip}/{number + 1:05d}.png", square(number))
    return str(root)


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Stands for a frozen network whose one layer is smoothed pixels on a grid of a quarter."""

    @property
    def method(self):
        return self

    streams: ClassVar[dict] = {"vision": ("vision",)}

    def times(self, record, stream, count):
        return [0.0] * count

    def clips(self, record, stream, times):
        return {"vision": np.zeros((len(times), 8, 8, 3), np.uint8)}

    def maps(self, stream, raw, layers):
        t, h, w, c = raw.shape
        return {layers[0]: raw.reshape(t, h // 4, 4, w // 4, 4, c).mean((2, 4)) - 128}


def test_davis_2017(tmp_path):
    source = DavisSource(write_davis(tmp_path))
    assert [record.name for record in (source[0], source[1])] == ["bear", "camel"]
    record = source[1]
    assert (record.num_frames, record.fps, record.index, record.label) == (FRAMES, 24, 1, -1)
    assert record.duration == pytest.approx(FRAMES / 24)
    frames = record.frames([3, 0, 3])
    for frame, number in zip(frames, (3, 0, 3), strict=True):
        assert np.abs(frame.astype(int) - square(number)).mean() < 4
    with Image.open(tmp_path / "Annotations/480p/camel/00000.png") as image:
        assert image.mode == "P"
    np.testing.assert_array_equal(masks_of(record), np.stack([objects(n) for n in range(FRAMES)]))
    assert set(np.unique(record.extra["mask"](2))) == {0, 2, 255}
    assert [r.name for r in DavisSource(str(tmp_path), limit=1)] == ["bear"]
    for index in (-1, 2):
        with pytest.raises(IndexError):
            source[index]
    for number in (-1, FRAMES):
        with pytest.raises(MediaError, match=rf"frame {number} was asked for, there are 5"):
            record.frames([number])
        with pytest.raises(MediaError, match=r"camel/.*\.png: cannot be read"):
            record.extra["mask"](number)


@pytest.mark.parametrize("archive", [2016, 2017])
def test_davis_2016_has_one_object(tmp_path, archive):
    write_davis(tmp_path)
    folder = tmp_path / "ImageSets" / {2016: "480p", 2017: "2016"}[archive]
    folder.mkdir()
    lines = [
        f"/JPEGImages/480p/camel/{n:05d}.jpg /Annotations/480p/camel/{n:05d}.png \n"
        for n in range(FRAMES)
    ]
    (folder / "val.txt").write_text("".join(lines) if archive == 2016 else "camel\n")
    expected = (objects(1) == 2).astype(np.uint8)
    save(tmp_path / "Annotations/480p/camel/00001.png", 255 * expected)
    save(tmp_path / "Annotations/480p/camel/00002.png", np.stack([255 * expected] * 3, axis=2))
    (record,) = list(DavisSource(str(tmp_path), year=2016))
    assert (record.name, record.num_frames) == ("camel", FRAMES)
    for number in (1, 2):
        np.testing.assert_array_equal(record.extra["mask"](number), expected)


def test_davis_test_sets_lack_masks(tmp_path):
    write_davis(tmp_path)
    for number in range(1, FRAMES):
        (tmp_path / f"Annotations/480p/camel/{number:05d}.png").unlink()
    (record,) = list(DavisSource(str(tmp_path), "test-dev"))
    assert record.frames(range(FRAMES)).shape == (FRAMES, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(record.extra["mask"](0), objects(0))
    with pytest.raises(
        MediaError, match=r"^[^\n]*camel/00001\.png: cannot be read \(FileNot[^\n]*$"
    ):
        masks_of(record)


def test_davis_names_what_is_missing_or_damaged(tmp_path):
    path = write_davis(tmp_path)
    for settings, line in (
        ({"split": "vall"}, r"2017/vall\.txt: cannot be read .* \['test-dev\.txt', 'val\.txt'\]"),
        ({"year": 2018}, r"2018/val\.txt: .*ImageSets has \['2017'\]"),
        ({"resolution": "1080p"}, r"JPEGImages: has no folder '1080p', there is \['480p'\]"),
        ({"path": str(tmp_path / "nowhere")}, r"nowhere.*give the folder that DAVIS unpacks to"),
        ({"path": "nostore://x"}, "nostore://x.*cannot be read"),
    ):
        with pytest.raises(ValueError, match=line) as error:
            len(DavisSource(**{"path": path, **settings}))
        assert "\n" not in str(error.value)
    (tmp_path / "ImageSets/2017/val.txt").write_text("bear\ncamel\ndog\n..\n")
    with pytest.raises(ValueError, match=r"val\.txt: holds .*, not the names"):
        len(DavisSource(path))
    (tmp_path / "ImageSets/2017/val.txt").write_text("bear\ncamel\ndog\n")
    source = DavisSource(path)
    bear = tmp_path / "JPEGImages/480p/bear"
    (bear / "._00000.jpg").write_bytes(b"of a Mac")
    assert source[0].num_frames == FRAMES
    with pytest.raises(MediaError, match=r"480p/dog: cannot be read \(FileNotFoundError"):
        source[2]
    whole = (bear / "00002.jpg").read_bytes()
    (bear / "00002.jpg").write_bytes(whole[: len(whole) // 2])
    source[0].frames([1, 3])
    with pytest.raises(MediaError, match=r"bear/00002\.jpg: cannot be read"):
        source[0].frames([1, 2])
    save(bear / "00002.jpg", square(2)[:40])
    with pytest.raises(MediaError, match=r"00002\.jpg: 64x40 pixels, .*00001\.jpg 64x48$"):
        source[0].frames([1, 2])
    (bear / "00002.jpg").unlink()
    with pytest.raises(MediaError, match=r"480p/bear: has no 00002\.jpg among its 4 images"):
        source[0]
    masks = tmp_path / "Annotations/480p/camel"
    whole = (masks / "00001.png").read_bytes()
    (masks / "00001.png").write_bytes(whole[: len(whole) - 40])
    with pytest.raises(MediaError, match=r"camel/00001\.png: cannot be read"):
        source[1].extra["mask"](1)
    save(masks / "00001.png", square(1))
    with pytest.raises(MediaError, match=r"camel/00001\.png: is an image of mode RGB"):
        source[1].extra["mask"](1)


@pytest.mark.parametrize("videos", [False, True])
def test_jhmdb(tmp_path, videos):
    path = write_jhmdb(tmp_path, videos=videos)
    source = JhmdbSource(path)
    assert source.label_names == ("catch", "swing_baseball")
    assert source.clips == [("catch/b_catch", 0), ("swing_baseball/c_(x)", 1)]
    assert JhmdbSource(path, "train").clips == [("catch/a_catch", 0)]
    assert JhmdbSource(path, "train", fold=2).clips == [("swing_baseball/c_(x)", 1)]
    assert len(JhmdbSource(path, limit=1)) == 1
    record = source[1]
    assert (record.name, record.index, record.label) == ("swing_baseball/c_(x)", 1, 1)
    assert (record.num_frames, record.fps, record.extra["split"]) == (FRAMES, 30, "test")
    joints = joints_of(record)
    np.testing.assert_allclose(joints, np.stack([joints_at(n) for n in range(FRAMES)]))
    for frame, number in zip(record.frames([4, 0]), (4, 0), strict=True):
        assert np.abs(frame.astype(int) - square(number)).mean() < 16 * videos + 0.1
        # Counted from 0: the first joint is the square's corner.
        x, y = joints[number, 0].astype(int)
        assert frame[y + 1, x + 1, 0] > 128 > frame[y - 2, x - 2, 0]
    with pytest.raises(MediaError, match="frame 5 was asked for"):
        record.frames([5])
    with pytest.raises(IndexError):
        source[2]


@pytest.mark.parametrize("videos", [False, True])
def test_jhmdb_obeys_its_limits(tmp_path, videos):
    path = write_jhmdb(tmp_path, videos=videos)
    height, width = square(0).shape[:2]
    enough, less = (Limits(pixels=height * width - k) for k in (0, 1))
    assert JhmdbSource(path, limits=enough)[0].frames([0]).shape == (1, height, width, 3)
    with pytest.raises(MediaError, match=r"b_catch.*limits\.pixels"):
        JhmdbSource(path, limits=less)[0].frames([0])


@pytest.mark.parametrize(("annotated", "count"), [(1, 1), (3, 3), (FRAMES + 2, FRAMES)])
def test_jhmdb_clips_end_with_the_shorter(tmp_path, annotated, count):
    record = JhmdbSource(write_jhmdb(tmp_path, annotated))[0]
    assert record.num_frames == len(joints_of(record)) == count
    assert record.duration == pytest.approx(count / 30)
    with pytest.raises(MediaError, match=f"frame {count} was asked for"):
        record.frames([count])


def test_jhmdb_names_what_is_missing_or_damaged(tmp_path):
    path = write_jhmdb(tmp_path)
    with pytest.raises(ValueError, match="split='val' must be one of"):
        JhmdbSource(path, "val")
    with pytest.raises(ValueError, match=r"has no lists of fold 4; there are folds \[1, 2\]"):
        len(JhmdbSource(path, fold=4))
    with pytest.raises(ValueError, match=r"nowhere/splits: cannot be read"):
        len(JhmdbSource(str(tmp_path / "nowhere")))
    source = JhmdbSource(path)
    file = tmp_path / "joint_positions/catch/b_catch/joint_positions.mat"
    whole = file.read_bytes()

    def refuses(line):
        with pytest.raises(MediaError, match=line) as error:
            source[0]
        assert "\n" not in str(error.value)

    for cut in (0, 60, 400, len(whole) // 2):
        file.write_bytes(whole[:cut])
        refuses(r"b_catch/joint_positions\.mat: cannot be read")
    for stored, shape in (
        ({"pos_img": np.zeros((2, 15, 0))}, r"\(2, 15, 0\)"),
        ({"pos_img": np.zeros((2, 13, 4))}, r"\(2, 13, 4\)"),
        ({"pos_world": np.zeros((2, 15, 4))}, r"\(0,\)"),
    ):
        savemat(file, stored)
        refuses(rf"b_catch/joint_positions\.mat: pos_img has shape {shape}, not")
    file.unlink()
    refuses(r"b_catch/joint_positions\.mat: cannot be read \(FileNotFoundError")
    file.write_bytes(whole)
    picture = tmp_path / "Rename_Images/catch/b_catch/00002.png"
    picture.write_bytes(picture.read_bytes()[:60])
    with pytest.raises(MediaError, match=r"b_catch/00002\.png: cannot be read"):
        source[0].frames([0, 1])
    picture.unlink()
    refuses(r"Rename_Images/catch/b_catch: has no 00002\.png among its 4 images")
    shutil.rmtree(tmp_path / "Rename_Images")
    source = JhmdbSource(path)
    refuses(r"ReCompressed_Videos/catch/b_catch\.avi: cannot be read \(FileNotFoundError")


def test_sources_pickle(tmp_path):
    davis = DavisSource(write_davis(tmp_path / "davis"))
    jhmdb = JhmdbSource(write_jhmdb(tmp_path / "jhmdb"))
    for source in (davis, jhmdb):
        len(source)  # also when its lists were read
        copy = pickle.loads(pickle.dumps(source))
        assert copy == source
        np.testing.assert_array_equal(copy[1].frames([2]), source[1].frames([2]))


def test_sources_at_a_url(tmp_path):
    local = DavisSource(write_davis(tmp_path / "davis")), JhmdbSource(write_jhmdb(tmp_path / "j"))
    store = fsspec.filesystem("memory")
    for source in local:
        store.put(source.path, "/tracking", recursive=True)
        far = dataclasses.replace(source, path="memory://tracking")
        assert [record.name for record in far] == [record.name for record in source]
        np.testing.assert_array_equal(far[1].frames([2, 1]), source[1].frames([2, 1]))
        wanted = masks_of if "mask" in source[1].extra else joints_of
        np.testing.assert_array_equal(wanted(far[1]), wanted(source[1]))
        store.rm("/tracking", recursive=True)


def test_davis_of_tfds(tmp_path):
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.features import audio_feature, feature

    write_davis(tmp_path / "davis")

    class TinyDavis(tfds.core.GeneratorBasedBuilder):
        """Two videos with the features of `davis`."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            both = {
                "frames": tfds.features.Image(shape=(None, None, 3)),
                "segmentations": tfds.features.Image(shape=(None, None, 1), use_colormap=True),
            }
            metadata = {"num_frames": np.int64, "video_name": np.str_}
            features = {"video": tfds.features.Sequence(both), "metadata": metadata}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"validation": self._generate_examples()}

        def _generate_examples(self):
            for name in ("bear", "camel"):
                pairs = []
                for number in range(FRAMES):
                    save(tmp_path / "grey.png", objects(number))
                    frame = tmp_path / f"davis/JPEGImages/480p/{name}/{number:05d}.jpg"
                    mask = (tmp_path / "grey.png").read_bytes()
                    pairs.append({"frames": frame.read_bytes(), "segmentations": mask})
                yield name, {"video": pairs, "metadata": {"num_frames": 5, "video_name": name}}

    with _dtypes_without_tensorflow(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature, "tf", audio_feature.tf)  # asked only when a set is written
        builder = tfds.builder("tiny_davis", data_dir=tmp_path, file_format="array_record")
        builder.download_and_prepare()
    source = TfdsSource("tiny_davis", "validation", str(tmp_path), fps=24.0)
    record = source[1]
    assert (len(source), record.num_frames, record.fps) == (2, FRAMES, 24)
    assert np.abs(record.frames([4])[0].astype(int) - square(4)).mean() < 4
    np.testing.assert_array_equal(masks_of(record), np.stack([objects(n) for n in range(FRAMES)]))
    assert record.extra["metadata"]["video_name"] in (b"bear", b"camel")
    with pytest.raises(MediaError, match="1 masks: frame 5 was asked for"):
        record.extra["mask"](5)


def test_tracking_on_them(tmp_path):
    davis = DavisSource(write_davis(tmp_path / "davis"))
    settings = {"layers": ("conv",), "radius": 3, "top": 3}
    results = dict(MaskPropagation(davis, short_side=96, **settings).run(Pixels()))
    assert results["conv/J&F"] > 0.9 > results["copy/J&F"]
    copied = [(16 - 4 * t) / (16 + 4 * t) for t in range(1, FRAMES - 1)]
    assert results["copy/J"] == pytest.approx(np.mean(copied))
    jhmdb = JhmdbSource(write_jhmdb(tmp_path / "jhmdb"))
    results = dict(JointPropagation(jhmdb, size=64, **settings).run(Pixels()))
    true = np.stack([joints_at(number) for number in range(FRAMES)])
    moved = np.linalg.norm(true[1:] - true[0], axis=-1)
    size = 0.6 * np.hypot(*(true[0].max(0) - true[0].min(0)))
    for threshold in (0.1, 0.5):
        assert results[f"copy/PCK@{threshold:g}"] == pytest.approx(
            np.mean(moved <= threshold * size)
        )
        assert 0 <= results[f"conv/PCK@{threshold:g}"] <= 1
