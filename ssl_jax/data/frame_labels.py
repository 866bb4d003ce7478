"""Labels of moments within audio or video, such as phones: csv files of spans of seconds."""

import dataclasses
import itertools

import numpy as np
from jaxtyping import Float, Int64

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.annotations import fingerprint
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.tables import columns_named, read_table

# The columns, each with names that other lists have for it.
COLUMNS = {
    "file": ("path", "filename", "audio", "utterance"),
    "start": ("begin", "start_time", "start_seconds"),
    "end": ("stop", "end_time", "end_seconds"),
    "label": ("phone", "phoneme", "class", "word", "text"),
}
TOUCH = 1e-6  # seconds by which a span may begin before the one before it ends
NONE = -1  # in place of a label


@dataclasses.dataclass(frozen=True)
class Spans:
    """The labelled spans of one file, in their order.

    Attributes:
      begins, ends: seconds.
      classes: each label's `annotations.fingerprint`, the same in every file.
      line: of the file, that of the first.
    """

    begins: Float[np.ndarray, "n"]
    ends: Float[np.ndarray, "n"]
    classes: Int64[np.ndarray, "n"]
    line: int

    def at(self, seconds: Float[np.ndarray, "*n"]) -> Int64[np.ndarray, "*n"]:
        """The class at each time, NONE where no span is."""
        place = np.searchsorted(self.begins, seconds, side="right") - 1
        inside = (place >= 0) & (seconds < self.ends[place])
        return np.where(inside, self.classes[place], NONE)


def read_frame_labels(file: str) -> dict[str, Spans]:
    """The spans of a csv with the columns start, end (seconds), label and perhaps file.

    By the names in the column file, with '/' whatever the system; '' without that column. An empty
    label is as good as no row; 'none' or 'nan' is a label like any other.

    Raises ConfigError naming file and line for a span that ends before it begins or overlaps
    another one, and for what is no number.
    """
    columns, rows = read_table(file)
    names = columns_named(file, columns, COLUMNS)
    if not {"start", "end", "label"} <= set(names):
        raise ConfigError(f"{file}: needs the columns start, end and label, it has {columns}")
    known = dict(zip(columns, names, strict=True))
    found: dict[str, list[tuple[float, float, str, int]]] = {}
    for line, fields in rows:
        row = {known[name]: field for name, field in fields.items()}
        start, end = (_seconds(f"{file}:{line}", name, row[name]) for name in ("start", "end"))
        if not 0 <= start < end:
            raise ConfigError(
                f"{file}:{line}: start={start:g} and end={end:g} should be 0 <= start < end"
            )
        name = row["file"].replace("\\", "/") if "file" in row else ""
        if "file" in row and not name:
            raise ConfigError(f"{file}:{line}: names no file")
        if row["label"]:  # 'none' and 'na' are words, or syllables
            found.setdefault(name, []).append((start, end, row["label"], line))
    if not found:
        raise ConfigError(f"{file}: holds no labelled span")
    return {name: _spans(file, spans) for name, spans in found.items()}


def _seconds(where: str, name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {name}={text!r} is no number of seconds") from error


def _spans(file: str, found: list[tuple[float, float, str, int]]) -> Spans:
    found.sort()
    for (_, end, _, before), (start, _, _, line) in itertools.pairwise(found):
        if start < end - TOUCH:
            raise ConfigError(
                f"{file}:{max(line, before)}: its span overlaps that of line {min(line, before)}"
            )
    begins, ends, labels, lines = zip(*found, strict=True)
    classes = np.array([fingerprint(label) for label in labels], np.int64)
    return Spans(np.array(begins), np.array(ends), classes, min(lines))


@dataclasses.dataclass(frozen=True)
class FrameLabelFile:
    """One csv for all records, which it names in the column file.

    By the record's name, with or without its ending or its folders.

    Attributes:
      spans: by name, see `read_frame_labels`.
    """

    spans: dict[str, Spans]

    def of(self, record: Record) -> Spans | None:
        """The record's spans; None if it is not named."""
        last = record.name.rpartition("/")[2]
        names = record.name, _bare(record.name), last, _bare(last)
        return next((self.spans[name] for name in names if name in self.spans), None)


@dataclasses.dataclass(frozen=True)
class FrameLabelsBeside:
    """A csv beside each audio file, of the same name but for its ending.

    Attributes:
      ending: such as '.csv'.
    """

    ending: str

    def of(self, record: Record) -> Spans | None:
        """The record's spans; None if there is no such file. MediaError for one without a path."""
        if "path" not in record.extra:
            raise MediaError(f"{record.name}: has no file to find {self.ending!r} beside")
        file = _bare(str(record.extra["path"])) + self.ending
        try:
            paths.state(file)
        except OSError:
            return None
        spans = read_frame_labels(file)
        if set(spans) != {""}:
            raise ConfigError(f"{file}: a csv beside its audio file has no column 'file'")
        return spans[""]


def frame_labels_of(labels: str) -> FrameLabelFile | FrameLabelsBeside:
    """Where labels are: a csv, or by an ending ('.csv') a file beside each audio file.

    ConfigError for a csv without the column file, or what `read_frame_labels` refuses.
    """
    if labels.startswith(".") and "/" not in labels:
        return FrameLabelsBeside(labels)
    spans = read_frame_labels(labels)
    if "" in spans:
        raise ConfigError(
            f"{labels}: needs the column 'file', for whose seconds these are; if there is one csv "
            "for each file, give their ending ('.csv')"
        )
    return FrameLabelFile(spans)


def _bare(name: str) -> str:
    """Without its ending."""
    folder, mark, last = name.rpartition("/")
    stem, dot, _ = last.rpartition(".")
    return f"{folder}{mark}{stem}" if dot and stem else name
