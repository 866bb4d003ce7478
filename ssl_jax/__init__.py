"""ssl_jax: self-supervised learning of images, video, sound and text in JAX and Flax."""

import importlib
from typing import Any

# Imported on first use, so that `import ssl_jax` costs nothing on a machine that only reads data.
_HOMES = {
    "Method": "ssl_jax.method",
    "Record": "ssl_jax.data.record",
    "fit": "ssl_jax.train",
    "evaluate": "ssl_jax.evaluate",
    "load": "ssl_jax.frozen",
    "puzzle_picture": "ssl_jax.show",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ssl_jax' has no attribute '{name}'")
    # The function `evaluate` takes the place of the module of its name.
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
