"""Each record's cluster in a file: written by `ssl_jax.cluster`, read by `ClusterTransfer`."""

import functools
import os

import numpy as np
from jaxtyping import Int, UInt32

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import fingerprint
from ssl_jax.data.npz import read_npz
from ssl_jax.data.paths import home
from ssl_jax.data.record import MediaError, Record


def write_clusters(
    path: str, labels: Int[np.ndarray, "n"], fingerprints: UInt32[np.ndarray, "n"]
) -> None:
    """Keeps each record's cluster and the fingerprint of its name, by the record's number."""
    path = home(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        np.savez(file, labels=labels.astype(np.int32), names=fingerprints)


def cluster_of(path: str, record: Record) -> int:
    """The record's cluster.

    Raises ConfigError if the file cannot be read, MediaError if it is of other records.
    """
    labels, names = _read(path)
    if record.index >= len(labels) or names[record.index] != fingerprint(record.name):
        raise MediaError(
            f"{record.name}: {path} was made for other records; run python -m ssl_jax.cluster again"
        )
    return int(labels[record.index])


@functools.lru_cache(maxsize=4)
def _read(path: str) -> tuple[Int[np.ndarray, "n"], UInt32[np.ndarray, "n"]]:
    """(clusters, fingerprints) of the records."""
    try:
        arrays = read_npz(home(path))
        labels, names = arrays["labels"], arrays["names"]
        if labels.ndim != 1 or labels.shape != names.shape:
            raise MediaError(f"{path}: {labels.shape} clusters do not fit {names.shape} names")
        return labels.astype(np.int32), names.astype(np.uint32)
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{path}: no file of clusters ({error}); make it with python -m ssl_jax.cluster"
        ) from error
