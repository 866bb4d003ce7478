"""Between steps: a method looks at its whole data set, and some of its state begins again."""

import jax
import numpy as np
import optax

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Source
from ssl_jax.devices.sharding import put_same
from ssl_jax.frozen import Frozen
from ssl_jax.method import Method
from ssl_jax.training.checkpoint import TrainState


def refreshed(
    method: Method,
    optimizer: optax.GradientTransformation,
    source: Source,
    state: TrainState,
    frozen: Frozen,
) -> TrainState:
    """The state after the method has looked at its whole data set (`Method.refresh`).

    Raises ConfigError where what it gives has another shape than `init` gave.
    """
    # Apart from the key of the step that follows, which is a fold of the same key.
    key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), np.uint32(2**32 - 1))
    new = method.refresh(frozen, source, key)
    if not new.state and not new.params:
        return state
    params = _merged(state.params, new.params, "params")
    collections = {
        name: _merged(tree, new.state[name], name) if name in new.state else tree
        for name, tree in state.state.items()
    }
    unknown = set(new.state) - set(collections)
    if unknown:
        raise ConfigError(f"refresh: {sorted(unknown)} are no collections that `init` made")
    moments = _reset(optimizer, state.optimizer, params, new.params)
    old = (state.params, state.state, state.optimizer)
    places = jax.tree.map(lambda leaf: leaf.sharding, old)
    params, collections, moments = put_same((params, collections, moments), places)
    return state.replace(params=params, state=collections, optimizer=moments)


def _merged(old, new, place: str):
    """`old` with the parts that `new` has; ConfigError unless they are there and of its shape."""
    if isinstance(new, dict):
        unknown = set(new) - set(old) if isinstance(old, dict) else set(new)
        if unknown:
            raise ConfigError(f"refresh: {place} has no {sorted(unknown)}")
        return {k: _merged(v, new[k], f"{place}/{k}") if k in new else v for k, v in old.items()}
    if isinstance(old, dict) or np.shape(new) != old.shape:
        there = ", ".join(old) if isinstance(old, dict) else old.shape
        raise ConfigError(f"refresh: {place} is {there}, and it gave shape {np.shape(new)}")
    # On the host, so that every process lays out the same bytes.
    return np.asarray(jax.device_get(new)).astype(old.dtype)


def _reset(
    optimizer: optax.GradientTransformation, moments, params: dict, subtrees: dict
) -> optax.OptState:
    """The optimizer's state, that of some subtrees of the parameters as at the first step."""
    if not subtrees:
        return moments
    every = {_names(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    again = {_names(path) for path, _ in jax.tree_util.tree_leaves_with_path(subtrees)}
    fresh = jax.jit(optimizer.init)(params)

    def choose(path, old, new):
        # A moment lies at the place of its weight, below what the transformations call it.
        names = _names(path)
        own = next((names[i:] for i in range(len(names)) if names[i:] in every), ())
        return new if own in again else old

    return jax.tree_util.tree_map_with_path(choose, moments, fresh)


def _names(path) -> tuple[str, ...]:
    """The keys of the dicts on the way to a leaf."""
    return tuple(key.key for key in path if isinstance(key, jax.tree_util.DictKey))
