"""Tokens of a record, as `TokenBlocks` gives them."""

import numpy as np
from jaxtyping import Int32

from ssl_jax.data.record import MediaError, Record


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
