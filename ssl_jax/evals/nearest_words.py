"""Which words does a network of word vectors consider similar?"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ssl_jax.data.spread import spread
from ssl_jax.drawing.layout import LINE, Tile, page, written
from ssl_jax.knobs import at_least
from ssl_jax.scores.word_vectors import check_word_vectors, nearest_words, places_of, word_vectors
from ssl_jax.solvers.probe import unit


@dataclasses.dataclass(frozen=True)
class NearestWords:
    """The words nearest to some words, by cosine, to look at. Yields the picture 'nearest words'.

    `python -m ssl_jax.apply words WORD... --workdir=RUN` prints the same of other words.

    Attributes:
      words: whose neighbours are drawn; (): `queries` of them, spread evenly over the `common` most
        frequent ones.
      queries, common: see there.
      neighbours: of each word.
    """

    words: tuple[str, ...] = ()
    queries: int = 10
    common: int = 1000
    neighbours: int = 8
    every: int = 0

    trained_only: ClassVar[bool] = True

    def __post_init__(self):
        at_least(self, 1, "queries", "common", "neighbours")

    def check(self, frozen) -> None:
        """ConfigError for a method without word vectors, or a word that the vocabulary lacks."""
        check_word_vectors(frozen)
        places_of(self.words, frozen.method.tokenizer.words)

    def run(self, frozen) -> Iterator[tuple[str, np.ndarray]]:
        """ConfigError as `check`."""
        words, vectors = word_vectors(frozen)
        queries = places_of(self.words, words)
        if not queries:
            queries = [*spread(range(min(self.common, len(words))), self.queries)]
        found, cosines = nearest_words(unit(vectors), np.array(queries), self.neighbours)
        lines = [
            f"{words[query]}: "
            + ", ".join(f"{words[n]} {c:.2f}" for n, c in zip(*row, strict=True))
            for query, row in zip(queries, zip(found, cosines, strict=True), strict=True)
        ]
        height = LINE * (len(lines) + 1)
        yield "nearest words", page([[Tile(written("\n".join(lines), height))]], height)
