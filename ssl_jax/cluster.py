"""Clusters of a trained run's features: the command `python -m ssl_jax.cluster`.

--config=FILE[:variant]   of the run that will learn the clusters (see `ClusterTransfer`)
--workdir=DIR             of the teacher, whose features are clustered
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ssl_jax import command
from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.record import Source
from ssl_jax.data.record_batches import record_batches
from ssl_jax.devices.sharding import put_batch
from ssl_jax.experiment import Experiment
from ssl_jax.frozen import Frozen, load
from ssl_jax.methods.image.cluster_transfer import ClusterTransfer, write_clusters
from ssl_jax.scores.clusters import entropy
from ssl_jax.solvers.k_means import k_means
from ssl_jax.solvers.probe import unit


def cluster(config: ConfigDict, teacher: str | os.PathLike) -> np.ndarray:
    """Clusters the teacher's features of the config's source; writes the file the config names.

    One picture of each record, its features averaged over space and scaled to unit length, as many
    clusters as the config has classes. Runs on one host.

    Returns each record's cluster, -1 for a broken one. Raises ConfigError if the config is of
    another method, or names no file or no layer of the teacher's.
    """
    experiment: Experiment = configs.build(config)
    method = experiment.method
    if not isinstance(method, ClusterTransfer) or not method.clusters:
        raise ConfigError("the config should be of a ClusterTransfer that names a file `clusters`")
    frozen = load(teacher)
    x, indices, names = mean_features(frozen, experiment.source, method.layer)
    found, *_ = k_means(frozen.mesh, unit(x), method.classes, restarts=1, seed=experiment.seed)
    sizes = np.bincount(found, minlength=method.classes)
    used = np.exp(entropy(sizes))
    labels = np.full(len(experiment.source), -1, np.int32)
    labels[indices] = found
    write_clusters(method.clusters, labels, names)
    print(
        f"{len(x)} records in {method.classes} clusters of {sizes.min()} to {sizes.max()}, as even "
        f"as {used:.1f} of the same size; written to {method.clusters}"
    )
    return labels


def mean_features(
    frozen: Frozen, source: Source, layer: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(features (n c), their mean over space; the n records' numbers; the names of all records).

    A broken record has no features, and no name.
    """
    names = [""] * len(source)

    def read(record):
        picture = frozen.method.clips(record, "vision", 1)[0]
        names[record.index] = record.name
        return {"x": picture, "index": np.int64(record.index)}

    @jax.jit
    def encode(variables, raw):
        layers = frozen.method.encode(variables, "vision", raw)
        if layer not in layers:
            raise ConfigError(f"the teacher has no layer '{layer}'; it has {', '.join(layers)}")
        x = layers[layer].astype(jnp.float32)
        return x.mean(axis=range(1, x.ndim - 1))

    rows = -(-frozen.batch_size // frozen.mesh.size) * frozen.mesh.size
    features, indices = [], []
    for batch, valid in record_batches(source, read, rows, frozen.loading):
        x = encode(frozen.variables, put_batch(frozen.mesh, {"x": batch["x"]})["x"])
        features.append(np.asarray(x)[:valid])
        indices.append(batch["index"][:valid])
    return np.concatenate(features), np.concatenate(indices), names


def main(arguments: command.Arguments) -> None:
    """Clusters by the command line's config and the teacher's workdir."""
    cluster(arguments.config, arguments.workdir)


if __name__ == "__main__":
    command.run(main, "cluster")
