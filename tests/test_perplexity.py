"""Perplexity beside counts, worked out by hand; and what a language model writes."""

import dataclasses
import types

import jax
import numpy as np
import pytest

from ssl_jax import apply, config
from ssl_jax.applying.text import drawn, write_text
from ssl_jax.config import ConfigError
from ssl_jax.data.pipeline import Loading
from ssl_jax.data.record import Caption, MediaError, Record
from ssl_jax.data.sources.python_docs import PythonDocs
from ssl_jax.data.text_clips import caption_times, caption_tokens
from ssl_jax.data.tokenizers import Bytes
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals.perplexity import Perplexity
from ssl_jax.frozen import Frozen
from ssl_jax.objectives.tokens import bits_per_byte
from ssl_jax.scores.ngrams import ngram_losses
from ssl_jax.tokenizer import train_tokenizer


def test_counts_are_those_worked_out_by_hand():
    # Two blocks of one text 0 1 0 1 2: the second begins with the last token of the first.
    train, test = np.array([[0, 1, 0], [0, 1, 2]]), np.array([[0, 1, 2, 0]])
    found = ngram_losses(train, test, 4)
    # Targets 1 0 1 2: counts + 1 of 0, 1, 2, 3 are 2 3 2 1 of 8.
    expected = -np.mean(np.log([3 / 8, 2 / 8, 2 / 8]))
    assert found["unigram"] == pytest.approx((expected, 1 / 3))
    # After 0 came 1 twice; after 1 came 0 and 2; after 2 nothing did.
    expected = -np.mean(np.log([3 / 6, 2 / 6, 1 / 4]))
    assert found["bigram"] == pytest.approx((expected, 1 / 3))
    assert found["uniform"] == pytest.approx((np.log(4), 1 / 4))


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Blocks of tokens, each `of` one token only."""

    of: np.ndarray

    def __len__(self):
        return len(self.of)

    def __getitem__(self, index):
        tokens = np.full(4, self.of[index], np.int32)
        return Record("a", index, 0, 0.0, extra={"tokens": tokens, "bytes": 3})


@pytest.mark.parametrize(("batch_size", "limit"), [(2, 0), (2, 3), (4, 0), (5, 0)])
def test_model_and_counts_are_scored_on_the_same_blocks(batch_size, limit):
    seen = []

    def puzzle(batch, key):
        seen.extend(batch["text"])
        return {"loss": 1.0, "accuracy": 0.5}

    method = types.SimpleNamespace(
        tokenizer=types.SimpleNamespace(size=5),
        views=lambda record, rng: {"text": record.extra["tokens"]},
    )
    frozen = types.SimpleNamespace(
        method=method, trained_names=lambda: (), loading=Loading(), puzzle=puzzle
    )
    train = Blocks(np.repeat([0, 1, 2, 3, 4, 4], [5, 4, 3, 2, 1, 1]))  # frequent and rare ones
    test = Blocks(np.arange(5))
    found = dict(Perplexity(train, test, batch_size=batch_size, limit=limit).run(frozen))
    expected = ngram_losses(np.repeat(train.of[:, None], 4, 1), np.stack(seen), 5)
    assert found["unigram"] == pytest.approx(expected["unigram"][0])


def test_bytes_that_are_all_as_likely_have_eight_bits():
    assert bits_per_byte(float(np.log(256)), 10.0, 10.0) == pytest.approx(8)
    assert bits_per_byte(float(np.log(256)), 10.0, 40.0) == pytest.approx(2)


def test_tokens_are_drawn_as_often_as_the_softmax_says():
    logits, rng = np.log(np.float32([0.5, 0.3, 0.2])), np.random.default_rng(0)
    assert {drawn(logits, 0.0, 0, rng) for _ in range(5)} == {0}
    many = np.bincount([drawn(logits, 1.0, 0, rng) for _ in range(6000)], minlength=3) / 6000
    np.testing.assert_allclose(many, [0.5, 0.3, 0.2], atol=0.025)
    hot = np.array([0.5, 0.3]) ** 2
    two = np.bincount([drawn(logits, 0.5, 2, rng) for _ in range(6000)], minlength=3) / 6000
    np.testing.assert_allclose(two, [*(hot / hot.sum()), 0], atol=0.025)


def test_a_caption_is_read_with_its_ends_and_without_what_is_not_there():
    captions = tuple(Caption(text, start) for text, start in (("later on", 5.0), ("né", 0.0)))
    record = Record("a", 0, 0, 0.0, captions=captions)
    times = caption_times(record, 2)
    assert times == [0.0, 5.0]
    tokens, there = caption_tokens(record, times, Bytes(), 6, (4,), (5,))
    assert Bytes().decode(tokens[0]) == "né"
    np.testing.assert_array_equal(there, [[1, 1, 1, 1, 1, 0], [1] * 6])
    assert tokens[1, [0, 5]].tolist() == [4, 5]
    assert Bytes().decode(tokens[1]) == "late"
    with pytest.raises(MediaError, match="has no captions"):
        caption_times(dataclasses.replace(record, captions=()), 1)


def test_captions_that_start_together_are_all_read():
    captions = (*(Caption(f"c{n}") for n in range(5)), Caption("late", 7.0), Caption("too", 7.0))
    record = Record("a", 0, 0, 0.0, captions=captions)

    def read(times):
        return [Bytes().decode(row) for row in caption_tokens(record, times, Bytes(), 4)[0]]

    assert read(caption_times(record, 7)) == ["c0", "c1", "c2", "c3", "c4", "late", "too"]
    assert len(set(read(caption_times(record, 3)))) == 3
    assert read([5.0, 9.0]) == ["c4", "too"]


PROMPTS = ("Hello", "Καλημέρα", "こんにちは", "Привет", "नमस्ते")


def fresh(name):
    """A small method before training."""
    return Frozen.of(config.build(config.load(f"text/{name}.py:tiny")), Sharding(devices=1).mesh())


def test_a_prompt_in_any_language_is_continued_and_the_same_again(monkeypatch, capsys):
    frozen = fresh("autoregressive_openwebtext")
    monkeypatch.setattr(apply, "load", lambda workdir: frozen)
    for prompt in PROMPTS:
        asked = [f"--prompt={prompt}", "--tokens=3", "--seed=1", "--workdir=run"]
        apply.main(["text", *asked])
        said = capsys.readouterr().out.removesuffix("\n")
        assert said.startswith(prompt)
    apply.main(["text", *asked])
    assert capsys.readouterr().out.removesuffix("\n") == said
    # What becomes longer than a block goes on.
    assert write_text(frozen, "ab" * 16, 2, 0.0, 0, 0).startswith("ab" * 16)
    with pytest.raises(ConfigError, match="--prompt: has 33 tokens, 32 fit"):
        write_text(frozen, "a" * 33, 2, 0.0, 0, 0)
    with pytest.raises(ConfigError, match="--prompt='': has no tokens"):
        write_text(frozen, "", 2, 0.0, 0, 0)
    with pytest.raises(ConfigError, match="--top_k=-1 must be at least 0"):
        apply.write_after("a", "run", top_k=-1)
    with pytest.raises(ConfigError, match="write text --prompt=TEXT --workdir=RUN, and no files"):
        apply.main(["text", "a.png", "--workdir=run"])
    with pytest.raises(ConfigError, match="--tokens is for text, not for sync"):
        apply.main(["sync", "a.mp4", "--workdir=run", "--tokens=3"])


@pytest.mark.parametrize(("kind", "ending"), [("unigram", "model"), ("wordpiece", "json")])
def test_a_prompt_is_joined_to_what_follows_as_the_tokenizer_joins_them(tmp_path, kind, ending):
    docs = PythonDocs(parts=("language",), limit=2)
    tokenizer = train_tokenizer(docs, kind, 500, str(tmp_path / f"t.{ending}"))
    ids = tokenizer.encode("the statement is executed").tolist()
    script = jax.nn.one_hot(np.array([*ids[1:], tokenizer.eos]), tokenizer.size)

    def next_logits(variables, batch):  # a model that knows this text by heart
        return script[None]

    method = types.SimpleNamespace(tokenizer=tokenizer, length=len(ids), next_logits=next_logits)
    frozen = types.SimpleNamespace(method=method, variables={})
    joints = set()
    for first in range(1, len(ids)):
        prompt = tokenizer.decode(ids[:first])
        assert tokenizer.encode(prompt).tolist() == ids[:first]
        joints.add(tokenizer.decode(ids)[len(prompt)] == " ")
        # `wordpiece` keeps no space at the end of a prompt, `unigram` has a token for it.
        for end in ("", " ") if kind == "wordpiece" else ("",):
            whole = write_text(frozen, prompt + end, 50, 0.0, 0, 0)
            assert whole == "the statement is executed"
    assert joints == {True, False}  # words were cut within and between


@pytest.mark.parametrize("name", ["masked_books", "span_corruption_c4"])
def test_gaps_are_filled_and_all_else_stays(name):
    frozen = fresh(name)
    words = write_text(frozen, "né[MASK]ый", 6, 1.0, 5, 0)
    assert words.startswith("né")
    assert words.endswith("ый")
    assert write_text(frozen, "né[MASK]ый", 6, 1.0, 5, 0) == words
    with pytest.raises(ConfigError, match="mark what is to be filled in as"):
        write_text(frozen, "nothing to fill", 3, 1.0, 0, 0)
    with pytest.raises(ConfigError, match="tokens, 32 fit"):
        write_text(frozen, f"{'long' * 9}[MASK]", 3, 1.0, 0, 0)
