"""Where a run starts from: its own checkpoint, another run's, another run's trunks, or scratch."""

import os

import jax
import jax.numpy as jnp
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
    """Replaces the trunks (weights and statistics) that both runs have; says which.

    Layers that only the other run's trunk has are left out; ConfigError for one that it lacks.
    """
    names = [m for m in experiment.method.streams if m in variables["params"]]
    if not names:
        there = ", ".join(variables["params"])
        raise ConfigError(f"init_from={experiment.init_from}: no common trunk; it has {there}")
    left_out: dict[str, None] = {}

    def taken(own, other, place: str):
        if not isinstance(own, dict):
            if own.shape != other.shape:
                raise ConfigError(
                    f"init_from={experiment.init_from}: {place} is {other.shape} there, and "
                    f"{own.shape} in this config's trunk"
                )
            return other
        missing = [name for name in own if name not in other]
        if missing:
            raise ConfigError(
                f"init_from={experiment.init_from}: its {place} has no {missing[0]}; it has "
                f"{', '.join(other)}"
            )
        left_out.update((f"{place}/{name}", None) for name in other if name not in own)
        return {name: taken(value, other[name], f"{place}/{name}") for name, value in own.items()}

    def swap(collection: dict, name: str) -> dict:
        source = variables.get(name, {})
        both = [n for n in names if n in collection and n in source]
        return {**collection, **{n: taken(collection[n], source[n], n) for n in both}}

    collections = {name: swap(tree, name) for name, tree in state.state.items()}
    swapped = state.replace(params=swap(state.params, "params"), state=collections)
    if jax.process_index() == 0:
        without = f", without {', '.join(left_out)}" if left_out else ""
        print(f"trunks from {experiment.init_from}: {', '.join(names)}{without}", flush=True)
    return put_same(swapped, shardings)
