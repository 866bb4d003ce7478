"""ssl_jax: self-supervised learning of images, video, sound and text in JAX and Flax."""

import importlib
from typing import Any

from ssl_jax.devices.cpu_convolutions import use_all_cores

use_all_cores()  # before JAX starts

# Imported on first use, so that processes that only read data never load jax.
# (`evaluate` is not among them: it would hide behind the module of its name.)
_HOMES = {
    "Method": "ssl_jax.method",
    "Record": "ssl_jax.data.record",
    "fit": "ssl_jax.train",
    "load": "ssl_jax.frozen",
    "puzzle_picture": "ssl_jax.puzzles",
    "show": "ssl_jax.puzzles",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ssl_jax' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
