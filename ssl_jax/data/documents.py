"""Documents: records that are only text, and the texts of any source."""

import hashlib
import logging
from collections.abc import Iterator
from typing import NamedTuple

from ssl_jax.data.record import Caption, MediaError, Record, Source

SPLITS = ("train", "test")


class Document(NamedTuple):  # of which there may be millions: a dataclass takes ten times as long
    """A text before it is a record. `name` is where it comes from, such as 'a.jsonl:7'."""

    name: str
    content: str
    label: str = ""
    split: str = ""


def split_of(words: str, test_share: float) -> str:
    """'train' or 'test', by a hash: the same on every machine, whatever else there is."""
    digest = hashlib.sha256(words.encode()).digest()
    return SPLITS[int.from_bytes(digest[:8], "big") < test_share * 2**64]


def record_of_text(document: Document, index: int, label: int, language: str) -> Record:
    """A record without frames and audio, whose one caption is the document."""
    return Record(
        name=document.name,
        index=index,
        num_frames=0,
        fps=0.0,
        captions=(Caption(document.content, language=language),),
        label=label,
        extra={"split": document.split},
    )


def documents_of(source: Source, language: str = "") -> Iterator[tuple[str, int]]:
    """(text, label) of every record of a source: its captions, one a line.

    Records that cannot be read, or that have no caption, are skipped, and counted in the log.

    Args:
      language: take captions of this one only; '' takes all.
    """
    skipped: list[str] = []
    for index in range(len(source)):
        try:
            record = source[index]
            captions = record.need_captions()
        except MediaError as error:
            skipped.append(str(error))
            continue
        text = "\n".join(c.text for c in captions if language in ("", c.language))
        if text:
            yield text, record.label
        else:
            skipped.append(f"{record.name}: has no caption in {language!r}")
    if skipped:
        logging.getLogger(__name__).warning(
            "%d of %d records without text are skipped, such as %s",
            *(len(skipped), len(source), skipped[0]),
        )
