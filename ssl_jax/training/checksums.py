"""Checksums of a checkpoint's files, without which a bit that flips on a disk changes a weight."""

import json
import os
import zlib

NAME = "checksums.json"
CHUNK = 1 << 24  # bytes


def write_checksums(folder: str) -> None:
    """Writes the checksums of all files in folders of this folder into its `checksums.json`.

    Not of those beside it: Orbax notes there when it was done.
    """
    sums = _checksums(folder)
    with open(os.path.join(folder, NAME), "w") as file:
        json.dump(sums, file)


def damage(folder: str) -> str:
    """Says what is not as it was written; '' if all is, or nothing is known of it."""
    path = os.path.join(folder, NAME)
    if not os.path.isfile(path):
        return ""
    try:
        with open(path) as file:
            known = dict(json.load(file))
        found = _checksums(folder)
    except (OSError, ValueError, TypeError) as error:  # several hosts wait for an answer
        return f"{path}: {error}"
    changed = [name for name in known if found.get(name) != known[name]]
    return f"{changed[0]} is not what was written" if changed else ""


def _checksums(folder: str) -> dict[str, int]:
    paths = [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names]
    inner = [path for path in paths if os.path.dirname(path) != folder]
    return {os.path.relpath(path, folder): _crc32(path) for path in sorted(inner)}


def _crc32(path: str) -> int:
    value = 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            value = zlib.crc32(chunk, value)
    return value
