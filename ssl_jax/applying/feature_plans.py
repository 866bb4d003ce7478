"""What shards of features are made of: when they are kept, made again, or not to be replaced."""

import hashlib
import json

import jax
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data import paths, shards
from ssl_jax.data.shard_format import FORMAT
from ssl_jax.data.sources.array_record import ArrayRecordSource
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.frozen import Frozen


def hash_of_weights(frozen: Frozen) -> str:
    """Of all that a run has learnt, wherever it lies."""
    digest = hashlib.sha256()
    learnt = {name: tree for name, tree in frozen.variables.items() if name != "run"}
    for path, leaf in jax.tree_util.tree_leaves_with_path(learnt):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()


def plan_of(
    layer: str,
    stream: str,
    rate: float,
    weights: str,
    source: FolderSource | ArrayRecordSource,
    part: range,
) -> str:
    """A hash of everything that decides what a shard's bytes will be."""
    if isinstance(source, FolderSource):
        read = shards.facts_of(source.path, source.items[part.start : part.stop])
    else:  # the manifest has the hash of every shard
        read = [paths.read(paths.join(source.paths[0], "manifest.json")).decode()]
    facts = [FORMAT, layer, stream, rate, weights, read]
    facts += [part.start, part.stop, source.label_names]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def outdated(output: str, plans: dict[str, str], flags: dict) -> list[str]:
    """Files of `output` that the same flags made when there were more or fewer records.

    Args:
      plans: of each shard that is wanted, by its file's name.

    Raises ConfigError if other flags made what lies there. If files or the run changed, it may go.
    """
    found = []
    for name in paths.names(output):
        if not name.endswith(".array_record"):
            continue
        report = shards.report_of(paths.join(output, name))
        if report is None and name in plans:
            continue  # a run was stopped before it could write one
        made = report["made_with"] if report is not None and "made_with" in report else {}
        if "run" not in made:
            raise ConfigError(f"{output}: holds {name} of another command; give an empty folder")
        if name in plans and report["plan"] == plans[name]:
            continue
        # An older version lacked some flags: they had what stands for nothing.
        before = {k: made[k] if k in made else type(value)() for k, value in flags.items()}
        other = [k for k, value in flags.items() if before[k] != value]
        if other:
            was = ", ".join(f"{k}={before[k]}" for k in other)
            wanted = ", ".join(f"{k}={flags[k]}" for k in other)
            raise ConfigError(
                f"{output}: holds shards made with {was}, now {wanted}: give an empty folder, or "
                "delete this one to make them again"
            )
        if name not in plans:
            found += [name, shards.report_file(name)]
    return found
