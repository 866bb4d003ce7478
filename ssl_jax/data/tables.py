"""Tables in text files as people publish them: csv of spreadsheets, of pandas, or by hand."""

import csv
import difflib
import io
import re
from collections.abc import Iterator, Sequence

from ssl_jax.config import ConfigError
from ssl_jax.data import paths

DELIMITERS = (",", "\t", ";", "|")
csv.field_size_limit(2**31 - 1)  # a field may hold a whole document
# How spreadsheets, pandas, R and databases write that there is nothing, in small letters.
MISSING = ("", "nan", "none", "na", "n/a", "null", "<na>", "#n/a")


def read_table(file: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns of a csv with a header, and (line, fields by column) of every row.

    Columns are separated by commas, tabs, semicolons or bars, whichever gives the header most. Text
    is in UTF-8, or in UTF-16 with its mark. Spaces around fields and quotes do not count, nor do
    empty rows and columns without a name. ConfigError for what cannot be read so.
    """
    try:
        text = paths.read_text(file).read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as a csv in UTF-8 ({error})") from error
    return table_in(file, text)


def table_in(file: str, text: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The same of a csv's `text`, which was read from `file`."""
    try:
        first, _, rest = text.partition("\n")
        if first.strip().lower().startswith("sep="):  # a line that spreadsheets put before all
            text = rest
        rows = list(_rows(text))
    except csv.Error as error:
        raise ConfigError(f"{file}: cannot be read as a csv in UTF-8 ({error})") from error
    columns = rows[0][1] if rows else []
    named = [name for name in columns if name]
    twice = [name for name in named if named.count(name) > 1]
    if twice:
        raise ConfigError(f"{file}: has two columns {twice[0]!r}; rename one")
    table = []
    for line, fields in rows[1:]:
        if len(fields) < len(columns) or any(fields[len(columns) :]):
            raise ConfigError(f"{file}:{line}: has another number of fields than the header")
        by_name = zip(columns, fields, strict=False)
        table.append((line, {name: field for name, field in by_name if name}))
    return named, table


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of every row that is not empty."""
    header = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    widths = {mark: len(next(csv.reader([header], delimiter=mark), [])) for mark in DELIMITERS}
    delimiter = max(widths, key=lambda mark: widths[mark])
    settings = {"delimiter": delimiter, "skipinitialspace": True, "strict": True}
    try:
        list(csv.reader(io.StringIO(text, newline=""), **settings))
    except csv.Error as error:
        if "expected after" not in str(error):
            raise
        # Spaces between a quote and the end of its field.
        text = re.sub(rf'"[ \t]+(?=[{re.escape(delimiter)}\r\n]|$)', '"', text)
    reader = csv.reader(io.StringIO(text, newline=""), **settings)
    for fields in reader:
        stripped = [field.strip() for field in fields]
        if any(stripped):
            yield reader.line_num, stripped


def columns_named(
    file: str, columns: Sequence[str], known: dict[str, tuple[str, ...]]
) -> list[str]:
    """The columns, those that are `known` but for capitals by their known names.

    Args:
      known: names that mean something, each with others that people use for it.

    Raises ConfigError where a known column is missing and another one is nearly called so: it would
    be passed over.
    """
    found = []
    for column in columns:
        name = column.lower().replace(" ", "_")
        found.append(name if name in known and name not in columns else column)
    for name, others in known.items():
        if found.count(name) > 1:
            raise ConfigError(f"{file}: has two columns {name!r} but for capitals; rename one")
        if name in found:
            continue
        for column in found:
            if column not in known and _nearly(column.lower().replace(" ", "_"), name, others):
                raise ConfigError(
                    f"{file}: has no column {name!r} but a column {column!r}: rename it to "
                    f"{name!r} if that is what it holds, or else to something less like it"
                )
    return found


def _nearly(column: str, name: str, others: Sequence[str]) -> bool:
    close = difflib.SequenceMatcher(None, column, name).ratio() > 0.85
    return column in others or close or sorted(column) == sorted(name)
