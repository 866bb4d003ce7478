"""Sets of permutations that a jigsaw puzzle's solver tells apart.

Two random permutations of nine tiles differ in exactly 8 places on average, so an average of 8 says
nothing about a set: how far its closest two are apart does.
"""

import functools
import itertools

import numpy as np
from jaxtyping import Int, Int8

from ssl_jax.config import ConfigError

RULES = ("min", "mean")


@functools.lru_cache(maxsize=8)
def greedy_permutations(items: int, count: int, rule: str = "min") -> Int8[np.ndarray, "n items"]:
    """`count` permutations of 0 .. items - 1 that differ in many places, always the same.

    Begins with the identity and adds, again and again, the permutation whose Hamming distance to
    those chosen is greatest: to the nearest of them ('min'; of equals the one with the greatest
    sum of distances), or on average ('mean', the rule of Noroozi & Favaro 2016, which leaves pairs
    that differ in two places). Then the first in lexicographic order. A thousand of nine take
    seconds: distances are whole numbers, so no rounding decides.

    Raises:
      ConfigError: unknown rule, more permutations than there are, or too many items to list all.
    """
    if rule not in RULES:
        raise ConfigError(f"the rule of a permutation set is one of {RULES}, not {rule!r}")
    if not 2 <= items <= 9:
        raise ConfigError(
            f"permutations of {items} tiles cannot all be listed: take 2 to 9 tiles or a file"
        )
    every = np.array(list(itertools.permutations(range(items))), np.int8)
    if not 1 <= count <= len(every):
        raise ConfigError(f"{items} tiles have {len(every)} permutations, {count} were asked for")
    columns = np.ascontiguousarray(every.T)  # much faster to compare along
    nearest = np.full(len(every), items, np.int8)
    total = np.zeros(len(every), np.int32)
    chosen = [0]
    for _ in range(count - 1):
        distance = np.zeros(len(every), np.int8)
        for column, own in zip(columns, every[chosen[-1]], strict=True):
            distance += column != own
        total += distance
        np.minimum(nearest, distance, out=nearest)
        # A permutation chosen before is at distance 0 from the set. By the mean it has to be kept
        # out; by the minimum it never wins before all are taken.
        if rule == "min":
            candidates = np.flatnonzero(nearest == nearest.max())
        else:
            candidates = np.flatnonzero(nearest > 0)
        chosen.append(int(candidates[np.argmax(total[candidates])]))
    found = every[chosen]
    found.flags.writeable = False  # it is kept for the next call
    return found


def permutation_distances(table: Int[np.ndarray, "n items"]) -> Int[np.ndarray, "n n"]:
    """In how many places each permutation differs from each (Hamming distance)."""
    return np.sum(table[:, None] != table[None], axis=-1)
