"""Linear probes as the papers train them: what they pool to, and their SGD against plain loops."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from computed import computed, features

from ssl_jax.config import ConfigError
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals.linear import Linear
from ssl_jax.evaluator import Read
from ssl_jax.ops.pooling import reduced_side
from ssl_jax.ops.probe_pooling import reduce_map
from ssl_jax.solvers import sgd
from ssl_jax.solvers.sgd import PROTOCOLS, Protocol

# AlexNet's layers: rows and channels of those who measured it.
CAFFENET = ((55, 96), (27, 256), (13, 384), (13, 384), (13, 256))
ROTNET = ((55, 64), (27, 192), (13, 384), (13, 256), (13, 256))


def pooled_size(size, channels, how):
    shape = jax.ShapeDtypeStruct((2, size, size, channels), jnp.float32)
    return int(np.prod(jax.eval_shape(lambda x: reduce_map(x, how), shape).shape[1:]))


def test_layers_are_pooled_to_the_papers_sizes():
    dims = [9600, 9216, 9600, 9600, 9216]
    for protocol in ("fair", "zhang"):
        pool = PROTOCOLS[protocol].pool
        assert [pooled_size(*layer, pool) for layer in CAFFENET] == dims
    pool = PROTOCOLS["rotnet"].pool
    assert [pooled_size(*layer, pool) for layer in ROTNET] == [9216, 9408, 9600, 9216, 9216]
    assert [reduced_side(c) for c in (64, 256, 512, 1024, 2048)] == [12, 6, 4, 3, 2]
    assert pooled_size(7, 2048, PROTOCOLS["kolesnikov"].pool) == 2 * 2 * 2048
    assert pooled_size(4, 512, PROTOCOLS["kolesnikov"].pool) == 4 * 4 * 512  # small enough
    assert pooled_size(4, 512, PROTOCOLS["simclr"].pool) == 512
    with pytest.raises(ConfigError, match="pool='median'"):
        reduce_map(jnp.zeros((1, 4, 4, 3)), "median")


@pytest.mark.parametrize(
    ("size", "channels", "window", "stride"),
    [(55, 96, 19, 4), (27, 256, 12, 3), (13, 384, 9, 1), (13, 256, 8, 1)],
)
def test_windows_are_those_of_alexnet(size, channels, window, stride):
    x = np.random.default_rng(0).normal(size=(1, size, size, channels)).astype(np.float32)
    ours = np.asarray(reduce_map(jnp.asarray(x), "windows"))
    corners = range(0, size - window + 1, stride)
    for i, top in enumerate(corners):
        left = corners[-1 - i]
        cell = x[0, top : top + window, left : left + window].mean(axis=(0, 1))
        np.testing.assert_allclose(ours[0, i, -1 - i], cell, atol=1e-5)


def by_hand(x, y, classes, protocol, key):
    """SGD with momentum as PyTorch and Caffe have it, record by record."""
    mean, deviation = (x.mean(0), x.std(0)) if protocol.standardised else (0.0, 1.0)
    x = (x - mean) / deviation
    head = np.zeros((x.shape[1] + 1, classes))
    speed = np.zeros_like(head)
    batch = min(protocol.batch_size, len(x))
    for epoch, own in enumerate(jax.random.split(key, protocol.epochs)):
        order = np.asarray(jax.random.permutation(own, len(x)))
        rate = protocol.rates[sum(epoch >= drop for drop in protocol.drops)]
        rate *= batch / 256 if protocol.for_256 else 1
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            inputs = np.append(x[rows], np.ones((len(rows), 1)), axis=1)
            logits = inputs @ head
            p = np.exp(logits - logits.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            p[np.arange(len(rows)), y[rows]] -= 1
            decay, rates = np.full(len(head), protocol.weight_decay), np.full(len(head), rate)
            if protocol.free_bias:  # Caffe's lr_mult 2 and decay_mult 0
                decay[-1], rates[-1] = 0, 2 * rate
            slope = inputs.T @ p / len(rows) + decay[:, None] * head
            speed = protocol.momentum * speed + slope
            head -= rates[:, None] * (
                slope + protocol.momentum * speed if protocol.nesterov else speed
            )
    weight = head[:-1] / np.reshape(deviation, (-1, 1))
    return weight, head[-1] - mean @ weight if protocol.standardised else head[-1]


@pytest.mark.parametrize(
    "protocol",
    [
        Protocol("max", True, 4, 4, (0.1, 0.02), (3,), nesterov=True, weight_decay=5e-2),
        Protocol("max", False, 3, 64, (0.3, 0.1, 0.01), (1, 2), for_256=True),
        Protocol("max", True, 3, 4, (0.1, 0.02), (2,), weight_decay=5e-2, free_bias=True),
    ],
)
def test_sgd_takes_the_same_steps_as_a_loop(protocol):
    rng = np.random.default_rng(1)
    y = np.arange(10) % 3  # the last batch of four has two
    layers = {
        "a": (rng.normal(3, 2, (10, 5)) + np.eye(3, 5)[y]).astype(np.float32),
        "b": rng.normal(size=(10, 2)).astype(np.float32),
    }
    alone = sgd.fit(layers, y, 3, protocol, seed=7)
    split = sgd.fit(layers, y, 3, protocol, 7, Sharding(devices=4).mesh())
    for name, x in layers.items():
        weight, bias = by_hand(x.astype(float), y, 3, protocol, jax.random.key(7))
        for found in (alone, split):
            np.testing.assert_allclose(found[name][0], weight, atol=1e-5)
            np.testing.assert_allclose(found[name][1], bias, atol=1e-5)


def test_a_cosine_ends_at_zero_and_rates_grow_with_the_batch():
    rate = PROTOCOLS["simclr"].schedule(batches=10, batch=512)  # 90 epochs
    assert float(rate(0)) == pytest.approx(0.2)
    assert float(rate(450)) == pytest.approx(0.1)
    assert float(rate(900)) == pytest.approx(0, abs=1e-7)


def test_protocols_have_the_numbers_of_the_authors_code():
    # RotNet's LUT_lr: (5, .01), (15, .002), (25, .0004), (35, .00008), each up to that epoch.
    rate = PROTOCOLS["rotnet"].schedule(batches=10, batch=192)
    steps = {0: 0.01, 49: 0.01, 50: 0.002, 149: 0.002, 150: 0.0004, 250: 0.00008, 349: 0.00008}
    assert {i: float(rate(i)) for i in steps} == pytest.approx(steps)
    # SimCLR's README and model_util.py: Nesterov's momentum, a rate of 0.1 a batch of 256.
    imagenet, cifar = PROTOCOLS["simclr"], PROTOCOLS["simclr_cifar"]
    assert (imagenet.batch_size, imagenet.epochs, imagenet.weight_decay) == (4096, 90, 1e-6)
    assert (cifar.batch_size, cifar.epochs, cifar.weight_decay) == (512, 100, 0)
    for one in (imagenet, cifar):
        assert (one.momentum, one.nesterov) == (0.9, True)
        assert float(one.schedule(1, one.batch_size)(0)) == pytest.approx(one.batch_size / 2560)


def test_probes_by_sgd_take_features_of_any_scale():
    rng = np.random.default_rng(5)
    y = np.arange(30) % 3
    x = np.eye(3)[y] * 4 + rng.normal(size=(30, 3))
    protocol = Protocol("max", True, 20, 10, (0.1, 0.01), (10,))
    for scale in (1e-25, 1e25):
        layers = {"a": np.float32(x), "b": np.float32(x * scale)}
        heads = sgd.fit(layers, y, 3, protocol, seed=0)
        scores = {k: layers[k].astype(float) @ weight + bias for k, (weight, bias) in heads.items()}
        np.testing.assert_allclose(scores["b"], scores["a"], atol=1e-4)


def test_linear_by_name_of_a_paper():
    rng = np.random.default_rng(2)
    y, truth = np.arange(90) % 3, np.arange(30) % 3
    x, new = (np.eye(3)[t] * 4 + rng.normal(size=(len(t), 3)) for t in (y, truth))
    noise = rng.normal(size=(90, 2)), rng.normal(size=(30, 2))
    # Features at another scale and place change nothing where the protocol standardises.
    train = features(y, good=x, far=1e3 * x + 500, noise=noise[0])
    test = features(truth, good=new, far=1e3 * new + 500, noise=noise[1])
    linear = Linear("train", "test", protocol="rotnet", read=Read(layers=("good", "far", "noise")))
    results = dict(linear.run(computed(train, test)))
    assert results["good"] > 0.9 > 0.6 > results["noise"]
    assert results["far"] == results["good"]
    assert results["chance"] == pytest.approx(1 / 3)
    assert set(results) == {"good", "far", "noise", "chance"}
    few = dataclasses.replace(linear, labels_per_class=2, draws=3, read=Read(layers=("noise",)))
    assert 0 < dict(few.run(computed(train, test)))["noise/std"] < 0.2


def test_the_settings_of_a_protocol_stand_beside_its_result():
    shown = {f.name: getattr(Linear("a", "b", protocol="fair"), f.name) for f in FIELDS}["settings"]
    for words in ("pool windows", "epochs 28", "batch_size 256", "0.01, 0.001", "(8, 16, 24)"):
        assert words in shown
    with pytest.raises(ConfigError, match="protocol='roten' must be one of exact, fair, rotnet"):
        Linear("a", "b", protocol="roten")


FIELDS = dataclasses.fields(Linear)
