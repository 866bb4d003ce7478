"""Vocabularies of whole words, by how often they are in a text."""

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int, Int32

from ssl_jax.config import ConfigError
from ssl_jax.data.documents import documents_of
from ssl_jax.data.record import Source
from ssl_jax.data.tokenizers import words_of
from ssl_jax.knobs import at_least


def count_words(texts: Iterable[str], min_count: int = 5, limit: int = 0) -> dict[str, int]:
    """How often each word is in the texts, most frequent first; equal ones in the alphabet's order.

    Args:
      min_count: words that are rarer are skipped.
      limit: only so many words, the most frequent ones; 0: all.

    Raises ConfigError if no word is left.
    """
    counts = collections.Counter()
    for text in texts:
        counts.update(words_of(text))
    common = [(word, n) for word, n in counts.items() if n >= min_count]
    if not common:
        raise ConfigError(f"no word is {min_count} times in the text (min_count)")
    common.sort(key=lambda pair: (-pair[1], pair[0]))
    return dict(common[:limit] if limit else common)


@dataclasses.dataclass(frozen=True)
class CountedWords:
    """`Words` without a file: a vocabulary counted in a source of text when it is first used.

    Otherwise as `data.tokenizers.Words`. For a text that takes seconds to count; for a large
    one write a file once, by python -m ssl_jax.tokenizer --kind=words.

    Attributes:
      source: records with captions.
      min_count: words that are rarer are skipped.
      limit: only so many words; 0: all.
    """

    source: Source
    min_count: int = 5
    limit: int = 0

    pad, bos, eos = 0, 0, 0

    def __post_init__(self):
        at_least(self, 1, "min_count")
        at_least(self, 0, "limit")

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
        lines = "\n".join(f"{w} {n}" for w, n in zip(self.words, self.counts, strict=True))
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

    @functools.cached_property
    def words(self) -> tuple[str, ...]:
        """The word of each id; '' of id 0.

        :meta private:
        """
        return ("", *self._counted)

    @functools.cached_property
    def counts(self) -> Int[np.ndarray, "k"]:
        """How often each word is in the source; 0 for id 0."""
        return np.array([0, *self._counted.values()])

    @property
    def mask(self) -> int:
        raise ConfigError("CountedWords has no tokens for mask, cls and sep; use another one")

    cls = sep = mask

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words) if number}

    @property
    def _counted(self) -> dict[str, int]:
        return _counted(self.source, self.min_count, self.limit)


@functools.lru_cache(maxsize=4)
def _counted(source: Source, min_count: int, limit: int) -> dict[str, int]:
    # A config has its tokenizer in the method and in each source, as objects of their own.
    return count_words((text for text, _ in documents_of(source)), min_count, limit)
