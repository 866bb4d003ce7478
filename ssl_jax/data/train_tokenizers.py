"""Files of tokenizers, trained on texts by the libraries; see `python -m ssl_jax.tokenizer`."""

import importlib
import io
from collections.abc import Callable, Iterable, Iterator

from ssl_jax.config import ConfigError
from ssl_jax.data.tokenizers import INSTALL
from ssl_jax.data.words import count_words

# In this order, so that they have the same ids in every file made here.
SPECIALS = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", "[MASK]", "[CLS]", "[SEP]"]
LONGEST = 2**24  # bytes of a line of text; sentencepiece skips longer ones


def wordpiece(texts: Iterable[str], size: int, lowercase: bool) -> bytes:
    """A tokenizer.json of WordPiece, as BERT has it; `lowercase` removes accents too.

    The library's own trainer gives another vocabulary every time. It learns pairs as BPE does, with
    one letter at the begin of a word and another within ('##a'), so BPE is trained here on words in
    which these are two letters.
    """
    tokenizers = _library("tokenizers")
    _check_size(size, "wordpiece", len(SPECIALS))
    normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
    splitter = tokenizers.pre_tokenizers.BertPreTokenizer()
    first, within = _Letters(0xF0000), _Letters(0x100000)

    def words() -> Iterator[str]:
        for text in texts:
            found = [w for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
            letters = dict.fromkeys("".join(found))  # any may begin a word that is yet unknown
            yield " ".join(letter.translate(first) for letter in letters)
            yield " ".join(w[0].translate(first) + w[1:].translate(within) for w in found)

    pairs = tokenizers.Tokenizer(tokenizers.models.BPE())
    pairs.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    pairs.train_from_iterator(words(), _trainer(tokenizers, size - len(SPECIALS), []))
    back = {ord(new): chr(old) for letters in (first, within) for old, new in letters.items()}
    learnt = pairs.get_vocab()
    ordered = sorted(learnt, key=lambda token: learnt[token])
    tokens = [("" if t[0] < "\U00100000" else "##") + t.translate(back) for t in ordered]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(SPECIALS + tokens))}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizer, splitter
    made.decoder = tokenizers.decoders.WordPiece()
    made.add_special_tokens(SPECIALS)
    return made.to_str(pretty=True).encode()


class _Letters(dict):
    """A table for `str.translate` that gives each new letter the next code point."""

    def __init__(self, begin: int):
        super().__init__()
        self.begin = begin

    def __missing__(self, letter: int) -> str:
        self[letter] = chr(self.begin + len(self))
        return self[letter]


def bpe(texts: Iterable[str], size: int, lowercase: bool) -> bytes:
    """A tokenizer.json of BPE on bytes, as GPT-2 has it: nothing is unknown and nothing is lost."""
    tokenizers = _library("tokenizers")
    level = tokenizers.pre_tokenizers.ByteLevel
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    if lowercase:
        made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = level(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = level.alphabet()
    _check_size(size, "bpe", len(SPECIALS) + len(alphabet))
    made.train_from_iterator(iter(texts), _trainer(tokenizers, size, alphabet, SPECIALS))
    return made.to_str(pretty=True).encode()


def unigram(texts: Iterable[str], size: int, lowercase: bool) -> bytes:
    """A .model of sentencepiece, as T5 has it. Rare letters fall back to bytes: nothing is lost."""
    sentencepiece = _library("sentencepiece")
    _check_size(size, "unigram", len(SPECIALS) + 256)
    model = io.BytesIO()
    rule = "nmt_nfkc_cf" if lowercase else "identity"
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(line for t in texts for line in t.split("\n") if line.strip()),
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            byte_fallback=True,
            normalization_rule_name=rule,
            remove_extra_whitespaces=False,
            max_sentence_length=LONGEST,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            pad_piece=SPECIALS[0],
            unk_piece=SPECIALS[1],
            bos_piece=SPECIALS[2],
            eos_piece=SPECIALS[3],
            control_symbols=SPECIALS[4:],
            minloglevel=2,
        )
    except RuntimeError as error:  # it says in what follows a source file's name and condition
        raise ConfigError(f"size={size}: {str(error).rpartition('] ')[2]}") from error
    return model.getvalue()


def words(texts: Iterable[str], size: int, lowercase: bool) -> bytes:
    """Lines "word count", the most frequent first; always in lower case."""
    counts = count_words(texts, min_count=1, limit=size - 1)  # 0 is padding
    return "".join(f"{word} {count}\n" for word, count in counts.items()).encode()


KINDS: dict[str, Callable[[Iterable[str], int, bool], bytes]] = {
    "wordpiece": wordpiece,
    "bpe": bpe,
    "unigram": unigram,
    "words": words,
}


def _check_size(size: int, kind: str, least: int) -> None:
    if size < least:
        raise ConfigError(f"size={size}: {kind} has {least} tokens before it learns any; give more")


def _trainer(tokenizers, size: int, alphabet: list[str], specials: list[str] | None = None):
    return tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=alphabet,
        special_tokens=specials or [],
        show_progress=False,
    )


def _library(name: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"this kind of tokenizer needs {name}: {INSTALL}") from error
