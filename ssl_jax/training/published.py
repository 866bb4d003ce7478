"""Weights that others have published, in files of the library safetensors."""

import os
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.method import Method


@runtime_checkable
class Importing(Protocol):
    """A trunk that knows what its weights are called elsewhere."""

    def imported(self, arrays: Mapping[str, np.ndarray]) -> dict:
        """Its parameters from a file's arrays by name. Raises ConfigError if they are not there."""
        ...


def published(path: str, method: Method | None) -> dict[str, dict[str, dict]]:
    """Trunk -> {'params': weights}, for each trunk of the method that finds its own in the file.

    Raises:
      ConfigError: there is no such file, it is damaged, or no trunk finds its own in it.
    """
    if not os.path.isfile(path):
        raise ConfigError(f"init_from: there is no file {path}")
    trunks = {} if method is None else {name: getattr(method.net, name) for name in method.trunks}
    importing = {name: trunk for name, trunk in trunks.items() if isinstance(trunk, Importing)}
    if not importing:
        names = ", ".join(type(trunk).__name__ for trunk in trunks.values())
        raise ConfigError(f"init_from: {path} has names of another library, unknown to {names}")
    arrays = _read(path)
    found, refusals = {}, {}
    for name, trunk in importing.items():
        try:
            found[name] = {"params": trunk.imported(arrays)}
        except ConfigError as error:
            refusals[name] = f"{name}: {error}"
    if not found:
        raise ConfigError(f"init_from: {path}: {'; '.join(refusals.values())}")
    return found


def _read(path: str) -> dict[str, np.ndarray]:
    try:
        import safetensors
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ConfigError(
            f"init_from: {path} needs safetensors: pip install safetensors"
        ) from error
    try:
        return load_file(path)
    except (OSError, safetensors.SafetensorError, KeyError) as error:
        raise ConfigError(f"init_from: {path} is no safetensors file ({error})") from error
