"""Local paths and URLs (gs://, s3://, memory://, ...), read and written alike.

A leading ~ is the home folder. What has '://' in it is a URL and goes through fsspec, which needs a
package for each kind of store (gcsfs for gs://, s3fs for s3://). Everything else is a local path.

etils.epath is not enough: it opens gs:// and s3:// but neither memory:// nor http://. Local paths
do without fsspec where it counts: opening a small file takes it three times as long.
"""

import codecs
import contextlib
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from typing import BinaryIO


def is_url(path: str) -> bool:
    return "://" in path


def home(path: str) -> str:
    """The path with a leading ~ or ~user as that user's home folder: shells leave it in --x=~/y.

    The functions below do so by themselves. What hands paths to other libraries asks here first.
    """
    return os.path.expanduser(path)


def whole(path: str) -> str:
    """The absolute path; a URL as it is."""
    return path if is_url(path) else os.path.abspath(home(path))


def join(folder: str, inside: str) -> str:
    """A path below a folder, where `inside` is written with '/'; an absolute one stays itself."""
    folder = home(folder)
    if is_url(folder) and not is_url(inside):
        return f"{folder.rstrip('/')}/{inside.lstrip('/')}"
    return inside if is_url(inside) else os.path.join(folder, inside)


def state(path: str) -> tuple[int, str]:
    """(bytes, what changes whenever the file does). OSError unless it is a plain file."""
    if not is_url(path):
        found = os.stat(home(path))
        if not stat.S_ISREG(found.st_mode):  # a pipe would block for ever
            raise OSError("is not a file")
        return found.st_size, str(found.st_mtime_ns)
    system, inside = _store(path)
    found = system.info(inside)
    if found["type"] != "file":
        raise OSError("is not a file")
    return int(found["size"]), str(found)


@contextlib.contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The file's bytes, to read and to seek in."""
    if is_url(path):
        system, inside = _store(path)
        with system.open(inside, "rb") as file:
            yield file
    else:
        with open(home(path), "rb") as file:
            yield file


def read(path: str) -> bytes:
    with opened(path) as file:
        return file.read()


def read_text(path: str) -> io.StringIO:
    """A text file in UTF-8, or in UTF-16 with its byte order mark; its line ends as they are."""
    data = read(path)
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return io.StringIO(data.decode("utf-16" if wide else "utf-8-sig"), newline="")


def is_folder(path: str) -> bool:
    system, inside = _store(path)
    return system.isdir(inside)


def exists(path: str) -> bool:
    system, inside = _store(path)
    return system.exists(inside)


def names(folder: str) -> list[str]:
    """What lies in a folder, sorted."""
    if not is_url(folder):
        return sorted(os.listdir(home(folder)))
    system, inside = _store(folder)
    found = system.ls(inside, detail=False, refresh=True) if system.exists(inside) else []
    return sorted(path.rstrip("/").rpartition("/")[2] for path in found)


def below(folder: str) -> list[str]:
    """All files below a folder, as sorted paths from it with '/'; none that is hidden."""
    if is_url(folder):
        system, inside = _store(folder)
        inside = inside.rstrip("/")
        found = [path[len(inside) :].lstrip("/") for path in system.find(inside)]
        hidden = [any(part.startswith(".") for part in path.split("/")) for path in found]
        return sorted(path for path, hide in zip(found, hidden, strict=True) if not hide)
    found, waiting = [], [("", home(folder))]
    while waiting:
        inside, where = waiting.pop()
        with contextlib.suppress(PermissionError), os.scandir(where) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir():
                    found.append(inside + entry.name)
                elif not entry.is_symlink():
                    waiting.append((f"{inside}{entry.name}/", entry.path))
    return sorted(found)


def make_folder(path: str) -> None:
    system, inside = _store(path)
    system.makedirs(inside, exist_ok=True)  # does nothing where a store has no folders


def remove(path: str) -> None:
    system, inside = _store(path)
    system.rm(inside)


def draft(path: str) -> str:
    """A local file to write to, until `put` moves it to its place."""
    if not is_url(path):
        return home(path) + ".unfinished"
    handle, file = tempfile.mkstemp(suffix=".unfinished")
    os.close(handle)
    return file


def put(file: str, path: str) -> None:
    """Moves a `draft` to its place: all of it or nothing."""
    if is_url(path):
        system, inside = _store(path)
        system.put_file(file, inside)
        os.remove(file)
    else:
        os.replace(file, home(path))


def _store(path: str):
    """(fsspec's file system, the path in it). OSError if a URL of this kind cannot be read."""
    import fsspec

    if not is_url(path):
        return fsspec.filesystem("file"), home(path)
    try:
        return fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise OSError(
            f"{path}: {error}; or copy the files to this machine, or mount them (gcsfuse, ...)"
        ) from error
