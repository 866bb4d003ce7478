"""Lists of sets with audio, written as they are distributed, beside files called as people do."""

import json
import logging

import media
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import fold_of, labels_of
from ssl_jax.data.sources.folder import FolderSource


def write(root, lists, files):
    """FolderSource's knobs of a folder with empty `files`, its lists beside it."""
    for name, text in lists.items():
        path = root / "lists" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in files:
        path = root / "media" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return {"path": str(root / "media"), "lists": "../lists"}


def listed(source):
    return [(item.path, item.label, item.split) for item in source.items]


ESC = """filename,fold,target,category,esc10,src_file,take
1-100032-A-0.wav,1,0,dog,True,100032,A
5-9032-A-0.wav,5,0,dog,True,9032,A
2-100038-A-14.wav,2,2,chirping_birds,False,100038,A
"""


def test_esc50(tmp_path):
    files = ["audio/1-100032-A-0.wav", "audio/5-9032-A-0.wav", "audio/2-100038-A-14.wav"]
    source = FolderSource(**write(tmp_path, {"esc50.csv": ESC}, files))
    assert listed(source) == [(files[0], 0, ""), (files[1], 0, ""), (files[2], 2, "")]
    # A class without a clip keeps its number.
    assert source.label_names == ("dog", "1", "chirping_birds")
    for name in files:
        media.write(tmp_path / "media" / name, frames=0, wave=media.noise(0.1, 16000))
    assert [fold_of(source[i]) for i in range(3)] == [1, 5, 2]


SEGMENTS = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=4, num_segs=4, num_unique_labels=3, num_positive_labels=5
# YTID, start_seconds, end_seconds, positive_labels
--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"
--ZhevVpy1s, 50.000, 60.000, "/m/012xff"
-gone1234567, 0.000, 10.000, "/m/012xff"
-0RWZT-miFs, 420.000, 430.000, "/m/09x0r"
"""
CLASSES = """index,mid,display_name
0,/m/09x0r,"Speech"
1,/m/012xff,"Toothbrush"
2,/t/dd00088,"Gush, ""loud"" water"
"""


@pytest.mark.parametrize(
    "file",
    [
        *("--PJHxphWEs.mp4", "--PJHxphWEs_30.mp4", "--PJHxphWEs_30.000.mkv", "Y--PJHxphWEs.wav"),
        *("--PJHxphWEs_000030.mp4", "--PJHxphWEs_30000_40000.flac"),
        "--PJHxphWEs_30.000_40.000.mp4",
    ],
)
def test_a_segment_of_audioset_is_found_by_any_usual_name(tmp_path, file):
    lists = {"eval_segments.csv": SEGMENTS, "class_labels_indices.csv": CLASSES}
    source = FolderSource(**write(tmp_path, lists, ["any/where/" + file]), split="eval")
    assert [item.path for item in source.items] == ["any/where/" + file]


def test_audioset_counts_what_is_gone_and_has_several_classes(tmp_path, caplog):
    lists = {
        "eval_segments.csv": SEGMENTS,
        "balanced_train_segments.csv": '# c\n# n\nabcdefghijk, 10.000, 20.000, "/t/dd00088"\n',
        "class_labels_indices.csv": CLASSES,
    }
    files = ["--PJHxphWEs_30.mp4", "--ZhevVpy1s_50.mp4", "-0RWZT-miFs_420.mp4", "abcdefghijk.mp4"]
    # Another segment of the same video is none of the set's.
    known = write(tmp_path, lists, [*files, "--ZhevVpy1s_70.mp4"])
    with caplog.at_level(logging.WARNING):
        source = FolderSource(**known)
        assert listed(source) == [
            ("abcdefghijk.mp4", 2, "balanced_train"),
            ("--PJHxphWEs_30.mp4", -1, "eval"),
            ("--ZhevVpy1s_50.mp4", 1, "eval"),
            ("-0RWZT-miFs_420.mp4", 0, "eval"),
        ]
    assert "1 of the 5 files" in caplog.text
    assert "-gone1234567" in caplog.text
    assert source.label_names == ("Speech", "Toothbrush", 'Gush, "loud" water')
    media.write(tmp_path / "media" / files[0], frames=5)
    assert labels_of(FolderSource(**known, split="eval")[0])[0] == [0, 2]


def test_audioset_without_names_of_its_classes_numbers_their_ids(tmp_path):
    source = FolderSource(**write(tmp_path, {"eval_segments.csv": SEGMENTS}, ["--ZhevVpy1s.mp4"]))
    assert source.label_names == ("/m/012xff", "/m/09x0r", "/t/dd00088")
    assert listed(source) == [("--ZhevVpy1s.mp4", 0, "eval")]


VGG = '--0PQM4-hqg,30,waterfall burbling,train\n-0jeONf82dE,21,"bird chirping, tweeting",test\n'
MARKED = [[-0.125, 0.25, 0.5, 1.5], [0.5, 0.5, 0.75, 0.75], [1.1, 0, 1.5, 1]]
BOXES = [{"file": "-0jeONf82dE_000021", "class": "bird chirping, tweeting", "bbox": MARKED}]


def test_vggsound_and_its_boxes(tmp_path):
    files = ["--0PQM4-hqg_000030.mp4", "-0jeONf82dE_000021.mp4"]
    lists = {"vggsound.csv": VGG, "vggss.json": json.dumps(BOXES)}
    source = FolderSource(**write(tmp_path, lists, files))
    assert source.label_names == ("bird chirping, tweeting", "waterfall burbling")
    assert listed(source) == [(files[0], 1, "train"), (files[1], 0, "test")]
    # (top, left, bottom, right), within the frame.
    expected = (("boxes", "0.25 0 1 0.5; 0.5 0.5 0.75 0.75"),)
    assert [item.extra for item in source.items] == [(), expected]
    (tmp_path / "lists" / "vggsound.csv").unlink()
    alone = FolderSource(str(tmp_path / "media"), lists="../lists")
    assert listed(alone) == [(files[1], 0, "test")]
    assert alone.items[0].extra == expected


def test_ave(tmp_path):
    rows = ["Church bell&RUhOCu3LNXM&good&0&10", "Truck&abcdefghijk&good&2&7"]
    lists = {
        "Annotations.txt": "\n".join(["Category&VideoID&Quality&StartTime&EndTime", *rows]),
        "trainSet.txt": rows[1] + "\n",
        "testSet.txt": rows[0] + "\n",
        "valSet.txt": "",
    }
    files = ["AVE/RUhOCu3LNXM.mp4", "AVE/abcdefghijk.mp4"]
    source = FolderSource(**write(tmp_path, lists, files))
    assert source.label_names == ("Church bell", "Truck")
    assert listed(source) == [(files[0], 0, "test"), (files[1], 1, "train")]
    assert dict(source.items[1].extra) == {"event_start": "2", "event_end": "7"}


def test_flickr_soundnet(tmp_path):
    xml = (
        "<annotation><object><bbox><num>1</num><xmin>64</xmin><ymin>0</ymin><xmax>128</xmax>"
        "<ymax>256</ymax></bbox><bbox><num>2</num><xmin>0</xmin><ymin>32</ymin><xmax>256</xmax>"
        "<ymax>64</ymax></bbox></object></annotation>"
    )
    source = FolderSource(**write(tmp_path, {"1000_50.xml": xml}, ["1000_50.jpg"]))
    assert source.items[0].path == "1000_50.jpg"
    assert dict(source.items[0].extra)["boxes"] == "0 0.25 1 0.5; 0.125 0 0.25 1"


def test_lrs2(tmp_path):
    lists = {
        "pretrain.txt": "61/00001\n",
        "train.txt": "5535415699068794046/00001\n",
        "test.txt": "61/00001 MV\n62/00007 NF\n",
    }
    files = ["main/5535415699068794046/00001.mp4", "main/61/00001.mp4", "main/61/00002.mp4"]
    known = write(tmp_path, lists, [*files, "pretrain/61/00001.mp4"])
    # The same name lies in both folders.
    assert listed(FolderSource(**known)) == [
        ("pretrain/61/00001.mp4", -1, "pretrain"),
        (files[0], -1, "train"),
        (files[1], -1, "test"),
    ]
    source = FolderSource(known["path"] + "/main", lists="../../lists")
    assert listed(source) == [
        ("5535415699068794046/00001.mp4", -1, "train"),
        ("61/00001.mp4", -1, "test"),
    ]
    assert dict(source.items[1].extra) == {"speaker": "61"}


def test_a_videos_audio_of_the_same_name_does_not_hide_it(tmp_path):
    files = ["audio/--0PQM4-hqg_000030.wav", "video/--0PQM4-hqg_000030.mp4"]
    known = write(tmp_path, {"vggsound.csv": VGG}, files)
    for kind, file in (("audio", files[0]), ("video", files[1])):
        assert listed(FolderSource(**known, kinds=(kind,))) == [(file, 1, "train")]


def test_dcase_2013(tmp_path):
    files = ["scenes_stereo/bus01.wav", "scenes_stereo/quietstreet10.wav"]
    test = "scenes_stereo_testset/bus07.wav"
    known = write(tmp_path, {}, [*files, test])
    source = FolderSource(known["path"], lists=".")
    assert source.label_names == ("bus", "quietstreet")
    assert listed(source) == [(files[0], 0, "train"), (files[1], 1, "train"), (test, 0, "test")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("esc50.csv", "filename,fold\na.wav,1\n", r"esc50\.csv:2: needs filename, fold, target"),
        ("eval_segments.csv", 'abc, 1.0, "x"\n', r"segments\.csv:1: YOUTUBE_ID, start, end"),
        ("vggsound.csv", "abc,x,dog,test\n", r"vggsound\.csv:1: YOUTUBE_ID,start,class,split"),
        ("esc50.csv", "filename,fold,target,category\n", "holds none of the 0 files"),
        ("vggss.json", "[{}]", r"vggss\.json: is not as VGG-SS has it"),
        ("vggss.json", '[{"file": "a", "class": "b", "bbox": []}]', r"vggss\.json: is not as VGG"),
        ("Annotations.txt", "Truck&abc\n", r"Annotations\.txt:1: class&YOUTUBE_ID"),
        ("1.xml", "<a><bbox>", r"1\.xml: has no boxes"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(tmp_path, name, text, message):
    with pytest.raises(ConfigError, match=message):
        len(FolderSource(**write(tmp_path, {name: text}, ["a.wav"])))


def test_a_folder_with_none_of_the_files_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"holds none of the 3 files .*1-100032-A-0"):
        len(FolderSource(**write(tmp_path, {"esc50.csv": ESC}, ["other.wav"])))
