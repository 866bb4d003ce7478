"""CTC against all alignments one by one, greedy decoding, error rates by hand, alphabets."""

import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.alphabet import Alphabet
from ssl_jax.objectives.ctc import alignable, ctc
from ssl_jax.scores.transcripts import character_errors, collapsed, word_errors

T, K, L = 5, 3, 3


def merged(path):
    """By the definition: runs become one, then blanks go."""
    return tuple(k for k, _ in itertools.groupby(path) if k > 0)


def test_collapsing_a_path_is_merging_then_dropping_blanks():
    for path in itertools.product(range(K), repeat=T):
        assert tuple(collapsed(np.array(path))) == merged(path)
    assert collapsed(np.array([2, 2, 0, 2, -1, -1])).tolist() == [2, 2]
    assert collapsed(np.array([], int)).tolist() == []


@pytest.fixture(scope="module")
def compiled():
    return jax.jit(lambda *x: (*ctc(*x), jax.grad(lambda *y: ctc(*y)[0])(*x)))


def batch(seed=0, t=T):
    logits = np.random.default_rng(seed).normal(size=(8, t, K)).astype(np.float32) * 2
    steps = np.array([5, 5, 5, 4, 3, 2, 5, 1], np.int32)
    texts = [(1, 2), (1, 1, 2), (), (2,), (1, 1), (2, 1), (2, 2, 2), (1,)]
    target = np.array([[*text, *[0] * (L - len(text))] for text in texts], np.int32)
    return logits, steps, target, texts


def likelihood(logits, steps, text):
    """The sum over every path of so many steps that reads as the text."""
    powers = np.exp(logits[:steps].astype(np.float64))
    chances = powers / powers.sum(1, keepdims=True)
    paths = itertools.product(range(K), repeat=int(steps))
    return sum(
        np.prod([chances[time, k] for time, k in enumerate(path)])
        for path in paths
        if merged(path) == text
    )


def test_ctc_is_the_sum_over_all_alignments(compiled):
    logits, steps, target, texts = batch()
    expected = [-np.log(likelihood(*row)) for row in zip(logits, steps, texts, strict=True)]
    assert np.isfinite(expected).all()
    loss, metrics, _ = compiled(logits, steps, target)
    np.testing.assert_allclose(float(loss), np.mean(expected), rtol=2e-6)
    assert float(metrics["unaligned"]) == 0.0
    blank = [row[:count].argmax(1) == 0 for row, count in zip(logits, steps, strict=True)]
    np.testing.assert_allclose(float(metrics["blank"]), np.concatenate(blank).mean(), rtol=1e-6)


def test_what_is_behind_the_end_has_no_part(compiled):
    logits, steps, target, _ = batch()
    loss, _, gradient = compiled(logits, steps, target)
    behind = np.arange(T) >= steps[:, None]
    other = np.where(behind[..., None], 7.0, logits).astype(np.float32)
    assert compiled(other, steps, target)[0] == loss
    assert (np.asarray(gradient)[behind] == 0).all()
    # A longer batch and longer texts, of zeros.
    longer = np.pad(logits, ((0, 0), (0, 2), (0, 0)), constant_values=3.0)
    wider = np.pad(target, ((0, 0), (0, 1)))
    found = jax.jit(ctc)(longer, steps, wider)[0]
    np.testing.assert_allclose(float(found), float(loss), rtol=1e-6)


def test_a_text_that_does_not_fit_is_left_out_and_counted(compiled):
    logits, steps, target, texts = batch()
    steps = np.array([5, 3, 5, 4, 2, 2, 4, 0], np.int32)
    fits = [likelihood(*row) > 0 for row in zip(logits, steps, texts, strict=True)]
    fits[-1] = False  # no step at all
    assert np.asarray(alignable(jnp.asarray(steps), jnp.asarray(target))).tolist() == fits
    rows = [row for *row, fit in zip(logits, steps, texts, fits, strict=True) if fit]
    loss, metrics, gradient = compiled(logits, steps, target)
    np.testing.assert_allclose(
        float(loss), np.mean([-np.log(likelihood(*row)) for row in rows]), rtol=2e-6
    )
    assert float(metrics["unaligned"]) == 1 - np.mean(fits)
    assert np.isfinite(np.asarray(gradient)).all()
    nothing, _, gradient = compiled(logits, np.zeros(8, np.int32), target)
    assert float(nothing) == 0.0
    assert not np.asarray(gradient).any()


def test_the_gradient_is_that_of_the_sum_over_alignments(compiled):
    logits, steps, target, texts = batch(1)
    gradient = np.asarray(compiled(logits, steps, target)[2])
    for row, time, k in [(0, 0, 0), (1, 3, 1), (4, 2, 2), (6, 1, 0)]:
        moved = [logits.astype(np.float64) for _ in range(2)]
        for sign, one in zip((1, -1), moved, strict=True):
            one[row, time, k] += sign * 1e-4
        up, down = (-np.log(likelihood(one[row], steps[row], texts[row])) for one in moved)
        np.testing.assert_allclose(gradient[row, time, k], (up - down) / 2e-4 / 8, atol=1e-5)


# English, German, French, Mandarin and Japanese; by hand.
BY_HAND = [
    ("the cat sat on the mat", "the cat sat on mat", 1 / 6, 4 / 22),
    ("guten morgen welt", "guten morgen schöne welt", 1 / 3, 7 / 17),
    ("où est la gare", "ou est la gare", 1 / 4, 1 / 14),
    ("今天天气很好", "今天天汽好", 1.0, 2 / 6),
    ("猫が好きです", "犬が好きでした", 1.0, 3 / 6),
]


@pytest.mark.parametrize(("said", "heard", "words", "characters"), BY_HAND)
def test_error_rates_by_hand(said, heard, words, characters):
    assert word_errors([said], [heard]).rate == pytest.approx(words)
    assert character_errors([said], [heard]).rate == pytest.approx(characters)


def edits(said, heard):
    """The Levenshtein distance by its recursion."""
    if not said or not heard:
        return len(said) + len(heard)
    return min(
        edits(said[1:], heard) + 1,
        edits(said, heard[1:]) + 1,
        edits(said[1:], heard[1:]) + (said[0] != heard[0]),
    )


def test_error_rates_are_of_all_texts_together():
    said = ["a b c", "a", "", "b b"]
    heard = ["a c", "a b", "c c", ""]
    found = word_errors(said, heard)
    count = sum(edits(s.split(), h.split()) for s, h in zip(said, heard, strict=True))
    assert found.units == 6
    assert found.substitutions + found.deletions + found.insertions == count
    assert found.rate == pytest.approx(count / 6)
    letters = sum(edits(s, h) for s, h in zip(said, heard, strict=True))
    assert character_errors(said, heard).rate == pytest.approx(letters / sum(map(len, said)))


def test_without_any_reference_there_is_no_rate():
    with pytest.raises(ConfigError, match="of 2 references none has a word"):
        word_errors(["", " "], ["a", ""])


def test_error_rates_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(ConfigError, match=r"need jiwer: pip install 'ssl_jax\[speech\]'"):
        character_errors(["a"], ["b"])


def test_an_alphabet_goes_there_and_back():
    english = Alphabet()
    assert english.size == 29
    classes = english.encode("DON’T  stop -- now!")
    assert english.decode(classes) == "don't stop now"
    assert (classes > 0).all()
    assert english.encode("... !").tolist() == []
    assert english.decode([1, 2, 1, 1, 3, 1]) == "a b"


@pytest.mark.parametrize(
    ("letters", "accents", "text", "normal"),
    [
        ("abcdefghijklmnopqrstuvwxyz", True, "L'Été", None),
        ("abcdefghijklmnopqrstuvwxyz", False, "L'Été", "l ete"),
        ("abcdefghijklmnopqrstuvwxyzäöü", True, "Straße über", "strasse über"),
        ("αβγδεζηθικλμνξοπρστυφχψω", False, "Ένας σκύλος.", "ενασ σκυλοσ"),
        ("абвгдежзийклмнопрстуфхцчшщъыьэюя", True, "«Еж»", "еж"),
        ("猫犬がのをすきでだい好", True, "猫が好きです。", "猫が好きです"),
        ("abc", True, "ａＢ\u200bc", "ab c"),
    ],
)
def test_texts_are_normalised(letters, accents, text, normal):
    alphabet = Alphabet(letters, accents)
    if normal is None:
        assert alphabet.unknown(text) == "é"
        with pytest.raises(ConfigError, match="'é', no letters of the alphabet"):
            alphabet.encode(text)
    else:
        assert alphabet.normalised(text) == normal
        assert alphabet.decode(alphabet.encode(text)) == normal


@pytest.mark.parametrize("letters", ["", "aba", "aB", "a b", "a|", "aß"])
def test_an_alphabet_of_no_use_is_refused(letters):
    with pytest.raises(ConfigError, match="letters="):
        Alphabet(letters)
