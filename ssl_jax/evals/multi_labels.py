"""Which of several classes each record shows."""

import numpy as np
from jaxtyping import Int

from ssl_jax.data.annotations import labels_of
from ssl_jax.data.record import Source


def presence(
    source: Source, indices: Int[np.ndarray, "n"], classes: int = 0
) -> Int[np.ndarray, "n k"]:
    """1 where a record shows a class, 0 where only difficultly, -1 where not, as in VOC's files.

    Args:
      indices: which records, those that could be read.
      classes: how many there are; 0 for those up to the largest number that occurs.

    Raises ValueError for a label beyond them.
    """
    shown = [labels_of(source[int(i)]) for i in indices]
    largest = max((number for pair in shown for part in pair for number in part), default=-1)
    least = min((number for pair in shown for part in pair for number in part), default=0)
    if least < 0 or (classes and largest >= classes):
        wrong = least if least < 0 else largest
        raise ValueError(f"label {wrong} is none of the {classes or largest + 1} classes")
    table = np.full((len(indices), classes or largest + 1), -1)
    for row, (numbers, difficult) in zip(table, shown, strict=True):
        row[numbers] = 1
        row[difficult] = 0
    return table
