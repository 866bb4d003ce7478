"""Do cosines of word vectors agree with how similar people find the words?"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.scores.rank_correlation import spearman
from ssl_jax.scores.word_vectors import check_word_vectors, word_vectors
from ssl_jax.solvers.probe import unit


@dataclasses.dataclass(frozen=True)
class WordSimilarity:
    """Spearman's rank correlation between cosines and people's ratings of pairs of words.

    Yields 'words', the correlation over the pairs of which both words are in the vocabulary, and
    'words/oov', the share of pairs that are left out because one is not. Numbers of vocabularies
    that differ are not comparable.

    Attributes:
      file: lines of two words and a rating, separated by tabs or commas, with a line of titles or
        without: combined.csv or combined.tab of WordSim-353 (Finkelstein et al. 2002), its parts
        wordsim_similarity_goldstandard.txt and ..._relatedness_... (Agirre et al. 2009), or of MEN,
        separated by spaces.
    """

    file: str
    every: int = 0

    def check(self, frozen) -> None:
        """ConfigError for a method without word vectors, or a file that cannot be read."""
        check_word_vectors(frozen)
        read_pairs(self.file)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError if fewer than three pairs are in the vocabulary."""
        words, vectors = word_vectors(frozen)
        places, rows = {word: place for place, word in enumerate(words)}, unit(vectors)
        pairs = read_pairs(self.file)
        known = [(places[a], places[b], r) for a, b, r in pairs if a in places and b in places]
        if len(known) < 3:
            raise ConfigError(f"{self.file}: {len(known)} of {len(pairs)} pairs in the vocabulary")
        first, second, ratings = map(np.array, zip(*known, strict=True))
        cosines = (rows[first] * rows[second]).sum(1)
        yield "words", spearman(cosines.astype(np.float64), ratings)
        yield "words/oov", 1 - len(known) / len(pairs)


def read_pairs(file: str) -> list[tuple[str, str, float]]:
    """(word, word, rating), words in small letters; ConfigError for what is no such file."""
    try:
        text = paths.read_text(file).read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error})") from error
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        mark = next((m for m in ("\t", ",", ";") if m in line), None)
        fields = [field.strip() for field in line.split(mark)]
        try:
            first, second, rating = fields[0].lower(), fields[1].lower(), float(fields[2])
        except (IndexError, ValueError) as error:
            if pairs or number > 1:
                raise ConfigError(f"{file}:{number}: should be two words and a rating") from error
            continue  # the titles
        pairs.append((first, second, rating))
    if not pairs:
        raise ConfigError(f"{file}: has no pairs of words")
    return pairs
