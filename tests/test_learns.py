"""A method learns what videos it never saw can confirm, and learns nothing from shuffled pairs."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from ssl_jax import config as configs
from ssl_jax.config import call
from ssl_jax.data.record import Record
from ssl_jax.data.sources.idx import IdxSource
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.pretext import Pretext
from ssl_jax.optim import Optimizer
from ssl_jax.train import fit
from ssl_jax.training.schedules import Cosine
from ssl_jax.training.trained import load


@pytest.fixture
def optimised():
    """Here running takes longer than compiling."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_sound_and_picture_are_matched_on_new_videos_unless_pairs_were_shuffled(tmp_path):
    config = configs.load("configs/audio/correspondence_audioset.py:tiny")
    config.method.within = 0
    config.source.size = 512
    config.steps = 150
    config.batch_size = 16
    config.optimizer = call(Optimizer, name="adamw", learning_rate=3e-3, schedule=call(Cosine))
    config.evaluators = {}
    config.sharding.devices = 1
    held_out = Pretext(SyntheticSource(size=256, frames=32, height=36, width=36, seed=1), 16)
    accuracy = {}
    for names in ((), ("audio",)):
        config.control = names
        workdir = tmp_path / "_".join(("run", *names))
        fit(config, workdir)
        accuracy[names] = dict(held_out.run(load(workdir)))["accuracy"]
    # Half is chance; 256 videos, each right or wrong, scatter by 0.031 about it.
    assert accuracy[()] > 0.5 + 3 * 0.031
    assert accuracy[("audio",)] < 0.5 + 3 * 0.031


def write_digits(folder):
    """Scikit-learn's 1,797 scans of digits, at twice their 8 x 8, as the MNIST family's files."""
    digits = load_digits()
    pictures = (digits.images * 15.9).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    for split, part in (("train", slice(0, 1400)), ("t10k", slice(1400, None))):
        for name, array in (("images-idx3", pictures), ("labels-idx1", digits.target)):
            array = array[part].astype(np.uint8)
            head = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes()
            (folder / f"{split}-{name}-ubyte").write_bytes(head + array.tobytes())


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_the_rotation_of_new_pictures_is_told_unless_targets_were_shuffled(tmp_path):
    write_digits(tmp_path)
    config = configs.load("configs/image/rotation_cifar10.py:tiny")
    config.source = call(IdxSource, path=str(tmp_path))
    config.steps = 120
    config.batch_size = 32
    config.optimizer = call(Optimizer, name="adamw", learning_rate=5e-3, schedule=call(Cosine))
    config.evaluators = {}
    config.sharding.devices = 1
    held_out = Pretext(IdxSource(path=str(tmp_path), split="test"), 32)
    learnt = {}
    for names in ((), ("target",)):
        config.control = names
        workdir = tmp_path / "_".join(("run", *names))
        fit(config, workdir)
        results = dict(held_out.run(load(workdir)))
        learnt[names] = math.log(4) - results["loss"]  # nats; a guess among four turns has none
        if not names:
            assert results["accuracy"] > 0.25 + 10 * 0.022
    # Not by the control's accuracy: scans of one digit look alike, and a network without a clue
    # answers alike to all of them, so that its hits scatter far more than those of 384 guesses.
    assert learnt[("target",)] < 0.1 * learnt[()]


@dataclasses.dataclass(frozen=True)
class Growing:
    """Videos of a square that grows as long as they last, or that stands still (`speed` 0)."""

    size: int
    seed: int
    speed: float
    frames: int = 24
    side: int = 18

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, index])
        colour, ground = rng.integers(128, 256, 3), rng.integers(0, 128, 3)
        top, left = rng.integers(0, self.side - 12, 2)

        def frames(numbers):
            video = np.full((len(numbers), self.side, self.side, 3), ground, np.uint8)
            for picture, number in zip(video, numbers, strict=True):
                side = 2 + int(self.speed * number)
                picture[top : top + side, left : left + side] = colour
            return video

        return Record(f"video {index}", index, self.frames, 15.0, frames=frames)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_the_order_of_clips_is_told_where_time_shows_and_only_there(tmp_path):
    config = configs.load("configs/video/clip_order_ucf101.py:tiny")
    config.steps = 150
    config.batch_size = 16
    config.method.dropout = 0.0
    config.optimizer = call(Optimizer, name="sgd", learning_rate=0.03, schedule=call(Cosine))
    config.evaluators = {}
    config.sharding.devices = 1
    accuracy = {}
    for speed in (0.4, 0.0):
        config.source = call(Growing, size=256, seed=0, speed=speed)
        workdir = tmp_path / f"speed {speed}"
        fit(config, workdir)
        held_out = Pretext(Growing(size=256, seed=1, speed=speed), 16)
        accuracy[speed] = dict(held_out.run(load(workdir)))["accuracy"]
    # A sixth is chance; 256 videos, each right or wrong, scatter by 0.023 about it.
    assert accuracy[0.4] > 0.5
    assert abs(accuracy[0.0] - 1 / 6) < 3 * 0.023
