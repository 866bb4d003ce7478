"""Speed of word vectors, against gensim."""

import dataclasses
import functools
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np

from ssl_jax.benchmarks.turns import typical
from ssl_jax.data.pipeline import train_dataset
from ssl_jax.data.sources.text import TextSource
from ssl_jax.data.sources.token_blocks import TokenBlocks
from ssl_jax.data.tokenizers import Words as Vocabulary
from ssl_jax.experiment import Experiment
from ssl_jax.methods.text.word_vectors import WordVectors
from ssl_jax.models.word_table import WordTable
from ssl_jax.optim import Optimizer
from ssl_jax.train import train_step
from ssl_jax.training.start import starter

# Name, and what of WordVectors' knobs it is.
KINDS = {
    "CBOW": {"kind": "cbow"},
    "CBOW, noise shared by 10 centres": {"kind": "cbow", "shared": 10},
    "skip-gram": {"kind": "skipgram"},
    "skip-gram, noise shared by 10 centres": {"kind": "skipgram", "shared": 10},
}


@dataclasses.dataclass(frozen=True)
class Words:
    """Words of the text per second by the clock, before sub-sampling, with all that a step takes.

    Where gensim is installed, also ours divided by its own, on as many threads as there are cores.
    Its plain CBOW and skip-gram are what those of shared noise are compared with too.

    Attributes:
      vocabulary: words, of frequencies in proportion to 1 / rank.
      width, window, negatives: of the vectors.
      batch, length: rows of a batch and words of each. gensim's sentences are as long.
      steps: of a turn.
      turns: each side of a comparison runs so often; the median counts.
    """

    vocabulary: int = 20_000
    width: int = 100
    window: int = 5
    negatives: int = 5
    batch: int = 16
    length: int = 1000
    steps: int = 8
    turns: int = 3

    def rows(self) -> Iterator[tuple[str, float]]:
        """Names and numbers, as they are measured."""
        count = self.steps * self.batch * self.length
        sentences = self._sentences(count)
        gensim = importlib.util.find_spec("gensim") is not None
        for name, knobs in KINDS.items():
            with tempfile.TemporaryDirectory() as folder:
                sides = [self._ours(folder, sentences, knobs)]
            if gensim:
                sides.append(self._theirs(sentences, knobs["kind"]))
            seconds = typical(self.turns, *sides, clock=time.perf_counter)
            yield f"words: {name}, words per second", count / seconds[0]
            if gensim:
                yield f"words: {name}, words per second by gensim's", seconds[1] / seconds[0]
            else:
                print(f"words: {name} is not compared: gensim is not installed")

    def _sentences(self, count: int) -> list[list[str]]:
        """Rows of words; each word at least once."""
        rng, ranks = np.random.default_rng(0), np.arange(1, self.vocabulary + 1)
        drawn = rng.choice(self.vocabulary, count, p=1 / ranks / np.sum(1 / ranks))
        drawn[rng.permutation(count)[: self.vocabulary]] = ranks - 1
        names = [f"w{number}" for number in range(self.vocabulary)]
        rows = drawn.reshape(-1, self.length).tolist()
        return [[names[number] for number in row] for row in rows]

    def _ours(self, folder: str, sentences: list[list[str]], knobs: dict) -> Callable[[], None]:
        text, vocabulary = (os.path.join(folder, name) for name in ("text.txt", "words.txt"))
        with open(text, "w", encoding="utf-8") as file:
            # One word more ends the last block.
            file.write(" ".join(word for row in sentences for word in row) + " w0")
        with open(vocabulary, "w", encoding="utf-8") as file:
            file.writelines(f"w{number} 1\n" for number in range(self.vocabulary))
        tokenizer = Vocabulary(vocabulary)
        experiment = Experiment(
            source=TokenBlocks(TextSource(text), tokenizer, self.length),
            method=WordVectors(
                WordTable(width=self.width),
                tokenizer,
                window=self.window,
                negatives=self.negatives,
                length=self.length,
                **knobs,
            ),
            optimizer=Optimizer(learning_rate=0.025, momentum=0.0),
            steps=self.steps,
            batch_size=self.batch,
        )
        method, optimizer = experiment.method, experiment.optimizer.build(self.steps)
        dataset = train_dataset(experiment.source, method.views, self.batch, seed=0)
        state = jax.jit(starter(optimizer, experiment))()
        counted = method.refresh(None, experiment.source, state.key).state
        held = [state.replace(state=counted)]
        step = jax.jit(
            functools.partial(train_step, method, optimizer, experiment), donate_argnums=0
        )

        def run():
            for number in range(self.steps):
                held[0], _ = step(held[0], dataset[number])
            jax.block_until_ready(held[0])

        run()  # compiles
        return run

    def _theirs(self, sentences: list[list[str]], kind: str) -> Callable[[], None]:
        from gensim.models import Word2Vec

        model = Word2Vec(
            vector_size=self.width,
            window=self.window,
            negative=self.negatives,
            min_count=1,
            sample=1e-3,
            sg=int(kind == "skipgram"),
            workers=os.cpu_count() or 1,
        )
        model.build_vocab(sentences)
        return lambda: model.train(sentences, total_examples=len(sentences), epochs=1)
