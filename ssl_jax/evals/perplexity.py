"""How well a language model predicts held-out text, beside what counting tokens does."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int32

from ssl_jax.config import ConfigError
from ssl_jax.data.chosen import Chosen
from ssl_jax.data.record import Source
from ssl_jax.data.spread import spread
from ssl_jax.evals.pretext import check_fills, puzzle_batches
from ssl_jax.knobs import at_least
from ssl_jax.objectives.tokens import bits_per_byte
from ssl_jax.scores.ngrams import ngram_losses


@dataclasses.dataclass(frozen=True)
class Perplexity:
    """Nats per token on held-out text: of the model, and of counts in the training text.

    Yields rows 'model', 'uniform' (every token as likely), 'unigram' and 'bigram' (as often as in
    the training text, given the token before; add-one smoothing), each with '/perplexity', that is
    e^nats, and '/accuracy', how often the most likely token is the right one.

    Where a method predicts every token from those before it, '/bits_per_byte' too: the one number
    to compare between tokenizers; 8 if all bytes are as likely. Of methods that hide tokens, the
    'model' row is of the hidden ones alone, without sentinels; counts are of all tokens, since any
    is as likely to be hidden.

    Attributes:
      train: blocks of tokens (`TokenBlocks`) whose counts are compared with.
      test: held-out blocks.
      batch_size: blocks at once; as many blocks of test count as fill whole batches.
      limit: at most so many blocks of test, spread evenly; 0: all.
      counted: at most so many blocks of train, likewise.
      seed: of what is hidden.
    """

    train: Source
    test: Source
    batch_size: int = 16
    limit: int = 0
    counted: int = 0
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        at_least(self, 1, "batch_size")
        at_least(self, 0, "limit", "counted", "seed")

    def check(self, frozen) -> None:
        """ConfigError for another kind of method or source, or too few blocks."""
        if not hasattr(frozen.method, "tokenizer"):
            name = type(frozen.method).__name__
            raise ConfigError(f"perplexity: {name} has no tokenizer, so is no language model")
        check_fills(len(_some(self.test, self.limit)), self.batch_size)
        for source in (self.train, self.test):
            if "tokens" not in source[0].extra:
                raise ConfigError("perplexity: give train and test as TokenBlocks(...)")

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError if the blocks do not fill a batch."""
        test = _some(self.test, self.limit)
        # Model and counts are scored on the same blocks.
        test = _some(test, len(test) // self.batch_size * self.batch_size)
        batches = puzzle_batches(frozen, test, self.batch_size, self.seed)
        results = [frozen.puzzle(batch, key) for batch, key in batches]
        means = {name: float(np.mean([r[name] for r in results])) for name in results[0]}
        words = "words_" if "words_loss" in means else ""  # without what is not a word
        accuracy = "words_accuracy" if "words_accuracy" in means else "accuracy"
        counted = ngram_losses(
            _tokens(_some(self.train, self.counted)), _tokens(test), frozen.method.tokenizer.size
        )
        rows = {"model": (means[f"{words}loss"], means[accuracy]), **counted}
        # How many bytes a token stands for, where the method predicts all of them.
        each = [record.extra["bytes"] / (len(record.extra["tokens"]) - 1) for record in test]
        for name, (loss, accuracy) in rows.items():
            yield name, loss
            yield f"{name}/perplexity", float(np.exp(loss))
            yield f"{name}/accuracy", accuracy
            if "bits_per_byte" in means:
                yield f"{name}/bits_per_byte", float(bits_per_byte(loss, 1.0, float(np.mean(each))))


def _some(source: Source, limit: int) -> Source:
    return Chosen(source, tuple(spread(range(len(source)), limit)))


def _tokens(source: Source) -> Int32[np.ndarray, "n l"]:
    return np.stack([source[index].extra["tokens"] for index in range(len(source))])
