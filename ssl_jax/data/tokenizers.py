"""Tokenizers: text to whole numbers and back. Knobs of methods and of sources of text.

    tokenizer = Bytes()                           # any language, nothing to download
    tokenizer = TokenizersFile("wordpiece.json")  # of the library `tokenizers`
    tokenizer = SentencePiece("unigram.model")    # of the library `sentencepiece`
    tokenizer = Words("words.txt")                # whole words, for word vectors

`python -m ssl_jax.tokenizer` makes the files from the text of a source. All of them are small
picklable objects that read their file when they are first used.
"""

import dataclasses
import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Int32

from ssl_jax.config import ConfigError
from ssl_jax.data import paths

INSTALL = "pip install 'ssl_jax[text]'"
# What the specials are called in files; where one is missing, the next name's token serves as well:
# BERT ends a text with [SEP], GPT-2 has one token for all.
NAMES = {
    "pad": ("[PAD]", "<pad>", "<|pad|>", "[EOS]", "</s>", "<|endoftext|>", "[SEP]", "<sep>"),
    "bos": ("[BOS]", "<s>", "<bos>", "<|bos|>", "[CLS]", "<cls>", "<|endoftext|>", "</s>"),
    "eos": ("[EOS]", "</s>", "<eos>", "<|eos|>", "[SEP]", "<sep>", "<|endoftext|>"),
    "mask": ("[MASK]", "<mask>"),
    "cls": ("[CLS]", "<cls>", "[BOS]", "<s>", "<|endoftext|>"),
    "sep": ("[SEP]", "<sep>", "[EOS]", "</s>", "<|endoftext|>"),
}
SPECIALS = tuple(NAMES)


@runtime_checkable
class Tokenizer(Protocol):
    """What methods and sources use of a tokenizer.

    Beside the two functions it has `size`, how many ids there are, specials included; `pad`, `bos`,
    `eos`, `mask`, `cls` and `sep`, the ids of the specials (ConfigError for one that the user's
    file lacks and that no other can stand for); and `fingerprint`, a hash of what it maps: a run
    resumes with an equal one only.
    """

    def encode(self, text: str) -> Int32[np.ndarray, "l"]:
        """The ids of a text, without specials: '[MASK]' within it is text like any other."""

    def decode(self, ids: Sequence[int] | Int[np.ndarray, "l"]) -> str:
        """The text of ids; specials are skipped."""


@dataclasses.dataclass(frozen=True)
class Bytes:
    """The bytes of the text in UTF-8: a byte's id is its value + 6, after the six specials."""

    size = 262
    pad, bos, eos, mask, cls, sep = range(6)
    fingerprint = "bytes"

    def encode(self, text: str) -> Int32[np.ndarray, "l"]:
        return np.frombuffer(text.encode(errors="replace"), np.uint8).astype(np.int32) + 6

    def decode(self, ids: Sequence[int] | Int[np.ndarray, "l"]) -> str:
        """Bytes of incomplete characters become the replacement character."""
        values = np.asarray(ids, np.int64)
        return (values[values >= 6] - 6).astype(np.uint8).tobytes().decode(errors="replace")


class _Special:
    """An id of the file's tokenizer, of the attribute's name."""

    def __set_name__(self, owner: type, name: str):
        self.name = name

    def __get__(self, tokenizer: Any, owner: type) -> Any:
        return self if tokenizer is None else _special(tokenizer, self.name)


def _special(tokenizer: Any, name: str) -> int:
    vocabulary = tokenizer.specials
    for token in NAMES[name]:
        if token in vocabulary:
            return vocabulary[token]
    raise ConfigError(
        f"{tokenizer.path}: has no token for '{name}' ({' or '.join(NAMES[name][:2])}), which this "
        "method needs; use another tokenizer, or train one: python -m ssl_jax.tokenizer"
    )


@dataclasses.dataclass(frozen=True)
class TokenizersFile:
    """A file of the library `tokenizers`.

    Needs the extra `text`: pip install 'ssl_jax[text]'. A truncation or padding that the file asks
    for is ignored, as lengths are the method's affair.

    Attributes:
      path: a tokenizer.json, or BERT's vocab.txt. The latter does not say whether it is lower
        case: it is taken to be, and accents are removed, if it has Latin letters but no capital
        among them. A tokenizer.json says it.
    """

    path: str

    pad, bos, eos, mask, cls, sep = (_Special() for _ in range(6))

    def __post_init__(self):
        _check_there(self.path)

    def encode(self, text: str) -> Int32[np.ndarray, "l"]:
        return np.asarray(self._loaded.encode(text, add_special_tokens=False).ids, np.int32)

    def decode(self, ids: Sequence[int] | Int[np.ndarray, "l"]) -> str:
        return self._loaded.decode([int(i) for i in ids], skip_special_tokens=True)

    @functools.cached_property
    def size(self) -> int:
        return max(self.specials.values()) + 1  # there may be holes among the ids

    @functools.cached_property
    def fingerprint(self) -> str:
        return _hash(self)

    @functools.cached_property
    def specials(self) -> dict[str, int]:
        """The id of every token, specials and others."""
        return self._loaded.get_vocab(with_added_tokens=True)

    @functools.cached_property
    def _loaded(self) -> Any:
        try:
            import tokenizers
        except ImportError as error:
            raise ConfigError(f"TokenizersFile needs tokenizers: {INSTALL}") from error
        data = _read(self.path)
        try:
            if self.path.endswith(".json"):
                loaded = tokenizers.Tokenizer.from_buffer(data)
            else:
                loaded = _of_bert(_lines(data))
        except Exception as error:  # the library raises nothing more special
            raise ConfigError(
                f"{self.path}: is no tokenizer.json and no vocab.txt ({error})"
            ) from error
        loaded.no_truncation()
        loaded.no_padding()
        loaded.encode_special_tokens = True
        return loaded


def _of_bert(tokens: list[str]) -> Any:
    """The tokenizer of a vocab.txt: a token a line, whose id is the line's number from 0."""
    from tokenizers.implementations import BertWordPieceTokenizer

    vocabulary = {token.strip(" \t"): number for number, token in enumerate(tokens)}
    missing = [token for token in ("[UNK]", "[CLS]", "[SEP]") if token not in vocabulary]
    if missing:
        raise ValueError(f"has no line {missing[0]}")
    letters = "".join(token for token in vocabulary if not re.fullmatch(r"\[.*\]", token))
    lower = bool(re.search("[a-z]", letters)) and not re.search("[A-Z]", letters)
    # It keeps the Tokenizer that counts in `_tokenizer`.
    return BertWordPieceTokenizer(vocabulary, lowercase=lower)._tokenizer


@dataclasses.dataclass(frozen=True)
class SentencePiece:
    """A model of the library `sentencepiece`: unigram or BPE, as T5 and XLM-R have.

    Needs the extra `text`: pip install 'ssl_jax[text]'.

    Attributes:
      path: the .model file.
    """

    path: str

    pad, bos, eos, mask, cls, sep = (_Special() for _ in range(6))

    def __post_init__(self):
        _check_there(self.path)

    def encode(self, text: str) -> Int32[np.ndarray, "l"]:
        return np.asarray(self._loaded.EncodeAsIds(text), np.int32)

    def decode(self, ids: Sequence[int] | Int[np.ndarray, "l"]) -> str:
        dropped = set(self.specials.values())
        return self._loaded.DecodeIds([int(i) for i in ids if int(i) not in dropped])

    @property
    def size(self) -> int:
        return self._loaded.GetPieceSize()

    @functools.cached_property
    def fingerprint(self) -> str:
        return _hash(self)

    @functools.cached_property
    def specials(self) -> dict[str, int]:
        """The id of each special that the model has."""
        loaded = self._loaded
        known = {name for names in NAMES.values() for name in names}
        # What it lacks would be found as the id of the unknown.
        found = {name: loaded.PieceToId(name) for name in known}
        return {name: i for name, i in found.items() if loaded.IdToPiece(i) == name}

    @functools.cached_property
    def _loaded(self) -> Any:
        try:
            import sentencepiece
        except ImportError as error:
            raise ConfigError(f"SentencePiece needs sentencepiece: {INSTALL}") from error
        try:
            return sentencepiece.SentencePieceProcessor(model_proto=_read(self.path))
        except RuntimeError as error:
            raise ConfigError(f"{self.path}: is no model of sentencepiece") from error


@dataclasses.dataclass(frozen=True)
class Words:
    """Whole words in lower case, as word vectors have them. Unknown words are dropped.

    A word is a run of letters (with the marks that some scripts write on them), digits, underscores
    and apostrophes. Scripts without spaces, such as Japanese, have no words in this sense.
    Id 0 is padding and the end of a document, as `</s>` is in word2vec.

    Attributes:
      path: a text file in UTF-8 of lines "word count", most frequent first, as word2vec writes it.
    """

    path: str

    pad, bos, eos = 0, 0, 0

    def __post_init__(self):
        _check_there(self.path)

    def encode(self, text: str) -> Int32[np.ndarray, "l"]:
        ids = self._ids
        return np.fromiter((ids[word] for word in words_of(text) if word in ids), np.int32)

    def decode(self, ids: Sequence[int] | Int[np.ndarray, "l"]) -> str:
        return " ".join(self.words[int(i)] for i in ids if i > 0)

    @property
    def size(self) -> int:
        return len(self.words)

    @functools.cached_property
    def fingerprint(self) -> str:
        return _hash(self)

    @property
    def words(self) -> tuple[str, ...]:
        """The word of each id; '' of id 0."""
        return self._table[0]

    @property
    def counts(self) -> Int[np.ndarray, "k"]:
        """How often each word stands in the text that the vocabulary is of; 0 for id 0."""
        return self._table[1]

    @property
    def mask(self) -> int:
        raise ConfigError("Words has no tokens for mask, cls and sep; use another tokenizer")

    cls = sep = mask

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words) if number}

    @functools.cached_property
    def _table(self) -> tuple[tuple[str, ...], Int[np.ndarray, "k"]]:
        words, counts = [""], [0]
        try:
            lines = _lines(_read(self.path))
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self.path}: is no text in UTF-8 ({error})") from error
        for number, line in enumerate(lines, 1):
            fields = re.split("[ \t]+", line.strip(" \t"))
            if fields[0] == "</s>":  # word2vec's first
                continue
            if len(fields) != 2 or not fields[1].isdecimal():
                raise ConfigError(f"{self.path}:{number}: should be a word and its count")
            words.append(fields[0])
            counts.append(int(fields[1]))
        if len(set(words)) < len(words):
            twice = next(word for word in words if words.count(word) > 1)
            raise ConfigError(f"{self.path}: has the word {twice!r} twice")
        return tuple(words), np.asarray(counts, np.int64)


def words_of(text: str) -> Iterator[str]:
    """The words of a text in lower case, as `Words` takes them."""
    # One by one: a list of them takes fourteen times the memory of a long text.
    return (found[0] for found in _word().finditer(text.lower()))


@functools.cache
def _word() -> re.Pattern:
    # `\w` lacks marks, such as the vowels of Hindi, and would cut its words at them. Those
    # beyond the second plane only choose among forms of a letter.
    marks = (c for c in map(chr, range(0x20000)) if unicodedata.category(c)[0] == "M")
    return re.compile(rf"[\w'{''.join(marks)}]+")


def _check_there(path: str) -> None:
    try:
        there = paths.exists(path)
    except OSError as error:  # a URL of no store that can be read
        raise ConfigError(str(error)) from error
    if not there:
        raise ConfigError(
            f"there is no tokenizer {path!r}; python -m ssl_jax.tokenizer makes one from your text"
        )


def _read(path: str) -> bytes:
    try:
        return paths.read(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read as a tokenizer ({error})") from error


def _lines(data: bytes) -> list[str]:
    # Not by `splitlines`, which also splits at signs that may be words, such as U+2028 and U+0085.
    lines = data.decode("utf-8-sig").split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def _hash(tokenizer: Any) -> str:
    # Of the file, not of its name, as a run may move.
    digest = hashlib.sha256(type(tokenizer).__name__.encode() + b"\n" + _read(tokenizer.path))
    return digest.hexdigest()[:16]
