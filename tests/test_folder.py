"""FolderSource: which files become which records, with and without a manifest."""

import pickle

import media
import numpy as np
import pytest
from PIL import Image

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Caption, MediaError
from ssl_jax.data.sources.choices import check_choices
from ssl_jax.data.sources.folder import FolderSource

RATE = 8000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Videos, a sound and a picture in sub-folders, with files that are none of them."""
    root = tmp_path_factory.mktemp("folder")
    for name in ("walk", "run/deep", ".hidden"):
        (root / name).mkdir(parents=True)
    wave = media.noise(2, RATE)
    options = {"g": "10", "bf": "2"}
    media.write(root / "walk" / "b.MOV", 50, wave=wave, rate=RATE, options=options)
    media.write(root / "walk" / "a.mp4", 25, options=options)
    media.write(root / "run" / "deep" / "c.wav", 0, wave=wave[:, : RATE // 2], rate=RATE)
    Image.fromarray(media.picture(7)).save(root / "run" / "p.png")
    (root / "run" / "broken.mp4").write_text("no video")
    (root / "run" / "notes.txt").write_text("not media")
    (root / ".hidden" / "d.mp4").write_text("")
    (root / "walk" / "._a.mp4").write_text("")  # as macOS leaves behind
    return root


def names(source):
    return [source[i].name for i in range(len(source))]


def test_every_media_file_below_is_a_record(folder):
    source = FolderSource(str(folder))
    assert len(source) == 5
    assert source.label_names == ("run", "walk")
    with pytest.raises(MediaError, match=r"run/broken\.mp4"):
        source[0]
    found = [source[i] for i in range(1, 5)]
    assert [r.name for r in found] == ["run/deep/c.wav", "run/p.png", "walk/a.mp4", "walk/b.MOV"]
    assert [r.label for r in found] == [0, 0, 1, 1]
    assert [r.index for r in found] == [1, 2, 3, 4]
    assert [r.num_frames for r in found] == [0, 1, 25, 50]
    assert [r.sample_rate for r in found] == [RATE, 0, 0, RATE]
    assert [r.duration for r in found] == pytest.approx([0.5, 1.0, 1.0, 2.0])
    assert [r.frames is None for r in found] == [True, False, False, False]
    assert [r.audio is None for r in found] == [False, True, True, False]
    assert media.numbers_of(found[3].frames(np.array([3, 49, 3]))) == [3, 49, 3]
    assert media.numbers_of(found[1].frames([0])) == [7]
    wave = media.noise(2, RATE)[0]
    np.testing.assert_allclose(found[3].audio(0.5, 1), wave[4000:8000], atol=1e-6)
    np.testing.assert_allclose(found[3].times, np.arange(50) / 25)
    with pytest.raises(IndexError):
        source[5]


def test_files_without_sub_folders_have_no_label(folder):
    source = FolderSource(str(folder / "walk"))
    assert source.label_names == ()
    assert [source[i].label for i in range(2)] == [-1, -1]


def test_kinds_choose_by_ending_and_labels_stay(folder):
    assert names(FolderSource(str(folder), kinds=("image",))) == ["run/p.png"]
    source = FolderSource(str(folder / "walk"), kinds=("video",))
    assert names(source) == ["a.mp4", "b.MOV"]


def test_needs_leave_out_files_and_say_so(folder, caplog):
    source = FolderSource(str(folder), need=("frames", "audio"))
    assert names(source) == ["walk/b.MOV"]
    assert source[0].label == 1
    [line] = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    for part in ("1 of 5 records", "2 without audio", "1 without frames", "1 unreadable"):
        assert part in line
    assert names(FolderSource(str(folder), min_seconds=1.5)) == ["walk/b.MOV"]
    with pytest.raises(ConfigError, match=r"nothing is left .*min_seconds=9"):
        len(FolderSource(str(folder), min_seconds=9.0))


def test_sound_is_resampled_and_limit_spreads(folder):
    source = FolderSource(str(folder), need=("audio",), sample_rate=16000)
    assert names(source) == ["run/deep/c.wav", "walk/b.MOV"]
    assert source[1].sample_rate == 16000
    assert source[1].audio(0.0, 0.5).shape == (8000,)
    everything = names(FolderSource(str(folder), need=("frames",)))
    assert everything == ["run/p.png", "walk/a.mp4", "walk/b.MOV"]
    limited = FolderSource(str(folder), need=("frames",), limit=2)
    assert names(limited) == ["run/p.png", "walk/a.mp4"]  # not one class alone
    assert [limited[i].label for i in range(2)] == [0, 1]


def test_sources_pickle_with_what_they_found(folder):
    source = FolderSource(str(folder), need=("frames",))
    expected = names(source)
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert names(copy) == expected
    assert media.numbers_of(copy[2].frames([11])) == [11]


# Manifests


def manifest(folder, text):
    (folder / "list.csv").write_text(text, encoding="utf-8")
    return {"path": str(folder), "manifest": "list.csv"}


def test_a_manifest_of_paths_alone(folder):
    source = FolderSource(**manifest(folder, "path\nwalk/b.MOV\nwalk/a.mp4\n"))
    assert names(source) == ["walk/b.MOV", "walk/a.mp4"]
    assert [source[i].label for i in range(2)] == [-1, -1]


def test_labels_are_numbered_alike_in_all_splits(folder):
    text = (
        "\ufeffpath,label,split,person\n"
        "walk/b.MOV,walking,train,anna\nwalk/a.mp4,sitting,test,\nrun/p.png,running,train,ben\n"
    )
    train = FolderSource(**manifest(folder, text), split="train")
    test = FolderSource(**manifest(folder, text), split="test")
    assert train.label_names == test.label_names == ("running", "sitting", "walking")
    assert [train[i].label for i in range(2)] == [2, 0]
    assert test[0].label == 1
    assert train[0].extra["split"] == "train"
    assert train[0].extra["person"] == "anna"
    with pytest.raises(ConfigError, match=r"no split 'val', there is \['test', 'train'\]"):
        len(FolderSource(**manifest(folder, text), split="val"))


def test_whole_numbers_are_labels_as_they_are(folder):
    source = FolderSource(**manifest(folder, "path,label\nwalk/b.MOV,3\nwalk/a.mp4,\n"))
    assert [source[i].label for i in range(2)] == [3, -1]
    assert source.label_names == ("0", "1", "2", "3")


def test_rows_with_captions_gather_in_one_record(folder):
    text = (
        "path,caption,language,start,end\n"
        'walk/b.MOV,"a man, walking",,0,1\nwalk/a.mp4,x,,,\nwalk/b.MOV,он стоит,ru,1,2\n'
    )
    source = FolderSource(**manifest(folder, text))
    assert names(source) == ["walk/b.MOV", "walk/a.mp4"]
    assert source[0].captions == (
        Caption("a man, walking", 0.0, 1.0, "en"),
        Caption("он стоит", 1.0, 2.0, "ru"),
    )
    assert source[0].num_frames == 50
    assert source[1].captions == (Caption("x"),)


def test_rows_with_times_alone_are_segments(folder):
    text = "path,label,start,end\nwalk/b.MOV,0,0.4,1.2\nwalk/b.MOV,1,1.2,\nwalk/b.MOV,0,0.4,1.2\n"
    source = FolderSource(**manifest(folder, text))
    assert len(source) == 3
    first, second, _ = (source[i] for i in range(3))
    assert (first.num_frames, second.num_frames) == (20, 20)
    assert first.duration == pytest.approx(0.8)
    assert first.fps == pytest.approx(25)
    assert media.numbers_of(first.frames([0, 19])) == [10, 29]
    assert media.numbers_of(second.frames([0, 19])) == [30, 49]
    wave = media.noise(2, RATE)[0]
    np.testing.assert_allclose(first.audio(0.0, 0.8), wave[3200:9600], atol=1e-6)
    np.testing.assert_allclose(second.audio(0.1, 0.2), wave[10400:11200], atol=1e-6)
    assert first.times[:2].tolist() == pytest.approx([0.0, 0.04])
    for wrong in ([20], [-1]):
        with pytest.raises(MediaError, match=r"b\.MOV: frame .* has 20"):
            first.frames(wrong)


def test_a_segment_of_a_sound(folder):
    source = FolderSource(**manifest(folder, "path,start,end\nrun/deep/c.wav,0.1,9\n"))
    assert source[0].duration == pytest.approx(0.4)
    wave = media.noise(2, RATE)[0]
    np.testing.assert_allclose(source[0].audio(0.0, 0.2), wave[800:2400], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path\n../secret.mp4\n", r"list\.csv:2: path '\.\./secret\.mp4' must lie inside"),
        ("path\n/etc/x.mp4\n", "must lie inside"),
        ("path\n\nwalk/../../x.mp4\n", "must lie inside"),
        ("file,label\na.mp4,1\n", "column 'path', it has .*file"),
        ("", "column 'path'"),
        ("path\nwalk/a.xyz\n", r"a\.xyz' has no known ending"),
        ("path,label\nwalk/a.mp4\n", r"list\.csv:2: has another number of fields"),
        ("path,label\nwalk/a.mp4,1,2\n", r"list\.csv:2: has another number of fields"),
        ("path,start\nwalk/a.mp4,soon\n", "start='soon' is no number"),
        ("path,start,end\nwalk/a.mp4,2,1\n", "0 <= start < end"),
        ("path,start\nwalk/a.mp4,nan\n", "0 <= start < end"),
        ("path,label\nwalk/a.mp4,-3\n", "labels must count from 0"),
        ("path\n", "no files of kinds="),
    ],
)
def test_bad_manifests_are_told_in_one_line(folder, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        len(FolderSource(**manifest(folder, text)))
    assert "\n" not in str(caught.value)


def test_what_a_manifest_lists_but_is_not_there(folder):
    text = "path,start\nwalk/gone.mp4,\nwalk/a.mp4,7\nwalk/a.mp4,\n"
    source = FolderSource(**manifest(folder, text))
    with pytest.raises(MediaError, match=r"walk/gone\.mp4: .*No such file"):
        source[0]
    with pytest.raises(MediaError, match=r"a\.mp4: lasts 1\.00 s, its segment begins at 7\.00 s"):
        source[1]
    assert len(FolderSource(**manifest(folder, text), need=("frames",))) == 1


def test_bad_folders_and_knobs_are_told_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"no folder .*nowhere"):
        FolderSource(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"no files of kinds=.*\.mp4"):
        len(FolderSource(str(tmp_path)))
    with pytest.raises(ConfigError, match=r"list\.csv: cannot be read"):
        len(FolderSource(str(tmp_path), manifest="list.csv"))
    with pytest.raises(ConfigError, match="'movie' is none of"):
        FolderSource(str(tmp_path), kinds=("movie",))
    with pytest.raises(ConfigError, match="'sound' is none of"):
        FolderSource(str(tmp_path), need=("sound",))
    with pytest.raises(ConfigError, match="needs a manifest"):
        FolderSource(str(tmp_path), split="train")


# Lists as people publish them


CLEAN = "path,label,split\nwalk/b.MOV,cat,train\nwalk/a.mp4,dog,test\n"
QUOTED = 'path, label , split\n"walk/b.MOV", "cat", train\nwalk/a.mp4, "dog" , test\n'


@pytest.mark.parametrize(
    "text",
    [
        CLEAN,
        CLEAN.replace(",", ", "),
        CLEAN.replace(",", " , "),
        QUOTED,
        CLEAN.replace("\n", "\r\n"),
        CLEAN.replace("\n", "\r"),
        CLEAN.replace(",", "\t"),
        CLEAN.replace(",", ";"),
        CLEAN.replace(",", "|"),
        "sep=;\r\n" + CLEAN.replace(",", ";").replace("\n", "\r\n"),
        "\ufeff" + CLEAN,
        CLEAN + "\n,,\n , ,\n",
        CLEAN.replace("path,label,split", " Path,LABEL,Split "),
        # With the row numbers that pandas writes, and columns that a spreadsheet leaves behind.
        ",path,label,split\n0,walk/b.MOV,cat,train\n1,walk/a.mp4,dog,test\n",
        "path,label,split,,\nwalk/b.MOV,cat,train,,\nwalk/a.mp4,dog,test,,\n",
    ],
)
def test_lists_are_read_as_people_write_them(folder, text):
    (folder / "list.csv").write_bytes(text.encode())
    (folder / "wide.csv").write_bytes(text.lstrip("\ufeff").encode("utf-16"))
    for name in ("list.csv", "wide.csv"):
        source = FolderSource(str(folder), manifest=name)
        assert names(source) == ["walk/b.MOV", "walk/a.mp4"]
        assert source.label_names == ("cat", "dog")
        assert [record.label for record in source] == [0, 1]
        assert [record.extra["split"] for record in source] == ["train", "test"]
        assert set(source[0].extra) == {"path", "split"}


def test_commas_and_quotes_in_names_of_labels(folder):
    text = 'path, label\nwalk/b.MOV, "x, y"\nwalk/a.mp4, "a ""b"" "\n'
    assert FolderSource(**manifest(folder, text)).label_names == ('a "b"', "x, y")


def test_numbers_with_gaps_as_pandas_writes_them(folder):
    text = "path,label\nwalk/b.MOV,1.0\nwalk/a.mp4,10.0\nrun/p.png,2.0\nrun/deep/c.wav,\n"
    source = FolderSource(**manifest(folder, text))
    assert [record.label for record in source] == [1, 10, 2, -1]
    assert source.label_names == tuple(map(str, range(11)))
    with pytest.raises(ConfigError, match=r"label 1\.5 is no whole number"):
        len(FolderSource(**manifest(folder, text.replace("1.0", "1.5"))))
    # Numbers of another kind, and no name for each number below them.
    source = FolderSource(**manifest(folder, text.replace("10.0", "9000000000000000000")))
    assert [record.label for record in source] == [1, 9 * 10**18, 2, -1]
    assert source.label_names == ()
    with pytest.raises(ConfigError, match="is too large a number"):
        len(FolderSource(**manifest(folder, text.replace("10.0", "9" * 30))))


@pytest.mark.parametrize("none", ["", "nan", "NaN", "None", "NA", "N/A", "null", "NULL", "<NA>"])
@pytest.mark.parametrize("given", ["cat", "3"])
def test_missing_labels_in_all_spellings(folder, none, given, caplog):
    text = f"path,label\nwalk/b.MOV,{given}\nwalk/a.mp4,{none}\n"
    source = FolderSource(**manifest(folder, text))
    assert [record.label for record in source] == [0 if given == "cat" else 3, -1]
    if none and given == "cat":  # said once
        assert f"1 labels '{none}' are taken for no label" in caplog.text


@pytest.mark.parametrize(
    ("column", "known"),
    [
        *((name, "label") for name in ("lable", "labels", "Labels", "class", "Class", "category")),
        *((name, "split") for name in ("splits", "set", "Subset")),
        *((name, "caption") for name in ("captions", "text")),
        *((name, "start") for name in ("begin", "Start time")),
        ("ends", "end"),
    ],
)
def test_a_column_that_is_nearly_a_known_one_is_not_passed_over(folder, column, known):
    text = f"path,{column}\nwalk/b.MOV,x\n"
    with pytest.raises(ConfigError, match=rf"list\.csv: .*column '{column}'.* '{known}'"):
        len(FolderSource(**manifest(folder, text)))
    # Beside the one that is meant it is a column of the user's own.
    values = {"label": "cat", "split": "train", "caption": "a cat", "start": "0", "end": "9"}
    text = f"path,{known},{column}\nwalk/b.MOV,{values[known]},x\n"
    assert FolderSource(**manifest(folder, text))[0].extra[column] == "x"


def test_numbers_of_several_classes_are_told_from_one_label(folder, caplog):
    text = "path,labels\nwalk/b.MOV,3 17\nwalk/a.mp4,\n"
    assert FolderSource(**manifest(folder, text))[0].extra["labels"] == "3 17"
    assert "'labels' is taken for the numbers of several classes" in caplog.text


def test_two_columns_of_one_name_are_refused(folder):
    with pytest.raises(ConfigError, match="has two columns 'label'"):
        len(FolderSource(**manifest(folder, "path,label, label\nwalk/b.MOV,a,b\n")))
    with pytest.raises(ConfigError, match="cannot be read as a csv"):
        len(FolderSource(**manifest(folder, 'path,label\nwalk/b.MOV,"never closed\n')))


def test_one_word_where_several_belong():
    with pytest.raises(ConfigError, match=r"kinds='video' must be a tuple.*\('video',\)"):
        check_choices("kinds", "video", ("video", "image"))
    with pytest.raises(ConfigError, match="'movie' is none of"):
        check_choices("kinds", ("movie",), ("video", "image"))
    check_choices("kinds", ["image"], ("video", "image"))
