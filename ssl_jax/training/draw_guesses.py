"""Draws what a trained network takes its puzzles' answers to be."""

import os

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
from PIL import Image

from ssl_jax import config as configs
from ssl_jax.data.pipeline import train_dataset
from ssl_jax.devices.hosts import several
from ssl_jax.experiment import Experiment
from ssl_jax.method import run_collection
from ssl_jax.puzzles import puzzle_picture
from ssl_jax.training.checkpoint import TrainState
from ssl_jax.training.guesses import guesses
from ssl_jax.training.kept_tokenizers import with_kept

ROWS = 8
TILE = 128  # pixels: room for a target and a guess of several lines


def draw_guesses(config: ConfigDict, state: TrainState, workdir: str) -> None:
    """Draws workdir/pictures/guesses.png, of eight records drawn as in training.

    Nothing where answers are no classes (see `guesses`), nor in a run of several processes, where
    weights may lie on other hosts.
    """
    if several():
        return
    experiment: Experiment = configs.build(with_kept(config, workdir))
    method, step = experiment.trained_method(), int(state.step)
    batch = train_dataset(experiment.source, method.views, ROWS, experiment.seed)[step]
    # Arrays of jax again, of one device: numpy's cannot be indexed by what is traced.
    params, own = jax.tree.map(jnp.asarray, jax.device_get((state.params, state.state)))
    own = {**own, **run_collection(step, experiment.steps)}
    key = jax.random.key(step)

    def guessed(batch):
        return guesses(method, params, own, method.inputs(method.augment(batch, own, key)), key)

    if jax.eval_shape(guessed, batch):
        folder = os.path.join(workdir, "pictures")
        os.makedirs(folder, exist_ok=True)
        picture = puzzle_picture(method, own, batch, ROWS, step, TILE, params)
        Image.fromarray(picture).save(os.path.join(folder, "guesses.png"))
