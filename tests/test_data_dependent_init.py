"""Weights from data: golden numbers, unit variance in every layer, balance, and who is refused."""

import functools
import os
import socket
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ssl_jax import config as configs
from ssl_jax import train
from ssl_jax.config import ConfigError, call
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.devices.sharding import Sharding
from ssl_jax.models.alexnet import AlexNet
from ssl_jax.models.c3d import C3D
from ssl_jax.models.chain import chain, layers_called, patches
from ssl_jax.models.encoders import ConvNet, DenseEncoder
from ssl_jax.models.layers import Conv3D
from ssl_jax.solvers.data_dependent_init import (
    FILTERS,
    accumulated,
    balancing_scales,
    filters,
    log_distances,
    unit_outputs,
)
from ssl_jax.training import start
from ssl_jax.training.checkpoint import Saver
from ssl_jax.training.init_steps import init_steps

X = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [1.0, 3.0]])
CAFFE = AlexNet(normed=(), lrn=True, width=1 / 16, fc6=64, fc7=32)


@pytest.fixture(scope="module")
def mesh():
    return Sharding(devices=1).mesh()


# Solver


def test_the_golden_layer():
    kernel = np.array([[1.0, 3.0], [2.0, -1.0]])  # filters are columns
    out = X @ kernel
    np.testing.assert_allclose(out.mean(0), [3.5, 1.75])
    np.testing.assert_allclose(out.std(0), [2.29128785, 2.384848], rtol=1e-6)
    kernel, bias = unit_outputs(kernel, out.mean(0), out.std(0))
    expected = [[0.43643578, 0.87287156], [1.2579418, -0.41931393]]
    np.testing.assert_allclose(kernel.T, expected, rtol=1e-6)
    np.testing.assert_allclose(bias, [-1.42752523, -0.63379939], rtol=1e-6)
    np.testing.assert_allclose((X @ kernel + bias).mean(0), 0.1, atol=1e-6)
    np.testing.assert_allclose((X @ kernel + bias).std(0), 1, rtol=1e-6)


def test_the_golden_filters(mesh):
    zca = filters("zca", X, 2, 0, mesh)
    np.testing.assert_allclose(zca, np.diag([0.70693007, 0.45878318]), atol=1e-6)
    responses = (X - X.mean(0)) @ zca.T
    np.testing.assert_allclose(responses.std(0), [0.499875, 0.499947], atol=1e-6)
    pca = filters("pca", X, 2, 0, mesh)  # the strongest direction first, of either sign
    np.testing.assert_allclose(np.abs(pca), [[0, 0.45878318], [0.70693007, 0]], atol=1e-6)
    # Whitened rows of length 1, whitened back.
    for filter_ in filters("random", X, 4, 0, mesh):
        assert np.linalg.norm(filter_ / np.diag(zca)) == pytest.approx(1, rel=1e-5)


def test_the_golden_balance():
    ratios = np.array([0.0625, 16.0])
    scales = balancing_scales(ratios)
    np.testing.assert_allclose(scales, [0.25, 4])
    np.testing.assert_allclose(scales * [4, 0.25], [1, 1])
    np.testing.assert_allclose(accumulated(scales), [0.25, 1])
    assert np.prod(balancing_scales(ratios, 9.0)) == pytest.approx(1 / 3)
    for dead in ([0.0, 1.0], [np.nan, 1.0]):
        with pytest.raises(ConfigError, match="layer 1 of 2"):
            balancing_scales(np.array(dead))


@pytest.mark.parametrize("kind", FILTERS)
def test_every_kind_gives_as_many_filters_as_asked_for_and_the_same_again(kind, mesh):
    rows = np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32)
    rows[:, 5] = 1.0  # a pixel that never changes
    for count in (3, 5, 12):
        made = filters(kind, rows, count, 7, mesh)
        assert made.shape == (count, 6)
        assert (np.linalg.norm(made, axis=1) > 0.01).all()
        np.testing.assert_array_equal(made, filters(kind, rows, count, 7, mesh))
        assert len(np.unique(made.round(4), axis=0)) == count
    few = filters(kind, rows[:4], 9, 7, mesh)
    np.testing.assert_array_equal(few, filters("gaussian", rows, 9, 7, mesh))


def test_whitened_directions_have_equal_variance_and_k_means_finds_clusters(mesh):
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((500, 4)) * [1, 2, 5, 9]
    responses = (rows - rows.mean(0)) @ filters("pca", rows, 4, 0, mesh).T
    np.testing.assert_allclose(responses.T @ responses, np.eye(4), atol=1e-2)
    # Rows about three directions: each centre answers to one of them the most.
    corners = np.eye(3)[rng.integers(3, size=300)] + 0.01 * rng.standard_normal((300, 3))
    centres = filters("kmeans", corners, 3, 0, mesh)
    answers = (corners - corners.mean(0)) @ centres.T
    for corner in range(3):
        won = answers[corners.argmax(1) == corner].argmax(1)
        assert len(np.unique(won)) == 1
    with pytest.raises(ConfigError, match="gaussian, random, pca"):
        filters("ica", X, 2, 0, mesh)


# Chains


class Clips(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.relu(Conv3D(4, (3, 3, 3), name="conv1")(x))
        return {"fc": nn.Dense(3, name="fc")(x.mean((1, 2, 3)))}


class Residual(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Dense(4, name="one")(x)
        y = nn.Dense(4, name="two")(nn.relu(x))
        return {"out": nn.Dense(4, name="three")(nn.relu(x + y))}


class Twice(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        layer = nn.Dense(4, name="one")
        return {"out": layer(layer(x))}


def started(trunk, *shape) -> tuple[dict, jax.Array]:
    x = jax.random.normal(jax.random.key(1), shape)
    return jax.jit(lambda x: trunk.init(jax.random.key(0), x, train=False))(x), x


@pytest.mark.parametrize(
    ("trunk", "shape", "names"),
    [
        (CAFFE, (2, 67, 67, 3), "conv1 conv2 conv3 conv4 conv5 fc6 fc7"),
        (ConvNet((4, 6), fc=5, window=4), (2, 8, 8, 3), "conv1 conv2 fc"),
        (DenseEncoder((6, 5), code=3), (2, 4, 4, 1), "dense1 dense2 code"),
        (Clips(), (2, 4, 6, 6, 3), "conv1 fc"),
    ],
)
def test_the_layers_of_a_chain_in_their_order(trunk, shape, names):
    variables, x = started(trunk, *shape)
    assert ["/".join(path) for path in chain(trunk, variables, x)] == names.split()


@pytest.mark.parametrize(
    ("trunk", "shape", "message"),
    [
        (AlexNet(width=1 / 16), (2, 67, 67, 3), "AlexNet is no chain .* it has conv1_bn"),
        (C3D(width=1 / 16), (1, 8, 16, 16, 3), "C3D is no chain .* it has conv1a_bn"),
        (Residual(), (2, 4), "Residual is no chain: three sees more than the layer below it"),
        (Twice(), (2, 4), "Twice is no chain: it calls a layer twice"),
    ],
)
def test_what_is_no_chain_is_refused(trunk, shape, message):
    variables, x = started(trunk, *shape)
    with pytest.raises(ConfigError, match=message):
        chain(trunk, variables, x)


@pytest.mark.parametrize(
    ("trunk", "shape"),
    [(CAFFE, (2, 67, 67, 3)), (Clips(), (2, 4, 6, 6, 3)), (DenseEncoder((6,)), (2, 4, 4, 1))],
)
def test_patches_times_kernel_are_the_outputs_of_a_layer(trunk, shape):
    variables, x = started(trunk, *shape)
    for layer in layers_called(trunk, variables, x):
        (name,) = layer.path
        own = variables["params"][name]
        found = patches(layer, own["kernel"])
        kernels = jnp.split(own["kernel"].reshape(-1, own["kernel"].shape[-1]), len(found), axis=-1)
        parts = [p @ k for p, k in zip(found, kernels, strict=True)]
        out = jnp.concatenate(parts, axis=-1) + own["bias"]
        flat = layer.outputs.reshape(-1, out.shape[-1])
        np.testing.assert_allclose(out, flat, rtol=1e-4, atol=1e-4)


# Runs


def experiment(**changes):
    """A run of no steps, of a small network that is a chain."""
    config = configs.load("configs/image/rotation_cifar10.py:tiny")
    config.source = call(SyntheticSource, size=40, frames=1, height=16, width=16)
    config.method.vision = call(ConvNet, channels=(4, 6), fc=5, window=8)
    config.method.size = 16
    config.steps = 0
    config.evaluators = {}
    config.init_images = 24
    config.sharding.devices = 1
    for name, value in changes.items():
        config[name] = value
    return config


@functools.cache
def start_of(folder: str, init_from: str, devices: int = 1) -> dict:
    config = experiment(init_from=init_from)
    config.sharding.devices = devices
    return jax.device_get(train.fit(config, folder).params["vision"])


def seen_by(params: dict) -> list[np.ndarray]:
    """Every layer's outputs on the images that the run looked at: every 40 / 24-th, in order."""
    built = configs.build(experiment())
    method, source = built.method, built.source
    records = [source[number * 40 // 24] for number in range(24)]
    images = np.concatenate([method.clips(r, "vision", [0.0])["vision"] for r in records])
    x = method.inputs({"vision": jnp.asarray(images)})["vision"]
    seen = layers_called(method.vision, {"params": params}, x)
    return [np.asarray(layer.outputs).reshape(-1, layer.outputs.shape[-1]) for layer in seen]


@pytest.mark.parametrize("kind", ["gaussian", "kmeans", "pca"])
def test_every_channel_of_every_layer_has_unit_variance_over_the_data(kind, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp(kind))
    for outputs in seen_by(start_of(folder, f"data:{kind}")):
        np.testing.assert_allclose(outputs.mean(0), 0.1, atol=1e-3)
        np.testing.assert_allclose(outputs.std(0), 1, rtol=1e-3)


def test_the_weights_do_not_depend_on_the_number_of_devices(tmp_path):
    one = start_of(str(tmp_path / "one"), "data:kmeans")
    four = start_of(str(tmp_path / "four"), "data:kmeans", 4)
    jax.tree.map(np.testing.assert_array_equal, one, four)


def test_a_run_rescaled_keeps_its_filters_and_all_layers_learn_alike(tmp_path, capsys):
    before, run = start_of(str(tmp_path / "run"), "data:gaussian"), str(tmp_path / "weights.npz")
    start.save_trunk(run, "vision", {"params": {"vision": before}})
    after = start_of(str(tmp_path / "rescaled"), f"{run}+data:rescale")
    said = capsys.readouterr().out
    assert f"init_from: vision from {run}\n" in said
    assert "init_from: vision by data:rescale of 24 records: conv1, conv2, fc\n" in said
    total = 1.0
    for name in ("conv1", "conv2", "fc"):
        factors = after[name]["kernel"] / before[name]["kernel"]
        np.testing.assert_allclose(factors, factors.mean(), rtol=1e-4)
        total *= factors.mean()
        np.testing.assert_allclose(after[name]["bias"], total * before[name]["bias"], rtol=1e-3)
    # The ratios again, by the definition, with random gradients of our own.
    built = configs.build(experiment())
    x = jax.random.uniform(jax.random.key(3), (24, 16, 16, 3))

    def output(params):
        return built.method.vision.apply({"params": params}, x, train=False)["fc"]

    def spread(params) -> float:
        out, pull = jax.vjp(output, params)
        slopes = pull(jax.random.normal(jax.random.key(4), out.shape))[0]
        rms = [
            np.sqrt(np.mean(np.square(slopes[n]["kernel"])))
            / np.sqrt(np.mean(np.square(params[n]["kernel"])))
            for n in slopes
        ]
        return float(np.ptp(np.log(rms)))

    assert spread(after) < 0.5 * spread(before)


def test_one_round_balances_a_network_without_biases_and_keeps_its_output():
    rng = np.random.default_rng(0)
    kernels = [rng.standard_normal((6, 6)) * s for s in (5.0, 0.3, 1.0)]
    x, slope = rng.standard_normal((9, 6)), rng.standard_normal((9, 6))

    def forward(kernels):
        inputs = [x]
        for kernel in kernels:
            inputs.append(np.maximum(inputs[-1] @ kernel, 0))
        return inputs

    def ratios(kernels):
        inputs, back, found = forward(kernels), slope, []
        for kernel, seen, out in zip(kernels[::-1], inputs[-2::-1], inputs[:0:-1], strict=True):
            back = back * (out > 0)
            change = seen.T @ back
            found.append(np.sqrt(np.mean(change**2)) / np.sqrt(np.mean(kernel**2)))
            back = back @ kernel.T
        return np.array(found[::-1])

    assert np.abs(log_distances(ratios(kernels))).max() > 1
    new = [k * s for k, s in zip(kernels, balancing_scales(ratios(kernels)), strict=True)]
    np.testing.assert_allclose(log_distances(ratios(new)), 0, atol=1e-9)
    np.testing.assert_allclose(forward(new)[-1], forward(kernels)[-1], rtol=1e-9)
    logs = [10.18]  # with the output's deviation in the target, its logarithm halves
    for _ in range(3):
        std = np.exp(logs[-1])
        logs.append(logs[-1] + np.log(balancing_scales(ratios(kernels), std)).sum())
    np.testing.assert_allclose(logs, [10.18, 5.09, 2.545, 1.2725], rtol=1e-6)


def test_how_steps_are_spelt():
    assert init_steps("") == ("", ())
    assert init_steps("runs/a+b") == ("runs/a+b", ())
    assert init_steps("data:kmeans") == ("", ("kmeans",))
    assert init_steps("data:pca+data:rescale") == ("", ("pca", "rescale"))
    assert init_steps("runs/a:vision+data:rescale") == ("runs/a:vision", ("rescale",))
    with pytest.raises(ConfigError, match=r"no data:means; there are data:gaussian, data:random"):
        init_steps("data:means")
    with pytest.raises(ConfigError, match="data:pca replaces all weights"):
        init_steps("runs/a+data:pca")
    with pytest.raises(ConfigError, match="no data:means"):
        configs.build(tiny.experiment(init_from={"vision": "data:means"}))


def test_a_trunk_with_batch_norm_is_refused_by_one_line(tmp_path):
    message = r"^init_from, vision: TinyTrunk is no chain .* BatchNorm_0"
    with pytest.raises(ConfigError, match=message):
        train.fit(tiny.experiment(init_from="data:kmeans", steps=0), tmp_path)


@pytest.mark.slow
def test_two_processes_have_the_weights_of_one(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config, knobs = "image/data_dependent_imagenet.py:tiny", {"steps": 1, "init_images": 24}
    command = [sys.executable, "-m", "ssl_jax.train", f"--config={config}", "--distributed"]
    command += [f"--config.{name}={value}" for name, value in knobs.items()]
    command += [f"--coordinator=127.0.0.1:{port}", "--num_processes=2"]
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    processes = [
        subprocess.Popen(
            [*command, f"--workdir={tmp_path / 'two'}", f"--process_id={number}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "init_from: vision by data:kmeans of 24 records" in said[0]
    assert "init_from" not in said[1]
    alone = configs.load(config)
    for name, value in knobs.items():
        alone[name] = value
    alone.sharding.devices = 4
    state = jax.device_get(train.fit(alone, tmp_path / "one").params["vision"])
    with Saver(tmp_path / "two") as saver:
        other = saver.restore_variables(1)["params"]["vision"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state, other)
