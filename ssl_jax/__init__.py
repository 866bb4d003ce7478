"""ssl_jax: self-supervised learning from images, video, audio and text in JAX and Flax."""

import importlib
from typing import Any

from ssl_jax.devices.cpu_convolutions import use_all_cores

use_all_cores()  # before JAX starts

# Imported on first use, so that processes that only read data never load jax.
_HOMES = {
    "Evaluator": "ssl_jax.evaluator:Evaluator",
    "Frozen": "ssl_jax.frozen:Frozen",
    "Method": "ssl_jax.method:Method",
    "Record": "ssl_jax.data.record:Record",
    "Source": "ssl_jax.data.record:Source",
    "call": "ssl_jax.config:call",
    "evaluate_run": "ssl_jax.evaluate:evaluate",  # `evaluate` is the module of the command
    "fit": "ssl_jax.train:fit",
    "load": "ssl_jax.training.trained:load",
    "load_config": "ssl_jax.config:load",
    "show": "ssl_jax.puzzles:show",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ssl_jax' has no attribute '{name}'")
    module, _, inside = _HOMES[name].partition(":")
    value = getattr(importlib.import_module(module), inside)
    globals()[name] = value
    return value
