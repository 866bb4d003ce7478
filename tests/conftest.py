"""Eight fake devices on the CPU, a cache of compiled programs, every array's shape checked."""

import atexit
import os
import shutil
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()
# With fewer than two threads a fake device, collectives wait for one another for ever (jax < 0.12).
os.environ.setdefault("PJRT_NPROC", "16")
# Compiling is most of what the tests do, so little is optimised, and processes that tests start
# share a cache.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), "ssl_jax_compilation_cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# What is kept between runs is kept elsewhere than the user's, and begins empty.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()

import jax
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
install_import_hook("ssl_jax", "beartype.beartype")

# The same examples in every run, on machines of any speed.
settings.register_profile("ssl_jax", derandomize=True, deadline=None, database=None)
settings.load_profile("ssl_jax")


def _mappings() -> int:
    try:
        with open("/proc/self/maps") as lines:
            return sum(1 for _ in lines)
    except OSError:  # not Linux
        return 0


@pytest.fixture(autouse=True, scope="module")
def _room_for_programs():
    """Forgets compiled programs before a process holds more than Linux allows.

    Each takes some mappings of memory. A process may have 65,530; at the next one LLVM crashes.
    """
    yield
    if _mappings() > 20_000:
        jax.clear_caches()
