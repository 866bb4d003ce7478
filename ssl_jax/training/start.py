"""Where a run starts from: its own checkpoint, another run's, other runs' trunks, or scratch."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.npz import read_npz
from ssl_jax.data.paths import home
from ssl_jax.data.record import MediaError
from ssl_jax.devices.sharding import put_same, run_once
from ssl_jax.experiment import Experiment
from ssl_jax.method import Method
from ssl_jax.training.changed_knobs import changed_knobs, listed
from ssl_jax.training.checkpoint import Saver, TrainState, saved_variables
from ssl_jax.training.init_steps import init_steps
from ssl_jax.training.kept_tokenizers import check_tokenizers
from ssl_jax.training.published import published
from ssl_jax.training.resumption import Resumption


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


def start(
    experiment: Experiment,
    saver: Saver,
    start_state: Callable[[], TrainState],
    shardings: Any,
    config: ConfigDict | None = None,
    resumed: Resumption | None = None,
) -> tuple[TrainState, bool]:
    """The state to train from, by the start rule, and whether it is a fresh one (3 or 4).

    Raises ConfigError if what is there does not fit. With the experiment's `config` and the run
    that is `resumed`, it names the knobs that differ.
    """
    abstract = jax.eval_shape(start_state).abstract(shardings)
    try:
        # 1. This workdir's own checkpoint: the run resumes.
        state = saver.restore(abstract)
        # 2. config.resume: another run's full state.
        if state is None and experiment.resume:
            state = _state_of(experiment.resume, abstract)
    except ConfigError as error:
        changes = listed(resumed.changes) if resumed else ""
        raise ConfigError(f"{error}{changes and f'; changed since: {changes}'}") from error
    if state is not None:
        return state, False
    state = run_once(start_state, shardings)
    # 3. config.init_from: trunks of other runs, by their names. (Steps that look at data follow
    # outside, once there is a network to look with: `data_init`.)
    if experiment.init_from:
        state = put_same(with_trunks(state, experiment, config), shardings)
    # 4. Scratch.
    return state, True


def _state_of(run: str, abstract: TrainState) -> TrainState:
    """Another run's newest state."""
    if os.path.isdir(os.path.join(run, "checkpoints")):
        with Saver(run) as other:
            state = other.restore(abstract)
        if state is not None:
            return state
    raise ConfigError(f"resume={run}: no checkpoint there")


def with_trunks(
    state: TrainState, experiment: Experiment, config: ConfigDict | None = None
) -> TrainState:
    """The state with trunks (weights and statistics) of other runs; says which.

    Layers that only the other run's trunk has are left out, and named; ConfigError for one that it
    lacks. With the experiment's `config` both name the knobs of the trunk that differ, and vectors
    of the tokens of another tokenizer are a ConfigError.
    """
    method, asked = experiment.method, experiment.init_from
    known = (*method.trunks, *method.teachers)
    chosen = {}
    if isinstance(asked, str):
        asked, _ = init_steps(asked)
        found = trunks_of(asked, method) if asked else {}
        chosen = {name: (asked, name, found[name]) for name in known if name in found}
        if asked and not chosen:
            there = ", ".join(found)
            raise ConfigError(f"init_from={asked}: no common trunk; it has {there}")
    else:
        for name, where in asked.items():
            if name not in known:
                raise ConfigError(f"init_from.{name}: the method has {', '.join(known)}")
            where, _ = init_steps(where)
            if not where:
                continue
            run, _, other = where.partition(":")
            found, other = trunks_of(run, method), other or name
            if other not in found:
                there = ", ".join(found)
                raise ConfigError(f"init_from.{name}={where}: no trunk '{other}'; it has {there}")
            chosen[name] = (where, other, found[other])
    collections = {"params": state.params, **state.state}
    for name, (where, other, trunk) in chosen.items():
        # As both word tables and trunks of texts call the vectors of their tokens.
        if config is not None and "embedding" in state.params[name]:
            _check_same_tokens(config, name, where)
        changes = _changed_trunk(config, name, where, other)
        left_out: list[str] = []
        for collection, tree in collections.items():
            if name in tree:
                if collection not in trunk:
                    raise ConfigError(f"init_from: {where} has no {collection} of {other}{changes}")
                try:
                    new = _taken(tree[name], trunk[collection], name, where, left_out)
                except ConfigError as error:
                    raise ConfigError(f"{error}{changes}") from error
                collections[collection] = {**tree, name: new}
        if jax.process_index() == 0:
            lacks = f", without {', '.join(dict.fromkeys(left_out))}{changes}" if left_out else ""
            print(f"init_from: {name} from {where}{lacks}", flush=True)
    params = collections.pop("params")
    return state.replace(params=params, state=collections)


def _check_same_tokens(config: ConfigDict, name: str, where: str) -> None:
    """ConfigError if the other run kept another tokenizer: its vectors are of other tokens."""
    try:
        check_tokenizers(ConfigDict({"method": config.method}), home(where.partition(":")[0]))
    except ConfigError as error:
        raise ConfigError(
            f"init_from: {name} of {where} has vectors of other tokens; set method.tokenizer to "
            f"that run's, or leave {name} out ({error})"
        ) from error


def _changed_trunk(config: ConfigDict | None, name: str, where: str, other: str) -> str:
    """'; vision.width 0.5 -> 0.25': the knobs of a trunk in its own run and here, if known."""
    path = os.path.join(where.partition(":")[0], "config.json")
    if config is None or not os.path.isfile(path):
        return ""
    before, now = configs.read(path), config
    if "method" not in before or other not in before.method or name not in now.method:
        return ""
    changes = changed_knobs(
        ConfigDict({name: before.method[other]}), ConfigDict({name: now.method[name]})
    )
    return f"; {listed(changes)}" if changes else ""


def trunks_of(where: str, method: Method | None = None) -> dict[str, dict[str, dict]]:
    """Trunk -> collection -> weights, of a run's newest checkpoint or of a weights file.

    Of files of other libraries (.safetensors) the `method`'s trunks have to know the names.
    """
    where = home(where)
    if where.endswith(".safetensors"):
        return published(where, method)
    if not where.endswith(".npz"):
        variables = saved_variables(where)
        names = list(variables["params"])
        return {
            name: {c: tree[name] for c, tree in variables.items() if name in tree} for name in names
        }
    try:
        found = read_npz(where)
    except MediaError as error:
        raise ConfigError(f"init_from: {where} is no weights file ({error})") from error
    trunks: dict = {}
    for path, value in found.items():  # 'vision/params/conv1/kernel'
        *parents, last = path.split("/")
        if len(parents) < 2:
            raise ConfigError(f"init_from: {where} is no file of `Frozen.save_trunk` ('{path}')")
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
        there = "a group of arrays" if isinstance(other, dict) else np.shape(other)
        if own.shape != there:
            raise ConfigError(
                f"init_from: {place} is {there} in {where}, and {own.shape} in this config's trunk"
            )
        # Published files may hold half precision, in which the weights would be trained on.
        return other.astype(own.dtype)
    if not isinstance(other, dict):
        raise ConfigError(f"init_from: {place} is a single array in {where}")
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
