"""Tokens of a record, as `TokenBlocks` gives them, and how they are shown."""

import numpy as np
from jaxtyping import Int, Int32

from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.tokenizers import Tokenizer


def need_tokens(record: Record, length: int) -> Int32[np.ndarray, "l"]:
    """The `length + 1` tokens of a block: all but the last are read, all but the first predicted.

    MediaError for a record that is no block, or one of another length.
    """
    if "tokens" not in record.extra:
        raise MediaError(
            f"{record.name}: has no tokens; give its source as TokenBlocks(source, tokenizer, "
            f"length={length})"
        )
    tokens = record.extra["tokens"]
    if len(tokens) != length + 1:
        raise MediaError(
            f"{record.name}: is a block of length={len(tokens) - 1}, the method has length={length}"
        )
    return tokens


def masked_text(tokenizer: Tokenizer, ids: Int[np.ndarray, "l"]) -> str:
    """The text of ids, in which _ stands for every hidden token."""
    gap = tokenizer.encode("_")[-1]
    return tokenizer.decode(np.where(ids == tokenizer.mask, gap, ids))
