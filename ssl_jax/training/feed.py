"""Places batches on the devices before they are needed; measures how long devices wait for them."""

import dataclasses
import queue
import threading
import time
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from ssl_jax.data.pipeline import TrainBatches
from ssl_jax.devices.sharding import put_batch

# Batches on the devices beside the one of the running step.
AHEAD = 2
# Seconds between two checks of whether the devices are still busy.
LOOK = 0.002


@dataclasses.dataclass(frozen=True)
class Fed:
    """A batch on the host and on the devices, and how many files had failed when it was made."""

    host: dict[str, np.ndarray]
    placed: dict[str, jax.Array]
    failed: int


class Feed:
    """Takes batches from the host's loader and places them while earlier steps run.

    A thread of its own does so; an error of the loader is raised in place of the batch it belongs
    to. Close the feed when done, which closes the loader too. `clock` gives seconds.

    Attributes:
      waited: seconds that the devices sat idle waiting for data so far.
    """

    def __init__(
        self, batches: TrainBatches, mesh: Mesh, clock: Callable[[], float] = time.monotonic
    ):
        self._batches, self._mesh, self._clock = batches, mesh, clock
        self._queue: queue.Queue[Fed | BaseException] = queue.Queue(AHEAD)
        self._closed = threading.Event()
        self.waited, self._waited_before = 0.0, 0.0
        self._since, self._failed = clock(), 0
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def next(self, is_done: Callable[[], bool] | None) -> Fed:
        """The next batch; `is_done` says whether the last step has ended, None if there is none.

        Waiting counts as waiting for data only while the devices are idle.
        """
        while True:
            begin = self._clock()
            idle = is_done is None or is_done()
            try:
                fed = self._queue.get(timeout=LOOK)
            except queue.Empty:
                fed = None
            if idle:
                self.waited += self._clock() - begin
            if isinstance(fed, BaseException):
                raise fed
            if fed is not None:
                self._failed = fed.failed
                return fed

    def numbers(self) -> dict[str, float]:
        """`wait`: fraction of the time since the last call that the devices sat idle waiting for
        data; `failed`: how many files could not be read so far."""
        now = self._clock()
        share = (self.waited - self._waited_before) / max(now - self._since, 1e-9)
        self._waited_before, self._since = self.waited, now
        return {"wait": min(share, 1.0), "failed": float(self._failed)}

    def close(self) -> None:
        """Ends the thread and closes the loader."""
        self._closed.set()
        self._batches.close()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                host = next(self._batches)
                fed = Fed(host, put_batch(self._mesh, host), self._batches.failures.files)
            except BaseException as error:
                fed = error  # also of a loader that was closed meanwhile; nobody asks for it then
            self._put(fed)
            if isinstance(fed, BaseException):
                return

    def _put(self, fed: Fed | BaseException) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(fed, timeout=0.1)
            except queue.Full:
                pass
