"""Classifying evaluators on a real network's features, as `evaluate` runs them."""

import dataclasses

import numpy as np
import pytest

from ssl_jax import config as configs
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.low_shot import LowShot, VocLowShot
from ssl_jax.evals.svm import Svm, VocSvm
from ssl_jax.evaluator import Read
from ssl_jax.frozen import Frozen
from ssl_jax.solvers.sgd import PROTOCOLS

TRAIN = SyntheticSource(size=48, frames=1)
TEST = SyntheticSource(size=16, frames=1, seed=1)
READ = Read(layers=("input", "pool"))
WINDOWS = dataclasses.replace(READ, pool="windows")
EVALUATORS = {
    **{name: Linear(TRAIN, TEST, READ, name) for name in PROTOCOLS},
    "svm": Svm(TRAIN, TEST, dataclasses.replace(READ, clips=2), folds=2, costs=(0.01, 1.0)),
    "voc": VocSvm(TRAIN, TEST, WINDOWS, costs=(0.1, 1.0), folds=2),
    "low_shot": LowShot(TRAIN, TEST, READ, shots=(2,), draws=2, folds=2),
    "voc_low_shot": VocLowShot(TRAIN, TEST, WINDOWS, shots=(2,), samples=2, costs=(0.1, 1.0)),
}


@pytest.fixture(scope="module")
def frozen() -> Frozen:
    experiment = configs.build(configs.load("configs/image/rotation_cifar10.py:tiny"))
    return Frozen.of(experiment, Sharding(devices=1).mesh())


@pytest.mark.parametrize("name", EVALUATORS)
def test_every_protocol_scores_layers_between_nothing_and_all(frozen, name):
    results = dict(EVALUATORS[name].run(frozen))
    assert 0 < results["chance"] < 1
    for layer in ("input", "pool"):
        found = {k: v for k, v in results.items() if k.split("/")[0] == layer}
        assert found
        shares = [v for k, v in found.items() if not k.endswith(("/l2", "/std"))]
        assert np.all((np.array(shares) >= 0) & (np.array(shares) <= 1))


def test_clips_that_are_not_averaged_are_those_that_are(frozen):
    settings = (TEST, "vision", ("pool",), 3, "max")
    apart = frozen.features(*settings, average=False).layers["pool"]
    assert apart.shape[:2] == (16, 3)
    mean = frozen.features(*settings).layers["pool"]
    np.testing.assert_allclose(apart.mean(1), mean, rtol=1e-5, atol=1e-6)


def test_maps_are_made_smaller_as_the_protocol_says(frozen):
    large = SyntheticSource(size=2, frames=1)
    shapes = {
        pool: frozen.features(large, "vision", ("input",), pool=pool).layers["input"].shape
        for pool in ("max", "windows", "resize", "global")
    }
    assert shapes["global"] == (2, 3)
    assert shapes["max"] == shapes["windows"] == shapes["resize"]
