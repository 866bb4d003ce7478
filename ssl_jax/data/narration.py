"""Captions of a video with the seconds that they go with, for methods that learn from narration."""

import math

import numpy as np
from jaxtyping import Float32

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Caption, MediaError, Record
from ssl_jax.data.tokenizers import Tokenizer
from ssl_jax.data.word_vectors_file import read_word_vectors

LEAST = 1e-3  # seconds of a caption that must lie in the video


def narration(record: Record, language: str = "", end: float = math.inf) -> tuple[Caption, ...]:
    """The captions of a language, '' for any, in the order of their starts.

    Captions that begin after the video, or after `end` seconds, are skipped: they would be paired
    with what they do not describe. Raises MediaError if there are none.
    """
    captions = [c for c in record.need_captions() if language in ("", c.language)]
    if not captions:
        raise MediaError(f"{record.name}: has no captions in {language}")
    last = min(end, record.duration) - LEAST
    captions = [caption for caption in captions if caption.start <= last]
    if not captions:
        raise MediaError(f"{record.name}: all of its captions begin after {last + LEAST:.2f} s")
    return tuple(sorted(captions, key=lambda caption: caption.start))


def known_vectors(
    path: str, tokenizer: Tokenizer, otherwise: Float32[np.ndarray, "k d"]
) -> Float32[np.ndarray, "k d"]:
    """The rows of a file of word2vec for a tokenizer's words; a word that it lacks keeps its own.

    Raises ConfigError for vectors of another width, a file that knows none of the words, or a
    tokenizer whose tokens are no words.
    """
    if not hasattr(tokenizer, "words"):
        raise ConfigError(f"vectors={path}: {type(tokenizer).__name__} has no words; use Words")
    words, vectors = read_word_vectors(path)
    if vectors.shape[1] != otherwise.shape[1]:
        raise ConfigError(
            f"{path}: has vectors of {vectors.shape[1]} numbers where table.width is "
            f"{otherwise.shape[1]}"
        )
    rows = {word: row for row, word in enumerate(words)}
    found = [(k, rows[w]) for k, w in enumerate(tokenizer.words) if k and w in rows]
    if not found:
        raise ConfigError(f"{path}: has none of the {tokenizer.size - 1} words of the tokenizer")
    table = otherwise.copy()
    own, theirs = np.array(found).T
    table[own] = vectors[theirs]
    return table
