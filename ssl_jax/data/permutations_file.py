"""Published sets of permutations of a jigsaw puzzle's tiles, as files."""

import os

import numpy as np
from jaxtyping import Int8

from ssl_jax.config import ConfigError
from ssl_jax.data.npz import read_npy
from ssl_jax.data.paths import home


def read_permutations(path: str) -> Int8[np.ndarray, "n items"]:
    """A published set: .npy (n, items), .txt of one permutation a line, or .bin.

    Counted from 0 or from 1. A .bin is of little-endian int32: n, items, then the permutations, as
    the authors of Jigsaw and Jigsaw++ gave theirs.

    Raises:
      ConfigError: no such file, or a row that is no permutation, or one that stands there twice.
    """
    path = home(path)
    ending = os.path.splitext(path)[1]
    if not os.path.isfile(path):
        raise ConfigError(f"there is no file of permutations {path!r}")
    try:
        if ending == ".npy":
            table = read_npy(path)
        elif ending == ".txt":
            with open(path) as file:
                lines = [line.replace(",", " ").split() for line in file if line.strip()]
            table = np.array([[int(entry) for entry in line] for line in lines])
        elif ending == ".bin":
            values = np.fromfile(path, "<i4")
            table = values[2:].reshape(values[0], values[1])
        else:
            raise ConfigError("it should end in .npy, .txt or .bin")
        if table.ndim != 2 or not table.size or not np.issubdtype(table.dtype, np.integer):
            raise ConfigError("it holds no table of whole numbers, one permutation a row")
        table = table - (1 if table.min() == 1 else 0)
        wrong = np.any(np.sort(table, axis=1) != np.arange(table.shape[1]), axis=1)
        if wrong.any():
            number = int(np.argmax(wrong))
            raise ConfigError(f"row {number}, {table[number].tolist()}, is no permutation")
        if len(np.unique(table, axis=0)) < len(table):
            raise ConfigError("a permutation stands there twice")
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{path}: cannot be read as permutations: {error}") from error
    return table.astype(np.int8)
