"""Manifests: csv files that list the media files of a folder and describe them."""

import math
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from ssl_jax.config import ConfigError
from ssl_jax.data import decode
from ssl_jax.data.record import Caption
from ssl_jax.data.tables import MISSING, columns_named, read_table
from ssl_jax.data.warn_once import warn_once

ENDINGS = {
    "image": decode.IMAGE_ENDINGS,
    "video": (
        *(".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
        *(".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    ),
    "audio": (
        *(".aac", ".ac3", ".aif", ".aiff", ".flac", ".m4a", ".mka", ".mp3", ".oga", ".ogg"),
        *(".opus", ".wav", ".wma"),
    ),
}
KIND = {ending: kind for kind, endings in ENDINGS.items() for ending in endings}
# The columns that mean something, each with names that other lists have for it.
COLUMNS = {
    "path": (),  # has to be there
    "label": ("class", "classes", "class_name", "classname", "class_id", "category", "target"),
    "split": ("set", "subset", "partition"),
    "caption": ("text", "sentence", "description"),
    "language": ("lang",),
    "start": ("begin", "start_time", "start_seconds"),
    "end": ("stop", "end_time", "end_seconds"),
}
NUMBER = re.compile(r"([+-]?[0-9]+)(\.0*)?")  # pandas writes 1.0 where a column has gaps
MOST_NUMBERED = 100_000  # classes, of which each number is a name


class Item(NamedTuple):  # of which there may be millions: a dataclass takes ten times as long
    """One record before its file is opened. `path` is relative to the folder."""

    path: str
    label: int = -1
    split: str = ""
    captions: tuple[Caption, ...] = ()
    start: float = 0.0
    end: float = math.inf
    extra: tuple[tuple[str, str], ...] = ()


def kind(path: str) -> str:
    """'video', 'image' or 'audio' by a file's ending; '' for another."""
    ending = f".{path.rpartition('.')[2].lower()}"
    return KIND[ending] if ending in KIND else ""


def read_manifest(file: str) -> tuple[list[Item], tuple[str, ...]]:
    """The records that a manifest describes, and the names of its labels; see `FolderSource`."""
    columns, rows = read_table(file)
    # 'labels', of several classes, is one that `annotations` reads.
    meaningful = COLUMNS | ({"labels": ()} if "labels" in columns else {})
    known = dict(zip(columns, columns_named(file, columns, meaningful), strict=True))
    known |= _transcripts(file, columns, known)
    if "path" not in known.values():
        raise ConfigError(
            f"{file}: needs a header with the column 'path', it has {columns}; "
            f"the others may be {', '.join([*COLUMNS][1:])}"
        )
    rows = [(line, {known[name]: field for name, field in row.items()}) for line, row in rows]
    for _, row in rows:
        for name in ("label", "split", "caption", "language"):
            row[name] = row[name] if name in row else ""
    if "labels" in columns and "label" not in known.values():
        _check_several(file, [row["labels"] for _, row in rows])
    number, names = number_labels(file, [row["label"] for _, row in rows])
    items = {}
    for line, row in rows:
        item = _item(f"{file}:{line}", row, number[row["label"]])
        whole = item._replace(captions=(), extra=())
        # Rule 1 gives each row a key of its own, rule 2 gathers the captions under one.
        key = (whole, line) if item.start > 0 or item.end < math.inf else whole
        if key in items:
            item = items[key]._replace(captions=items[key].captions + item.captions)
        items[key] = item
    return list(items.values()), names


def _transcripts(file: str, columns: Sequence[str], known: dict[str, str]) -> dict[str, str]:
    """A column 'transcript', what is said, holds captions; ConfigError beside another of these."""
    found = [column for column in columns if column.lower() == "transcript"]
    if found and "caption" in known.values():
        raise ConfigError(f"{file}: has the columns 'caption' and {found[0]!r}; rename one")
    return dict.fromkeys(found, "caption")


def _check_several(file: str, fields: Sequence[str]) -> None:
    """Without a column 'label', says what 'labels' is; ConfigError if it holds names."""
    wrong = [text for text in fields if not re.fullmatch(r"[0-9\s,;|.+-]*", text)]
    if wrong:
        raise ConfigError(
            f"{file}: the column 'labels' takes numbers of several classes, not {wrong[0]!r}; call "
            "it 'label' if it holds one class a row"
        )
    warn_once(
        f"{file}: the column 'labels' is taken for the numbers of several classes; call it 'label' "
        "if it holds one class a row"
    )


def number_labels(file: str, labels: Sequence[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Number of each label that occurs, and the labels' names in order of their numbers.

    -1 for what is no label; see `FolderSource`. `file` is named in messages. ConfigError for
    numbers that number no classes.
    """
    none = {label for label in labels if label.lower() in MISSING}
    given = sorted(set(labels) - none)
    written = sorted(none - {""})
    if written:
        count = sum(label in written for label in labels)
        warn_once(f"{file}: {count} labels {written[0]!r} are taken for no label")
    found = {label: NUMBER.fullmatch(label) for label in given}
    if not all(found.values()):
        fractions = [label for label in given if not found[label] and _is_number(label)]
        if fractions and all(_is_number(label) for label in given):
            raise ConfigError(
                f"{file}: label {fractions[0]} is no whole number; number classes, or name them"
            )
        numbers = {label: place for place, label in enumerate(given)}
        return {**numbers, **dict.fromkeys(none, -1)}, tuple(given)
    numbers = {label: int(match[1]) for label, match in found.items()}
    lowest, highest = min(numbers.values(), default=0), max(numbers.values(), default=-1)
    if lowest < -1:
        raise ConfigError(f"{file}: labels must count from 0 (-1 is none), one is {lowest}")
    if highest >= 2**63:
        raise ConfigError(f"{file}: label {highest} is too large a number; number classes from 0")
    # So large are numbers of another kind, and a name for each of them would fill the memory.
    names = tuple(map(str, range(highest + 1))) if highest < MOST_NUMBERED else ()
    return {**numbers, **dict.fromkeys(none, -1)}, names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _item(where: str, row: dict[str, str], label: int) -> Item:
    path = row["path"].replace("\\", "/")
    if not path or os.path.isabs(path) or ".." in path.split("/"):
        raise ConfigError(f"{where}: path {path!r} must lie inside the folder of the source")
    if not kind(path):
        raise ConfigError(
            f"{where}: path {path!r} has no known ending; known are {' '.join(sorted(KIND))}"
        )
    times = []
    for name, default in (("start", 0.0), ("end", math.inf)):
        text = row[name] if name in row else ""
        try:
            times.append(float(text or default))
        except ValueError as error:
            raise ConfigError(f"{where}: {name}={text!r} is no number of seconds") from error
    start, end = times
    if not 0 <= start < end:
        raise ConfigError(f"{where}: start {start} and end {end} must satisfy 0 <= start < end")
    split, caption, language = (
        "" if row[name].lower() in MISSING else row[name]
        for name in ("split", "caption", "language")
    )
    extra = tuple((name, value) for name, value in row.items() if name not in COLUMNS)
    path = os.path.normpath(path).replace(os.sep, "/")
    if caption:
        captions = (Caption(caption, start, end, language or "en"),)
        return Item(path, label, split, captions, extra=extra)
    return Item(path, label, split, (), start, end, extra)
