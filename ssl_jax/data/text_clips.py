"""Texts of records as rows of tokens of one length: captions, or blocks of `TokenBlocks`."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int32

from ssl_jax.data.record import Record
from ssl_jax.data.sampling import even_frames
from ssl_jax.data.tokenizers import Tokenizer

APART = 1e-3  # seconds between captions that start together


def caption_times(record: Record, count: int) -> list[float]:
    """The times at which `caption_at` has `count` captions, evenly spread over all; of a block, 0.

    A caption's time is its start; captions that start together have times a little apart.

    Raises MediaError if it has none.
    """
    if "tokens" in record.extra:
        return [0.0] * count
    timed = _timed(record)
    return [timed[k][0] for k in even_frames(len(timed), count).tolist()]


def caption_at(record: Record, time: float) -> str:
    """The last caption that has begun at a time; before all of them the first.

    Raises MediaError if there is none.
    """
    timed = _timed(record)
    begun = [text for start, text in timed if start <= time + APART / 10]
    return begun[-1] if begun else timed[0][1]


def _timed(record: Record) -> list[tuple[float, str]]:
    """(time, text) of all captions, ascending, no time twice."""
    timed, last = [], -math.inf
    # Of those with equal starts, such as five descriptions of one video, the order stays.
    for caption in sorted(record.need_captions(), key=lambda caption: caption.start):
        last = max(caption.start, last + APART)
        timed.append((last, caption.text))
    return timed


def caption_tokens(
    record: Record,
    times: Sequence[float],
    tokenizer: Tokenizer,
    length: int,
    before: tuple[int, ...] = (),
    after: tuple[int, ...] = (),
) -> tuple[Int32[np.ndarray, "n l"], Bool[np.ndarray, "n l"]]:
    """The captions at these times, or a block's tokens, padded at their ends to `length`.

    Returns the tokens, and which of them are no padding.

    Args:
      before, after: specials around each; a long caption is cut so that these stay.
    """
    if "tokens" in record.extra:
        own = [record.extra["tokens"]] * len(times)
    else:
        own = [tokenizer.encode(caption_at(record, time)) for time in times]
    return token_rows(own, tokenizer.pad, length, before, after)


def token_rows(
    texts: Sequence,
    pad: int,
    length: int,
    before: tuple[int, ...] = (),
    after: tuple[int, ...] = (),
) -> tuple[Int32[np.ndarray, "n l"], Bool[np.ndarray, "n l"]]:
    """Tokens of n texts as rows of `length`; of None a row of nothing but padding.

    Otherwise as `caption_tokens`.
    """
    tokens = np.full((len(texts), length), pad, np.int32)
    there = np.zeros((len(texts), length), bool)
    room = length - len(before) - len(after)
    for row, text in enumerate(texts):
        ids = () if text is None else (*before, *text[:room], *after)
        tokens[row, : len(ids)] = ids
        there[row, : len(ids)] = True
    return tokens, there
