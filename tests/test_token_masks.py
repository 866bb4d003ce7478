"""Which tokens are hidden: exact counts, never specials, and nothing lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.ops.token_masks import (
    collapsed,
    masked_counts,
    masked_words,
    noise_counts,
    noise_spans,
)

PAD, MASK, CLS, SEP = range(4)
SIZE = 30


def test_how_many_words_are_asked_for():
    # BERT's: 128 tokens at most 20, 512 at most 77; a half goes to the even number.
    assert masked_counts(128, 0.15, 20)[128] == 19
    counts = masked_counts(512, 0.15, 77)
    assert (counts[512], counts[10], counts[7], counts[0]) == (77, 2, 1, 1)
    assert masked_counts(512, 0.15, 20)[512] == 20


@pytest.fixture(scope="module")
def draws():
    """Rows of 20 places, of 18, 11 and 5 of which the first is [CLS] and the last [SEP]; masked
    ten thousand times."""
    rng = np.random.default_rng(0)
    text, there = np.zeros((3, 20), np.int32), np.zeros((3, 20), bool)
    for row, (begin, end) in enumerate(((0, 18), (9, 20), (3, 8))):
        text[row, begin:end] = [CLS, *rng.integers(4, SIZE, end - begin - 2), SEP]
        there[row, begin:end] = True
    special = np.isin(text, [PAD, CLS, SEP])

    @jax.jit
    @jax.vmap
    def masked(key):
        counts = masked_counts(20, 0.15, 4)
        arrays = map(jnp.asarray, (text, there, special))
        return masked_words(key, *arrays, counts, MASK, SIZE)

    found = jax.device_get(masked(jax.random.split(jax.random.key(0), 10_000)))
    return text, special, found


def test_every_draw_has_the_exact_count_and_no_special(draws):
    text, special, found = draws
    # round(0.15 n) of 18, 11 and 5
    np.testing.assert_array_equal(found.weight.sum(2), np.tile([3.0, 2.0, 1.0], (10_000, 1)))
    rows = np.arange(3)[:, None]
    asked = found.weight > 0
    assert not special[rows, found.places][asked].any()
    np.testing.assert_array_equal(text[rows, found.places], found.target)
    # Every place of a row as often as the others, and never twice in a draw.
    for row, count in enumerate((3, 2, 1)):
        places = found.places[:, row, :count]
        assert (np.diff(places) > 0).all()
        share = np.bincount(places.ravel(), minlength=20)[~special[row]] / 10_000
        np.testing.assert_allclose(share, count / (~special[row]).sum(), atol=0.03)


def test_eight_in_ten_are_hidden_one_is_drawn_and_one_stays(draws):
    text, _, found = draws
    asked = np.zeros((10_000, 3, 20), bool)
    np.put_along_axis(asked, found.places, found.weight > 0, axis=2)
    changed = found.text != text
    assert not changed[~asked].any()
    assert not changed[:, text <= SEP].any()
    rows = np.arange(3)[:, None]
    new = np.stack([found.text[k][rows, found.places[k]] for k in range(1000)])
    weight, target = found.weight[:1000] > 0, found.target[:1000]
    new, target = new[weight], target[weight]
    assert (new == MASK).mean() == pytest.approx(0.8 + 0.1 / SIZE, abs=0.02)
    # Of those drawn one in SIZE is the same word again.
    assert (new == target).mean() == pytest.approx(0.1 + 0.1 / SIZE, abs=0.02)
    drawn = new[(new != MASK) & (new != target)]
    assert set(np.unique(drawn)) >= {PAD, CLS, SEP, SIZE - 1}


def test_spans_have_exact_counts_and_nothing_is_lost():
    assert noise_counts(568, 0.15, 3.0) == (85, 28)  # 512 and 114 with sentinels and ends
    assert noise_counts(2, 0.15, 3.0) == (1, 1)
    length, noise, spans, sentinel = 40, 6, 2, 99

    @jax.jit
    def draw(key):
        text = jnp.tile(jnp.arange(length), (5000, 1))
        hidden = noise_spans(key, 5000, length, noise, spans)
        read = collapsed(text, hidden, sentinel, length - noise + spans)
        return hidden, read, collapsed(text, ~hidden, sentinel, noise + spans)

    hidden, read, written = map(np.asarray, draw(jax.random.key(0)))
    assert (hidden.sum(1) == noise).all()
    assert (np.diff(hidden.astype(int), prepend=0, axis=1) == 1).sum(1).tolist() == [spans] * 5000
    assert not hidden[:, 0].any()
    for row in range(50):  # put together again it is the text
        parts = iter(np.split(written[row], np.flatnonzero(written[row] > length))[1:])
        whole = []
        for token in read[row]:
            part = next(parts) if token > length else [token]
            assert token <= length or token == part[0]
            whole += part[1:].tolist() if token > length else part
        assert whole == list(range(length))
    marks = written[written > length].reshape(5000, spans)
    assert (marks == [sentinel, sentinel - 1]).all()
    # The first span is of 1 to 5 tokens, each as likely.
    first = (np.cumsum(np.diff(hidden.astype(int), prepend=0, axis=1) == -1, axis=1) == 0) & hidden
    share = np.bincount(first.sum(1), minlength=6)[1:] / 5000
    np.testing.assert_allclose(share, 0.2, atol=0.03)
