"""Text of a folder: files of plain text, .jsonl, .json and .csv."""

import dataclasses
import functools
import logging

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.documents import SPLITS, Document, record_of_text, split_of
from ssl_jax.data.record import Record
from ssl_jax.data.sources.manifest import number_labels
from ssl_jax.data.spread import spread
from ssl_jax.data.text_files import ENDINGS, ending, read_documents
from ssl_jax.knobs import at_least, given, within


@dataclasses.dataclass(frozen=True)
class TextSource:
    """One record for each document: no frames and no audio, its text is its one caption.

    A document is a file of plain text, or what lies between blank lines in one; or an
    object on a line of a .jsonl or .json (or in a .json's one array); or a row of a .csv with a
    header. All of them may be compressed (.gz). Text is in UTF-8, or in UTF-16 with its mark. Empty
    documents are skipped and counted. Hidden files and linked folders do not count. All text is
    kept in memory by the process that reads it.

    Without a split of its own a document is put into 'train' or 'test' by a hash of its text
    (without the white space around it), so that copies of one never lie in both. With
    `blank_lines=True` paragraphs of one file lie in both: for books set `blank_lines=False`, or
    keep files apart.

    Files in sub-folders are labelled by their first sub-folder, or documents by a key or column;
    see `FolderSource` for how names and numbers become labels, over all splits.

    Attributes:
      path: the folder, or one file (plain text if its name has no ending, as text8); or a URL that
        fsspec opens.
      split: 'train' or 'test', or what `split_key` has; '' keeps all.
      test_share: of the documents that are put into 'test'.
      blank_lines: whether blank lines separate the documents of plain text.
      text_key: the key (of JSON) or column (of .csv) that holds the text.
      label_key: one that holds the label; '': the first sub-folder is the label.
      split_key: one that holds the split; '': the hash decides.
      language: of the captions.
      limit: at most so many documents, spread evenly over all; 0 for no limit.

    Raises ConfigError for text or JSON that cannot be read, with the file and its line.
    """

    path: str
    split: str = ""
    test_share: float = 0.1
    blank_lines: bool = False
    text_key: str = "text"
    label_key: str = ""
    split_key: str = ""
    language: str = "en"
    limit: int = 0

    def __post_init__(self):
        within(self, 0, 1, "test_share")
        at_least(self, 0, "limit")
        given(self, "text_key")
        if self.split and not self.split_key and self.split not in SPLITS:
            raise ConfigError(
                f"split={self.split!r} should be 'train' or 'test'; or say which key or column has "
                "it, by split_key"
            )
        try:
            there = paths.exists(self.path)
        except OSError as error:  # a URL of no store that can be read
            raise ConfigError(str(error)) from error
        if not there:
            raise ConfigError(f"there is no {self.path!r}; give the path of your text")

    def __getstate__(self):
        # Without the text: another process reads it itself, if it needs it at all.
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __len__(self) -> int:
        return len(self._documents[0])

    def __getitem__(self, index: int) -> Record:
        documents, numbers, _ = self._documents
        if not 0 <= index < len(documents):
            raise IndexError(index)
        document = documents[index]
        return record_of_text(document, int(index), numbers[document.label], self.language)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The name of each label; the numbers themselves if labels are numbers."""
        return self._documents[2]

    @property
    def has_labels(self) -> bool:
        """Whether any document has a label."""
        return any(number >= 0 for number in self._documents[1].values())

    @functools.cached_property
    def _documents(self) -> tuple[list[Document], dict[str, int], tuple[str, ...]]:
        """The chosen documents, the number of each label, and the labels' names."""
        found = [d for file, name in self._files() for d in self._read(file, name)]
        documents = [document for document in found if document.content.strip()]
        empty = len(found) - len(documents)
        if empty:
            logging.getLogger(__name__).warning(
                "%s: %d of %d documents are empty and skipped", self.path, empty, len(found)
            )
        if not documents:
            raise ConfigError(f"{self.path}: has no text; known endings are {' '.join(ENDINGS)}")
        numbers, names = number_labels(self.path, [document.label for document in documents])
        chosen = [d for d in documents if self.split in ("", d.split)]
        if not chosen:
            splits = sorted({document.split for document in documents})
            raise ConfigError(f"{self.path}: no split {self.split!r}, there is {splits}")
        return list(spread(chosen, self.limit)), numbers, names

    def _files(self) -> list[tuple[str, str]]:
        """(path, name) of every file."""
        if not paths.is_folder(self.path):
            file = paths.home(self.path)
            if "." in file.rpartition("/")[2].lower().removesuffix(".gz") and not ending(file):
                raise ConfigError(
                    f"{file}: is of an unknown ending, known are {' '.join(ENDINGS)} (also .gz); "
                    "rename it, say to .txt if it is plain text"
                )
            return [(file, file)]
        there = paths.below(self.path)
        others = [name for name in there if not ending(name)]
        if others:
            logging.getLogger(__name__).warning(
                "%s: %d files of unknown endings are skipped, such as %s",
                *(self.path, len(others), others[0]),
            )
        return [(paths.join(self.path, name), name) for name in there if ending(name)]

    def _read(self, file: str, name: str) -> list[Document]:
        keys = (self.text_key, self.label_key, self.split_key)
        documents = list(read_documents(file, name, *keys, self.blank_lines))
        if not self.label_key and file != name and "/" in name:
            folder = name.partition("/")[0]
            documents = [document._replace(label=folder) for document in documents]
        if not self.split_key:
            share = self.test_share
            documents = [d._replace(split=split_of(d.content.strip(), share)) for d in documents]
        return documents
