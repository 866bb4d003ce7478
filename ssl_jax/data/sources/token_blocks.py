"""Blocks of tokens, of equal length, from the texts of any source."""

import contextlib
import copy
import dataclasses
import functools
import hashlib
import logging
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.documents import documents_of
from ssl_jax.data.labels import has_labels, label_names
from ssl_jax.data.progress import progress_bar
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.data.token_text import TokenText, read_token_text, tokenise, write_token_text
from ssl_jax.data.tokenizers import Tokenizer
from ssl_jax.knobs import at_least


@dataclasses.dataclass(frozen=True)
class TokenBlocks:
    """One record for each block of tokens: all documents one after another, each ended by `eos`.

    Block k begins at token k * length and has one more, the first of the next block, so that every
    token but the first is predicted once. What does not fill the last block is skipped. A
    document is the captions of a record of `source`, one a line; records without are skipped.

    Unlike grain's packing, which is an iterator, blocks are found by their number: batch k has to
    be a function of (seed, k) alone, so that runs resume in mid-epoch.

    `extra` of a record, in the order of its tokens:

    - tokens: int32 (length + 1,). See `need_tokens`.
    - documents: int32 (length + 1,), the number of the document that each token is of. An `eos` is
      of the document that it ends.
    - bytes: float32, how many bytes in UTF-8 the tokens but the first stand for. A document's bytes
      are shared evenly by its tokens, which for `Bytes` is exact; an `eos` has none.

    A record's label is that of the document with most of its tokens.

    All text is tokenised when it is first needed, with a bar if that takes long. Meanwhile memory
    holds what `source` keeps (`TextSource`: all text) and up to twice the tokens; afterwards only
    the tokens, of two or four bytes each, and 20 bytes a document. Equal blocks in one process,
    such as a run's source and an evaluator's, share them. Each worker process has a copy of them,
    but with `cache` all read one file, of which the system keeps in memory what it has room for.

    Attributes:
      source: of documents, such as `TextSource`; or of anything with captions.
      tokenizer: what makes tokens of text.
      length: of a block.
      language: take captions of this one only; '' takes all.
      cache: a local folder in which tokens are kept for later runs, for text of gigabytes: two
        files for each text and tokenizer, found by a hash of both, for which all text is read at
        every start. Damaged files are made again. '' keeps none.
    """

    source: Source
    tokenizer: Tokenizer
    length: int
    language: str = ""
    cache: str = ""

    def __post_init__(self):
        at_least(self, 1, "length")
        if paths.is_url(self.cache):
            raise ConfigError(f"cache={self.cache}: should be a local folder")

    def __len__(self) -> int:
        return (len(self._kept.text.tokens) - 1) // self.length

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        text, begin = self._kept.text, int(index) * self.length
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
        return self._kept.label_names

    @property
    def has_labels(self) -> bool:
        return self._kept.has_labels

    @functools.cached_property
    def _kept(self) -> "_Kept":
        # A run has equal blocks in several places, as objects of their own.
        origin = (self.source, self.language, self.cache, self.tokenizer.fingerprint)
        kept = _shared(origin)
        if kept is None:
            # Of a copy of the source, which lets go of what it keeps when all is read: of its text.
            source = copy.copy(self.source)
            text = self._cached(source) if self.cache else self._tokenised(source)
            kept = _Kept(text, label_names(source), has_labels(source), origin)
            _alive.add(kept)
        count = len(kept.text.tokens)
        if count <= self.length:
            raise ConfigError(
                f"length={self.length}: the text has {count} tokens, which fill no block; give "
                "more text or a smaller length"
            )
        return kept

    def _cached(self, source: Source) -> TokenText:
        digest = hashlib.sha256(self.tokenizer.fingerprint.encode())
        for text, label in self._documents(source, "looking through"):
            digest.update(f"\n{label} {len(text)}\n{text}".encode(errors="replace"))
        file = paths.join(self.cache, digest.hexdigest()[:32])
        if paths.exists(f"{file}.npy") and paths.exists(f"{file}.npz"):
            try:
                return read_token_text(file)
            except MediaError as error:
                logging.getLogger(__name__).warning("%s; tokenising again", str(error))
        write_token_text(self._tokenised(source), file)
        return read_token_text(file)

    def _tokenised(self, source: Source) -> TokenText:
        return tokenise(self._documents(source, "tokenising"), self.tokenizer)

    def _documents(self, source: Source, doing: str) -> Iterator[tuple[str, int]]:
        with progress_bar(doing, len(source), "documents") as bar:
            for text, label in documents_of(source, self.language):
                yield text, label
                bar.update()


@dataclasses.dataclass(frozen=True, eq=False)
class _Kept:
    """What is left of a source once it is tokenised; `origin`: what makes equal ones."""

    text: TokenText
    label_names: tuple[str, ...]
    has_labels: bool
    origin: Any

    def __reduce__(self) -> tuple:
        return _Kept, (self.text, self.label_names, self.has_labels, None)


# What some blocks hold at present. Equality finds it, as a source need not have a hash.
_alive: weakref.WeakSet[_Kept] = weakref.WeakSet()


def _shared(origin: tuple) -> _Kept | None:
    for kept in list(_alive):
        with contextlib.suppress(ValueError):  # sources that hold arrays cannot be compared
            if kept.origin == origin:
                return kept
    return None
