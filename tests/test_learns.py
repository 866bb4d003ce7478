"""A method learns what films it never saw can confirm, and learns nothing from shuffled pairs."""

import jax
import pytest

from ssl_jax import config as configs
from ssl_jax.config import call
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.pretext import Pretext
from ssl_jax.frozen import load
from ssl_jax.optim import Optimizer
from ssl_jax.train import fit


@pytest.fixture
def optimised():
    """Here running takes longer than compiling."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_sound_and_picture_are_matched_on_new_films_unless_pairs_were_shuffled(tmp_path):
    config = configs.load("configs/audio/correspondence_audioset.py:tiny")
    config.method.within = 0
    config.source.size = 512
    config.steps = 150
    config.batch_size = 16
    config.optimizer = call(Optimizer, name="adamw", learning_rate=3e-3, schedule="cosine")
    config.evaluators = {}
    config.sharding.devices = 1
    held_out = Pretext(SyntheticSource(size=256, frames=32, height=36, width=36, seed=1), 16)
    accuracy = {}
    for names in ((), ("audio",)):
        config.control = names
        workdir = tmp_path / "_".join(("run", *names))
        fit(config, workdir)
        accuracy[names] = dict(held_out.run(load(workdir)))["accuracy"]
    # Half is chance; 256 films, each right or wrong, scatter by 0.031 about it.
    assert accuracy[()] > 0.5 + 3 * 0.031
    assert accuracy[("audio",)] < 0.5 + 3 * 0.031
