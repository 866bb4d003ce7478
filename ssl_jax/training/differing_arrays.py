"""Whether saved arrays are those that a config makes."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import jax
from flax import errors

from ssl_jax.config import ConfigError


def first_difference(saved: Any, wanted: Any, place: str) -> str:
    """The first difference between two trees of arrays, or of their shapes; '' if there is none.

    It goes on a sentence: 'has no params/head/bias, which this config makes'. `place` is the path
    of both trees, '' at the top. Only names and shapes are compared.
    """
    there, here = (
        {
            jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for tree in (saved, wanted)
    )
    for name in dict.fromkeys((*here, *there)):
        full = "/".join(part for part in (place, name) if part)
        if name not in there:
            return f"has no {full}, which this config makes"
        if name not in here:
            return f"has {full}, which this config does not make"
        if there[name] != here[name]:
            return f"has {full} of {there[name]}, which this config makes {here[name]}"
    return ""


@contextlib.contextmanager
def naming_unfit_arrays(workdir: str | os.PathLike) -> Iterator[None]:
    """Turns Flax's errors about a run's weights that lack an array into ConfigErrors."""
    try:
        yield
    except (
        errors.ScopeParamNotFoundError,
        errors.ScopeParamShapeError,
        errors.ScopeCollectionNotFound,
        errors.ScopeVariableNotFoundError,
    ) as error:
        reason = str(error).partition(" (https://")[0]
        raise ConfigError(
            f"{os.fspath(workdir)}: the weights are not those of the method in its config.json "
            f"({reason}); was one of them changed since it was trained?"
        ) from error
