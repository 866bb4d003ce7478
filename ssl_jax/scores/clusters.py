"""How well two partitions of the same items agree, say clusters and classes.

Float64 on the host, from the table of how many items every pair of parts shares. Parts are any
whole numbers; the number of a part means nothing (-1 is a part like any other). Where both
partitions are a single part they agree (1); where only one is, it says nothing (0), as in
scikit-learn.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln


def contingency(
    first: Int[np.ndarray, "n"], second: Int[np.ndarray, "n"]
) -> Int[np.ndarray, "r c"]:
    """How many items are in the i-th part of the first and the j-th of the second partition.

    ValueError without items.
    """
    if not len(first):
        raise ValueError("there are no items whose partitions could be compared")
    rows, row = np.unique(first, return_inverse=True)
    columns, column = np.unique(second, return_inverse=True)
    pairs = np.bincount(row * len(columns) + column, minlength=len(rows) * len(columns))
    return pairs.reshape(len(rows), len(columns))


def mutual_information(table: Int[np.ndarray, "r c"]) -> float:
    """In nats; never negative."""
    joint = table / table.sum()
    expected = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    ratio = np.divide(joint, expected, out=np.ones_like(joint), where=joint > 0)
    return max(float(np.sum(joint * np.log(ratio))), 0.0)


def entropy(counts: Int[np.ndarray, "k"]) -> float:
    """Of the parts' sizes, in nats."""
    share = counts[counts > 0] / counts.sum()
    return max(float(-np.sum(share * np.log(share))), 0.0)


def nmi(
    first: Int[np.ndarray, "n"], second: Int[np.ndarray, "n"], mean: str = "arithmetic"
) -> float:
    """Mutual information over the 'arithmetic' or 'geometric' mean, or 'max', of both entropies.

    Papers print all three under the same name; scikit-learn's default and SeLaVi's is arithmetic.
    """
    table = contingency(first, second)
    if table.size == 1:
        return 1.0
    scale = _mean(entropy(table.sum(axis=1)), entropy(table.sum(axis=0)), mean)
    return mutual_information(table) / scale if scale > 0 else 0.0


def adjusted_mutual_information(first: Int[np.ndarray, "n"], second: Int[np.ndarray, "n"]) -> float:
    """(MI - E) / (arithmetic mean of the entropies - E): 0 for random partitions on average.

    E is the mean MI of partitions with parts of these sizes (Vinh, Epps and Bailey 2010). NMI grows
    with the number of clusters even where they are random; this does not.
    """
    table = contingency(first, second)
    if table.size == 1:
        return 1.0
    if 1 in table.shape:
        return 0.0
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    expected = expected_mutual_information(rows, columns)
    top = mutual_information(table) - expected
    bottom = (entropy(rows) + entropy(columns)) / 2 - expected
    # With parts of one item each on both sides, every arrangement agrees.
    return float(top / bottom) if bottom > 1e-12 else 1.0


def expected_mutual_information(rows: Int[np.ndarray, "r"], columns: Int[np.ndarray, "c"]) -> float:
    """Mean mutual information of all pairs of partitions with parts of these sizes."""
    n = int(rows.sum())
    total = 0.0
    # Parts of equal size add the same, so each pair of sizes is summed over once.
    for a, how_often_a in zip(*np.unique(rows, return_counts=True), strict=True):
        for b, how_often_b in zip(*np.unique(columns, return_counts=True), strict=True):
            shared = np.arange(max(1, a + b - n), min(a, b) + 1)
            chance = np.exp(
                gammaln(a + 1)
                + gammaln(b + 1)
                + gammaln(n - a + 1)
                + gammaln(n - b + 1)
                - gammaln(n + 1)
                - gammaln(shared + 1)
                - gammaln(a - shared + 1)
                - gammaln(b - shared + 1)
                - gammaln(n - a - b + shared + 1)
            )
            information = shared / n * np.log(n * shared / (float(a) * float(b)))
            total += how_often_a * how_often_b * float(np.sum(information * chance))
    return total


def adjusted_rand_index(first: Int[np.ndarray, "n"], second: Int[np.ndarray, "n"]) -> float:
    """Share of pairs of items on which both agree, 0 for random ones on average, at most 1."""
    table = contingency(first, second).astype(np.float64)
    together = _pairs(table)
    rows, columns = _pairs(table.sum(axis=1)), _pairs(table.sum(axis=0))
    everything = _pairs(table.sum(keepdims=True))
    expected = rows * columns / everything if everything else 0.0
    best = (rows + columns) / 2
    # Equal only if both put everything together or everything apart.
    return float((together - expected) / (best - expected)) if best > expected else 1.0


def purity(clusters: Int[np.ndarray, "n"], classes: Int[np.ndarray, "n"]) -> float:
    """Share of items that are of their cluster's most frequent class."""
    table = contingency(clusters, classes)
    return float(table.max(axis=1).sum() / table.sum())


def mean_cluster_purity(clusters: Int[np.ndarray, "n"], classes: Int[np.ndarray, "n"]) -> float:
    """Mean over clusters, whatever their size, of the share of the most frequent class (SeLaVi)."""
    table = contingency(clusters, classes)
    return float(np.mean(table.max(axis=1) / table.sum(axis=1)))


def mean_cluster_entropy(clusters: Int[np.ndarray, "n"], classes: Int[np.ndarray, "n"]) -> float:
    """Mean over clusters, whatever their size, of their classes' entropy in nats (SeLaVi)."""
    return float(np.mean([entropy(row) for row in contingency(clusters, classes)]))


def matched_accuracy(clusters: Int[np.ndarray, "n"], classes: Int[np.ndarray, "n"]) -> float:
    """Accuracy if each cluster is given the class that makes it largest, no class to two clusters.

    By the Hungarian method. Items of clusters beyond the number of classes all count as wrong.
    """
    table = contingency(clusters, classes)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / table.sum())


def _pairs(counts: Float[np.ndarray, "*shape"]) -> float:
    return float(np.sum(counts * (counts - 1)) / 2)


def _mean(x: float, y: float, how: str) -> float:
    match how:
        case "arithmetic":
            return (x + y) / 2
        case "geometric":
            return float(np.sqrt(x * y))
        case "max":
            return max(x, y)
    raise ValueError(f"mean={how!r}: must be arithmetic, geometric or max")
