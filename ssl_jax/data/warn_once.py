"""Warnings that many readers of the same data would repeat."""

import logging

_warned: set[str] = set()


def warn_once(line: str) -> None:
    """Logs a line as a warning, the first time only."""
    if line not in _warned:
        _warned.add(line)
        logging.getLogger(__name__).warning("%s", line)
