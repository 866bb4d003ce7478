"""Evaluating a run: with the method that it was trained with, or not at all."""

import os
import sys

import jax
from ml_collections import ConfigDict

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.experiment import Experiment
from ssl_jax.training.changed_knobs import below, changed_knobs, listed
from ssl_jax.training.differing_arrays import first_difference
from ssl_jax.training.kept_tokenizers import check_tokenizers, only_moved, with_kept


def as_trained(config: ConfigDict, workdir: str) -> ConfigDict:
    """The config with the `steps`, the `seed` and, if they are gone, tokenizers of a run.

    The schedule of a method goes by the steps, and the baseline is the run's own first weights.
    Another `dtype` is reported on stderr. ConfigError if the method differs in any knob from
    workdir/config.json, or if a tokenizer is another.
    """
    before, changes = _before(config, workdir)
    moved = only_moved(changes, config)
    refused = {k: v for k, v in below(changes, "method").items() if k not in moved}
    other = below(changes, "dtype")
    if refused:
        raise ConfigError(
            f"{workdir}/config.json has another method than this config: {listed(refused)}; "
            "evaluate the run with the method that it was trained with"
        )
    if other and jax.process_index() == 0:
        print(f"ssl_jax: {workdir} is evaluated with {listed(other)}", file=sys.stderr, flush=True)
    check_tokenizers(config, workdir)
    config = with_kept(config, workdir)
    for name in ("steps", "seed"):
        if before is not None and name in before:
            config[name] = before[name]
    return config


def check_arrays(variables: dict, experiment: Experiment, config: ConfigDict, workdir: str) -> None:
    """ConfigError unless a checkpoint's arrays, with names and shapes, are the experiment's own."""
    saved = {name: tree for name, tree in variables.items() if name != "run"}
    unfit = first_difference(saved, jax.eval_shape(experiment.initialiser()), "")
    if unfit:
        _, changes = _before(config, workdir)
        changes = {k: v for k, v in changes.items() if k not in below(changes, "evaluators")}
        differs = f"; other knobs than in its config.json: {listed(changes)}" if changes else ""
        raise ConfigError(f"the checkpoint in {workdir} {unfit}{differs}")


def _before(config: ConfigDict, workdir: str) -> tuple[ConfigDict | None, dict[str, str]]:
    """What the run was trained with, None if unknown, and what has changed."""
    path = os.path.join(workdir, "config.json")
    if not os.path.isfile(path):
        return None, {}
    before = configs.read(path)
    return before, changed_knobs(before, config)
