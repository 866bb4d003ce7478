"""The words and vectors of a trained run, and which words lie near others."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.knobs import did_you_mean


def check_word_vectors(frozen) -> None:
    """ConfigError for a method without word vectors."""
    method = frozen.method
    if not hasattr(method, "word_vectors"):
        raise ConfigError(f"{type(method).__name__} has no word vectors; WordVectors has")


def word_vectors(frozen) -> tuple[tuple[str, ...], Float[np.ndarray, "k d"]]:
    """(words, a row for each), most frequent words first; ConfigError if the run has none."""
    check_word_vectors(frozen)
    method = frozen.method
    return method.tokenizer.words[1:], method.word_vectors(frozen.variables)[1:]


def places_of(asked: Sequence[str], words: Sequence[str]) -> list[int]:
    """The place of each word among `words`; ConfigError for one that is not there."""
    places = {word: place for place, word in enumerate(words)}
    for word in asked:
        if word not in places:
            raise ConfigError(f"the vocabulary has no word {word!r}{_near(word, words)}")
    return [places[word] for word in asked]


def _near(word: str, words: Sequence[str]) -> str:
    near = did_you_mean(word, words)
    return near if near.startswith("; did") else ""  # and no list of thousands of words


def nearest_words(
    unit: Float[np.ndarray, "k d"], queries: Int[np.ndarray, "q"], count: int
) -> tuple[Int[np.ndarray, "q n"], Float[np.ndarray, "q n"]]:
    """(numbers, cosines) of the words nearest to each query, itself left out, nearest first.

    `unit`: all words' vectors, of length 1.
    """
    cosines = unit[queries] @ unit.T
    cosines[np.arange(len(queries)), queries] = -np.inf
    order = np.argsort(-cosines, axis=1, kind="stable")[:, : min(count, len(unit) - 1)]
    return order, np.take_along_axis(cosines, order, axis=1)


def in_words(
    words: Sequence[str], numbers: Int[np.ndarray, "n"], cosines: Float[np.ndarray, "n"]
) -> str:
    """'dog 0.81, horse 0.77'."""
    return ", ".join(f"{words[n]} {c:.2f}" for n, c in zip(numbers, cosines, strict=True))
