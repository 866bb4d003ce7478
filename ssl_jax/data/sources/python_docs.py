"""Python's own documentation: text that is available on every machine."""

import ast
import dataclasses
import functools
import pathlib
import re
import sysconfig

from ssl_jax.config import ConfigError
from ssl_jax.data.documents import Document, record_of_text, split_of
from ssl_jax.data.record import Record
from ssl_jax.data.sources.choices import check_choices
from ssl_jax.data.spread import spread
from ssl_jax.knobs import at_least, given, one_of

PARTS = ("language", "library")
TEST_SHARE = 0.1
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# Folders of the standard library that are tests, programs, or no part of it.
SKIPPED = re.compile(
    r"(^|/)(site-packages|dist-packages|tests?|idlelib|lib2to3|turtledemo|encodings|config-.*)/"
)


@dataclasses.dataclass(frozen=True)
class PythonDocs:
    """English prose on Python, as every Python has it: about two million characters.

    The documents of the part (and label) 'language' are the 79 topics of `help()`, chapters of the
    language reference, 0.4 million characters; those of 'library' are the docstrings of each module
    of the standard library, 1.6 million. The text is a little different with every version of
    Python, so numbers are to be compared within one.

    Chapters repeat one another: a paragraph that stands in several documents is kept in the first.
    A tenth of the documents, by a hash of their name, is for testing.

    Attributes:
      split: 'train' or 'test'; '' for both.
      parts: 'language', 'library' or both. 'library' takes seconds to gather.
      limit: at most so many documents, spread evenly over all; 0 for no limit.

    Raises ConfigError where Python was installed without them.
    """

    split: str = "train"
    parts: tuple[str, ...] = PARTS
    limit: int = 0

    def __post_init__(self):
        one_of(self, "split", ("", "train", "test"))
        check_choices("parts", self.parts, PARTS)
        given(self, "parts")
        at_least(self, 0, "limit")

    def __len__(self) -> int:
        return len(self._documents)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        document = self._documents[index]
        return record_of_text(document, int(index), PARTS.index(document.label), "en")

    @property
    def label_names(self) -> tuple[str, ...]:
        return PARTS

    @property
    def _documents(self) -> tuple[Document, ...]:
        # Not a field: so the source pickles as its few words, and each process gathers its own.
        return _chosen(self.split, tuple(self.parts), self.limit)


@functools.lru_cache(maxsize=16)
def _chosen(split: str, parts: tuple[str, ...], limit: int) -> tuple[Document, ...]:
    found = [d for part in PARTS if part in parts for d in _gathered(part)]
    seen: set[str] = set()
    documents = []
    for document in found:
        new = dict.fromkeys(p for p in document.content.split("\n\n") if p.strip() not in seen)
        seen.update(paragraph.strip() for paragraph in new)
        text = "\n\n".join(new).strip()
        if text:
            documents.append(document._replace(content=text))
    return tuple(spread([d for d in documents if split in ("", d.split)], limit))


@functools.cache
def _gathered(part: str) -> tuple[Document, ...]:
    found = _topics() if part == "language" else _docstrings()
    return tuple(
        Document(f"python {name}", text, part, split_of(name, TEST_SHARE))
        for name, text in sorted(found.items())
        if text.strip()
    )


def _topics() -> dict[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise ConfigError(
            "this Python was installed without the topics of help() (pydoc_data); use another "
            "Python, or text of your own (TextSource)"
        ) from error
    return topics


def _docstrings() -> dict[str, str]:
    """All docstrings of each module of the standard library; nothing is imported."""
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    found = {}
    for file in sorted(library.rglob("*.py")):
        name = file.relative_to(library).as_posix()
        if SKIPPED.search(name):
            continue
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError):  # such as templates of other programs
            continue
        nodes = (n for n in ast.walk(tree) if isinstance(n, DOCUMENTED))
        found[name] = "\n\n".join(filter(None, map(ast.get_docstring, nodes)))
    if not found:
        raise ConfigError(
            f"{library}: has no modules of the standard library; use parts=('language',), or text "
            "of your own (TextSource)"
        )
    return found
