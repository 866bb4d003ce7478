"""A teacher's soft labels of records in a file: written by `ssl_jax.soft_labels`."""

import functools
import os

import numpy as np
from jaxtyping import Float, Float32, UInt32

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import fingerprint
from ssl_jax.data.npz import read_npz
from ssl_jax.data.paths import home
from ssl_jax.data.record import MediaError, Record

MAKE = "make it with python -m ssl_jax.soft_labels"


def write_soft_labels(
    path: str, labels: Float[np.ndarray, "r n k"], fingerprints: UInt32[np.ndarray, "r"]
) -> None:
    """Keeps the probabilities of k classes in n segments of each record, by the record's number.

    Each with the fingerprint of the record's name, 0 for one without labels.
    """
    path = home(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        np.savez(file, labels=labels.astype(np.float32), names=fingerprints)


def soft_labels_of(path: str, record: Record) -> Float32[np.ndarray, "n k"]:
    """The record's.

    Raises ConfigError if the file cannot be read, MediaError if it is of other records.
    """
    labels, names = _read(path)
    if record.index >= len(labels) or names[record.index] != fingerprint(record.name):
        raise MediaError(f"{record.name}: {path} has no labels of this record; {MAKE}")
    return labels[record.index]


def soft_classes(path: str) -> int:
    """How many classes the file's teacher knows. ConfigError if it cannot be read."""
    return _read(path)[0].shape[-1]


@functools.lru_cache(maxsize=4)
def _read(path: str) -> tuple[Float32[np.ndarray, "r n k"], UInt32[np.ndarray, "r"]]:
    try:
        arrays = read_npz(home(path))
        labels, names = arrays["labels"], arrays["names"]
        if labels.ndim != 3 or labels.shape[:1] != names.shape:
            raise MediaError(f"{labels.shape} labels do not fit {names.shape} names")
        return labels.astype(np.float32, copy=False), names.astype(np.uint32, copy=False)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{path}: no file of soft labels ({error}); {MAKE}") from error
