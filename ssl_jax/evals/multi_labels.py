"""Which of several classes each record shows."""

import numpy as np
from jaxtyping import Int

from ssl_jax.data.record import MediaError, Record, Source


def labels_of(record: Record) -> tuple[list[int], list[int]]:
    """The classes a record shows, and those of them that are 'difficult': shown, but only badly.

    extra['labels'] holds numbers, or text such as '3 17'. Where a record has
    extra['labels_no_difficult'], as in TFDS' `voc`, all others of them are difficult. Without
    extra['labels'] it is the record's one label. MediaError if there is none.
    """
    if "labels" not in record.extra:
        if record.label < 0:
            raise MediaError(f"{record.name}: has no labels (extra['labels'])")
        return [record.label], []
    shown = _numbers(record, "labels")
    if "labels_no_difficult" not in record.extra:
        return shown, []
    clear = set(_numbers(record, "labels_no_difficult"))
    return shown, [number for number in shown if number not in clear]


def _numbers(record: Record, key: str) -> list[int]:
    found = record.extra[key]
    try:
        return [int(one) for one in (found.split() if isinstance(found, str) else found)]
    except (TypeError, ValueError) as error:
        raise MediaError(f"{record.name}: extra[{key!r}] holds no whole numbers") from error


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
