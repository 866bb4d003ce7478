"""Compiled programs are kept for later starts, and compiling is counted and reported.

XLA compiles a training step for seconds to minutes. JAX can keep what it compiled in a folder and
load it at the next start. `keep_compiled` has it do so in the user's cache folder.
"""

import contextlib
import dataclasses
import hashlib
import logging
import os
import platform
import shutil
import tempfile
import threading
import time
import zlib

import jax
from jax import monitoring

from ssl_jax.data.kept import cache_folder

LIMIT = 4 << 30  # bytes; the programs used longest ago are deleted beyond it
ROOM = 256 << 20  # bytes that should be free on the disk before anything is written
SETTLED = 60.0  # seconds after which a file is no longer being written

# JAX's names of what it tells while it makes a program of a function.
_TRACED = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
)
_COMPILED = "/jax/core/compile/backend_compile_duration"
_FROM_CACHE = "/jax/compilation_cache/cache_hits"  # comes before the end of such a compilation


def keep_compiled() -> None:
    """From now on JAX keeps compiled programs in $XDG_CACHE_HOME/ssl_jax/compiled.

    Whoever has set JAX_COMPILATION_CACHE_DIR (empty: nothing is kept) or
    `jax_compilation_cache_dir` has decided, and nothing is changed. In a folder that cannot be
    written to, or on a disk that is nearly full, programs are only looked up.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    folder = os.path.join(cache_folder(), "compiled", _machine())
    try:
        os.makedirs(folder, exist_ok=True)
        _clean(folder)
        reason = _why_unwritable(folder)
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        logging.getLogger(__name__).warning(
            "%s: %s, so programs compiled now are not kept for later starts; "
            "JAX_COMPILATION_CACHE_DIR says where else ('': nowhere)",
            *(folder, reason),
        )
    if not os.path.isdir(folder):
        return
    jax.config.update("jax_compilation_cache_dir", folder)
    seconds = float("inf") if reason else 0.1  # JAX keeps what took it so long to compile
    jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)


def _machine() -> str:
    """A name for this kind of machine.

    Programs for a CPU hold its instructions. Machines of several kinds may share a home folder, and
    JAX does not tell their programs apart.
    """
    words = [platform.machine(), platform.processor()]
    try:
        with open("/proc/cpuinfo") as file:
            words += [line for line in file if line.startswith(("flags", "Features"))][:1]
    except OSError:
        pass  # not Linux: there the processor's name must do
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


def _why_unwritable(folder: str) -> str:
    """Why nothing should be written, '' if it can be."""
    with tempfile.TemporaryFile(dir=folder):
        pass
    free = shutil.disk_usage(folder).free
    return f"the disk has only {free >> 20} MB left" if free < ROOM else ""


def _clean(folder: str) -> None:
    """Deletes programs that were not written to their end, and those used longest ago beyond LIMIT.

    JAX writes a file where others may read it, and never again: one that a full disk or a kill has
    cut would fail at every start. Each file is looked into once, at a start after it was written.
    """
    seen = os.path.join(folder, "looked_at")
    last = os.stat(seen).st_mtime if os.path.exists(seen) else 0.0
    until = time.time() - SETTLED
    found = []
    for entry in os.scandir(folder):
        if not entry.name.endswith("-cache"):
            continue
        with contextlib.suppress(FileNotFoundError):  # another process may clean too
            facts = entry.stat()
            if last <= facts.st_mtime < until and not _is_whole(entry.path):
                os.remove(entry.path)
            else:
                found.append((max(facts.st_atime, facts.st_mtime), facts.st_size, entry.path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= LIMIT:
            break
        total -= size
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
    with open(seen, "a"):
        os.utime(seen, (until, until))


def _is_whole(path: str) -> bool:
    """Whether a compressed file ends where it should."""
    with open(path, "rb") as file:
        data = file.read()
    if not data.startswith(b"\x28\xb5\x2f\xfd"):
        try:
            zlib.decompress(data)
        except zlib.error:
            return False
        return True
    try:  # JAX compresses so where zstandard is installed
        import zstandard
    except ImportError:
        return True  # whoever can read it will see
    try:
        zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError:
        return False
    return True


class _Hit(threading.local):
    """Whether the program that this thread is making was in a file."""

    now = False


@dataclasses.dataclass
class Compilations:
    """Counts how often the function `name` is compiled while this is entered, and what it took.

    Attributes:
      name: as the function is called in its module.
      count: programs made of it so far, compiled or loaded.
      traced, compiled: seconds of the newest: tracing Python and lowering; compiling or loading.
      loaded: whether the newest came from a file.
    """

    name: str
    count: int = 0
    traced: float = 0.0
    compiled: float = 0.0
    loaded: bool = False

    def __post_init__(self):
        self._told, self._tracing = 0, 0.0
        self._hit = _Hit()

    def __enter__(self) -> "Compilations":
        monitoring.register_event_listener(self._event)
        monitoring.register_event_duration_secs_listener(self._duration)
        return self

    def __exit__(self, *_) -> None:
        monitoring.unregister_event_listener(self._event)
        monitoring.unregister_event_duration_listener(self._duration)

    def news(self, step: int) -> str:
        """What happened since the last call, '' if nothing was compiled; for step number `step`."""
        if self.count == self._told:
            return ""
        first, self._told = not self._told, self.count
        how = "loaded from the cache" if self.loaded else "compiled"
        took = f"traced in {self.traced:.1f} s, {how} in {self.compiled:.1f} s"
        if first:
            return f"the step was {took}"
        return (
            f"step {step} was compiled again ({took}), {self.count} times by now: a batch or the "
            "state had another shape, dtype or sharding than before"
        )

    def _event(self, event: str, **_) -> None:
        if event == _FROM_CACHE:
            self._hit.now = True

    def _duration(self, event: str, seconds: float, fun_name: str = "", **_) -> None:
        mine = fun_name in (self.name, f"jit({self.name})", f"jit_{self.name}")
        if event == _COMPILED:
            hit, self._hit.now = self._hit.now, False
            if mine:
                self.count += 1
                self.traced, self._tracing = self._tracing, 0.0
                self.compiled, self.loaded = seconds, hit
        elif mine and event in _TRACED:
            self._tracing += seconds
