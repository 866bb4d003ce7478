"""A stand-in for a frozen network whose features are known already."""

import dataclasses

import numpy as np
from jax.sharding import Mesh

from ssl_jax.frozen import Features


@dataclasses.dataclass(frozen=True)
class Computed:
    """Answers `features` as `ssl_jax.frozen.Frozen` does; `known` pairs sources and features.

    With `clips` above 1 the features have an axis of clips, (n clips d), to be averaged or not.
    """

    known: tuple[tuple[object, Features], ...]
    mesh: Mesh | None = None

    def features(self, source, stream, layers=(), clips=1, pool="max", average=True, facts=None):
        full = next(found for owner, found in self.known if owner is source)
        chosen = {name: full.layers[name] for name in layers or full.layers}
        if average and clips > 1:
            chosen = {name: rows.mean(axis=1) for name, rows in chosen.items()}
        noted = facts_of(source, full.indices, facts) if facts else {}
        return dataclasses.replace(full, layers=chosen, facts=noted)


def facts_of(source, indices, facts) -> dict[str, np.ndarray]:
    """What `facts` says of these records, in one array a fact."""
    found = [facts(source[int(i)]) for i in indices]
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


def inputs_of(method, source, stream, clips=1, limit=0):
    """`Frozen.inputs`, of a method that need not be one."""
    count = min(limit or len(source), len(source))
    records = [source[i * len(source) // count] for i in range(count)]
    found = [method.clips(one, stream, method.times(one, stream, clips)) for one in records]
    inputs = {name: np.stack([one[name] for one in found]) for name in found[0]}
    return inputs, np.array([one.index for one in records])


def computed(train: Features, test: Features) -> Computed:
    """Of the sources "train" and "test"."""
    return Computed((("train", train), ("test", test)))


def features(labels, **layers) -> Features:
    """Layers (n d) of n records with these labels, in their order."""
    n = len(labels)
    layers = {name: np.asarray(rows, np.float32) for name, rows in layers.items()}
    return Features(layers, np.array(labels, np.int64), np.arange(n), np.zeros(n, np.int64))
