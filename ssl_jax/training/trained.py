"""A trained run, loaded from its workdir."""

import os

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.labels import label_names
from ssl_jax.data.paths import home
from ssl_jax.data.record import Source
from ssl_jax.data.warn_once import warn_once
from ssl_jax.devices.sharding import Sharding, put_same, replicated
from ssl_jax.frozen import Frozen
from ssl_jax.method import run_collection
from ssl_jax.training.checkpoint import saved_variables
from ssl_jax.training.compilation import keep_compiled
from ssl_jax.training.kept_tokenizers import with_kept


def load(workdir: str | os.PathLike, step: int | None = None) -> Frozen:
    """The method that was trained in `workdir`, with its newest checkpoint or that of `step`.

    Raises ConfigError if there is none, or if this version of ssl_jax cannot read it.
    """
    recorded, path = _recorded(workdir)
    workdir = os.path.dirname(path)
    for knob in ("method", "dtype", "steps", "eval_batch_size", "eval_memory", "data"):
        if knob not in recorded:
            raise ConfigError(
                f"{path} has no '{knob}', so another version of ssl_jax made this run: train "
                "again, or use that version"
            )
    keep_compiled()
    variables = saved_variables(workdir, step)
    variables |= run_collection(int(variables["run"]["step"]), recorded.steps)
    mesh = Sharding().mesh()
    return Frozen(
        configs.build(recorded.method, path).with_dtype(recorded.dtype),
        put_same(variables, replicated(mesh)),
        mesh,
        recorded.eval_batch_size,
        configs.build(recorded.data, path),
        memory=recorded.eval_memory,
        trained_names=lambda: _names_of(recorded, path),
    )


def training_source(workdir: str | os.PathLike) -> Source:
    """The records that the run in `workdir` was trained on; ConfigError if there is no run."""
    recorded, path = _recorded(workdir)
    return configs.build(recorded.source, path)


def _recorded(workdir: str | os.PathLike) -> tuple[configs.ConfigDict, str]:
    """A run's config, with its own copies of tokenizers, and its file."""
    workdir = home(os.fspath(workdir))
    path = os.path.join(workdir, "config.json")
    if not os.path.isfile(path):
        raise ConfigError(f"no trained run in {workdir} (there is no config.json)")
    return with_kept(configs.read(path), workdir, always=True), path


def _names_of(recorded: configs.ConfigDict, path: str) -> tuple[str, ...]:
    try:
        return label_names(configs.build(recorded.source, path))
    except (ConfigError, OSError) as error:  # say, on a machine without the training data
        warn_once(f"the names of the classes trained on are not known ({error}): numbers decide")
        return ()
