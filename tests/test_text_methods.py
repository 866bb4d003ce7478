"""What language models are given: blocks, hidden words and halves from elsewhere, gaps."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.tokenizers import Bytes
from ssl_jax.evals.perplexity import Perplexity
from ssl_jax.methods.text.autoregressive import Autoregressive
from ssl_jax.methods.text.masked import MaskedWords
from ssl_jax.methods.text.span_corruption import SpanCorruption
from ssl_jax.models.text_encoder import TextEncoder
from ssl_jax.models.transformer import Transformer

BOTH_SIDES = TextEncoder(Transformer(1, 1, 1), 4, 32, segments=2)
CAUSAL = TextEncoder(Transformer(1, 1, 1, causal=True), 4, 32)
RNG = np.random.default_rng(0)


def block(tokens, **more):
    tokens = np.asarray(tokens, np.int32)
    extra = {"tokens": tokens, "documents": tokens // 10, "bytes": np.float32(7), **more}
    return Record("block 0", 0, 0, 0.0, extra=extra)


def test_a_target_is_the_token_one_further():
    method = Autoregressive(CAUSAL, length=8, separate=True)
    views = method.views(block(range(6, 15)), RNG)
    np.testing.assert_array_equal(views["text"], range(6, 14))
    np.testing.assert_array_equal(views["target"], range(7, 15))
    np.testing.assert_array_equal(views["documents"], np.arange(6, 14) // 10)
    assert views["bytes"] == 7
    with pytest.raises(MediaError, match="is a block of length=8, the method has length=9"):
        Autoregressive(CAUSAL, length=9).views(block(range(6, 15)), RNG)


def test_a_second_half_is_the_own_one_or_another_rows():
    method = MaskedWords(BOTH_SIDES, length=13, most=1, next_sentence=True)
    # Each row has a byte of its own: whose half it is can be seen.
    rows = [method.views(block([20 + row] * 11), RNG) for row in range(64)]
    batch = {name: jnp.stack([row[name] for row in rows]) for name in rows[0]}
    marks = [Bytes.cls, *[20] * 5, Bytes.sep, *[20] * 5, Bytes.sep]
    np.testing.assert_array_equal(rows[0]["text"], marks)
    np.testing.assert_array_equal(rows[0]["segments"], [0] * 7 + [1] * 6)
    found = jax.device_get(jax.jit(lambda key: method.augment(batch, {}, key))(jax.random.key(0)))
    own = np.arange(20, 84)[:, None]
    # What was there: the text with the target in its place.
    text = found["text"].copy()
    np.put_along_axis(text, found["places"], found["target"], axis=1)
    assert (text[:, 1:6] == own).all()
    assert ((text[:, 7:12] != own).all(1) == found["random"]).all()
    assert (text[:, 7:12] == text[:, 7:8]).all()
    assert 20 < found["random"].sum() < 44
    np.testing.assert_array_equal(
        text[:, [0, 6, 12]], np.tile(np.array(marks)[[0, 6, 12]], (64, 1))
    )
    assert found["weight"].sum() == 64


def test_without_the_second_task_a_text_is_one_block():
    method = MaskedWords(BOTH_SIDES, length=6, most=2)
    views = method.views(block([9, 8, 7, 6, 5]), RNG)
    np.testing.assert_array_equal(views["text"], [Bytes.cls, 9, 8, 7, 6, Bytes.sep])
    assert not views["segments"].any()


def test_the_papers_text_of_568_tokens_gives_512_and_114():
    decoder = Transformer(1, 1, 1, causal=True)
    method = SpanCorruption(BOTH_SIDES, decoder)
    text = jnp.zeros((2, 568), jnp.int32)
    shapes = jax.eval_shape(lambda: method.augment({"text": text}, {}, jax.random.key(0)))
    assert (shapes["text"].shape, shapes["target"].shape) == ((2, 512), (2, 114))
    # T5's own: the first of 100 sentinels behind 32,000 tokens is 32,099.
    assert method.first_sentinel == Bytes.size + 99
    short = SpanCorruption(BOTH_SIDES, decoder, length=14)
    row = jnp.asarray(Bytes().encode("abcdefghijklmn"))[None]
    found = jax.jit(lambda key: short.augment({"text": row}, {}, key))(jax.random.key(3))
    said = short.words(found)
    (start, end), (_, gap) = said["text"][0].split("<0>"), said["target"][0].split("<0>")
    assert start + gap + end == "abcdefghijklmn"
    assert len(gap) == 2
    assert found["text"][0, -1] == found["target"][0, -1] == Bytes.eos


def test_what_cannot_work_is_one_line():
    with pytest.raises(ConfigError, match="it would see what it predicts"):
        Autoregressive(BOTH_SIDES)
    with pytest.raises(ConfigError, match="at_once=3 must divide length=8"):
        Autoregressive(CAUSAL, length=8, at_once=3)
    with pytest.raises(ConfigError, match="causal and norm_first must be False"):
        MaskedWords(CAUSAL)
    with pytest.raises(ConfigError, match="sentinels=9: 28 spans need as many"):
        SpanCorruption(BOTH_SIDES, CAUSAL.transformer, sentinels=9)
    with pytest.raises(ConfigError, match="vocabulary=300 must be 0 or at least 362"):
        SpanCorruption(BOTH_SIDES, CAUSAL.transformer, vocabulary=300)
    blocks = [block(range(6, 15))] * 3
    with pytest.raises(ConfigError, match="has no tokenizer, so is no language model"):
        Perplexity(blocks, blocks).check(types.SimpleNamespace(method=object()))
    frozen = types.SimpleNamespace(method=Autoregressive(CAUSAL, length=8))
    with pytest.raises(ConfigError, match="3 records do not fill a batch of 4"):
        Perplexity(blocks, blocks, batch_size=4).check(frozen)
    plain = [Record("text", 0, 0, 0.0)] * 3
    with pytest.raises(ConfigError, match="give train and test as TokenBlocks"):
        Perplexity(plain, blocks, batch_size=2).check(frozen)
