"""The non-linear probe: the paper's sizes and rates, what it can read that a line cannot."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals import nonlinear
from ssl_jax.evals.nonlinear import Nonlinear
from ssl_jax.frozen import Frozen
from ssl_jax.models.heads import ConvHead, MLPHead
from ssl_jax.ops.probe_pooling import reduce_map

TRAIN = SyntheticSource(size=48, frames=1)
TEST = SyntheticSource(size=16, frames=1, seed=1)


def count(head, *shape: int) -> int:
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    variables = jax.eval_shape(lambda x: head.init(jax.random.key(0), x, False), x)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def test_the_heads_are_the_papers():
    # On CIFAR's block 2, 8x8 of 192: a block of their network with BN, and a classifier.
    convolutions = (9 + 1 + 1) * 192 * 192 + 3 * 2 * 192
    assert count(ConvHead(10), 8, 8, 192) == convolutions + 192 * 10 + 10
    hidden = 12_288 * 200 + 200 * 200 + 2 * 2 * 200
    mlp = MLPHead(hidden=(200, 200), out=10, norm_out=False, init_std=0.0)
    assert count(mlp, 12_288) == hidden + 200 * 10 + 10
    whole = jax.eval_shape(lambda x: reduce_map(x, "whole"), jnp.zeros((2, 8, 8, 192)))
    assert whole.shape == (2, 8, 8, 192)  # 12,288 numbers, more than a linear probe would keep


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("conv", {0: 0.1, 34: 0.1, 35: 0.02, 69: 0.02, 70: 0.004, 85: 8e-4, 99: 8e-4}),
        ("mlp", {0: 0.1, 19: 0.1, 20: 0.02, 39: 0.02, 40: 0.004, 45: 8e-4, 99: 8e-4}),
    ],
)
def test_rates_are_the_authors(head, expected):
    drops = tuple(round(share * 100) for share in nonlinear.DROPS[head])
    rule = nonlinear.sgd(0.1, drops, 0.0, 0.0)
    weights = jnp.zeros(1)
    state, rates = rule.init(weights), []
    update = jax.jit(rule.update)
    for _ in range(100):
        change, state = update(jnp.ones(1), state, weights)
        rates.append(-float(change[0]))
    for epoch, rate in expected.items():
        assert rates[epoch] == pytest.approx(rate, rel=1e-5)


def test_every_row_comes_before_one_comes_again():
    rows = nonlinear.endless(7, 3, np.random.default_rng(0))
    drawn = np.concatenate([next(rows) for _ in range(14)])
    for start in range(0, 42, 7):
        assert sorted(drawn[start : start + 7]) == list(range(7))
    assert drawn[:7].tolist() != drawn[7:14].tolist()


def likeness(rng, labels: np.ndarray) -> np.ndarray:
    """Maps of class 0 whose two channels agree in sign everywhere, and of class 1 where they don't.

    No channel, nor any linear sum over a map, tells anything.
    """
    first = rng.normal(size=(len(labels), 4, 4)).astype(np.float32)
    second = np.abs(rng.normal(size=first.shape)) * np.sign(first)
    second = np.where(labels[:, None, None] == 0, second, -second)
    return np.stack([first, second], axis=-1).astype(np.float32)


@pytest.mark.parametrize("head", ["conv", "mlp"])
def test_it_learns_what_no_line_can_tell(head):
    rng = np.random.default_rng(0)
    y, truth = np.arange(200) % 2, np.arange(100) % 2
    x, new = likeness(rng, y), likeness(rng, truth)
    if head == "mlp":  # its own way of looking at a map
        x, new = x.reshape(len(x), -1), new.reshape(len(new), -1)
    probe = Nonlinear(TRAIN, TEST, head=head, features=8, epochs=40, batch_size=50)
    logits = probe.answers(x, y, new, classes=2, seed=0)
    accuracy = np.mean(logits.argmax(1) == truth)
    assert accuracy > (0.95 if head == "conv" else 0.7)
    flat, flat_new = x.reshape(len(x), -1), new.reshape(len(new), -1)
    line = np.linalg.lstsq(np.c_[flat, np.ones(len(x))], 2.0 * y - 1, rcond=None)[0]
    assert np.mean((np.c_[flat_new, np.ones(len(new))] @ line > 0) == truth) < 0.65
    again = probe.answers(x, y, new, classes=2, seed=0)
    np.testing.assert_array_equal(again, logits)
    # What is said of a record does not depend on those beside it.
    alone = probe.answers(x, y, new[:3], classes=2, seed=0)
    np.testing.assert_allclose(alone, logits[:3], rtol=1e-4, atol=1e-4)


def test_on_a_network_that_stays_as_it_is():
    experiment = configs.build(configs.load("configs/image/rotation_cifar10.py:tiny"))
    frozen = Frozen.of(experiment, Sharding(devices=1).mesh())
    before = jax.device_get(frozen.variables)
    conv = Nonlinear(TRAIN, TEST, features=8, epochs=2, layers=("block2", "block3"))
    few = dataclasses.replace(conv, head="mlp", layers=("pool",), labels_per_class=2, draws=2)
    found = {**dict(conv.run(frozen)), **dict(few.run(frozen))}
    assert set(found) >= {"block2", "block3", "pool", "pool/std", "chance"}
    assert all(0 <= value <= 1 for value in found.values())
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(frozen.variables))
    with pytest.raises(ConfigError, match=r"layer pool is no map but of shape .*; take head='mlp'"):
        dict(dataclasses.replace(conv, layers=("pool",)).run(frozen))
    with pytest.raises(ConfigError, match="head='cnn' must be one of conv, mlp"):
        Nonlinear(TRAIN, TEST, head="cnn")
