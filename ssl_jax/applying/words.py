"""What a run of word vectors has learnt: words near others, and files that other programs read."""

from collections.abc import Iterator, Sequence

import numpy as np

from ssl_jax.data.word_vectors_file import write_word_vectors
from ssl_jax.scores.word_vectors import in_words, nearest_words, places_of, word_vectors
from ssl_jax.solvers.probe import unit

NEIGHBOURS = 10


def tell_words(frozen, asked: Sequence[str], output: str = "") -> Iterator[str]:
    """Yields a line for each word with those nearest to it by cosine, and writes all vectors.

    Args:
      frozen: of `WordVectors`.
      asked: words.
      output: a file, binary if it ends in .bin and text otherwise; '': none is written.

    Raises ConfigError for a word that the vocabulary lacks, or a file that cannot be written.
    """
    words, vectors = word_vectors(frozen)
    queries = places_of(asked, words)
    if queries:
        found, cosines = nearest_words(unit(vectors), np.array(queries), NEIGHBOURS)
        for word, *row in zip(asked, found, cosines, strict=True):
            yield f"{word}: {in_words(words, *row)}"
    if output:
        write_word_vectors(output, words, vectors)
        yield f"{output}: {len(words)} words of {vectors.shape[1]} numbers"
