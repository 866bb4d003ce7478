"""Blocks of tokens, of equal length, from the texts of any source."""

import copy
import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.documents import documents_of
from ssl_jax.data.labels import has_labels, label_names
from ssl_jax.data.npz import read_npz
from ssl_jax.data.progress import progress_bar
from ssl_jax.data.record import Record, Source
from ssl_jax.data.tokenizers import Tokenizer
from ssl_jax.knobs import at_least

ENOUGH = 2**20  # tokens that are gathered before they are put away


@dataclasses.dataclass(frozen=True)
class TokenBlocks:
    """One record for each block of tokens: all documents one after another, each ended by `eos`.

    Block k begins at token k * length and has one more, the first of the next block, so that every
    token but the first is predicted once. What does not fill the last block is left out. A
    document is the captions of a record of `source`, one a line; records without are left out.

    Unlike grain's packing, which is an iterator, blocks are found by their number: batch k has to
    be a function of (seed, k) alone, so that runs resume in mid-epoch.

    `extra` of a record, in the order of its tokens:
      tokens: int32 (length + 1,). See `need_tokens`.
      documents: int32 (length + 1,), the number of the document that each token is of. An `eos` is
        of the document that it ends.
      bytes: float32, how many bytes in UTF-8 the tokens but the first stand for. A document's bytes
        are shared evenly by its tokens, which for `Bytes` is exact; an `eos` has none.
    A record's label is that of the document with most of its tokens.

    All text is tokenised when it is first needed, with a bar if that takes long, and its tokens, of
    two or four bytes, are kept in memory. Processes that read for this one get them from it.

    Attributes:
      source: of documents, such as `TextSource`; or of anything with captions.
      tokenizer: what makes tokens of text.
      length: of a block.
      language: take captions of this one only; '' takes all.
      cache: a local folder in which tokens are kept for later runs, for text of gigabytes: a file
        for each text and tokenizer, found by a hash of both. '' keeps none.
    """

    source: Source
    tokenizer: Tokenizer
    length: int
    language: str = ""
    cache: str = ""

    def __post_init__(self):
        at_least(self, 1, "length")

    def __len__(self) -> int:
        return (len(self._text.tokens) - 1) // self.length

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        text, begin = self._text, int(index) * self.length
        places = np.arange(begin, begin + self.length + 1)
        documents = np.searchsorted(text.starts, places, side="right") - 1
        counted = documents[1:][places[1:] != text.starts[documents[1:] + 1] - 1]
        most = int(np.bincount(documents - documents[0]).argmax() + documents[0])
        return Record(
            name=f"block {index}",
            index=int(index),
            num_frames=0,
            fps=0.0,
            label=int(text.labels[most]),
            extra={
                "tokens": text.tokens[begin : begin + self.length + 1].astype(np.int32),
                "documents": documents.astype(np.int32),
                "bytes": np.float32(text.bytes_per_token[counted].sum()),
            },
        )

    @property
    def label_names(self) -> tuple[str, ...]:
        return label_names(self.source)

    @property
    def has_labels(self) -> bool:
        return has_labels(self.source)

    @functools.cached_property
    def _text(self) -> "_Text":
        file = self._file() if self.cache else ""
        if file and paths.exists(file):
            text = _Text(**read_npz(file))
        else:
            text = _Text.of(self._documents("tokenising"), self.tokenizer)
            if file:
                text.write(file)
        if len(text.tokens) <= self.length:
            raise ConfigError(
                f"length={self.length}: the text has {len(text.tokens)} tokens, which fill no "
                "block; give more text or a smaller length"
            )
        return text

    def _file(self) -> str:
        """Where the tokens of this text, by this tokenizer, are kept."""
        digest = hashlib.sha256(self.tokenizer.fingerprint.encode())
        for text, label in self._documents("looking through"):
            digest.update(f"\n{label} {len(text)}\n{text}".encode(errors="replace"))
        return paths.join(self.cache, f"{digest.hexdigest()[:32]}.npz")

    def _documents(self, doing: str) -> Iterator[tuple[str, int]]:
        # Of a copy of the source, which lets go of what it keeps when all is read: of its text.
        source = copy.copy(self.source)
        with progress_bar(doing, len(source), "documents") as bar:
            for text, label in documents_of(source, self.language):
                yield text, label
                bar.update()


@dataclasses.dataclass(frozen=True)
class _Text:
    """All tokens; of each document label, bytes and where it starts (and where the last ends)."""

    tokens: UInt[np.ndarray, "n"]
    labels: Int32[np.ndarray, "k"]
    bytes_per_token: Float64[np.ndarray, "k"]
    starts: Int64[np.ndarray, "k+1"]

    def write(self, file: str) -> None:
        """Writes an npz of the fields; ConfigError if that is not possible."""
        arrays = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        # Of a name of its own, as other processes may write the same.
        draft = paths.draft(f"{file}.{os.getpid()}")
        try:
            paths.make_folder(file.rpartition("/")[0])
            with open(draft, "wb") as opened:
                np.savez(opened, **arrays)
            paths.put(draft, file)
        except OSError as error:
            raise ConfigError(f"cache: {file} cannot be written ({error.strerror})") from error

    @staticmethod
    def of(documents: Iterable[tuple[str, int]], tokenizer: Any) -> "_Text":
        kind = np.uint16 if tokenizer.size <= 2**16 else np.uint32
        whole, gathered, waiting = [np.zeros(0, kind)], [], 0
        lengths, labels, sizes = [], [], []
        for text, label in documents:
            ids = tokenizer.encode(text)
            gathered += [ids.astype(kind), np.asarray([tokenizer.eos], kind)]
            waiting += len(ids) + 1
            if waiting > ENOUGH:  # many small arrays would take more memory than their tokens
                whole.append(np.concatenate(gathered))
                gathered, waiting = [], 0
            lengths.append(len(ids) + 1)
            labels.append(label)
            sizes.append(len(text.encode(errors="replace")) / max(len(ids), 1))
        tokens = np.concatenate(whole + gathered)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
        return _Text(tokens, np.asarray(labels, np.int32), np.asarray(sizes, np.float64), starts)
