"""How long the records of a folder are, kept between runs: opening every file takes long."""

import concurrent.futures
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ssl_jax.data import paths
from ssl_jax.data.kept import KeptRows
from ssl_jax.data.record import MediaError
from ssl_jax.data.sources.manifest import Item, kind

VERSION = 1  # of what is kept; a change of what is found in a file must change it
THREADS = 16  # opening files is waiting for the disk, so more than cores
MOST_AT_ONCE = 256  # records that a thread takes
SILENT = 3.0  # seconds before a bar is shown
SAVED_EVERY = 5.0  # seconds


class Length(NamedTuple):
    """Of one record: frames, seconds, and seconds of it with audio. Or why it cannot be read."""

    frames: int
    seconds: float
    audio: float
    error: str = ""


IMAGE = Length(1, 1.0, 0.0)


def lengths(
    folder: str,
    items: Sequence[Item],
    walked: bool,
    found_in: str,
    look: Callable[[Item], Length],
) -> list[Length]:
    """The length of every item of a folder, from earlier runs or by looking.

    What was found is kept in the user's cache folder, by a file's path, size and time, every few
    seconds and when the work is broken off. Files that cannot be read are not kept. Images are not
    opened: an image is one frame and lasts a second.

    Args:
      walked: the items were found in the folder, so they are there; not named by a list.
      found_in: what else lengths depend on, in words: the limits.
      look: opens a file; MediaError if it cannot be read.
    """
    kept = KeptRows("lengths", f"{VERSION} {found_in} {paths.whole(folder)}")
    known, rows = {}, 0
    found: list[Length | None] = [
        IMAGE if walked and not item.start and kind(item.path) == "image" else None
        for item in items
    ]
    waiting = [place for place, length in enumerate(found) if length is None]
    if not waiting:
        return found
    for row in kept.read():
        rows += 1
        if isinstance(row, list) and len(row) == 8:
            path, start, end, size, changed, *length = row
            known[path, start, end] = (size, changed, Length(*length))
    new: list[tuple] = []
    done: list[int] = []  # places; threads only append
    stopped = threading.Event()

    def one(item: Item) -> Length:
        key, path = (item.path, item.start, item.end), paths.join(folder, item.path)
        try:
            size, changed = paths.state(path)
            if size and not item.start and kind(path) == "image":
                return IMAGE
            if key in known and known[key][:2] == (size, changed):
                return known[key][2]
            length = look(item)
        except OSError as error:
            return Length(0, 0.0, 0.0, f"{path}: {error.strerror or error}")
        except MediaError as error:
            return Length(0, 0.0, 0.0, str(error))
        new.append((*key, size, changed, *length[:3]))
        return length

    def several(places: Sequence[int]) -> None:
        for place in places:
            if stopped.is_set():
                return
            found[place] = one(items[place])
            done.append(place)

    size = max(1, min(MOST_AT_ONCE, len(waiting) // (8 * THREADS)))
    pool = concurrent.futures.ThreadPoolExecutor(THREADS)
    saved = time.monotonic()
    try:
        with _bar(folder, len(waiting)) as bar:
            parts = [
                pool.submit(several, waiting[i : i + size]) for i in range(0, len(waiting), size)
            ]
            for part in parts:
                while not concurrent.futures.wait((part,), timeout=1.0).done:
                    bar.update(len(done) - bar.n)
                    if time.monotonic() - saved > SAVED_EVERY:
                        _save(kept, new)
                        saved = time.monotonic()
                part.result()  # raises what is no broken file
            bar.update(len(done) - bar.n)
    finally:  # also at Ctrl-C
        stopped.set()
        pool.shutdown(cancel_futures=True)
        _save(kept, new)
    if rows > 2 * len(known):  # most rows are of files that have changed since
        kept.replace([(*key, *row[:2], *row[2][:3]) for key, row in known.items()])
    return found


def _save(kept: KeptRows, new: list[tuple]) -> None:
    rows = [new.pop() for _ in range(len(new))]  # threads may add others meanwhile
    if rows:
        kept.add(rows)


def _bar(folder: str, count: int):
    from tqdm import tqdm

    settings = {"total": count, "unit": "file", "delay": SILENT, "mininterval": 1.0}
    return tqdm(desc=f"{folder}: looking into files", file=sys.stderr, **settings)
