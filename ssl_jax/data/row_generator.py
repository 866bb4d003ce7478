"""One random generator for all rows of a batch, set anew for each: as fast as copying a picture."""

import ctypes
import functools
import threading
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt64


def rows_generator(
    states: UInt64[np.ndarray, "b 4"],
) -> tuple[np.random.Generator, Iterator[None]]:
    """This thread's generator, for all rows, and what sets it, at each step, for the next row.

    Making a generator takes longer than copying a small picture, and so does setting its `state`.
    So its bytes are written where it keeps them, if it keeps them as numpy has done so far.
    """
    if not hasattr(_of_thread, "bits"):
        _of_thread.bits = np.random.SFC64(0)
    bits = _of_thread.bits
    rng = np.random.Generator(bits)
    if not _keeps_plain_bytes():
        return rng, (setattr(bits, "state", _state(words)) for words in states)
    unused = np.zeros((len(states), 1), np.uint64)  # half a number that may be left over
    whole = np.concatenate([states, unused], axis=1).view(f"V{SFC64_BYTES}")
    rows = whole.ravel().tolist()  # bytes
    return rng, map(functools.partial(setattr, _memory(bits), "raw"), rows)


_of_thread = threading.local()
SFC64_BYTES = 40


@functools.cache
def _keeps_plain_bytes() -> bool:
    """Whether a generator's memory is its four words, then whether half a number is left over."""
    bits, words = np.random.SFC64(0), np.arange(5, 9, dtype=np.uint64)
    bits.state = {**_state(words), "has_uint32": 1, "uinteger": 3}
    return np.frombuffer(_memory(bits), np.uint64).tolist() == [5, 6, 7, 8, 1 + (3 << 32)]


def _memory(bits: np.random.BitGenerator) -> ctypes.Array:
    """What is valid as long as `bits` lives."""
    return (ctypes.c_char * SFC64_BYTES).from_address(bits.ctypes.state_address)


def _state(words: UInt64[np.ndarray, "4"]) -> dict:
    state = {"state": words}
    return {"bit_generator": "SFC64", "state": state, "has_uint32": 0, "uinteger": 0}
