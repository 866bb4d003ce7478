"""The table of action recognition in the documents: each row's commands name configs there are."""

import pathlib
import re

from ml_collections import ConfigDict

from ssl_jax import config as configs

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "action_recognition.md"


def trunks(name: str) -> list[str]:
    """The classes of a config's trunks."""
    method = configs.load(name).method
    known = [method[n] for n in ("vision", "difference", "flow") if n in method]
    return [one.call for one in known if isinstance(one, ConfigDict)]


def test_every_row_names_configs_that_there_are_and_whose_trunks_fit():
    pairs = set()
    for row in PAGE.read_text().splitlines():
        if row.startswith("|") and "not measured" in row:
            pretext = re.search(r"`(video/[^`]+)`", row)
            variant = re.search(r"`:(\w+)`", row.split("|")[-2])
            pairs.add((pretext and pretext[1], variant and variant[1]))
    tuned = {v: trunks(f"finetune/ucf101.py:{v}") for _, v in pairs if v}
    assert len(tuned) > 12
    for pretext, variant in pairs:
        known = trunks(pretext) if pretext else []
        if pretext and variant:
            assert tuned[variant][0] in known, (pretext, variant)


def test_hmdb51_has_the_variants_of_ucf101_and_its_own_lists():
    ucf101, hmdb51 = (configs.load(f"finetune/{name}.py:flow") for name in ("ucf101", "hmdb51"))
    assert (ucf101.method.task.classes, hmdb51.method.task.classes) == (101, 51)
    assert ucf101.method.flow == hmdb51.method.flow
    # 200 epochs of the 9537 and the 3570 videos that train.
    assert (ucf101.steps, hmdb51.steps) == (200 * (9537 // 128), 200 * (3570 // 128))
    assert hmdb51.source.lists == "../testTrainMulti_7030_splits"
    assert ucf101.evaluators.test.clips == hmdb51.evaluators.test.clips == 250
