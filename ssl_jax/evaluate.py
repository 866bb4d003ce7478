"""Evaluation: `evaluate(config, workdir)`, and the command `python -m ssl_jax.evaluate`."""

import difflib
import os

import jax
import numpy as np
from ml_collections import ConfigDict

from ssl_jax import command
from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.paths import home
from ssl_jax.evals.running import Failures, check_evaluators, run_evaluators
from ssl_jax.evals.table import Table
from ssl_jax.experiment import Experiment
from ssl_jax.frozen import Frozen
from ssl_jax.training.as_trained import as_trained, check_arrays
from ssl_jax.training.checkpoint import saved_variables
from ssl_jax.training.compilation import keep_compiled
from ssl_jax.training.kept_tokenizers import with_kept


def evaluate(
    config: ConfigDict | str,
    workdir: str | os.PathLike,
    only: tuple[str, ...] = (),
    random_init: bool = False,
    step: int | None = None,
) -> dict[str, float]:
    """Runs the config's evaluators on a checkpoint of `workdir`; prints and saves a table.

    Args:
      config: or its name, such as "image/simclr_cifar10.py:tiny".
      only: names of evaluators; () for all.
      random_init: evaluate the method before training (no checkpoint is read, none need exist).
      step: which checkpoint; None for the newest.

    Returns all numbers by name.

    Raises:
      ConfigError: an unknown evaluator, one that cannot work, or no checkpoint.
      EvaluatorsFailed: one failed; the results of the others are saved.
    """
    workdir = home(os.fspath(workdir))
    config = configs.load(config) if isinstance(config, str) else config
    keep_compiled()
    unknown = [name for name in only if name not in config.evaluators]
    if unknown:
        near = difflib.get_close_matches(unknown[0], list(config.evaluators), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        known = ", ".join(config.evaluators) or "none"
        raise ConfigError(f"no evaluator '{unknown[0]}'{hint} The config has: {known}")
    if random_init:
        variables, experiment = None, configs.build(with_kept(config, workdir))
    else:
        config = as_trained(config, workdir)
        variables = saved_variables(workdir, step)
        experiment: Experiment = configs.build(config)
        check_arrays(variables, experiment, config, workdir)
    evaluators = {k: v for k, v in experiment.evaluators.items() if not only or k in only}
    frozen = Frozen.of(experiment, experiment.sharding.mesh(), variables)
    check_evaluators(frozen, evaluators)
    failures = Failures()
    if random_init:
        numbers = dict(run_evaluators(frozen, evaluators, failures))
        for name, value in numbers.items():
            if not isinstance(value, np.ndarray) and jax.process_index() == 0:
                print(f"{name}: {value:.4f}")
        failures.raise_if_any("the others are above")
        return {k: float(v) for k, v in numbers.items() if not isinstance(v, np.ndarray)}
    table = Table.of(frozen, evaluators, failures)
    table.publish(workdir)
    failures.raise_if_any(f"those of the others are in {os.path.join(workdir, 'results.json')}")
    return table.numbers()


def main(arguments: command.Arguments) -> None:
    """Evaluates by the command line's config and workdir."""
    only, random_init, step = arguments.only, arguments.random_init, arguments.step
    evaluate(arguments.config, arguments.workdir, only, random_init, step)


if __name__ == "__main__":
    command.run(main, "evaluate")
