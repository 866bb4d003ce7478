"""Training: `fit(config, workdir)`, and the command `python -m ssl_jax.train`."""

import contextlib
import os
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from ml_collections import ConfigDict

from ssl_jax import command
from ssl_jax import config as configs
from ssl_jax.checkpoint import Saver, Stop, TrainState
from ssl_jax.config import ConfigError
from ssl_jax.data.pipeline import record_batches, train_batches, train_dataset
from ssl_jax.data.record import MediaError
from ssl_jax.evaluate import Table, run_evaluators
from ssl_jax.experiment import Experiment
from ssl_jax.feed import Feed
from ssl_jax.frozen import Frozen, saved_variables
from ssl_jax.logs import Log
from ssl_jax.method import Method
from ssl_jax.puzzles import puzzle_picture
from ssl_jax.sharding import check_batch_size, replicated, run_once


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop; its state is saved. The message says how to go on."""

    def __init__(self, message: str, by: int):
        super().__init__(message)
        self.by = by


def fit(config: ConfigDict, workdir: str | os.PathLike) -> TrainState:
    """Trains what the config says and returns the final state.

    Below `workdir` it writes config.json, checkpoints/, metrics.jsonl, tensorboard/, pictures/ and
    the final table. Called again, it goes on where it stopped, bit for bit.

    Raises:
      ConfigError: a knob that cannot work.
      Interrupted: after Ctrl-C, SIGTERM or a preemption notice, once the state is saved.
      FloatingPointError: the loss is not finite; the last good checkpoint is kept.
    """
    workdir = os.fspath(workdir)
    experiment: Experiment = configs.build(config)
    mesh = experiment.sharding.mesh()
    check_batch_size(experiment.batch_size, mesh)
    for name, evaluator in experiment.evaluators.items():
        size = getattr(evaluator, "batch_size", mesh.size)  # most evaluators have none
        check_batch_size(size, mesh, f"evaluators.{name}.batch_size")
    open_workdir(workdir)
    method = experiment.trained_method()
    optimizer = experiment.optimizer.build(experiment.steps)

    host = (jax.process_index(), jax.process_count())
    source, rows, seed = experiment.source, experiment.batch_size, experiment.seed
    dataset = train_dataset(source, method.views, rows, seed, *host)
    start_state = starter(optimizer, experiment)
    shardings = experiment.sharding.of_state(mesh, jax.eval_shape(start_state))
    step_function = jax.jit(
        lambda state, batch: train_step(method, optimizer, state, batch),
        donate_argnums=0,
        out_shardings=(shardings, replicated(mesh)),
    )

    frozen: Frozen | None = None

    def freeze(state: TrainState) -> Frozen:
        nonlocal frozen  # made once, for the sake of what it has compiled
        variables = {"params": state.params, **state.state}
        frozen = (frozen or Frozen.of(experiment, mesh, variables)).with_variables(variables)
        return frozen

    with Saver(workdir, experiment.checkpoints) as saver:
        state = start(experiment, saver, start_state, shardings)
        if jax.process_index() == 0:  # only now is it sure that the config fits the workdir
            configs.save(config, os.path.join(workdir, "config.json"))
        first = int(state.step)
        pending: list = []  # metrics of the steps since the last look, still on the device
        feed = Feed(train_batches(dataset, experiment.data, first), mesh)
        log = Log(workdir, experiment.steps, first, experiment.batch_size)
        with log, Stop() as stop, contextlib.closing(feed):
            for step in range(first + 1, experiment.steps + 1):
                try:
                    batch = feed.next(pending[-1]["loss"].is_ready if pending else None)
                except MediaError:  # nothing done so far is lost with the film that is broken
                    average(pending, step - 1, workdir)
                    saver.save(state, step - 1)
                    raise
                if step == first + 1 and jax.process_index() == 0:
                    log.picture(step, "puzzles", puzzle_picture(method, batch.host))
                with jax.transfer_guard("disallow"):
                    state, metrics = step_function(state, batch.placed)
                pending.append(metrics)
                log.advance(step)

                last = step == experiment.steps
                stopping = bool(stop.signal) or saver.preempted(step)
                saving = last or stopping or saver.due(step)
                if saving or step % experiment.log_every == 0:
                    log.train(step, average(pending, step, workdir), feed.numbers())
                    pending = []
                if experiment.refresh_every and step % experiment.refresh_every == 0:
                    state = refreshed(method, experiment, state)
                if saving:
                    saver.save(state, step)
                if stopping and not last:
                    again = f"the same command with --workdir={workdir} goes on from here"
                    raise Interrupted(f"stopped and saved at step {step}; {again}", stop.signal)
                due = {
                    name: evaluator
                    for name, evaluator in experiment.evaluators.items()
                    if evaluator.every and step % evaluator.every == 0 and not last
                }
                for name, value in run_evaluators(freeze(state), due) if due else ():
                    log.result(step, name, value)
    if experiment.evaluators:
        Table.of(freeze(state), experiment.evaluators).publish(workdir)
    return state


def train_step(
    method: Method, optimizer: optax.GradientTransformation, state: TrainState, batch: dict
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step on a global batch; jitted by `fit` over the mesh."""
    key = jax.random.fold_in(state.key, state.step)
    loss = jax.value_and_grad(method.loss, has_aux=True)
    (value, (collections, metrics)), gradients = loss(state.params, state.state, batch, key)
    updates, moments = optimizer.update(gradients, state.optimizer, state.params)
    metrics = {"loss": value, **metrics, "gradient_norm": optax.tree.norm(gradients)}
    state = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        state=collections,
        optimizer=moments,
    )
    return state, metrics


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
        with Saver(experiment.resume, experiment.checkpoints) as other:
            return other.restore(abstract)
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
    logging.info("trunks from %s: %s", experiment.init_from, ", ".join(names))

    def swap(collection: dict, name: str) -> dict:
        source = variables.get(name, {})
        new = {**collection, **{n: source[n] for n in names if n in collection and n in source}}
        same = jax.tree.map(lambda a, b: a.shape == b.shape, collection, new)
        if not all(jax.tree.leaves(same)):
            raise ConfigError(f"init_from={experiment.init_from}: its trunk has other shapes")
        return new

    collections = {name: swap(tree, name) for name, tree in state.state.items()}
    swapped = state.replace(params=swap(state.params, "params"), state=collections)
    return jax.device_put(swapped, shardings)


def refreshed(method: Method, experiment: Experiment, state: TrainState) -> TrainState:
    """The state after the method has swept its data set (re-clustering methods)."""

    def read(record):
        return method.views(record, np.random.default_rng([experiment.seed, record.index]))

    batches = record_batches(experiment.source, read, experiment.batch_size, experiment.data)
    key = jax.random.fold_in(state.key, state.step)
    sweep = ({k: v[:valid] for k, v in batch.items()} for batch, valid in batches if valid)
    params, collections = method.refresh(state.params, state.state, sweep, key)
    places = jax.tree.map(lambda leaf: leaf.sharding, (state.params, state.state))
    params, collections = jax.device_put((params, collections), places)
    return state.replace(params=params, state=collections)


def average(pending: list[dict[str, jax.Array]], step: int, workdir: str) -> dict[str, float]:
    """Means of the steps' metrics; FloatingPointError names the first step with a bad loss."""
    rows = jax.device_get(pending)
    for offset, row in enumerate(rows):
        for name in ("loss", "gradient_norm"):  # a bad gradient has spoilt the weights already
            if not np.isfinite(row[name]):
                bad = step - len(rows) + 1 + offset
                raise FloatingPointError(
                    f"the {name} of step {bad} is {row[name]} (batch number {bad - 1}); the last "
                    f"good checkpoint in {workdir} is kept. Lower optimizer.learning_rate"
                )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}


def open_workdir(workdir: str) -> None:
    """Makes the workdir; ConfigError if it cannot be written to."""
    try:
        os.makedirs(workdir, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            pass
    except OSError as error:
        raise ConfigError(f"cannot write to workdir {workdir}: {error.strerror}") from error


def main(arguments: command.Arguments) -> None:
    """Trains by the command line's config and workdir."""
    print(f"training on {jax.device_count()} {jax.devices()[0].device_kind} devices", flush=True)
    fit(arguments.config, arguments.workdir)
    print(f"checkpoints, metrics.jsonl, tensorboard/ and pictures/ are in {arguments.workdir}")


if __name__ == "__main__":
    command.run(main, "train")
