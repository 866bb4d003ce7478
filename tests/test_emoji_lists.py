"""Emoji with their names in several languages, as their package lists them."""

import json

import numpy as np
import pytest
from PIL import Image

from ssl_jax.config import ConfigError
from ssl_jax.data.sources.folder import FolderSource

NAMES = {  # hexcode: group, subgroup and the names in three languages
    "1F9A0": (1, 1, {"en": "microbe", "de": "Mikrobe", "zh-hant": "微生物"}),
    "267E": (0, 0, {"en": "infinity", "de": "Unendlichkeit"}),
    "0039-FE0F-20E3": (0, 1, {"en": "keycap: 9", "de": "Taste: 9"}),
    "1F600": (1, 1, {"en": "grinning face"}),
    "1F1E6": (None, None, {"en": "regional indicator A"}),
}


@pytest.fixture
def emoji(tmp_path):
    lists = tmp_path / "emojibase-data"
    for language in ("en", "de", "zh-hant"):
        entries = [
            {"hexcode": hexcode, "label": names[language], "tags": []}
            | ({} if group is None else {"group": group, "subgroup": subgroup})
            for hexcode, (group, subgroup, names) in NAMES.items()
            if language in names
        ]
        (lists / language).mkdir(parents=True)
        (lists / language / "data.json").write_text(json.dumps(entries), encoding="utf-8")
    keys = {"groups": ["symbols", "animals-nature"], "subgroups": ["other-symbol", "animal-bug"]}
    messages = {
        kind: [{"key": key, "order": order} for order, key in enumerate(own)]
        for kind, own in keys.items()
    }
    (lists / "en" / "messages.json").write_text(json.dumps(messages))
    (lists / "package.json").write_text("{}")
    pictures = tmp_path / "fluent-emoji-anim-1" / "assets"
    pictures.mkdir(parents=True)
    frames = [Image.fromarray(np.full((8, 8, 3), shade, np.uint8)) for shade in (0, 90, 180)]
    for name in ("1f9a0", "267e-fe0f", "39-fe0f-20e3", "1f9a0-1f3fb", "1f1e6"):
        options = {"save_all": True, "append_images": frames[1:], "duration": 100}
        frames[0].save(pictures / f"{name}.webp", lossless=True, **options)
    return tmp_path


def test_an_emoji_has_its_name_in_every_language(emoji):
    source = FolderSource(str(emoji), lists="emojibase-data", kinds=("image",))
    found = {record.extra["hexcode"]: record for record in map(source.__getitem__, range(3))}
    assert len(source) == len(found) == 3  # no skin tones, no part of flags, no missing picture
    names = {caption.language: caption.text for caption in found["1F9A0"].captions}
    assert names == {"de": "Mikrobe", "en": "microbe", "zh-hant": "微生物"}
    assert found["1F9A0"].captions[0].end == float("inf")
    assert {code: one.name.rpartition("/")[2] for code, one in found.items()} == {
        "1F9A0": "1f9a0.webp",
        "267E": "267e-fe0f.webp",
        "0039-FE0F-20E3": "39-fe0f-20e3.webp",
    }
    assert source.label_names == ("symbols", "animals-nature")
    microbe = found["1F9A0"]
    assert (microbe.label, microbe.num_frames, microbe.extra["subgroup"]) == (1, 3, "animal-bug")


def test_whole_subgroups_test(emoji):
    known = {"path": str(emoji), "lists": "emojibase-data", "kinds": ("image",)}
    train, test = (FolderSource(**known, split=split) for split in ("train", "test"))
    assert {item.path.rpartition("/")[2] for item in test.items} == {"267e-fe0f.webp"}
    assert len(train) == 2


def test_lists_that_make_no_sense_are_named(emoji):
    (emoji / "emojibase-data" / "de" / "data.json").write_text('[{"hexcode": "1F9A0"}]')
    source = FolderSource(str(emoji), lists="emojibase-data", kinds=("image",))
    with pytest.raises(ConfigError, match=r"de/data\.json: has no 'label'"):
        len(source)
