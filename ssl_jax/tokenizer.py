"""Trains a tokenizer on the text of a source: the command `python -m ssl_jax.tokenizer`.

    python -m ssl_jax.tokenizer --source=/data/my_text --kind=unigram --size=8000 --output=my.model
    python -m ssl_jax.tokenizer --config=FILE[:variant] --kind=bpe --size=8000 --output=my.json

With --config the text is that of the run's source: its captions, or the documents of its blocks,
in their language unless --language gives another.
The same text gives the same file. How to use it:

    wordpiece, bpe   TokenizersFile("my.json")     words     Words("my.txt")
    unigram          SentencePiece("my.model")
"""

import argparse
import contextlib
import itertools
import pathlib
from collections.abc import Iterator, Sequence

from ml_collections import ConfigDict

from ssl_jax import command
from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.documents import documents_of
from ssl_jax.data.record import Source
from ssl_jax.data.sources.text import TextSource
from ssl_jax.data.tokenizers import SentencePiece, Tokenizer, TokenizersFile, Words
from ssl_jax.data.train_tokenizers import KINDS
from ssl_jax.knobs import one_of

READERS = {
    "wordpiece": (TokenizersFile, ".json"),
    "bpe": (TokenizersFile, ".json"),
    "unigram": (SentencePiece, ".model"),
    "words": (Words, ".txt"),
}
COMPARED = 1000  # documents of which the tokens are counted afterwards


def train_tokenizer(
    source: Source,
    kind: str,
    size: int,
    output: str,
    language: str = "",
    lowercase: bool = False,
) -> Tokenizer:
    """Trains a tokenizer on the captions of a source's records, writes it and gives it back.

    Args:
      kind: 'wordpiece', 'bpe', 'unigram' or 'words'.
      size: how many ids, specials included. Fewer where the text has no more to learn; more if its
        letters alone are more (of wordpiece).
      output: the file: .json of wordpiece and bpe, .model of unigram, .txt of words.
      language: take captions of this one only; '' takes all.
      lowercase: text is read in lower case, of wordpiece without accents, which takes the vowels
        from Hindi.

    Raises ConfigError for a source without text, and for a size or an output that cannot work.
    """
    reader, ending = READERS[kind]
    if not output.endswith(ending):
        raise ConfigError(f"output={output}: a tokenizer of kind={kind} is a {ending} file")
    draft = paths.draft(output)
    with _named(output):  # before the training, which may take hours
        if paths.is_folder(output):
            raise IsADirectoryError("it is a folder")
        open(draft, "wb").close()
    try:
        texts = (text for text, _ in documents_of(source, language))
        first = next(texts, None)
        if first is None:
            raise ConfigError(f"no record of {source} has text in {language or 'any language'!r}")
        made = KINDS[kind](itertools.chain([first], texts), size, lowercase)
        with _named(output):
            pathlib.Path(draft).write_bytes(made)
            paths.put(draft, output)
    finally:
        pathlib.Path(draft).unlink(missing_ok=True)
    return reader(output)


@contextlib.contextmanager
def _named(output: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written ({error.strerror or error})") from error


def source_of(config: ConfigDict) -> tuple[Source, str]:
    """A config's source of text and the language that its blocks take of it ('': all).

    Without what makes tokens of the text, which need not be there yet.
    """
    recorded, language = config.source, ""
    while "tokenizer" in recorded and "source" in recorded:
        language = language or (recorded.language if "language" in recorded else "")
        recorded = recorded.source
    return configs.build(recorded, place="source"), language


def _arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, Source]:
    parser = command.parser_of("tokenizer", __doc__)
    add = parser.add_argument
    add("--config", default="", help="config file, or FILE:variant, whose source has the text")
    add("--source", default="", help="in its place: a folder or file of text, see TextSource")
    add("--text_key", default="text", help="of --source: key of JSON, column of .csv")
    add("--split", default="", help="of --source: 'train' leaves the test documents out")
    add("--kind", required=True, help=", ".join(KINDS))
    add("--size", type=int, default=8000, help="how many ids, specials included")
    add("--output", required=True, help="the file to write")
    add("--language", default="", help="take captions of this one only")
    add("--lowercase", action="store_true", help="read all text in lower case")
    known = command.arguments_of(parser, [a for a in argv if not a.startswith("--config.")])
    one_of(known, "kind", KINDS)
    if known.size < 2:
        raise ConfigError(f"size={known.size} must be at least 2")
    if bool(known.config) == bool(known.source):
        raise ConfigError("give either --config or --source")
    if known.config:
        source, language = source_of(command.overridden(known.config, argv))
        known.language = known.language or language
        return known, source
    return known, TextSource(known.source, split=known.split, text_key=known.text_key)


def main(argv: Sequence[str]) -> None:
    """Trains by the command line's arguments and says what came of it."""
    known, source = _arguments(argv)
    made = train_tokenizer(
        source, known.kind, known.size, known.output, known.language, known.lowercase
    )
    texts = [t for t, _ in itertools.islice(documents_of(source, known.language), COMPARED)]
    length = sum(len(text.encode(errors="replace")) for text in texts)
    tokens = sum(len(made.encode(text)) for text in texts)
    print(
        f"{made.size} tokens, one for {length / max(tokens, 1):.2f} bytes of text; fingerprint "
        f"{made.fingerprint}; written to {known.output}"
    )


if __name__ == "__main__":
    command.enter(main, "tokenizer")
