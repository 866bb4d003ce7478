"""Ctrl-C, SIGTERM and preemption: the wish to stop, read by the loop between two steps."""

import os
import signal
import threading

from ssl_jax.devices.hosts import several


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop; its state is saved. The message says how to resume."""

    def __init__(self, message: str, by: int):
        super().__init__(message)
        self.by = by


class SaveError(OSError):
    """The last state of a run could not be saved. The message is one line for the user."""


class Stop:
    """Turns Ctrl-C and SIGTERM into a wish that the loop reads; a second Ctrl-C is not held back.

    Of several hosts one must not stop alone: there JAX takes SIGTERM for a notice of preemption and
    agrees with the others on a step (see `Saver.preempted`), and Ctrl-C is handed on as SIGTERM.
    Only the main thread can take signals; elsewhere this does nothing.
    """

    def __init__(self):
        self.signal = 0
        self._before: dict = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT,) if several() else (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number, frame) -> None:
        del frame
        if self.signal == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
        if several():
            os.kill(os.getpid(), signal.SIGTERM)

    @property
    def wished(self) -> bool:
        """Whether this process alone may stop now because of a signal."""
        return bool(self.signal) and not several()
