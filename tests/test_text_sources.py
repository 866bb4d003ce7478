"""Text as data: documents of files, Python's own documentation, blocks of tokens."""

import dataclasses
import functools
import gzip
import json
import logging
import pickle
import shutil

import fsspec
import numpy as np
import pytest

from ssl_jax import presets
from ssl_jax.config import ConfigError, build
from ssl_jax.data.labels import has_labels, label_names
from ssl_jax.data.pipeline import Loading, train_batches, train_dataset
from ssl_jax.data.record import Caption, MediaError, Record
from ssl_jax.data.sources.python_docs import PythonDocs
from ssl_jax.data.sources.text import TextSource
from ssl_jax.data.sources.token_blocks import TokenBlocks
from ssl_jax.data.tokenizers import Bytes
from ssl_jax.data.tokens import need_tokens

POEMS = {"el": "Καλημέρα κόσμε", "hi": "नमस्ते दुनिया", "ja": "こんにちは\n世界"}


def texts(source) -> list[str]:
    return [source[i].captions[0].text for i in range(len(source))]


@pytest.fixture
def folder(tmp_path):
    for language, text in POEMS.items():
        (tmp_path / language).mkdir()
        (tmp_path / language / "a.txt").write_text(text)
    (tmp_path / "hi" / "a.txt").rename(tmp_path / "hi" / "b.TXT")
    (tmp_path / "ru.txt.gz").write_bytes(gzip.compress("Привет\r\n\r\n  \r\nмир\r\n".encode()))
    (tmp_path / "ar.jsonl").write_text(
        json.dumps({"text": "مرحبا", "kind": "x", "set": "dev"})
        + "\n\n"
        + json.dumps({"text": "بالعالم", "kind": None, "set": "train"}, ensure_ascii=False)
        + "\n"
    )
    return tmp_path


def test_files_are_documents_labelled_by_their_folders(folder):
    source = TextSource(str(folder))
    assert source.label_names == ("el", "hi", "ja")
    assert texts(source) == ["مرحبا", "بالعالم", *POEMS.values(), "Привет\n\n  \nмир\n"]
    assert [source[i].label for i in range(6)] == [-1, -1, 0, 1, 2, -1]
    assert [source[i].name for i in (0, 1, 3)] == ["ar.jsonl:1", "ar.jsonl:3", "hi/b.TXT"]
    record = source[2]
    assert (record.num_frames, record.frames, record.audio, record.index) == (0, None, None, 2)
    pickled = pickle.dumps(source)
    assert POEMS["el"].encode() not in pickled  # processes read the text themselves
    again = pickle.loads(pickled)
    assert texts(again) == texts(source)
    with pytest.raises(IndexError):
        source[6]


def test_blank_lines_separate_documents_and_the_first_line_names_them(folder):
    source = TextSource(str(folder / "ru.txt.gz"), blank_lines=True, language="ru")
    assert texts(source) == ["Привет", "мир"]
    assert source[1].name == f"{folder}/ru.txt.gz:4"
    assert source[1].captions[0].language == "ru"


def test_keys_give_label_and_split(folder):
    path = str(folder / "ar.jsonl")
    source = TextSource(path, label_key="kind", split_key="set", split="train")
    assert (texts(source), source[0].label, source.has_labels) == (["بالعالم"], -1, True)
    with pytest.raises(ConfigError, match=r"no split 'test', there is \['dev', 'train'\]"):
        len(TextSource(path, split_key="set", split="test"))


def test_a_csv_with_a_long_document_and_numbered_labels(tmp_path):
    long = "word " * 40_000 + "end"
    table = f'body;stars\n"{long}";2\n"of ""two""\nlines";0\nnone;NA\n'
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(table.encode()))
    source = TextSource(str(tmp_path), text_key="body", label_key="stars")
    assert texts(source) == [long, 'of "two"\nlines', "none"]
    assert ([source[i].label for i in range(3)], source.label_names) == ([2, 0, -1], tuple("012"))


def test_a_document_is_always_on_one_side_and_so_are_its_copies(tmp_path):
    lines = [json.dumps({"text": f"text {i % 200}" + "\n" * (i < 200)}) for i in range(400)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    train, test = (
        [text.strip() for text in texts(TextSource(str(tmp_path), split=split))]
        for split in ("train", "test")
    )
    assert len(train) + len(test) == 400
    assert not set(train) & set(test)
    assert 20 <= len(test) <= 70
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:100]))  # what else there is has no part
    assert {t.strip() for t in texts(TextSource(str(tmp_path), split="test"))} <= set(test)
    assert len(TextSource(str(tmp_path), limit=7)) == 7


def test_empty_documents_are_skipped_and_counted(folder, caplog):
    (folder / "empty.txt").write_text(" \n")
    (folder / "empty.jsonl").write_text('{"text": null}\n')
    (folder / "image.png").write_text("")
    with caplog.at_level(logging.WARNING):
        assert len(TextSource(str(folder))) == 6
    assert "2 of 8 documents are empty and skipped" in caplog.text
    assert "1 files of unknown endings are skipped, such as image.png" in caplog.text


def test_a_json_has_an_object_a_line_as_c4_has_or_is_one_array(tmp_path):
    rows = [{"text": "one", "url": "x"}, {"text": "two", "url": "y"}]
    lines = "\n".join(map(json.dumps, rows)).encode()
    (tmp_path / "c4-train.00000-of-01024.json.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=2))
    source = TextSource(str(tmp_path))
    assert texts(source) == ["one", "two"] * 2
    assert [source[i].name for i in (1, 3)] == ["c4-train.00000-of-01024.json.gz:2", "rows.json:2"]
    assert texts(TextSource(str(tmp_path / "rows.json"))) == ["one", "two"]


def test_one_file_of_an_unknown_ending_is_refused_and_one_of_none_is_text(tmp_path):
    for name in ("a.parquet", "a.parquet.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"words"))
        with pytest.raises(ConfigError, match=rf"{name}: is of an unknown ending, known are \.txt"):
            len(TextSource(str(tmp_path / name)))
    (tmp_path / "text8").write_text("some words")
    assert texts(TextSource(str(tmp_path / "text8"))) == ["some words"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"one\ntwo\n\xe9t\xe9\n", r"a\.txt:3: is no text in UTF-8 .*iconv"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', r"a\.jsonl:2: is no JSON"),
        ("a.jsonl", b'{"text": "a"}\n\n{"body": "a"}', r"a\.jsonl:3: has no 'text', it has 'body'"),
        ("a.jsonl", b'["a"]', r"a\.jsonl:1: should be an object"),
        ("a.jsonl", b'{"text": 3}', r"a\.jsonl:1: 'text' should be a text, it is '3'"),
        ("a.jsonl", b'{"text": "\\ud83d"}', r"a\.jsonl:1: 'text' holds an incomplete character"),
        ("a.json", b'{\n"text": "a"\n}\n', r"a\.json:1: is no JSON .* one object a line"),
        ("a.json", b'[{"text": "a"},\n', r"a\.json: is no JSON"),
        ("a.json", b'[{"text": "a"},\n"b"]', r"a\.json:2: should be an object"),
        ("a.csv", b"text,label\na,b,c\n", r"a\.csv:2: has another number of fields"),
        ("a.csv", b"texts\na\n", r"a\.csv:2: has no 'text', it has 'texts'"),
        ("a.txt.gz", gzip.compress(b"text" * 99, mtime=0)[:-9], r"a\.txt\.gz: cannot be read"),
        ("a.txt.gz", b"text", r"a\.txt\.gz: cannot be read"),
        ("a.txt", b"\n", r"has no text; known endings are \.txt \.jsonl \.json \.csv"),
    ],
)
def test_what_is_no_text_is_named_with_its_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        len(TextSource(str(tmp_path)))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"path": "nowhere"}, "there is no 'nowhere'"),
        ({"split": "val"}, "split='val' should be 'train' or 'test'"),
        ({"test_share": 1.5}, "test_share"),
        ({"limit": -1}, "limit"),
        ({"text_key": ""}, "text_key"),
    ],
)
def test_knobs_of_text_that_cannot_work(tmp_path, knobs, message):
    with pytest.raises(ConfigError, match=message):
        TextSource(**{"path": str(tmp_path), **knobs})


def test_text_of_a_url():
    with fsspec.open("memory://texts/sv/a.txt", "w") as file:
        file.write("hej")
    source = TextSource("memory://texts")
    assert (texts(source), source.label_names) == (["hej"], ("sv",))
    assert texts(TextSource("memory://texts/sv/a.txt")) == ["hej"]


def test_the_documentation_of_python_has_no_paragraph_in_train_and_test():
    train, test = (build(c) for c in presets.python_docs(parts=("language",)))
    assert train.label_names == ("language", "library")
    parts = [{p.strip() for t in texts(s) for p in t.split("\n\n")} for s in (train, test)]
    assert not parts[0] & parts[1]
    assert 40 < len(train) < 80
    assert 5 < len(test) < 25
    assert sum(map(len, texts(train))) > 200_000
    assert any("context manager" in text for text in texts(train) + texts(test))
    assert train[3].label == 0
    assert texts(pickle.loads(pickle.dumps(test))) == texts(test)
    with pytest.raises(ConfigError, match="parts"):
        PythonDocs(parts=("modules",))


class Captioned:
    """Two records with captions in two languages, one without, one that is broken."""

    has_labels = True
    label_names = ("short", "long")
    captions = ((("ab", "en"), ("नम", "hi")), (), None, (("c", "en"), ("longer", "en")))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if self.captions[index] is None:
            raise MediaError("broken.mp4: is broken")
        captions = tuple(
            Caption(text, language=language) for text, language in self.captions[index]
        )
        return Record(f"{index}.mp4", index, 0, 0.0, captions=captions, label=index // 2)


def test_blocks_are_cut_from_all_documents_joined_by_eos(caplog):
    blocks = TokenBlocks(Captioned(), Bytes(), 4)
    whole = [*Bytes().encode("ab\nनम"), 2, *Bytes().encode("c\nlonger"), 2]
    assert len(blocks) == (len(whole) - 1) // 4 == 4
    for k in range(4):
        record = blocks[k]
        assert need_tokens(record, 4).tolist() == whole[4 * k : 4 * k + 5]
        assert record.extra["tokens"].dtype == record.extra["documents"].dtype == np.int32
    assert blocks[2].extra["documents"].tolist() == [0, 0, 1, 1, 1]
    assert [float(blocks[k].extra["bytes"]) for k in range(4)] == [4, 4, 3, 4]  # eos has no bytes
    assert [blocks[k].label for k in range(4)] == [0, 0, 1, 1]
    assert (label_names(blocks), has_labels(blocks)) == (("short", "long"), True)
    assert "2 of 4 records without text are skipped, such as 1.mp4: has no captions" in caplog.text
    hindi = TokenBlocks(Captioned(), Bytes(), 6, language="hi")
    assert len(hindi) == 1
    assert Bytes().decode(hindi[0].extra["tokens"]) == "नम"
    with pytest.raises(IndexError):
        blocks[4]


def test_tokens_are_kept_by_their_text_and_tokenizer(tmp_path):
    class Slow(Bytes):
        calls = 0

        def encode(self, text):
            Slow.calls += 1
            return super().encode(text)

    def blocks(content, tokenizer=None):
        (tmp_path / "a.txt").write_text(content)
        source, cache = TextSource(str(tmp_path / "a.txt")), str(tmp_path / "kept" / "tokens")
        made = TokenBlocks(source, tokenizer or Slow(), 3, cache=cache)
        return [(r.extra["tokens"].tolist(), r.label, float(r.extra["bytes"])) for r in made]

    first, second = blocks("abcdefgh"), blocks("abcdefgh")
    assert first == second == blocks("abcdefgh", Bytes())
    assert Slow.calls == 1
    assert blocks("Abcdefgh") != first
    assert Slow.calls == 2
    other = blocks("abcdefgh", Pairs())
    assert other[0][0][0] == 2**19
    assert len(list((tmp_path / "kept" / "tokens").iterdir())) == 2 * 3


def counting():
    """`Bytes` that count what they encode."""
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Counting(Bytes):
        def encode(self, text):
            seen.append(text)
            return super().encode(text)

    return Counting, seen


def test_equal_blocks_share_their_tokens_and_none_keeps_the_text(folder):
    tokenizer, seen = counting()
    blocks = TokenBlocks(TextSource(str(folder)), tokenizer(), 4)
    other = TokenBlocks(TextSource(str(folder)), tokenizer(), 5)  # as of an evaluator
    assert len(blocks) > len(other)
    assert len(seen) == 6
    assert len(TokenBlocks(TextSource(str(folder), limit=3), tokenizer(), 4)) < len(blocks)
    shutil.rmtree(folder)  # nothing reads it again
    assert (blocks.label_names, blocks.has_labels) == (("el", "hi", "ja"), True)
    with pytest.raises(ConfigError):
        TextSource(str(folder))


@dataclasses.dataclass
class Drawn:
    """One text of letters by their codes. It has no hash, and cannot be compared."""

    codes: np.ndarray

    def __len__(self):
        return 1

    def __getitem__(self, index):
        text = "".join(map(chr, self.codes))
        return Record("drawn", 0, 0, 0.0, captions=(Caption(text),))


def test_sources_without_hash_and_equality_are_tokenised_each():
    blocks = [TokenBlocks(Drawn(np.arange(9) + k), Bytes(), 4) for k in (65, 97)]
    assert [Bytes().decode(b[0].extra["tokens"]) for b in blocks] == ["ABCDE", "abcde"]


def test_damaged_tokens_are_made_again(tmp_path, caplog):
    (tmp_path / "a.txt").write_text("abcdefgh")
    tokenizer, seen = counting()

    def read():
        source = TextSource(str(tmp_path / "a.txt"))
        made = TokenBlocks(source, tokenizer(), 3, cache=str(tmp_path / "kept"))
        return [record.extra["tokens"].tolist() for record in made]

    expected = read()
    assert len(seen) == 1
    for kept in sorted((tmp_path / "kept").iterdir()):
        whole = kept.read_bytes()
        for damage in (whole[:-3], b"", b"nothing of the kind"):
            caplog.clear()
            seen.clear()
            kept.unlink()  # not in place: it may still be mapped
            kept.write_bytes(damage)
            assert read() == expected
            assert seen == ["abcdefgh"]
            (line,) = caplog.messages
            assert line.startswith(str(kept))
            assert line.endswith("tokenising again")
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_kept_tokens_go_to_other_processes_as_their_path(tmp_path):
    (tmp_path / "a.txt").write_text("0123456789" * 10_000)
    knobs = {"source": TextSource(str(tmp_path / "a.txt")), "tokenizer": Bytes(), "length": 4}
    kept, held = TokenBlocks(**knobs, cache=str(tmp_path / "kept")), TokenBlocks(**knobs)
    assert kept[7].extra["tokens"].tolist() == held[7].extra["tokens"].tolist()
    assert len(pickle.dumps(held)) > 200_000  # of two bytes
    assert len(pickle.dumps(kept)) < 2_000
    (tmp_path / "a.txt").unlink()
    again = pickle.loads(pickle.dumps(kept))
    assert again[7].extra["tokens"].tolist() == kept[7].extra["tokens"].tolist()
    assert type(again[7].extra["tokens"]) is np.ndarray
    with pytest.raises(ConfigError, match="cache=gs://b: should be a local folder"):
        TokenBlocks(**knobs, cache="gs://b")


class Pairs:
    """A tokenizer of two letters each, with too many ids for two bytes."""

    size, eos, fingerprint = 2**20, 7, "pairs"

    def encode(self, text):
        return np.arange(-(-len(text) // 2), dtype=np.int32) + 2**19

    def decode(self, ids):
        raise NotImplementedError


def test_bytes_of_the_text_are_shared_by_its_tokens(folder):
    blocks = TokenBlocks(TextSource(str(folder / "el")), Pairs(), 3)
    assert [float(blocks[k].extra["bytes"]) for k in range(2)] == pytest.approx([27 / 7 * 3] * 2)
    assert blocks[0].extra["tokens"].tolist() == [2**19, 2**19 + 1, 2**19 + 2, 2**19 + 3]


def test_too_little_text_and_records_that_are_no_blocks_are_refused(folder):
    with pytest.raises(ConfigError, match="length=99: the text has 28 tokens"):
        len(TokenBlocks(TextSource(str(folder / "el")), Bytes(), 99))
    with pytest.raises(ConfigError, match="length=0"):
        TokenBlocks(Captioned(), Bytes(), 0)
    with pytest.raises(MediaError, match=r"0\.mp4: has no tokens; .* TokenBlocks\(source"):
        need_tokens(Captioned()[0], 8)
    with pytest.raises(MediaError, match=r"block 0: is a block of length=4, .* length=8"):
        need_tokens(TokenBlocks(Captioned(), Bytes(), 4)[0], 8)


def tokens_of(length, record, rng):
    return {"tokens": need_tokens(record, length), "draw": rng.integers(99)}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_worker_process_and_a_start_in_mid_epoch_give_the_same_batches(tmp_path, workers):
    (tmp_path / "a.txt").write_text("0123456789" * 8)
    views = functools.partial(tokens_of, 4)
    dataset = train_dataset(TokenBlocks(TextSource(str(tmp_path)), Bytes(), 4), views, 4, seed=3)
    expected = [dataset[k] for k in range(4)]
    (tmp_path / "a.txt").unlink()  # a worker process needs no text any more
    batches = train_batches(dataset, Loading(workers=workers, prefetch=2), start=2)
    try:
        for k in (2, 3):
            batch = next(batches)
            for name, value in expected[k].items():
                np.testing.assert_array_equal(batch[name], value)
    finally:
        batches.close()
