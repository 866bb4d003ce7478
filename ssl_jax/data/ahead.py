"""Calls made ahead by threads, their results in order."""

import collections
import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Ahead:
    """Iterates make(number) for each of the numbers, in their order. Close it when done.

    What a call raises is raised in its place, and the iteration may go on.
    """

    def __init__(
        self, make: Callable[[int], Any], numbers: Iterable[int], threads: int, ahead: int
    ):
        """So many calls at once, and so many results kept that nobody has asked for yet."""
        self._make, self._numbers = make, iter(numbers)
        self._pool = ThreadPoolExecutor(min(threads, ahead), "data")
        self._made: collections.deque[Future] = collections.deque()
        self._begin(ahead)

    def __iter__(self) -> "Ahead":
        return self

    def __next__(self) -> Any:
        if not self._made:
            raise StopIteration
        first = self._made.popleft()
        self._begin(1)
        return first.result()

    def close(self) -> None:
        """Begins no more calls; does not wait for those that run."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self, count: int) -> None:
        for number in itertools.islice(self._numbers, count):
            self._made.append(self._pool.submit(self._make, number))
