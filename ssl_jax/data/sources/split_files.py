"""The lists that UCF101, HMDB51 and JHMDB come with: which videos train and which test, by folds.

    UCF101   classInd.txt       1 ApplyEyeMakeup
             trainlist01.txt    ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1
             testlist01.txt     ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi
    HMDB51   brush_hair_test_split1.txt   NAME.avi 1   1 trains, 2 tests, 0: neither; so JHMDB

Videos lie in a folder of their class's name. UCF101's labels are its numbers less one; HMDB51's are
the places of its classes in alphabetical order.
"""

import os
import re
from collections.abc import Iterator

from ssl_jax.config import ConfigError
from ssl_jax.data import paths

SPLITS = ("train", "test")
HMDB = re.compile(r"(.+)_test_split(\d+)\.txt")


def read(folder: str, fold: int) -> tuple[list[tuple[str, int, str]], tuple[str, ...]]:
    """(path, label, split) of every video that a fold's lists in `folder` name, and the classes.

    Those that train come first, in the order of the lists.

    Raises:
      ConfigError: there are no such lists, or one has a line that makes no sense; it is named.
    """
    try:
        there = paths.names(folder)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read as a folder of lists ({error})") from error
    if "classInd.txt" in there:
        return _ucf101(folder, there, fold)
    if any(HMDB.fullmatch(name) for name in there):
        return _hmdb51(folder, there, fold)
    raise ConfigError(
        f"{folder}: has neither the lists of UCF101 (classInd.txt, trainlist01.txt, ...) nor those "
        "of HMDB51 (brush_hair_test_split1.txt, ...), nor of a set with audio or captions that is "
        "known (see docs/data.md)"
    )


def _ucf101(folder: str, there: list[str], fold: int):
    numbers: dict[str, int] = {}
    for where, fields in _lines(folder, "classInd.txt"):
        if len(fields) != 2 or fields[0] != str(len(numbers) + 1) or fields[1] in numbers:
            raise ConfigError(f"{where}: '{len(numbers) + 1} NameOfAClass' should stand there")
        numbers[fields[1]] = len(numbers)
    found = {}
    for split in SPLITS:
        name = f"{split}list{fold:02d}.txt"
        if name not in there:
            folds = sorted(int(n[9:11]) for n in there if re.fullmatch(r"trainlist\d\d\.txt", n))
            raise ConfigError(f"{folder}: has no {name}; there are folds {folds}")
        for where, (video, *number) in _lines(folder, name):
            label = numbers.get(video.partition("/")[0], -1)
            if label < 0 or video.count("/") != 1:
                raise ConfigError(f"{where}: '{video}' is no video in the folder of a known class")
            # The test lists leave out the number.
            if number != [str(label + 1)] and (number or split == "train"):
                raise ConfigError(
                    f"{where}: '{' '.join(number)}' stands where the number of its class in "
                    f"classInd.txt should, {label + 1}"
                )
            _add(found, where, video, label, split)
    return list(found.values()), tuple(numbers)


def _hmdb51(folder: str, there: list[str], fold: int):
    lists = {}
    for name in there:
        match = HMDB.fullmatch(name)
        if match and int(match[2]) == fold:
            lists[match[1]] = name
    if not lists:
        folds = sorted({int(match[2]) for name in there if (match := HMDB.fullmatch(name))})
        raise ConfigError(f"{folder}: has no lists of fold {fold}; there are folds {folds}")
    found = {}
    for label, (action, name) in enumerate(sorted(lists.items())):
        for where, fields in _lines(folder, name):
            if len(fields) != 2 or fields[1] not in ("0", "1", "2"):
                raise ConfigError(f"{where}: 'NAME.avi' and 0, 1 or 2 should stand there")
            if fields[1] != "0":
                split = SPLITS[int(fields[1]) - 1]
                _add(found, where, f"{action}/{fields[0]}", label, split)
    # The videos that train first, as in UCF101's lists.
    return sorted(found.values(), key=lambda video: video[2] == "test"), tuple(sorted(lists))


def _lines(folder: str, name: str) -> Iterator[tuple[str, list[str]]]:
    """('FILE:LINE', its fields) of every line that is not empty."""
    file = paths.join(folder, name)
    try:
        text = paths.read_text(file).read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as text in UTF-8 ({error})") from error
    for line, content in enumerate(text.splitlines(), start=1):
        if content.strip():
            yield f"{file}:{line}", content.split()


def _add(found: dict, where: str, video: str, label: int, split: str) -> None:
    if os.path.isabs(video) or ".." in video.split("/"):
        raise ConfigError(f"{where}: '{video}' must lie inside the folder of the source")
    if video in found:
        raise ConfigError(f"{where}: '{video}' is named twice, at first to {found[video][2]}")
    found[video] = (video, label, split)
