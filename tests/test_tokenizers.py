"""Tokenizers: bytes, files of the libraries, whole words; round trips in six scripts."""

import json
import pickle
import sys
import tracemalloc

import numpy as np
import pytest

from ssl_jax import call
from ssl_jax.config import ConfigError, build
from ssl_jax.data.tokenizers import Bytes, SentencePiece, TokenizersFile, Words, words_of
from ssl_jax.data.tokens import masked_text

TEXTS = (
    "The quick brown fox doesn't jump.\nIt sleeps  twice.",
    "Καλημέρα, τι κάνεις σήμερα;",
    "مَرْحَبًا، كيف حالك اليوم؟",
    "今日は良い天気ですね。カタカナも。",
    "नमस्ते, आप कैसे हैं? हिन्दी में।",
    "Привет, как дела сегодня?",
    "👩‍🚀 é e\u0301 ﬁ ½",
)
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "caf", "##e", "##E", "hello", ","]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A byte-level BPE and a unigram model with a fallback to bytes: both lose nothing."""
    import sentencepiece
    import tokenizers

    folder = tmp_path_factory.mktemp("tokenizers")
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(TEXTS, trainer)
    bpe.enable_truncation(3)
    bpe.enable_padding(length=8)
    bpe.save(str(folder / "bpe.json"))
    with open(folder / "unigram.model", "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXTS),
            model_writer=file,
            vocab_size=400,
            hard_vocab_limit=False,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            control_symbols=["[MASK]"],
            minloglevel=2,
        )
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY[:7] + VOCABULARY[8:]))
    (folder / "words.txt").write_text("</s> 0\nthe 7\ndon't 3\nहिन्दी 2\n")
    return folder


def every(files):
    return (
        Bytes(),
        TokenizersFile(str(files / "bpe.json")),
        SentencePiece(str(files / "unigram.model")),
    )


@pytest.mark.parametrize("kind", range(3), ids=["bytes", "bpe", "unigram"])
def test_every_script_comes_back_and_specials_are_dropped(files, kind):
    tokenizer = every(files)[kind]
    for text in (*TEXTS, "[MASK] <|endoftext|> <s>", ""):
        ids = tokenizer.encode(text)
        assert ids.dtype == np.int32
        assert not np.isin(ids, [tokenizer.pad, tokenizer.bos, tokenizer.eos]).any()
        assert ids.max(initial=0) < tokenizer.size
        with_specials = [tokenizer.bos, *ids.tolist(), tokenizer.eos, tokenizer.pad]
        assert tokenizer.decode(with_specials) == text
    assert len(tokenizer.encode("word " * 50)) > 8  # what the file would cut at 3


def test_a_tokenizer_is_a_knob_that_pickles(files):
    for tokenizer in every(files):
        path = {} if isinstance(tokenizer, Bytes) else {"path": tokenizer.path}
        again = pickle.loads(pickle.dumps(build(call(type(tokenizer), **path))))
        assert again == tokenizer
        assert again.fingerprint == tokenizer.fingerprint
        assert again.encode(TEXTS[4]).tolist() == tokenizer.encode(TEXTS[4]).tolist()


def test_specials_stand_in_for_one_another_but_none_for_a_mask(files):
    bpe, unigram = every(files)[1:]
    assert bpe.bos == bpe.eos == bpe.pad == bpe.sep == 0
    with pytest.raises(ConfigError, match=r"bpe\.json: has no token for 'mask' \(\[MASK\]"):
        _ = bpe.mask
    assert (unigram.pad, unigram.bos, unigram.eos, unigram.mask) == (0, 2, 3, 4)
    assert (unigram.cls, unigram.sep) == (2, 3)
    words = Words(str(files / "words.txt"))
    with pytest.raises(ConfigError, match="Words has no tokens for mask"):
        _ = words.cls


def test_hidden_tokens_are_shown_as_lines(files, tmp_path):
    ids = Bytes().encode("words")
    ids[1:3] = Bytes.mask
    assert masked_text(Bytes(), ids) == "w__ds"
    (tmp_path / "vocab.txt").write_text("\n".join([*VOCABULARY, "_"]))
    small = TokenizersFile(str(tmp_path / "vocab.txt"))
    ids = small.encode("caf, hello")
    ids[1] = small.mask
    assert masked_text(small, ids) == "caf _ hello"
    unigram = every(files)[2]
    ids = unigram.encode("quick brown")
    ids[-1] = unigram.mask
    shown = masked_text(unigram, ids)
    assert (shown[:5], shown[-1]) == ("quick", "_")


def test_a_vocab_txt_is_lower_case_unless_it_has_capitals(files, tmp_path):
    small = TokenizersFile(str(files / "vocab.txt"))
    assert small.encode("Café, HELLO").tolist() == [5, 6, 8, 7]
    assert (small.pad, small.cls, small.sep, small.mask, small.bos) == (0, 2, 3, 4, 2)
    assert small.size == 9
    (tmp_path / "cased.txt").write_text("\n".join(VOCABULARY))
    cased = TokenizersFile(str(tmp_path / "cased.txt"))
    assert cased.encode("cafE HELLO").tolist() == [5, 7, 1]
    assert small.fingerprint != cased.fingerprint


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_signs_that_only_some_call_line_ends_are_words_of_a_vocabulary(tmp_path, end):
    from tokenizers.implementations import BertWordPieceTokenizer

    words = ["\u2028", "\x85", "\x1c", "\x0b", "hello", "world"]
    (tmp_path / "vocab.txt").write_bytes(end.join([*VOCABULARY[:5], *words, ""]).encode())
    library = BertWordPieceTokenizer(str(tmp_path / "vocab.txt"))
    expected = library.encode("hello world", add_special_tokens=False).ids
    own = TokenizersFile(str(tmp_path / "vocab.txt"))
    assert own.encode("hello world").tolist() == expected == [9, 10]
    (tmp_path / "words.txt").write_bytes("".join(f"{w} 3{end}" for w in words).encode())
    counted = Words(str(tmp_path / "words.txt"))
    assert (counted.words, counted.encode("world hello").tolist()) == (("", *words), [6, 5])


def test_words_of_a_long_text_are_not_held_all_at_once():
    text = "the cat sat on a mat " * 20_000
    list(words_of("a"))  # makes the pattern
    tracemalloc.start()
    assert sum(1 for _ in words_of(text)) == 120_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * len(text)


def test_words_keep_the_marks_of_their_script(files):
    words = Words(str(files / "words.txt"))
    assert words.encode("The हिन्दी: the unknown DON'T").tolist() == [1, 3, 1, 2]
    assert words.decode([1, 3, 0]) == "the हिन्दी"
    assert (words.size, words.counts.tolist()) == (4, [0, 7, 3, 2])
    assert list(words_of("مَرْحَبًا Καλημέρα; Привет")) == ["مَرْحَبًا", "καλημέρα", "привет"]


def test_an_incomplete_character_is_no_crash():
    assert Bytes().decode(Bytes().encode("é")[:1]) == "\N{REPLACEMENT CHARACTER}"
    assert Bytes().encode("\ud800").tolist() == [ord("?") + 6]


@pytest.mark.parametrize(
    ("make", "content", "message"),
    [
        (TokenizersFile, None, "there is no tokenizer .*python -m ssl_jax.tokenizer"),
        (TokenizersFile, b"hello\nworld", r"has no line \[UNK\]"),
        (SentencePiece, b"hello", "is no model of sentencepiece"),
        (Words, b"the 5\na b c", r":2: should be a word and its count"),
        (Words, b"the 5\nthe 4", "has the word 'the' twice"),
    ],
)
def test_what_is_no_tokenizer_is_named_in_one_line(tmp_path, make, content, message):
    path = tmp_path / "file.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        _ = make(str(path)).size
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_broken_tokenizer_json_is_named(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": 3}))
    with pytest.raises(ConfigError, match=r"tokenizer\.json: is no tokenizer\.json"):
        TokenizersFile(str(path)).encode("a")


@pytest.mark.parametrize("library", ["tokenizers", "sentencepiece"])
def test_without_the_library_the_extra_is_named(files, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    tokenizer = every(files)[["tokenizers", "sentencepiece"].index(library) + 1]
    with pytest.raises(ConfigError, match=r"pip install 'ssl_jax\[text\]'"):
        tokenizer.encode("a")
