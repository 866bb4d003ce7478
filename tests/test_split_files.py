"""The lists of UCF101 and HMDB51, written as they are distributed, beside small videos."""

import media
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.sources.folder import FolderSource

UCF = {
    "classInd.txt": "1 ApplyEyeMakeup\r\n2 Archery\r\n",
    "trainlist01.txt": (
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nArchery/v_Archery_g08_c01.avi 2\r\n"
    ),
    "testlist01.txt": "Archery/v_Archery_g01_c01.avi\r\n\r\n",
    "trainlist02.txt": "Archery/v_Archery_g01_c01.avi 2\n",
    "testlist02.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi\n",
}
HMDB = {
    "brush_hair_test_split1.txt": "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 \nb.avi 2 \n",
    "sword_exercise_test_split1.txt": "#20_sword_(x).avi 2 \nleft_out.avi 0 \nd.avi 1 \n",
    "brush_hair_test_split2.txt": "b.avi 1 \n",
    "sword_exercise_test_split2.txt": "d.avi 2 \n",
}


def write(root, lists, **changes):
    folder = root / "lists"
    folder.mkdir(parents=True)
    for name, text in {**lists, **changes}.items():
        (folder / name).write_bytes(text.encode())
    (root / "videos").mkdir()
    return {"path": str(root / "videos"), "lists": "../lists"}


def listed(source):
    return [(item.path, item.label) for item in source.items]


def test_ucf101(tmp_path):
    known = write(tmp_path, UCF)
    train, test = (FolderSource(**known, split=split) for split in ("train", "test"))
    assert train.label_names == test.label_names == ("ApplyEyeMakeup", "Archery")
    first, second = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", "Archery/v_Archery_g08_c01.avi"
    assert listed(train) == [(first, 0), (second, 1)]
    assert listed(test) == [("Archery/v_Archery_g01_c01.avi", 1)]
    assert listed(FolderSource(**known, fold=2, split="test")) == [(first, 0)]
    assert len(FolderSource(**known)) == 3
    for name in ("ApplyEyeMakeup", "Archery"):
        (tmp_path / "videos" / name).mkdir()
    media.write(tmp_path / "videos" / first, frames=12, codec="mpeg4")
    record = train[0]
    assert (record.num_frames, record.label, record.extra["split"]) == (12, 0, "train")
    assert record.name == first
    # Videos of the lists that are not there can be left out.
    assert listed(FolderSource(**known, split="train", need=("frames",))) == [(first, 0)]


def test_hmdb51(tmp_path):
    known = write(tmp_path, HMDB)
    train, test = (FolderSource(**known, split=split) for split in ("train", "test"))
    assert train.label_names == ("brush_hair", "sword_exercise")
    video = "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi"
    assert listed(train) == [(video, 0), ("sword_exercise/d.avi", 1)]
    assert listed(test) == [("brush_hair/b.avi", 0), ("sword_exercise/#20_sword_(x).avi", 1)]
    second = FolderSource(**known, fold=2, split="train")
    assert listed(second) == [("brush_hair/b.avi", 0)]
    assert second.label_names == ("brush_hair", "sword_exercise")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classInd.txt": "1 Archery\n3 Bowling\n"}, r"classInd\.txt:2: '2 NameOfAClass' should"),
        ({"trainlist01.txt": "Archery/a.avi\n"}, r"trainlist01\.txt:1: '' stands where .*, 2$"),
        ({"trainlist01.txt": "\nArchery/a.avi 1\n"}, r"trainlist01\.txt:2: '1' stands where"),
        ({"testlist01.txt": "Archery/a.avi x\n"}, r"testlist01\.txt:1: 'x' stands where"),
        ({"testlist01.txt": "Bowling/a.avi\n"}, r"testlist01\.txt:1: 'Bowling/a\.avi' is no video"),
        ({"testlist01.txt": "a.avi\n"}, r"testlist01\.txt:1: 'a\.avi' is no video in the folder"),
        (
            {"testlist01.txt": "Archery/v_Archery_g08_c01.avi\n"},
            r"testlist01\.txt:1: 'Archery/v_A.*\.avi' is named twice, at first to train",
        ),
    ],
)
def test_a_line_of_ucf101s_lists_that_makes_no_sense_is_named(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        len(FolderSource(**write(tmp_path, UCF, **changes)))


def test_a_line_of_hmdb51s_lists_that_makes_no_sense_is_named(tmp_path):
    for number, line in enumerate(("a.avi", "a.avi 3", "a b.avi 1")):
        changes = {"brush_hair_test_split1.txt": f"b.avi 1 \n{line} \n"}
        known = write(tmp_path / str(number), HMDB, **changes)
        with pytest.raises(
            ValueError, match=r"brush_hair_test_split1\.txt:2: 'NAME\.avi' and 0, 1"
        ):
            len(FolderSource(**known))
    outside = write(tmp_path / "out", HMDB, **{"brush_hair_test_split1.txt": "../../a.avi 1\n"})
    with pytest.raises(ConfigError, match=r"split1\.txt:1: .* must lie inside the folder"):
        len(FolderSource(**outside))


def test_what_is_missing_is_told(tmp_path):
    ucf, hmdb = write(tmp_path / "ucf", UCF), write(tmp_path / "hmdb", HMDB)
    with pytest.raises(ConfigError, match=r"has no trainlist04\.txt; there are folds \[1, 2\]"):
        len(FolderSource(**ucf, fold=4))
    with pytest.raises(ConfigError, match=r"no lists of fold 3; there are folds \[1, 2\]"):
        len(FolderSource(**hmdb, fold=3))
    with pytest.raises(ConfigError, match="has neither the lists of UCF101"):
        len(FolderSource(ucf["path"], lists="."))
    with pytest.raises(ConfigError, match="cannot be read as a folder of lists"):
        len(FolderSource(ucf["path"], lists="../nowhere"))
    with pytest.raises(ConfigError, match=r"no split 'val', there is \['test', 'train'\]"):
        len(FolderSource(**ucf, split="val"))
    with pytest.raises(ConfigError, match="a manifest or lists, not both"):
        FolderSource(**ucf, manifest="list.csv")
