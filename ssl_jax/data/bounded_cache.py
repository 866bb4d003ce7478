"""A cache that is bounded by the bytes it holds, for many threads."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class BoundedCache:
    """Keeps what was made for a key; what was asked for longest ago goes first.

    Two threads that ask for the same key at once may both make it.
    """

    def __init__(self, most_bytes: int, size: Callable[[Any], int]):
        """`size` says how many bytes a value takes."""
        self.bytes = 0
        self._most, self._size = most_bytes, size
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of a key, made if it is not there. An error of `make` is not kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            if key not in self._values:
                self._values[key] = value
                self.bytes += self._size(value)
            while self.bytes > self._most and len(self._values) > 1:
                _, oldest = self._values.popitem(last=False)
                self.bytes -= self._size(oldest)
        return value
