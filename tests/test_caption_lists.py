"""The lists of narrated and captioned video, as they are distributed, and the videos they name."""

import json
import logging

import media
import pytest

from ssl_jax import prepare
from ssl_jax.config import ConfigError
from ssl_jax.data import shards
from ssl_jax.data.record import Caption
from ssl_jax.data.sources.array_record import ArrayRecordSource
from ssl_jax.data.sources.folder import FolderSource


def write(root, lists, files):
    """FolderSource's knobs of a folder with empty `files`, its lists beside it."""
    (root / "lists").mkdir()
    for name, content in lists.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (root / "lists" / name).write_text(text, encoding="utf-8")
    for name in files:
        path = root / "media" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return {"path": str(root / "media"), "lists": "../lists"}


def spans(captions):
    return [(c.text, c.start, c.end, c.language) for c in captions]


HOWTO = {
    "nVbIUDjzWY4": {"text": ["open hood", "", "oil"], "start": [3, 5, 1.5], "end": [7.5, 6, 4]},
    "CTPAZ2euJ2Q": {"text": ["glue"], "start": [0], "end": [2]},
}
GERMAN = {"nVbIUDjzWY4": {"text": ["Haube öffnen"], "start": [3.2], "end": [7]}}
TASKS = "video_id,category_1,category_2,rank,task_id\nnVbIUDjzWY4,Cars,Motorcycles,27,52907\n"


def test_howto100m_in_two_languages(tmp_path, caplog):
    lists = {"caption.json": HOWTO, "raw_caption.json": {}, "how2_de.json": GERMAN}
    known = write(tmp_path, lists | {"HowTo100M_v1.csv": TASKS}, ["a/nVbIUDjzWY4.webm"])
    with caplog.at_level(logging.WARNING):
        (item,) = FolderSource(**known).items
    assert "1 of the 2 files" in caplog.text
    assert "CTPAZ2euJ2Q" in caplog.text
    # In the order of their starts; without the text that is empty.
    assert spans(item.captions) == [
        ("oil", 1.5, 4, "en"),
        ("open hood", 3, 7.5, "en"),
        ("Haube öffnen", 3.2, 7, "de"),
    ]
    extra = {"category": "Cars", "subcategory": "Motorcycles", "task": "52907"}
    assert dict(item.extra) == extra


YOUCOOK = {
    "database": {
        "GLd3aX16zBg": {
            "duration": 241.62,
            "subset": "training",
            "recipe_type": "113",
            "annotations": [
                {"segment": [90, 102], "id": 0, "sentence": "spread margarine on bread"},
                {"segment": [114, 127], "id": 1, "sentence": "place cheese on the bread"},
            ],
        },
        "xHr8X2Wpmno": {
            "duration": 311.77,
            "subset": "validation",
            "recipe_type": "406",
            "annotations": [{"segment": [47, 60], "id": 0, "sentence": "pick the ends off"}],
        },
    }
}


def test_youcook2_as_videos_and_as_segments(tmp_path):
    files = ["raw/training/GLd3aX16zBg.mp4", "raw/validation/xHr8X2Wpmno.mkv"]
    known = write(tmp_path, {"youcookii_annotations_trainval.json": YOUCOOK}, files)
    whole = FolderSource(**known, split="training").items
    assert [(item.path, dict(item.extra)) for item in whole] == [(files[0], {"recipe": "113"})]
    assert spans(whole[0].captions)[1] == ("place cheese on the bread", 114, 127, "en")
    parts = FolderSource(**known, segments=True).items
    assert [(i.path, i.split, i.start, i.end) for i in parts] == [
        (files[0], "training", 90, 102),
        (files[0], "training", 114, 127),
        (files[1], "validation", 47, 60),
    ]
    # Seconds count from the segment's start.
    assert [i.captions for i in parts][2] == (Caption("pick the ends off"),)


def videos(**splits):
    return [
        {"video_id": name, "category": 3, "split": split, "start time": 1, "end time": 2}
        for name, split in splits.items()
    ]


def sentences(*pairs):
    return [{"sen_id": 0, "video_id": video, "caption": text} for video, text in pairs]


MSRVTT = {
    "train_val_videodatainfo.json": {
        "info": {},
        "videos": videos(video0="train", video7="validate"),
        "sentences": sentences(("video0", "a car"), ("video7", "a man"), ("video0", "a ship")),
    },
    "test_videodatainfo.json": {
        "info": {},
        "videos": videos(video8="test", video9="test"),
        "sentences": sentences(("video8", "a dog"), ("video9", "a cat"), ("video9", "a pet")),
    },
}
JSFUSION = "key,vid_key,video_id,sentence\nret0,msr9,video9,a pet\n"


def test_msr_vtt_is_divided_in_two_ways(tmp_path):
    german = {"video9": ["ein Tier"], "video0": "ein Auto"}
    lists = {**MSRVTT, "MSRVTT_JSFUSION_test.csv": JSFUSION, "translated_de.json": german}
    known = write(tmp_path, lists, [f"all/video{n}.mp4" for n in (0, 7, 8, 9)])
    found = {}
    for split in ("train", "validate", "test", "1k-A train", "1k-A test"):
        items = FolderSource(**known, split=split).items
        assert {item.label for item in items} == {3}
        found[split] = {i.path[4:10]: [c.text for c in i.captions] for i in items}
    assert found["train"] == {"video0": ["a car", "a ship", "ein Auto"]}
    assert found["validate"] == {"video7": ["a man"]}
    assert found["test"] == {"video8": ["a dog"], "video9": ["a cat", "a pet", "ein Tier"]}
    # Of 1k-A every video that is not tested on may be trained on, and a test video has one caption.
    assert list(found["1k-A train"]) == ["video0", "video7", "video8"]
    assert found["1k-A test"] == {"video9": ["a pet", "ein Tier"]}
    (test,) = FolderSource(**known, split="1k-A test").items
    assert [c.language for c in test.captions] == ["en", "de"]
    (tmp_path / "lists" / "MSRVTT_JSFUSION_test.csv").unlink()
    with pytest.raises(ConfigError, match=r"1k-A needs MSRVTT_JSFUSION_test\.csv"):
        len(FolderSource(**known, split="1k-A test"))


def test_a_caption_of_two_lists_counts_once(tmp_path):
    whole = {
        "videos": videos(video0="train", video8="test"),
        "sentences": sentences(("video0", "a car"), ("video8", "a dog"), ("video8", "a pet")),
    }
    part = {
        "videos": videos(video8="test"),
        # The same sentence by two annotators: both are of the published 20 a video.
        "sentences": sentences(("video8", "a dog"), ("video8", "two dogs"), ("video8", "two dogs")),
    }
    german = {"video8": ["ein Hund"]}
    lists = {
        **{"MSRVTT_data.json": whole, "test_videodatainfo.json": part},
        **{"a_de.json": german, "b_de.json": german},
    }
    known = write(tmp_path, lists, ["video0.mp4", "video8.mp4"])
    (item,) = FolderSource(**known, split="test").items
    texts = [caption.text for caption in item.captions]
    assert sorted(texts) == ["a dog", "a pet", "ein Hund", "two dogs", "two dogs"]


def test_howto100m_and_vatex_with_a_list_twice(tmp_path):
    for name in ("howto", "vatex"):
        (tmp_path / name).mkdir()
    lists = {"caption.json": HOWTO, "how2_en.json": HOWTO, "how2_de.json": HOWTO}
    (item,) = FolderSource(**write(tmp_path / "howto", lists, ["CTPAZ2euJ2Q.mp4"])).items
    # Equal words in another language are another caption.
    assert sorted((c.text, c.language) for c in item.captions) == [("glue", "de"), ("glue", "en")]
    lists = {
        "vatex_public_test_english_v1.1.json": [{"videoID": "a", "enCap": ["c"]}],
        "vatex_public_test_without_annotations_v1.1.json": [{"videoID": "a"}],
    }
    (item,) = FolderSource(**write(tmp_path / "vatex", lists, ["a.mp4"])).items
    assert (item.split, item.captions) == ("public_test", (Caption("c"),))


def test_vatex_in_english_and_chinese(tmp_path):
    first, second = "Ptf_2VRj-V0_000122_000132", "bxDlLPFqZmo_000004_000014"
    lists = {
        "vatex_training_v1.0.json": [{"videoID": first, "enCap": ["a", "b"], "chCap": ["一"]}],
        "vatex_public_test_english_v1.1.json": [{"videoID": second, "enCap": ["c"]}],
    }
    known = write(tmp_path, lists, [f"{first}.mp4", f"{second}.mp4"])
    found = {item.split: item for item in FolderSource(**known).items}
    assert sorted(found) == ["public_test", "training"]
    languages = [(c.text, c.language) for c in found["training"].captions]
    assert languages == [("a", "en"), ("b", "en"), ("一", "zh")]


def test_activitynet_described_twice(tmp_path):
    def entry(*rows):
        times, texts = [list(row[1:]) for row in rows], [row[0] for row in rows]
        return {"duration": 82.7, "timestamps": times, "sentences": texts}

    lists = {
        "train.json": {"v_QOlSCBRmfWY": entry((" A lady dances. ", 0.83, 19.86))},
        "val_1.json": {"v_uqiMw7tQ1Cc": entry(("Then rope.", 4.1, 33), ("First.", 0, 4.2))},
        "val_2.json": {"v_uqiMw7tQ1Cc": entry(("All.", 0, 55.15))},
    }
    known = write(tmp_path, lists, ["v_QOlSCBRmfWY.mp4", "uqiMw7tQ1Cc.mkv"])
    found = {item.split: item for item in FolderSource(**known).items}
    assert spans(found["train"].captions) == [("A lady dances.", 0.83, 19.86, "en")]
    assert [c.text for c in found["val_1"].captions] == ["First.", "Then rope."]
    assert found["val_1"].path == found["val_2"].path == "uqiMw7tQ1Cc.mkv"


def test_captions_survive_in_shards(tmp_path, monkeypatch):
    captions = {"text": ["eins", "two"], "start": [0.1, 0.4], "end": [0.5, 0.8]}
    known = write(tmp_path, {"how2_de.json": {"abc": captions}}, ["abc.mp4"])
    media.write(tmp_path / "media" / "abc.mp4", frames=25)
    monkeypatch.setattr(prepare, "run", lambda jobs, *_: [shards.make(job) for job in jobs])
    options = shards.Options(short_side=0, whole=True)
    prepare.prepare(known["path"], str(tmp_path / "out"), lists="../lists", options=options)
    (stored,) = ArrayRecordSource((str(tmp_path / "out"),))
    assert spans(stored.captions) == [("eins", 0.1, 0.5, "de"), ("two", 0.4, 0.8, "de")]
    assert stored.captions == FolderSource(**known)[0].captions


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "caption.json",
            {"abc": {"text": ["x"], "start": [0]}},
            r"caption\.json: abc: has no 'end",
        ),
        ("caption.json", {"abc": {"text": [], "start": [0], "end": [1]}}, "0 texts and 1 starts"),
        ("caption.json", {"abc": {"text": ["x"], "start": ["a"], "end": [1]}}, "should be seconds"),
        ("caption.json", "{", r"caption\.json: cannot be read as json"),
        ("youcookii_annotations_trainval.json", {}, "has no 'database'"),
        ("MSRVTT_data.json", [], "a dict was expected"),
        (
            "test_videodatainfo.json",
            {"videos": [{"video_id": "video0", "category": None, "split": "test"}]},
            r"test_videodatainfo\.json: .*'video0'.*: 'category' is None, not of type int",
        ),
        (
            "test_videodatainfo.json",
            {"videos": [], "sentences": [{"video_id": "video0", "caption": None}]},
            r"test_videodatainfo\.json: .*'video0'.*: None should be a text",
        ),
        ("MSRVTT_data.json", {"videos": None}, r"MSRVTT_data\.json: 'videos' is None"),
        ("vatex_training_v1.0.json", [{"enCap": []}], "has no 'videoID'"),
        (
            "vatex_training_v1.0.json",
            [{"videoID": "abc", "enCap": [None]}],
            r"vatex_training_v1\.0\.json: .*'abc'.*, enCap: None should be a text",
        ),
        (
            "vatex_training_v1.0.json",
            [{"videoID": "abc", "chCap": None}],
            "chCap: None should be a list of texts",
        ),
        ("caption.json", {"abc": {"text": None, "start": [], "end": []}}, "abc: 'text' is None"),
        ("val_1.json", {"v_a": {"timestamps": [1], "sentences": ["x"]}}, "a start and an end"),
        ("val_1.json", {"v_a": {"timestamps": [], "sentences": ["x"]}}, "1 sentences, 0 timestam"),
    ],
)
def test_a_list_that_makes_no_sense_is_named(tmp_path, name, content, message):
    with pytest.raises(ConfigError, match=message):
        len(FolderSource(**write(tmp_path, {name: content}, ["abc.mp4"])))


def test_segments_are_of_lists(tmp_path):
    with pytest.raises(ConfigError, match="segments=True is for the lists"):
        FolderSource(str(tmp_path), segments=True)
