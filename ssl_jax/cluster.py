"""Clusters of a trained run's features: the command `python -m ssl_jax.cluster`.

--config=FILE[:variant]   of the run that will learn the clusters (see `ClusterTransfer`)
--workdir=DIR             of the teacher, whose features are clustered
"""

import os

import jax
import numpy as np
from ml_collections import ConfigDict

from ssl_jax import command
from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import fingerprint_fact
from ssl_jax.data.clusters_file import write_clusters
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.cluster_transfer import ClusterTransfer
from ssl_jax.scores.clusters import entropy
from ssl_jax.solvers.k_means import k_means
from ssl_jax.solvers.probe import finite_rows, unit
from ssl_jax.training.differing_arrays import naming_unfit_arrays
from ssl_jax.training.trained import load


def cluster(config: ConfigDict, teacher: str | os.PathLike) -> np.ndarray:
    """Clusters the teacher's features of the config's source; writes the file the config names.

    One image of each record, its features averaged over space and scaled to unit length, as many
    clusters as the config has classes. Of several hosts each reads its share of the records.

    Returns each record's cluster, -1 for a broken one. Raises ConfigError if the config is of
    another method, or names no file or no layer of the teacher.
    """
    experiment: Experiment = configs.build(config)
    method = experiment.method
    if not isinstance(method, ClusterTransfer) or not method.clusters:
        raise ConfigError("the config should be of a ClusterTransfer that names a file `clusters`")
    frozen, count = load(teacher), len(experiment.source)
    read = Read(layers=(method.layer,), pool="global")
    with naming_unfit_arrays(teacher):
        features = read.features(frozen, experiment.source, facts=fingerprint_fact)
    x = finite_rows(method.layer, features.layers[method.layer], features.indices)
    found, *_ = k_means(frozen.mesh, unit(x), method.classes, restarts=1, seed=experiment.seed)
    labels, names = np.full(count, -1, np.int32), np.zeros(count, np.uint32)
    labels[features.indices], names[features.indices] = found, features.facts["fingerprint"]
    if jax.process_index() == 0:
        write_clusters(method.clusters, labels, names)
        sizes = np.bincount(found, minlength=method.classes)
        print(
            f"{len(x)} records in {method.classes} clusters of {sizes.min()} to {sizes.max()}, as "
            f"even as {np.exp(entropy(sizes)):.1f} of the same size; written to {method.clusters}"
        )
    return labels


def main(arguments: command.Arguments) -> None:
    """Clusters by the command line's config and the teacher's workdir."""
    cluster(arguments.config, arguments.workdir)


if __name__ == "__main__":
    command.run(main, "cluster")
