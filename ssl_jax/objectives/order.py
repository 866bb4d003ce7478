"""Classes of the tasks that put shuffled frames or clips back in order."""

import itertools

from ssl_jax.config import ConfigError

# OPN (Lee et al., ICCV 2017), the authors' table: entry c lists which frame, counted from 0 in true
# order, is shown first, second, third and fourth in class c. An order and its reverse are one
# class, so these 12 stand for all 24; they are the orders that show frame 0 before frame 3.
# (Sorting out the smaller of each order and its reverse gives another set.)
ORDERS_UP_TO_REVERSAL: tuple[tuple[int, int, int, int], ...] = (
    (0, 1, 2, 3),
    (0, 2, 1, 3),
    (0, 2, 3, 1),
    (0, 1, 3, 2),
    (0, 3, 1, 2),
    (0, 3, 2, 1),
    (1, 0, 2, 3),
    (1, 0, 3, 2),
    (1, 2, 0, 3),
    (2, 0, 1, 3),
    (2, 0, 3, 1),
    (2, 1, 0, 3),
)


def class_up_to_reversal(order: tuple[int, ...]) -> int:
    """OPN's class of four frames shown in this order, forwards or backwards.

    Raises:
      ConfigError: not an order of the frames 0 to 3.
    """
    order = tuple(order)
    for candidate in (order, order[::-1]):
        if candidate in ORDERS_UP_TO_REVERSAL:
            return ORDERS_UP_TO_REVERSAL.index(candidate)
    raise ConfigError(f"{order} is not an order of the frames 0, 1, 2, 3")


def permutations(count: int) -> tuple[tuple[int, ...], ...]:
    """All orders of `count` clips, each at the index that is its class (VCOP, Xu et al. 2019).

    The entry k of an order is the true number of the clip shown in slot k. (Its inverse, the slot
    of clip k, would swap the classes 3 and 4 of three clips.) Orders go lexicographically.
    """
    return tuple(itertools.permutations(range(count)))
