"""The contract: every config there is builds, trains, and gives what its evaluators name."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ssl_jax import config as configs
from ssl_jax.data.pipeline import train_dataset
from ssl_jax.devices.sharding import Sharding, put_batch, replicated
from ssl_jax.experiment import Experiment
from ssl_jax.frozen import Frozen
from ssl_jax.optim import Optimizer
from ssl_jax.train import train_step
from ssl_jax.training.checkpoint import TrainState

ROOT = pathlib.Path(__file__).parent.parent
CONFIGS = sorted(str(f.relative_to(ROOT)) for f in (ROOT / "configs").rglob("*.py"))


@pytest.fixture(params=CONFIGS)
def experiment(request, monkeypatch) -> Experiment:
    monkeypatch.chdir(ROOT)
    return configs.build(configs.load(f"{request.param}:tiny"))


@pytest.mark.parametrize("path", CONFIGS)
def test_a_config_tells_command_cost_and_numbers(path):
    text = (ROOT / path).read_text()
    docstring = text.split('"""')[1]
    assert f"--config={path}" in docstring
    assert "Cost" in docstring
    assert "Ours" in docstring
    configs.load(str(ROOT / path))  # the paper's own variant, data need not be there


def run(experiment: Experiment, devices: int, steps: int):
    """States after some steps with plain SGD, whose update shows every gradient; and the losses."""
    mesh = Sharding(devices=devices).mesh()
    method, optimizer = experiment.method, Optimizer(name="sgd", learning_rate=0.01).build(10)

    def start():
        variables = experiment.initialiser()()
        params = variables.pop("params")
        key = jax.random.key(experiment.seed)
        return TrainState(jnp.zeros((), jnp.int32), key, params, variables, optimizer.init(params))

    state = jax.jit(start, out_shardings=replicated(mesh))()
    step = jax.jit(lambda state, batch: train_step(method, optimizer, state, batch))
    dataset = train_dataset(experiment.source, method.views, experiment.batch_size, seed=0)
    states, losses = [state], []
    for number in range(steps):
        state, metrics = step(state, put_batch(mesh, dataset[number]))
        states.append(state)
        losses.append(float(metrics["loss"]))
    return states, losses


def test_it_trains_the_same_on_four_devices_as_on_one_and_every_weight_learns(experiment):
    (before, first, after), losses = run(experiment, devices=4, steps=2)
    assert np.isfinite(losses).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after.params))
    moved = jax.tree_util.tree_map_with_path(
        lambda path, a, b: None if np.any(np.asarray(a) != np.asarray(b)) else path,
        before.params,
        after.params,
    )
    still = [jax.tree_util.keystr(p) for p in jax.tree.leaves(moved, is_leaf=is_path) if p]
    assert not still, f"no gradient reached {still}"
    (_, alone), (loss,) = run(experiment, devices=1, steps=1)
    assert losses[0] == pytest.approx(loss, rel=1e-4)
    # The first step of plain SGD is the gradient; a missing gather or local statistics show here.
    gradient, other = (
        np.concatenate([(np.asarray(a) - np.asarray(b)).ravel() for a, b in pairs])
        for pairs in (
            zip(jax.tree.leaves(state.params), jax.tree.leaves(before.params), strict=True)
            for state in (first, alone)
        )
    )
    assert np.linalg.norm(gradient - other) < 1e-2 * np.linalg.norm(other)


def is_path(x) -> bool:
    return isinstance(x, tuple) and bool(x) and not isinstance(x[0], dict)


def test_views_are_a_pure_function_of_record_and_seed(experiment):
    record = experiment.source[1]
    first, again, other = (
        experiment.method.views(record, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert all(np.array_equal(first[k], again[k]) for k in first)
    assert {k: (v.shape, v.dtype) for k, v in first.items()} == {
        k: (v.shape, v.dtype) for k, v in other.items()
    }


def test_encode_yields_the_layers_that_evaluators_name(experiment):
    frozen = Frozen.of(experiment, Sharding(devices=1).mesh())
    for stream in experiment.method.streams:
        raw = experiment.method.clips(experiment.source[0], stream, 2)
        assert len(raw) == 2
        layers = frozen.encode(stream, raw)
        assert all(len(x) == 2 and np.isfinite(x).all() for x in layers.values())
    for evaluator in experiment.evaluators.values():
        for _, value in evaluator.run(frozen):
            assert np.isfinite(value).all()


def test_bfloat16_trains_with_float32_weights(experiment):
    method = experiment.method.with_dtype("bfloat16")
    batch = train_dataset(experiment.source, method.views, experiment.batch_size, seed=0)[0]
    variables = experiment.initialiser()()
    params = variables.pop("params")
    shapes = jax.eval_shape(
        lambda p, s, b: jax.grad(method.loss, has_aux=True)(p, s, b, jax.random.key(0)),
        params,
        variables,
        batch,
    )
    gradients, (state, metrics) = shapes
    leaves = jax.tree.leaves((params, gradients, state, metrics))
    assert {leaf.dtype for leaf in leaves} <= {jnp.dtype("float32"), jnp.dtype("int32")}
    stream = method.streams[0]
    raw = method.clips(experiment.source[0], stream, 1)
    layers = jax.eval_shape(
        lambda v, x: method.encode(v, stream, x), {"params": params, **variables}, raw
    )
    # A head's answers are float32; a traced dict stands in the order of its names.
    assert next(x for name, x in layers.items() if name != "head").dtype == jnp.bfloat16


def test_the_tiny_method_itself_is_held_to_the_contract():
    experiment = configs.build(tiny.experiment())
    test_it_trains_the_same_on_four_devices_as_on_one_and_every_weight_learns(experiment)
