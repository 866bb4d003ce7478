"""What is said in a caption's seconds in other languages."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int32

from ssl_jax.data.record import Caption
from ssl_jax.data.sampling import captions_at
from ssl_jax.data.tokenizers import Tokenizer


def translations(
    captions: Sequence[Caption], caption: Caption, languages: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Texts in each language that say what a caption says, any of which may stand for it.

    Languages share a video's clock, not the numbers of captions, so they are joined by time: what
    is said in a language in the caption's seconds is one text. Captions of a whole video, without
    an end, are descriptions of their own, each a text. A language without any is left out.
    """
    found = {}
    for language in languages:
        numbers = captions_at(captions, caption.start, caption.end, language)
        own = sorted((captions[number] for number in numbers), key=lambda c: c.start)
        timed = [one.text for one in own if one.end < math.inf]
        texts = [*([" ".join(timed)] if timed else []), *(c.text for c in own if c.end == math.inf)]
        if texts:
            found[language] = tuple(texts)
    return found


def text_rows(
    texts: Sequence[str], tokenizer: Tokenizer, length: int
) -> tuple[Int32[np.ndarray, "n length"], Bool[np.ndarray, "n length"]]:
    """[CLS], the tokens of a text and [SEP], cut or padded at the end to `length`; '' is padding.

    Returns the tokens, and which of them are no padding.
    """
    rows = np.full((len(texts), length), tokenizer.pad, np.int32)
    there = np.zeros(rows.shape, bool)
    for row, text in enumerate(texts):
        ids = tokenizer.encode(text)[: length - 2]
        ids = [tokenizer.cls, *ids, tokenizer.sep] if text else []
        rows[row, : len(ids)], there[row, : len(ids)] = ids, True
    return rows, there
