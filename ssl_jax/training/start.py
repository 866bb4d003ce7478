"""Where a run starts from: its own checkpoint, another run's, other runs' trunks, or scratch."""

import os
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssl_jax.config import ConfigError
from ssl_jax.devices.sharding import put_same, run_once
from ssl_jax.experiment import Experiment
from ssl_jax.training.checkpoint import Saver, TrainState, saved_variables


def starter(optimizer: optax.GradientTransformation, experiment: Experiment):
    """A function without arguments that makes the state of step 0."""
    initialise = experiment.initialiser()

    def start_state() -> TrainState:
        collections = initialise()
        params = collections.pop("params")
        key = jax.random.key(experiment.seed)
        return TrainState(
            jnp.zeros((), jnp.int32), key, params, collections, optimizer.init(params)
        )

    return start_state


def start(experiment: Experiment, saver: Saver, start_state, shardings) -> tuple[TrainState, bool]:
    """The state to train from, by the start rule, and whether it is a fresh one (3 or 4)."""
    abstract = jax.eval_shape(start_state).abstract(shardings)
    # 1. This workdir's own checkpoint: the run resumes.
    state = saver.restore(abstract)
    if state is not None:
        return state, False
    # 2. config.resume: another run's full state.
    if experiment.resume:
        if not os.path.isdir(os.path.join(experiment.resume, "checkpoints")):
            raise ConfigError(f"resume={experiment.resume}: no checkpoint there")
        with Saver(experiment.resume) as other:
            state = other.restore(abstract)
        if state is None:
            raise ConfigError(f"resume={experiment.resume}: no checkpoint there")
        return state, False
    state = run_once(start_state, shardings)
    # 3. config.init_from: trunks of other runs, by their names.
    if experiment.init_from:
        state = put_same(with_trunks(state, experiment), shardings)
    # 4. Scratch.
    return state, True


def with_trunks(state: TrainState, experiment: Experiment) -> TrainState:
    """The state with trunks (weights and statistics) of other runs; says which.

    Layers that only the other run's trunk has are left out; ConfigError for one that it lacks.
    """
    method, asked = experiment.method, experiment.init_from
    known = (*method.trunks, *method.teachers)
    if isinstance(asked, str):
        found = trunks_of(asked)
        chosen = {name: (asked, found[name]) for name in known if name in found}
        if not chosen:
            there = ", ".join(found)
            raise ConfigError(f"init_from={asked}: no common trunk; it has {there}")
    else:
        chosen = {}
        for name, where in asked.items():
            if name not in known:
                raise ConfigError(f"init_from.{name}: the method has {', '.join(known)}")
            run, _, other = where.partition(":")
            found, other = trunks_of(run), other or name
            if other not in found:
                there = ", ".join(found)
                raise ConfigError(f"init_from.{name}={where}: no trunk '{other}'; it has {there}")
            chosen[name] = (where, found[other])
    collections = {"params": state.params, **state.state}
    for name, (where, trunk) in chosen.items():
        left_out: list[str] = []
        for collection, tree in collections.items():
            if name in tree and collection in trunk:
                new = _taken(tree[name], trunk[collection], name, where, left_out)
                collections[collection] = {**tree, name: new}
        if jax.process_index() == 0:
            without = f", without {', '.join(dict.fromkeys(left_out))}" if left_out else ""
            print(f"init_from: {name} from {where}{without}", flush=True)
    params = collections.pop("params")
    return state.replace(params=params, state=collections)


def trunks_of(where: str) -> dict[str, dict[str, dict]]:
    """Trunk -> collection -> weights, of a run's newest checkpoint or of a weights file."""
    if not where.endswith(".npz"):
        variables = saved_variables(where)
        names = list(variables["params"])
        return {
            name: {c: tree[name] for c, tree in variables.items() if name in tree} for name in names
        }
    try:
        with np.load(where) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        raise ConfigError(f"init_from: {where} is no weights file ({error})") from error
    trunks: dict = {}
    for path, value in found.items():  # 'vision/params/conv1/kernel'
        *parents, last = path.split("/")
        node = trunks
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return trunks


def save_trunk(path: str, name: str, variables: Mapping[str, dict]) -> None:
    """Writes one trunk as a weights file (.npz) that `init_from` takes: arrays by their place."""
    own = {name: {c: tree[name] for c, tree in variables.items() if name in tree}}
    leaves = jax.tree_util.tree_leaves_with_path(own)
    arrays = {
        jax.tree_util.keystr(place, simple=True, separator="/"): np.asarray(leaf)
        for place, leaf in leaves
    }
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def _taken(own, other, place: str, where: str, left_out: list[str]):
    """`other` for `own`, which must have the same arrays or fewer."""
    if not isinstance(own, dict):
        if own.shape != other.shape:
            raise ConfigError(
                f"init_from: {place} is {other.shape} in {where}, and {own.shape} in this config's "
                "trunk"
            )
        return other
    missing = [name for name in own if name not in other]
    if missing:
        raise ConfigError(
            f"init_from: {where} has no {place}/{missing[0]}; it has {', '.join(other)}"
        )
    left_out += [f"{place}/{name}" for name in other if name not in own]
    return {
        name: _taken(value, other[name], f"{place}/{name}", where, left_out)
        for name, value in own.items()
    }
