"""Texts of records as rows of tokens of one length: captions, or blocks of `TokenBlocks`."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int32

from ssl_jax.data.record import Record
from ssl_jax.data.sampling import even_frames
from ssl_jax.data.tokenizers import Tokenizer


def caption_times(record: Record, count: int) -> list[float]:
    """When `count` captions of a record begin, evenly spread over them; of a block, 0.

    Raises MediaError if it has none.
    """
    if "tokens" in record.extra:
        return [0.0] * count
    captions = sorted(record.need_captions(), key=lambda caption: caption.start)
    return [captions[k].start for k in even_frames(len(captions), count).tolist()]


def caption_at(record: Record, time: float) -> str:
    """The last caption that has begun at a time; before all of them the first.

    Raises MediaError if there is none.
    """
    captions = sorted(record.need_captions(), key=lambda caption: caption.start)
    begun = [caption for caption in captions if caption.start <= time + 1e-4]
    return (begun or captions[:1])[-1].text


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
    tokens = np.full((len(times), length), tokenizer.pad, np.int32)
    there = np.zeros((len(times), length), bool)
    for row, time in enumerate(times):
        room = length - len(before) - len(after)
        if "tokens" in record.extra:
            own = record.extra["tokens"]
        else:
            own = tokenizer.encode(caption_at(record, time))
        ids = (*before, *own[:room], *after)
        tokens[row, : len(ids)] = ids
        there[row, : len(ids)] = True
    return tokens, there
