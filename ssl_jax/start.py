"""Where a run starts from: its own checkpoint, another run's, another run's trunks, or scratch."""

import os

import jax
import jax.numpy as jnp
import optax

from ssl_jax.checkpoint import Saver, TrainState
from ssl_jax.config import ConfigError
from ssl_jax.experiment import Experiment
from ssl_jax.frozen import saved_variables
from ssl_jax.sharding import put_same, run_once


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


def start(experiment: Experiment, saver: Saver, start_state, shardings) -> TrainState:
    """The state to train from, by the start rule."""
    abstract = jax.eval_shape(start_state).abstract(shardings)
    # 1. This workdir's own checkpoint: the run goes on.
    state = saver.restore(abstract)
    if state is not None:
        return state
    # 2. config.resume: another run's full state.
    if experiment.resume:
        if not os.path.isdir(os.path.join(experiment.resume, "checkpoints")):
            raise ConfigError(f"resume={experiment.resume}: no checkpoint there")
        with Saver(experiment.resume) as other:
            state = other.restore(abstract)
        if state is None:
            raise ConfigError(f"resume={experiment.resume}: no checkpoint there")
        return state
    state = run_once(start_state, shardings)
    # 3. config.init_from: trunks of another run, by their names.
    if experiment.init_from:
        state = with_trunks(state, saved_variables(experiment.init_from), experiment, shardings)
    # 4. Scratch.
    return state


def with_trunks(state: TrainState, variables: dict, experiment: Experiment, shardings):
    """Replaces the trunks (weights and statistics) that both runs have; says which."""
    names = [m for m in experiment.method.modalities if m in variables["params"]]
    if not names:
        there = ", ".join(variables["params"])
        raise ConfigError(f"init_from={experiment.init_from}: no common trunk; it has {there}")
    if jax.process_index() == 0:
        print(f"trunks from {experiment.init_from}: {', '.join(names)}", flush=True)

    def swap(collection: dict, name: str) -> dict:
        source = variables.get(name, {})
        new = {**collection, **{n: source[n] for n in names if n in collection and n in source}}
        same = jax.tree.map(lambda a, b: a.shape == b.shape, collection, new)
        if not all(jax.tree.leaves(same)):
            raise ConfigError(f"init_from={experiment.init_from}: its trunk has other shapes")
        return new

    collections = {name: swap(tree, name) for name, tree in state.state.items()}
    swapped = state.replace(params=swap(state.params, "params"), state=collections)
    return put_same(swapped, shardings)
