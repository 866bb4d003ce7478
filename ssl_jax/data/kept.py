"""The user's cache folder, and files of rows in it that several processes may read and add to."""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Sequence

from ssl_jax.data.warn_once import warn_once


def cache_folder() -> str:
    """$XDG_CACHE_HOME/ssl_jax, or ~/.cache/ssl_jax."""
    known = os.environ["XDG_CACHE_HOME"] if "XDG_CACHE_HOME" in os.environ else ""
    return os.path.join(os.path.expanduser(known or "~/.cache"), "ssl_jax")


class KeptRows:
    """Rows of plain values, one a line, kept for later runs in a file of the cache folder.

    Rows are only ever added, whole lines at a time, so a process that is killed or reads meanwhile
    does no harm. Where nothing can be written, nothing is kept, and that is logged.
    """

    def __init__(self, kind: str, name: str):
        """`kind` is a folder; `name`, of any length, is what the rows are about."""
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        self.file = os.path.join(cache_folder(), kind, f"{digest}.jsonl")

    def read(self) -> list:
        """All rows, the oldest first. Lines that make no sense are dropped, and that is logged."""
        try:
            with open(self.file, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            return []
        lines = text[: text.rfind("\n") + 1].splitlines()  # another process may be writing the rest
        try:
            return json.loads(f"[{','.join(lines)}]")  # all at once is several times faster
        except ValueError:
            rows = []
        for line in lines:
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                rows += [row] if isinstance(row, list) else []
        damaged = len(lines) - len(rows)
        logging.getLogger(__name__).warning("%s: %d damaged lines are dropped", self.file, damaged)
        self.replace(rows)
        return rows

    def add(self, rows: Sequence[Sequence]) -> None:
        """Adds rows at the end."""
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        try:
            os.makedirs(os.path.dirname(self.file), exist_ok=True)
            # One write in append mode: other processes' rows come before or after, not between.
            handle = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, f"\n{text}".encode() if self._is_cut(handle) else text.encode())
            finally:
                os.close(handle)
        except OSError as error:
            warn_once(
                f"{self.file}: cannot be written ({error.strerror}), so the next start looks into "
                "the files again; XDG_CACHE_HOME says where else"
            )

    def replace(self, rows: Sequence[Sequence]) -> None:
        """Keeps these rows alone."""
        part = f"{self.file}.{os.getpid()}"
        with contextlib.suppress(OSError):
            with open(part, "w", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(row)}\n" for row in rows)
            os.replace(part, self.file)

    def _is_cut(self, handle: int) -> bool:
        """Whether the last line has no end: a process was killed, or the disk was full."""
        size = os.fstat(handle).st_size
        if not size:
            return False
        with open(self.file, "rb") as file:
            file.seek(size - 1)
            return file.read(1) != b"\n"
