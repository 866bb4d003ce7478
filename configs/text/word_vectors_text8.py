"""CBOW on text8 with the settings of the released demo-word.sh: 200 numbers a word, 15 epochs.

    python -m ssl_jax.tokenizer --source=data/text8/text8.txt --kind=words --size=71291 \\
        --output=data/text8_words.txt
    python -m ssl_jax.train --config=text/word_vectors_text8.py --workdir=runs/words

Data: `text8`, the first 100 MB of Wikipedia's text in small letters, as data/text8/text8.txt; of
its words 71,290 are in it five times or more. WordSim-353's combined.csv and Google's
questions-words.txt in data/words. `:skipgram` is the same with skip-gram.
Cost: 15,673 steps of 16,000 words, not measured. As in the release, an epoch is of the 16,718,844
words of the text that are in the vocabulary.
On Linux and a CPU, GLIBC_TUNABLES=glibc.malloc.hugetlb=1 before the command made steps 1.3 (skip-
gram) to 1.5 times (CBOW) as fast on one core: their large arrays take fewer pages of memory.
Paper: no numbers for this corpus. Ours, in this setting: not measured.

Differs from the release: a step takes 16,000 words, in which a word counts as at most 32 of it.

Variants: `:python` trains on Python's own documentation in minutes on a CPU core, and reports what
a prediction costs on held-out text beside the best scores that know only how frequent words are
('frequencies'; in the report `unigram`); `:tiny` is four steps on some of it.

    :python, held out       loss of a prediction
    ours                    2.206, 2.210, 2.216
    shuffled control        2.690
    random init             4.158
    frequencies             2.649
    3 seeds, control 1, 3,000 steps, 1 minute on 1 CPU core

Nearest to 'string': hexadecimal, decoded, pem, strings; to 'file': files, filename, zipfile,
opened; to 'raise': raises, raised, overflowerror, oserror; to 'thread': lock, condition, activity,
owned.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.python_docs import PythonDocs
from ssl_jax.data.sources.text import TextSource
from ssl_jax.data.sources.token_blocks import TokenBlocks
from ssl_jax.data.tokenizers import Words
from ssl_jax.data.words import CountedWords
from ssl_jax.evals.nearest_words import NearestWords
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.word_analogies import WordAnalogies
from ssl_jax.evals.word_similarity import WordSimilarity
from ssl_jax.experiment import Experiment
from ssl_jax.methods.text.word_vectors import WordVectors
from ssl_jax.models.word_table import WordTable
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Linear

LINE = {"momentum": 0.0, "schedule": call(Linear, final=1e-4)}


def get_config(variant: str = ""):
    """The release's run, or a variant's."""
    return choose(variant, text8, skipgram, python, tiny)


def text8():
    words, rows, length = 16_718_844, 16, 1000
    tokenizer = call(Words, path="data/text8_words.txt")
    return call(
        Experiment,
        source=call(
            TokenBlocks,
            source=call(TextSource, path="data/text8/text8.txt"),
            tokenizer=tokenizer,
            length=length,
        ),
        method=call(
            WordVectors,
            text=call(WordTable, width=200),
            tokenizer=tokenizer,
            window=8,
            negatives=25,
            sample=1e-4,
            length=length,
            most=32,
        ),
        optimizer=call(Optimizer, learning_rate=0.05, **LINE),
        steps=15 * words // (rows * length),
        batch_size=rows,
        evaluators={
            "similarity": call(WordSimilarity, file="data/words/combined.csv", every=1000),
            "analogies": call(WordAnalogies, file="data/words/questions-words.txt", common=30_000),
            "nearest": call(NearestWords, words=("france", "king", "blue", "three", "walked")),
        },
    )


def skipgram():
    config = text8()
    config.method.kind = "skipgram"
    config.optimizer.learning_rate = 0.025
    return config


def python():
    """A small one."""
    train, test = (call(PythonDocs, split=split) for split in ("train", "test"))
    tokenizer, length, rows = call(CountedWords, source=train), 250, 8
    blocks, held_out = (
        call(TokenBlocks, source=source, tokenizer=tokenizer, length=length)
        for source in (train, test)
    )
    asked = ("list", "string", "file", "raise", "integer", "thread", "method", "returns")
    return call(
        Experiment,
        source=blocks,
        method=call(
            WordVectors,
            text=call(WordTable, width=64),
            tokenizer=tokenizer,
            length=length,
            most=32,
        ),
        optimizer=call(Optimizer, learning_rate=0.05, **LINE),
        steps=3000,
        batch_size=rows,
        evaluators={
            "pretext": call(Pretext, source=held_out, batch_size=rows),
            "nearest": call(NearestWords, words=asked),
        },
    )


def tiny():
    docs = call(PythonDocs, parts=("language",), limit=8)
    tokenizer = call(CountedWords, source=docs)
    blocks = call(TokenBlocks, source=docs, tokenizer=tokenizer, length=24)
    method = call(
        WordVectors,
        text=call(WordTable, width=8),
        tokenizer=tokenizer,
        window=2,
        negatives=3,
        length=24,
        most=4,
    )
    evaluators = {
        "pretext": call(Pretext, source=blocks, batch_size=8),
        "nearest": call(NearestWords, queries=2, neighbours=2),
    }
    return presets.tiny(method, (blocks, blocks), evaluators=evaluators)
