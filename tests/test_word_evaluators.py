"""Word vectors after training: files of word2vec, analogies, similarity, nearest words."""

import gzip
import itertools
import pathlib
import tracemalloc
import types

import numpy as np
import pytest
from scipy import stats

from ssl_jax.applying.words import tell_words
from ssl_jax.config import ConfigError
from ssl_jax.data.tokenizers import Bytes
from ssl_jax.data.word_vectors_file import read_word_vectors, write_word_vectors
from ssl_jax.evals.nearest_words import NearestWords
from ssl_jax.evals.word_analogies import WordAnalogies, answers
from ssl_jax.evals.word_similarity import WordSimilarity
from ssl_jax.solvers.probe import unit

RECORDED = pathlib.Path(__file__).parent / "recorded"
# As recorded/make_word_vectors.py has it.
GENSIM = np.array([[0.1, -2.5e-8, 3.0], [1 / 3, 7.25, -1.0], [0.0, 1e20, -0.0]], np.float32)


def trained(vectors: dict[str, tuple[float, ...]]):
    """A network with these vectors, as evaluators are handed it."""
    rows = np.array([[0.0] * len(next(iter(vectors.values()))), *vectors.values()], np.float32)
    tokenizer = types.SimpleNamespace(words=("", *vectors))
    method = types.SimpleNamespace(tokenizer=tokenizer, word_vectors=lambda variables: rows)
    return types.SimpleNamespace(method=method, variables={})


# Files


@pytest.mark.parametrize("name", ["gensim.bin", "gensim.txt"])
def test_files_of_gensim_are_read(name):
    words, vectors = read_word_vectors(str(RECORDED / name))
    assert words == ("the", "naïve", "don't")
    np.testing.assert_array_equal(vectors, GENSIM)


@pytest.mark.parametrize("name", ["vectors.bin", "vectors.txt", "vectors.bin.gz", "vectors.txt.gz"])
def test_what_is_written_is_read_back_to_the_bit(tmp_path, name):
    words = ("the", "naïve", "don't", "猫")
    vectors = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    vectors[3] = np.frombuffer(b"\n a\x00" * 5, np.float32)  # bytes that separate elsewhere
    path = str(tmp_path / "new" / name)
    write_word_vectors(path, words, vectors)
    found, rows = read_word_vectors(path)
    assert found == words
    np.testing.assert_array_equal(rows, vectors)
    whole = pathlib.Path(path).read_bytes()
    if name.endswith(".gz"):
        assert gzip.decompress(whole).startswith(b"4 5\n")


def test_a_file_without_first_line_is_read(tmp_path):
    (tmp_path / "glove.txt").write_text("the 0.5 1 -2\nof 0.25 0 1e-3\n")
    words, vectors = read_word_vectors(str(tmp_path / "glove.txt"))
    assert words == ("the", "of")
    np.testing.assert_array_equal(vectors, np.float32([[0.5, 1, -2], [0.25, 0, 1e-3]]))


@pytest.mark.parametrize("first", ["", "2000 100\n"])
def test_a_text_file_is_read_in_little_more_memory_than_its_numbers(tmp_path, first):
    rows = np.random.default_rng(0).normal(size=(2000, 100)).round(3)
    lines = (f"w{n} " + " ".join(map(str, row)) + "\n" for n, row in enumerate(rows))
    (tmp_path / "v.txt").write_text(first + "".join(lines))
    tracemalloc.start()
    try:
        vectors = read_word_vectors(str(tmp_path / "v.txt"))[1]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(vectors, np.float32(rows))
    # A float32 and its text, which is up to seven bytes; as Python objects more than forty.
    assert peak < 20 * vectors.size


def test_broken_files_are_named(tmp_path):
    whole = (RECORDED / "gensim.bin").read_bytes()
    for name, data in {
        "cut.bin": whole[:-2],
        "text.bin": b"no numbers here",
        "short.txt": b"3 2\na 1 2\nb 3 4\n",
        "uneven.txt": b"2 2\na 1 2\nb 3\n",
        "words.txt": b"2 2\na 1 2\nb 3 c\n",
        "many.txt": b"99999999999 300\na 1 2\n",
        "many.bin": b"99999999999 300\na    ",
        "long.txt": b"1 2\na 1 2\nb 3 4\n",
        "empty.txt": b"",
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ConfigError, match=f"{name}: no word vectors of word2vec"):
            read_word_vectors(str(tmp_path / name))
    packed = bytearray(gzip.compress(whole))
    (tmp_path / "cut.bin.gz").write_bytes(packed[:-12])
    packed[14] ^= 0xFF  # within the first bytes that say how it is compressed
    (tmp_path / "changed.bin.gz").write_bytes(packed)
    for name in ("missing.bin", "cut.bin.gz", "changed.bin.gz"):
        with pytest.raises(ConfigError, match="cannot be read as word vectors"):
            read_word_vectors(str(tmp_path / name))
    with pytest.raises(ConfigError, match="no place for the word 'new york'"):
        write_word_vectors(str(tmp_path / "a.txt"), ("new york",), np.zeros((1, 2)))


# Evaluators


def test_similarity_is_the_rank_correlation_over_known_pairs(tmp_path):
    rng = np.random.default_rng(0)
    names = ["tiger", "cat", "book", "paper", "king"]
    frozen = trained({name: tuple(rng.normal(size=3)) for name in names})
    pairs = [(a, b, float(rng.integers(0, 5))) for a, b in itertools.combinations(names, 2)]
    cosines = [
        np.dot(*(unit(frozen.method.word_vectors({}))[names.index(w) + 1] for w in pair[:2]))
        for pair in pairs
    ]
    expected = stats.spearmanr(cosines, [pair[2] for pair in pairs]).statistic
    lines = [f"{a.title()}{{0}}{b}{{0}}{r}" for a, b, r in [*pairs, ("king", "queen", 8.5)]]
    for mark, titles in ((",", "Word 1,Word 2,Human (mean)\n"), ("\t", ""), (" ", "# rated\n")):
        file = tmp_path / "pairs"
        file.write_text(titles + "\n".join(lines).format(mark))
        found = dict(WordSimilarity(str(file)).run(frozen))
        assert found["words"] == pytest.approx(expected)
        assert found["words/oov"] == pytest.approx(1 / 11)
    file.write_text("a,b,1\nc,d,x\n")
    with pytest.raises(ConfigError, match=":2: should be two words and a rating"):
        WordSimilarity(str(file)).check(frozen)
    file.write_text("a,b,1\nc,d,2\n")
    with pytest.raises(ConfigError, match="0 of 2 pairs in the vocabulary"):
        list(WordSimilarity(str(file)).run(frozen))


QUESTIONS = """: capital-common-countries
Athens Greece Oslo Norway
Oslo Norway Athens Greece
Athens Greece Oslo Atlantis
: gram1-adjective-to-adverb
calm calmly free freely
"""


def test_analogies_are_answered_by_the_nearest_other_word(tmp_path):
    # A country is its capital and one step to the side; 'freely' lies elsewhere.
    vectors = {
        **{"athens": (1, 0.2, 0, 0), "greece": (1, 0.2, 1, 0), "oslo": (0.2, 1, 0, 0)},
        **{"norway": (0.2, 1, 1, 0), "calm": (0, -1, 0, 1), "calmly": (0, -1, 0, 2)},
        **{"free": (-1, 0, 0, 1), "freely": (1, 0, 0, -1)},
    }
    file = tmp_path / "questions-words.txt"
    file.write_text(QUESTIONS)
    frozen = trained(vectors)
    found = dict(WordAnalogies(str(file)).run(frozen))
    assert found == {
        "words": pytest.approx(2 / 3),
        "words/semantic": 1.0,
        "words/syntactic": 0.0,
        "words/capital-common-countries": 1.0,
        "words/gram1-adjective-to-adverb": 0.0,
        "words/oov": 0.25,
    }
    few = dict(WordAnalogies(str(file), common=4).run(frozen))
    assert few["words"] == 1
    assert few["words/oov"] == 0.5
    assert "words/syntactic" not in few
    file.write_text(": a\nb c d\n")
    with pytest.raises(ConfigError, match=":2: should be ': section' or four words"):
        WordAnalogies(str(file)).check(frozen)


def test_analogies_against_their_definition():
    rng = np.random.default_rng(0)
    rows = unit(rng.normal(size=(40, 5)))
    questions = np.array([rng.permutation(40)[:3] for _ in range(300)])
    for (a, b, c), found in zip(questions, answers(rows, questions), strict=True):
        others = [k for k in range(40) if k not in (a, b, c)]
        best = max(others, key=lambda k: rows[k] @ rows[b] - rows[k] @ rows[a] + rows[k] @ rows[c])
        assert found == best


VECTORS = {"cat": (1.0, 0.1), "dog": (1.0, 0.2), "car": (0.0, 1.0), "bus": (0.2, 1.0)}


def test_nearest_words_are_drawn():
    evaluator = NearestWords(words=("cat", "bus"), neighbours=2)
    ((name, picture),) = evaluator.run(trained(VECTORS))
    assert name == "nearest words"
    assert picture.dtype == np.uint8
    assert picture.min() < 100  # something is written
    with pytest.raises(ConfigError, match="the vocabulary has no word 'cart'; did you mean"):
        NearestWords(words=("cart",)).check(trained(VECTORS))


@pytest.mark.parametrize("file", ["pairs.csv", "questions-words.txt"])
def test_a_method_without_word_vectors_is_refused_before_training(tmp_path, file):
    (tmp_path / "pairs.csv").write_text("a,b,1\n")
    (tmp_path / "questions-words.txt").write_text(": a\na b c d\n")
    evaluator = {"pairs.csv": WordSimilarity, "questions-words.txt": WordAnalogies}[file]
    # Margin has words and a knob `vectors`, the name of a file.
    margin = types.SimpleNamespace(vectors="", tokenizer=types.SimpleNamespace(words=("", "a")))
    for method in (margin, types.SimpleNamespace(tokenizer=Bytes())):
        frozen = types.SimpleNamespace(method=method, variables={})
        for asked in (evaluator(str(tmp_path / file)), NearestWords()):
            with pytest.raises(ConfigError, match="SimpleNamespace has no word vectors"):
                asked.check(frozen)
            with pytest.raises(ConfigError, match="SimpleNamespace has no word vectors"):
                list(asked.run(frozen))


def test_a_run_tells_near_words_and_writes_its_vectors(tmp_path):
    path = str(tmp_path / "vectors.bin")
    near, written = tell_words(trained(VECTORS), ["cat"], path)
    assert near == "cat: dog 1.00, bus 0.29, car 0.10"
    assert written == f"{path}: 4 words of 2 numbers"
    words, vectors = read_word_vectors(path)
    assert words == tuple(VECTORS)
    np.testing.assert_array_equal(vectors, np.float32([*VECTORS.values()]))
