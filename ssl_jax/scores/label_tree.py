"""How closely classes are related in a tree of labels, as AudioSet's ontology."""

import json
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from ssl_jax.config import ConfigError
from ssl_jax.data import paths

FARTHEST = 20  # of which relevance is nothing


def relevance_by_tree(file: str, classes: Sequence[str]) -> Float[np.ndarray, "k k"]:
    """20 less the number of edges between two classes on the shortest way (AVE-Net's relevance).

    Args:
      file: `ontology.json` as AudioSet has it: classes with 'id', 'name' and 'child_ids'. Those
        that are nobody's child have a common root.
      classes: their names or ids.

    Raises ConfigError for a class that the tree lacks, or a file that is no tree.
    """
    try:
        nodes = json.loads(paths.read_text(file).read())
        place = {node["id"]: number for number, node in enumerate(nodes)}
        names = {node["name"]: number for number, node in enumerate(nodes)} | place
        edges = [(place[node["id"]], place[child]) for node in nodes for child in node["child_ids"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file}: is no tree of labels as AudioSet's ({error})") from error
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise ConfigError(f"{file}: has no class {unknown[0]!r}")
    children = {child for _, child in edges}
    edges += [(len(nodes), top) for top in range(len(nodes)) if top not in children]
    rows, columns = np.array(edges).T
    size = (len(nodes) + 1,) * 2
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=size).tocsr()
    wanted = [names[name] for name in classes]
    steps = dijkstra(graph, directed=False, indices=wanted, unweighted=True)[:, wanted]
    return np.maximum(FARTHEST - steps, 0.0)
