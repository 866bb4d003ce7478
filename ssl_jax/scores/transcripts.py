"""What a network wrote down against what was said: error rates of words and of characters."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from ssl_jax.config import ConfigError


class Errors(NamedTuple):
    """Of all texts together: edits over units of the references. 1.0 is 100 %, and it may be more.

    `units` counts the words or characters of the references.
    """

    rate: float
    substitutions: int
    deletions: int
    insertions: int
    units: int


def collapsed(path: Int[np.ndarray, "t"]) -> Int[np.ndarray, "l"]:
    """The classes of a path of CTC: repeats are merged, then blanks (0) are left out.

    Negative entries, steps behind the end, count as blanks.
    """
    path = np.maximum(path, 0)
    first = np.ones(len(path), bool)
    first[1:] = path[1:] != path[:-1]
    return path[first & (path > 0)]


def check_installed() -> None:
    """ConfigError without the package that error rates need."""
    _jiwer()


def word_errors(said: Sequence[str], heard: Sequence[str]) -> Errors:
    """WER: least substitutions, deletions and insertions of words, which spaces part.

    An empty reference contributes insertions only. ConfigError if all are empty, or without the
    package `jiwer`.
    """
    return _errors(_jiwer().process_words, "word", said, heard)


def character_errors(said: Sequence[str], heard: Sequence[str]) -> Errors:
    """CER, spaces between words included: the measure for scripts without spaces. See above."""
    return _errors(_jiwer().process_characters, "character", said, heard)


def _errors(process, unit: str, said: Sequence[str], heard: Sequence[str]) -> Errors:
    if not any(text.strip() for text in said):
        raise ConfigError(f"of {len(said)} references none has a {unit}: there is no error rate")
    found = process([*said], [*heard])
    edits = found.substitutions, found.deletions, found.insertions
    units = found.hits + found.substitutions + found.deletions
    return Errors(sum(edits) / units, *edits, units)


def _jiwer():
    try:
        import jiwer
    except ImportError as error:
        raise ConfigError("error rates need jiwer: pip install 'ssl_jax[speech]'") from error
    return jiwer
