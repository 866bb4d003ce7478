"""A part of a data set that stands for the whole."""

from collections.abc import Sequence


def spread(items: Sequence, limit: int) -> Sequence:
    """`limit` of the items, evenly spread over all of them; all if there are no more, or if 0."""
    if not 0 < limit < len(items):
        return items
    return [items[i * len(items) // limit] for i in range(limit)]
