"""Training: `fit(config, workdir)`, and the command `python -m ssl_jax.train`."""

import contextlib
import dataclasses
import errno
import functools
import os
import tempfile

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from ssl_jax import command
from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.paths import home
from ssl_jax.data.pipeline import train_batches, train_dataset
from ssl_jax.data.record import MediaError
from ssl_jax.devices.hosts import check_agreement, several
from ssl_jax.devices.sharding import check_batch_size, put_same, replicated
from ssl_jax.evals.running import Failures, check_evaluators, run_evaluators
from ssl_jax.evals.table import Table
from ssl_jax.experiment import Experiment
from ssl_jax.frozen import Frozen
from ssl_jax.method import Method, run_collection
from ssl_jax.puzzles import puzzle_picture
from ssl_jax.report import leave_report
from ssl_jax.training.checkpoint import Saver, TrainState
from ssl_jax.training.compilation import Compilations, keep_compiled
from ssl_jax.training.data_init import data_initialised, data_steps
from ssl_jax.training.feed import Feed
from ssl_jax.training.kept_tokenizers import keep_tokenizers, with_kept
from ssl_jax.training.logs import Log
from ssl_jax.training.micro_batches import loss_and_gradients
from ssl_jax.training.recorder import Recorder
from ssl_jax.training.refresh import refreshed
from ssl_jax.training.resumption import Resumption
from ssl_jax.training.speed import Profile, Speed, without_remat
from ssl_jax.training.start import start, starter
from ssl_jax.training.step_numbers import StepNumbers
from ssl_jax.training.stop import Interrupted, Stop


def fit(config: ConfigDict | str, workdir: str | os.PathLike) -> TrainState:
    """Trains what the config says and returns the final state.

    The config may be given by name, such as "image/simclr_cifar10.py:tiny" (see `load_config`).

    Below `workdir` it writes config.json, checkpoints/, metrics.jsonl, tensorboard/, pictures/ and
    results.json: the final table, and what the run was and cost. Called again, it resumes where it
    stopped, bit for bit.

    Several processes each call it with the same arguments; `workdir` is a folder that all share.

    Raises:
      ConfigError: a knob that cannot work.
      Interrupted: after Ctrl-C, SIGTERM or a preemption notice, once the state is saved.
      FloatingPointError: a loss or gradient is not finite; the last good checkpoint is kept.
      SaveError: the last state could not be saved (the disk is full).
      EvaluatorsFailed: an evaluator failed; everything else is done and saved.
    """
    workdir = home(os.fspath(workdir))
    config = configs.load(config) if isinstance(config, str) else config
    experiment: Experiment = configs.build(with_kept(config, workdir, config.resume))
    keep_compiled()
    mesh = experiment.sharding.mesh()
    check_batch_size(experiment.batch_size, mesh)
    if experiment.micro_batches > 1:
        rows = experiment.batch_size // experiment.micro_batches
        check_batch_size(rows, mesh, "batch_size / micro_batches")
    open_workdir(workdir)
    check_agreement(config, workdir)
    resumed = Resumption.of(config, experiment, workdir)
    profile = Profile(workdir, experiment.profile)
    method, steps = experiment.trained_method(), experiment.steps
    optimizer = experiment.optimizer.build(steps, method.teachers)

    host = (jax.process_index(), jax.process_count())
    source, rows, seed = experiment.source, experiment.batch_size, experiment.seed
    dataset = train_dataset(source, method.views, rows, seed, *host)
    start_state = starter(optimizer, experiment)
    shardings = experiment.sharding.of_state(mesh, jax.eval_shape(start_state))
    step_function = jax.jit(
        functools.partial(train_step, method, optimizer, experiment),
        donate_argnums=0,
        out_shardings=(shardings, replicated(mesh)),
    )

    failures = Failures()
    frozen: Frozen | None = None

    def freeze(state: TrainState) -> Frozen:
        nonlocal frozen  # made once, for the sake of what it has compiled
        variables = {"params": state.params, **state.state, **run_collection(state.step, steps)}
        frozen = (frozen or Frozen.of(experiment, mesh, variables)).with_variables(variables)
        return frozen

    check_evaluators(Frozen.of_shapes(experiment, mesh), experiment.evaluators)
    with Saver(workdir, experiment.checkpoints) as saver:
        state, fresh = start(experiment, saver, start_state, shardings, config, resumed)
        if jax.process_index() == 0:  # only now is it sure that the config fits the workdir
            if resumed:
                resumed.report(experiment, state)
                resumed.keep_config(workdir, int(state.step))
            configs.save(config, os.path.join(workdir, "config.json"))
            keep_tokenizers(config, workdir)
        first = int(state.step)
        recorder = Recorder(workdir, config, experiment, state)
        if fresh:
            if data_steps(experiment):
                state = data_initialised(experiment, state, freeze(state))
            state = refreshed(method, optimizer, source, state, freeze(state))
        numbers = StepNumbers(
            experiment.nonfinite == "skip", experiment.nonfinite_limit, saver.newest
        )
        feed = Feed(train_batches(dataset, experiment.data, first), mesh)
        log = Log(workdir, steps, first, rows)
        compilations = Compilations(train_step.__name__)
        recording = recorder.training(log, feed)
        with log, profile, Stop() as stop, contextlib.closing(feed), compilations, recording:
            for step in range(first + 1, steps + 1):
                try:
                    batch = feed.next(numbers.is_done)
                except MediaError:  # nothing done so far is lost with the file that is broken
                    if not several():  # the other hosts have this batch, and would not save here
                        numbers.take(step - 1)
                        saver.save(state, step - 1)
                    raise
                if step == first + 1:
                    plain, peak = without_remat(method), experiment.peak_tflops
                    counted = step_function
                    if plain is not method or experiment.micro_batches > 1:
                        whole = dataclasses.replace(experiment, micro_batches=1)
                        counted = jax.jit(functools.partial(train_step, plain, optimizer, whole))
                    log.costs(Speed.of(counted, state, batch.placed, rows, peak))
                    own = {**state.state, **run_collection(step - 1, steps)}
                    if several():  # host 0 draws alone
                        own = jax.device_get(put_same(own, replicated(mesh)))
                    if jax.process_index() == 0:
                        log.picture(step, "puzzles", puzzle_picture(method, own, batch.host))
                profile.before(step)
                with jax.transfer_guard("disallow"):
                    state, metrics = step_function(state, batch.placed)
                profile.after(step, metrics)
                log.report(compilations.news(step))
                numbers.add(metrics)
                log.advance(step, numbers.running())

                last, logged = step == steps, step % experiment.log_every == 0
                stopping = stop.wished or saver.preempted(step)
                due = {} if last else experiment.due_evaluators(step)
                scored = experiment.best_evaluator in due
                saving = saver.due(step, logged) or last or stopping or scored
                if saving or logged:
                    means = numbers.take(step, log.ended)
                    log.train(step, means, feed.numbers())
                    log.warn(method.worry(means))
                if experiment.refresh_every and step % experiment.refresh_every == 0:
                    state = refreshed(method, optimizer, source, state, freeze(state))
                if saving:
                    saver.save(state, step)
                if stopping and not last:
                    saver.finish()
                    again = f"the same command with --workdir={workdir} resumes from here"
                    raise Interrupted(f"stopped and saved at step {step}; {again}", stop.signal)
                results = {}
                with recorder.evaluating():
                    for name, value in run_evaluators(freeze(state), due, failures) if due else ():
                        log.result(step, name, value)
                        results[name] = value
                saver.score(step, results)
        if several():  # an evaluator that fails on one host would end it in mid-save
            saver.finish()
        if experiment.evaluators:
            failures.forget()  # what failed midway may work now
            with recorder.evaluating():
                table = Table.of(freeze(state), experiment.evaluators, failures)
            saver.score(steps, table.trained)
            table.publish(workdir)
        recorder.finish()
    failures.raise_if_any(
        "the checkpoint and all other results are saved: for these alone, run python -m "
        f"ssl_jax.evaluate --config=... --workdir={workdir} --only={','.join(failures.reasons)}"
    )
    return state


def train_step(
    method: Method,
    optimizer: optax.GradientTransformationExtraArgs,
    experiment: Experiment,
    state: TrainState,
    batch: dict,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step on a global batch; jitted by `fit` over the mesh.

    With `experiment.nonfinite='skip'`, a step whose loss or gradient is not finite changes nothing
    but the step's number.
    """
    key, steps = jax.random.fold_in(state.key, state.step), experiment.steps
    run = run_collection(state.step, steps)
    (value, passed), gradients = loss_and_gradients(
        method, state.params, {**state.state, **run}, batch, key, experiment.micro_batches
    )
    updates, moments = optimizer.update(gradients, state.optimizer, state.params, value=value)
    norm = optax.tree.norm(gradients)
    params = optax.apply_updates(state.params, updates)
    collections = method.after(params, {**passed.state, **run}, passed.batch, passed.outputs)
    collections = {name: tree for name, tree in collections.items() if name != "run"}
    before, after = (state.params, state.state, state.optimizer), (params, collections, moments)
    if experiment.nonfinite == "skip":
        good = jnp.isfinite(value) & jnp.isfinite(norm)
        after = jax.tree.map(lambda new, old: jnp.where(good, new, old), after, before)
    rate = experiment.optimizer.rate_at(state.optimizer.count, steps, state.optimizer)
    params, collections, moments = after
    state = state.replace(step=state.step + 1, params=params, state=collections, optimizer=moments)
    numbers = {"loss": value, **passed.metrics, "gradient_norm": norm, "learning_rate": rate}
    return state, numbers


def open_workdir(workdir: str) -> None:
    """Makes the workdir; ConfigError if it cannot be written to."""
    if "://" in workdir:
        raise ConfigError(f"workdir {workdir}: mount the bucket (gcsfuse) and give the folder")
    try:
        os.makedirs(workdir, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            pass
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # a full disk is no mistake: one may try again
        raise ConfigError(f"cannot write to workdir {workdir}: {error.strerror}") from error


def main(arguments: command.Arguments) -> None:
    """Trains by the command line's config and workdir."""
    talks, hosts = jax.process_index() == 0, jax.process_count()
    where = f"{jax.device_count()} {jax.devices()[0].device_kind} devices"
    if talks:
        print(f"training on {where}{f' of {hosts} processes' if several() else ''}", flush=True)
    state = fit(arguments.config, arguments.workdir)
    if talks:
        leave_report(arguments.config, state, arguments.workdir)
        print(f"checkpoints, metrics.jsonl, tensorboard/ and pictures/ are in {arguments.workdir}")


if __name__ == "__main__":
    command.run(main, "train")
