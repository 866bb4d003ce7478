"""Letters as the classes of a network that writes down what it hears."""

import dataclasses
import functools
import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

from ssl_jax.config import ConfigError

BLANK, BOUNDARY = 0, 1
APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ`´", "'"))
# Punctuation, symbols, control and format characters, spaces.
BETWEEN_WORDS = "PSCZ"


@dataclasses.dataclass(frozen=True)
class Alphabet:
    """The blank of CTC (0), the word boundary (1) and letters (from 2 on, in their order).

    Texts are normalised before they are compared or learnt:
      1. Unicode NFKC (full-width letters, ligatures), small letters by `str.casefold` ('ß' becomes
         'ss', a final 'ς' an ordinary 'σ'), apostrophes of all kinds as "'".
      2. Without `accents`, marks are taken off letters: 'é' becomes 'e'.
      3. What is no letter of this alphabet but punctuation, a symbol or a space parts words; a row
         of such is one boundary.
    Anything else that is not among `letters`, such as a digit, has no class: see `unknown`.

    Attributes:
      letters: as they are after the first two rules; the default is English as LibriSpeech has it
        (with blank and boundary 29 classes, as wav2vec 2.0's but for its unused ones).
      accents: see above.
    """

    letters: str = "abcdefghijklmnopqrstuvwxyz'"
    accents: bool = True

    def __post_init__(self):
        if not self.letters or len(set(self.letters)) < len(self.letters):
            raise ConfigError(f"letters={self.letters!r} must be different letters, one or more")
        wrong = [one for one in self.letters if self._folded(one) != one or one.isspace()]
        if wrong or "|" in self.letters:
            raise ConfigError(
                f"letters={self.letters!r}: {(wrong or '|')[0]!r} never occurs in normalised text"
            )

    @property
    def size(self) -> int:
        """How many classes there are, blank and boundary included."""
        return len(self.letters) + 2

    def normalised(self, text: str) -> str:
        """The text as rules 1 to 3 make it, words parted by single spaces."""
        spaced = "".join(" " if self._parts(one) else one for one in self._folded(text))
        return " ".join(spaced.split())

    def unknown(self, text: str) -> str:
        """The characters of a text that have no class, each once."""
        known = {*self.letters, " "}
        return "".join(dict.fromkeys(one for one in self.normalised(text) if one not in known))

    def encode(self, text: str) -> Int32[np.ndarray, "l"]:
        """The classes of a normalised text's characters; ConfigError for one that has none."""
        unknown = self.unknown(text)
        if unknown:
            raise ConfigError(f"{text!r} holds {unknown!r}, no letters of the alphabet")
        return np.array([self._numbers[one] for one in self.normalised(text)], np.int32)

    def decode(self, classes: Sequence[int] | Int[np.ndarray, "l"]) -> str:
        """The text of classes, which are not collapsed here; blanks are left out."""
        signs = ["", " ", *self.letters]
        return " ".join("".join(signs[number] for number in classes).split())

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        letters = {one: number for number, one in enumerate(self.letters, start=BOUNDARY + 1)}
        return {" ": BOUNDARY, **letters}

    def _folded(self, text: str) -> str:
        text = unicodedata.normalize("NFKC", text.translate(APOSTROPHES)).casefold()
        if not self.accents:
            marked = unicodedata.normalize("NFD", text)
            text = "".join(one for one in marked if unicodedata.category(one) != "Mn")
        return unicodedata.normalize("NFC", text)

    def _parts(self, one: str) -> bool:
        return one not in self.letters and unicodedata.category(one)[0] in BETWEEN_WORDS
