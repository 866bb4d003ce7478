"""The captions of a source in invented languages beside its own, where no translations are."""

import dataclasses
import zlib

import numpy as np

from ssl_jax.data.record import Record, Source
from ssl_jax.data.tokenizers import words_of
from ssl_jax.knobs import given

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
SYLLABLES = 2  # of a word


@dataclasses.dataclass(frozen=True)
class InventedLanguages:
    """A source whose captions are also said in other languages, in the same seconds.

    A language has a word of its own for each word, always the same, and the same order of words.
    No two languages share words but by chance, so that one that is not trained on cannot be
    understood: what a network makes of it is no better than chance.

    Attributes:
      source: records with captions.
      languages: codes; ISO 639 leaves 'qaa' to 'qtz' to whoever needs some.
    """

    source: Source
    languages: tuple[str, ...] = ("qaa", "qab")

    def __post_init__(self):
        given(self, "languages")

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        record = self.source[index]
        others = (
            dataclasses.replace(caption, text=said_in(language, caption.text), language=language)
            for language in self.languages
            for caption in record.captions
        )
        return dataclasses.replace(record, captions=(*record.captions, *others))


def said_in(language: str, text: str) -> str:
    """A text in an invented language."""
    return " ".join(_word(language, word) for word in words_of(text))


def _word(language: str, word: str) -> str:
    rng = np.random.default_rng(zlib.crc32(f"{language}/{word}".encode()))
    return "".join(
        CONSONANTS[rng.integers(len(CONSONANTS))] + VOWELS[rng.integers(len(VOWELS))]
        for _ in range(SYLLABLES)
    )
