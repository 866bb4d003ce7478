"""Records that cannot be read: each named once, counted, and too many of them end the run."""

import logging
from collections.abc import Sequence

from ssl_jax.data.record import MediaError

# A share of fewer records than these is left to chance.
ENOUGH_READ = 100
# Evaluators read the same records again and again; one line a file will do.
_told: set[str] = set()


class Failures:
    """Counts and names what cannot be read; MediaError once that is too much."""

    def __init__(self, max_failed: float, enough: int = ENOUGH_READ):
        """The share is judged as if at least `enough` records had been read."""
        self._max_failed, self._enough = max_failed, enough
        self._read = self._failed = 0
        self._files: set[str] = set()

    @property
    def files(self) -> int:
        """How many different files (or records) failed."""
        return len(self._files)

    def add(self, failed: Sequence[str], read: int) -> None:
        """Takes note of so many records read, and the lines of those that failed."""
        self._read += read
        self._failed += len(failed)
        for line in failed:
            file = line.partition(": ")[0]
            self._files.add(file)
            if file not in _told:
                _told.add(file)
                logging.getLogger(__name__).warning("skipped: %s", line)

        if self._failed > self._max_failed * max(self._read, self._enough):
            raise MediaError(
                f"{failed[-1]}; {self._failed} of {self._read} records read have failed by now, "
                f"more than data.max_failed={self._max_failed}: mend or remove such files"
            )

    def sum_up(self) -> None:
        """One line on all that was skipped."""
        if self._failed:
            logging.getLogger(__name__).warning(
                "skipped %d of %d records read; %d different ones, each named once",
                *(self._failed, self._read, self.files),
            )
