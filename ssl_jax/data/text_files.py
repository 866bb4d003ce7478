"""Documents in files: plain text, .jsonl, .json and .csv, each also as .gz."""

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from typing import Any

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.documents import Document
from ssl_jax.data.tables import MISSING, table_in

ENDINGS = (".txt", ".jsonl", ".json", ".csv")


def ending(path: str) -> str:
    """One of `ENDINGS`, of a file with or without .gz; '' for another."""
    inner = path.lower().removesuffix(".gz")
    return next((known for known in ENDINGS if inner.endswith(known)), "")


def read_documents(
    file: str, name: str, text: str, label: str, split: str, blank_lines: bool
) -> Iterator[Document]:
    """The documents of a file; those of json and csv are named by their lines.

    A .json has an object on each line, as a .jsonl has, or is one array of objects, which are named
    by their numbers from 1.

    Args:
      file: its path or URL.
      name: what the documents are called by.
      text, label, split: keys (of json) or columns (of csv); '' for none.
      blank_lines: whether blank lines separate the documents of plain text.

    Raises ConfigError for what cannot be read; it names the file and the line.
    """
    content = _content(file)
    if ending(file) in (".jsonl", ".json"):
        for line, row in _json_rows(file, content):
            yield _document(f"{name}:{line}", f"{file}:{line}", row, text, label, split)
    elif ending(file) == ".csv":
        for line, row in table_in(file, content)[1]:
            yield _document(f"{name}:{line}", f"{file}:{line}", row, text, label, split)
    elif blank_lines and content.strip():
        yield from (Document(f"{name}:{line}", part) for line, part in _parts(content))
    else:
        yield Document(name, content)


def _content(file: str) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark, with line ends as '\n'."""
    try:
        data = paths.read(file)
        if file.lower().endswith(".gz"):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{file}: cannot be read ({error})") from error
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        content = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{file}:{line}: is no text in UTF-8 ({error.reason}); convert it, say with iconv"
        ) from error
    return content.replace("\r\n", "\n").replace("\r", "\n")


def _json_rows(file: str, content: str) -> Iterator[tuple[int, dict[str, Any]]]:
    array = ending(file) == ".json" and content.lstrip().startswith("[")
    for line, row in enumerate(_json(file, content), 1) if array else _json_lines(file, content):
        if not isinstance(row, dict):
            raise ConfigError(f"{file}:{line}: should be an object with keys, such as a text")
        yield line, row


def _json_lines(file: str, content: str) -> Iterator[tuple[int, Any]]:
    for line, written in enumerate(io.StringIO(content), 1):
        if written.strip():
            yield line, _json(f"{file}:{line}", written)


def _json(where: str, written: str) -> Any:
    try:
        return json.loads(written)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{where}: is no JSON ({error}); write one object a line (.jsonl or .json), or one "
            "array of objects (.json)"
        ) from error


def _document(
    name: str, where: str, row: dict[str, Any], text: str, label: str, split: str
) -> Document:
    for key in (text, label, split):
        if key and key not in row:
            there = ", ".join(map(repr, row))
            raise ConfigError(f"{where}: has no {key!r}, it has {there}; which one is it?")
    written = "" if row[text] is None else row[text]
    if not isinstance(written, str):
        raise ConfigError(f"{where}: {text!r} should be a text, it is {str(written)[:40]!r}")
    try:
        written.encode()
    except UnicodeEncodeError as error:  # half of a pair of surrogates, which JSON may hold: \ud83d
        message = f"{where}: {text!r} holds an incomplete character ({error.reason})"
        raise ConfigError(message) from error
    values = [str(row[key]) if key else "" for key in (label, split)]
    return Document(name, written, *("" if v.lower() in MISSING else v for v in values))


def _parts(content: str) -> Iterator[tuple[int, str]]:
    """(line, text) of what stands between blank lines."""
    first, part = 1, []
    for line, written in enumerate([*content.split("\n"), ""], 1):
        if written.strip():
            first = first if part else line
            part.append(written)
        elif part:
            yield first, "\n".join(part)
            part = []
