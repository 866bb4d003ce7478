"""`python -m ssl_jax.tokenizer`: every kind, in six scripts, the same file every time."""

import json

import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.sources.text import TextSource
from ssl_jax.data.tokenizers import Tokenizer
from ssl_jax.tokenizer import main, train_tokenizer

TEXTS = (
    "The quick brown fox doesn't jump.\nIt sleeps  twice in the quick river.",
    "Καλημέρα, τι κάνεις σήμερα; Καλημέρα σας.",
    "مَرْحَبًا، كيف حالك اليوم؟ كيف الحال",
    "今日は良い天気ですね。今日はカタカナも。",
    "नमस्ते, आप कैसे हैं? हिन्दी में नमस्ते।",
    "Привет, как дела сегодня? Привет, мир.",
)
FIRST = ("the", "καλημέρα", "مَرْحَبًا", "今日は良い天気ですね", "नमस्ते", "привет")
ENDINGS = {"wordpiece": ".json", "bpe": ".json", "unigram": ".model", "words": ".txt"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "texts.jsonl"
    file.write_text("\n".join(json.dumps({"body": text}) for text in TEXTS * 3))
    return TextSource(str(file), text_key="body")


@pytest.mark.parametrize("kind", ENDINGS)
def test_six_scripts_come_back_and_the_file_is_the_same_every_time(source, tmp_path, kind):
    made = [
        train_tokenizer(source, kind, 500, str(tmp_path / f"{i}{ENDINGS[kind]}")) for i in range(2)
    ]
    assert made[0].fingerprint == made[1].fingerprint
    assert isinstance(made[0], Tokenizer)
    assert 30 < made[0].size <= 500
    if kind != "words":
        specials = [getattr(made[0], n) for n in ("pad", "bos", "eos", "mask", "cls", "sep")]
        assert specials == [0, 2, 3, 4, 5, 6]
    for text in TEXTS:
        again = made[0].decode(made[0].encode(text))
        if kind == "wordpiece":  # which keeps no spaces, and writes Chinese signs apart
            assert "".join(again.split()) == "".join(text.split())
        elif kind == "words":
            assert again.split()[0] == FIRST[TEXTS.index(text)]
        else:
            assert again == text


def test_wordpiece_learns_what_the_library_learns(source, tmp_path):
    """The library's own trainer breaks ties by chance; what has none is the same."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    file = tmp_path / "a.txt"
    file.write_text("aaab aaab aaab aaab cab cab cab dab dab " * 2)
    own = train_tokenizer(TextSource(str(file)), "wordpiece", 7 + 13, str(tmp_path / "own.json"))
    library = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=13, show_progress=False)
    library.train_from_iterator([file.read_text()], trainer)
    special = {"[PAD]", "[UNK]", "[BOS]", "[EOS]", "[MASK]", "[CLS]", "[SEP]"}
    assert set(json.loads((tmp_path / "own.json").read_text())["model"]["vocab"]) - special == set(
        library.get_vocab()
    )
    assert own.encode("aaab").size == 1


def test_lowercase_is_kept_in_the_file(source, tmp_path):
    for kind in ("wordpiece", "bpe", "unigram"):
        path = str(tmp_path / f"{kind}{ENDINGS[kind]}")
        made = train_tokenizer(source, kind, 500, path, lowercase=True)
        assert made.encode("The QUICK fox").tolist() == made.encode("the quick fox").tolist()


def test_the_command_takes_the_documents_of_a_config(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines.txt").write_text("one fish\n\ntwo fish\n")
    (tmp_path / "config.py").write_text("""
from ml_collections import ConfigDict
from ssl_jax import call
from ssl_jax.data.sources.text import TextSource
from ssl_jax.data.sources.token_blocks import TokenBlocks
from ssl_jax.data.tokenizers import Words

def get_config(variant=""):
    text = call(TextSource, path="missing.txt", blank_lines=True)
    tokenizer = call(Words, path="words.txt")  # not there yet
    return ConfigDict({"source": call(TokenBlocks, source=text, tokenizer=tokenizer, length=2)})
""")
    of = ["--kind=words", "--output=words.txt"]
    main(["--config=config.py", "--config.source.source.path=lines.txt", "--size=3", *of])
    assert (tmp_path / "words.txt").read_text() == "fish 2\none 1\n"
    assert "3 tokens, one for 5.33 bytes of text; fingerprint" in capsys.readouterr().out
    main(["--source=lines.txt", *of])
    assert (tmp_path / "words.txt").read_text() == "fish 2\none 1\ntwo 1\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--kind=sentence"], "kind='sentence' must be one of wordpiece"),
        (["--kind=bpe"], r"output=a\.txt: a tokenizer of kind=bpe is a \.json file"),
        (["--kind=bpe", "--output=a.json", "--size=99"], "size=99: bpe has 263 tokens"),
        (["--kind=wordpiece", "--output=a.json", "--size=3"], "size=3: wordpiece has 7 tokens"),
        (["--kind=unigram", "--output=a.model", "--size=2"], "size=2: unigram has 263 tokens"),
        (["--kind=unigram", "--output=a.model", "--size=270"], "size=270: Vocabulary size is"),
        (["--kind=words", "--size=1"], "size=1 must be at least 2"),
        (["--kind=words", "--config=a.py"], "give either --config or --source"),
        (["--kind=words", "--output=none/a.txt"], r"none/a\.txt: cannot be written"),
        (["--kind=words", "--language=hi"], "no record of .* has text in 'hi'"),
    ],
)
def test_mistakes_cost_one_line(source, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message) as caught:
        main([f"--source={source.path}", "--text_key=body", "--output=a.txt", *flags])
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


class Unread:
    """Text of which nothing may be read."""

    def __len__(self):
        raise AssertionError("is read")

    def __getitem__(self, index):
        raise AssertionError("is read")


@pytest.mark.parametrize("output", ["none/a.json", "folder.json"])
def test_an_output_that_cannot_be_written_is_told_before_any_text_is_read(tmp_path, output):
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(ConfigError, match=f"{output}: cannot be written"):
        train_tokenizer(Unread(), "bpe", 500, str(tmp_path / output))


def test_text_of_a_config_is_of_the_language_of_its_blocks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.py").write_text("""
from ml_collections import ConfigDict
from ssl_jax import call
from ssl_jax.data.sources.text import TextSource
from ssl_jax.data.sources.mix import Mix
from ssl_jax.data.sources.token_blocks import TokenBlocks
from ssl_jax.data.tokenizers import Bytes

def get_config(variant=""):
    texts = (call(TextSource, path=f"{name}.txt", language=name) for name in ("de", "en"))
    source = call(TokenBlocks, source=call(Mix, sources=tuple(texts), weights=(1.0, 1.0)),
        tokenizer=call(Bytes), length=2, language="de")
    return ConfigDict({"source": source})
""")
    (tmp_path / "de.txt").write_text("ein Fisch")
    (tmp_path / "en.txt").write_text("one fish")
    main(["--config=config.py", "--kind=words", "--output=words.txt"])
    assert (tmp_path / "words.txt").read_text() == "ein 1\nfisch 1\n"
    main(["--config=config.py", "--kind=words", "--output=words.txt", "--language=en"])
    assert (tmp_path / "words.txt").read_text() == "fish 1\none 1\n"
