"""The contract: every config there is builds, trains, and gives what its evaluators name."""

import contextlib
import dataclasses
import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ssl_jax import config as configs
from ssl_jax.data.pipeline import train_dataset
from ssl_jax.devices.sharding import Sharding, put_batch, put_same, replicated
from ssl_jax.experiment import Experiment
from ssl_jax.frozen import Frozen
from ssl_jax.method import run_collection
from ssl_jax.optim import Optimizer
from ssl_jax.train import train_step
from ssl_jax.training.checkpoint import TrainState
from ssl_jax.training.micro_batches import _merge, _split, loss_and_gradients
from ssl_jax.training.refresh import refreshed
from ssl_jax.training.speed import model_flops

ROOT = pathlib.Path(__file__).parent.parent
KEY = jax.random.key(7)
CONFIGS = sorted(str(f.relative_to(ROOT)) for f in (ROOT / "configs").rglob("*.py"))


@dataclasses.dataclass
class Started:
    """A config at step 0, which all its tests share: made, traced and compiled once.

    The optimizer is plain SGD, whose first update is the gradient. Weights are random numbers of
    the shapes that `init` says: compiling initialisers would cost more than the step does.
    """

    experiment: Experiment
    state: TrainState  # on one device
    frozen: Frozen

    @staticmethod
    def of(experiment: Experiment) -> "Started":
        plain = Optimizer(name="sgd", learning_rate=0.01)
        experiment = dataclasses.replace(experiment, optimizer=plain, micro_batches=1)
        method, source, steps = experiment.method, experiment.source, experiment.steps
        optimizer = plain.build(steps, method.teachers)
        initialise, shapes = experiment.initialiser(), {}

        def state_alone():
            made = initialise()
            shapes.update(jax.eval_shape(lambda: made.pop("params")))
            return made

        collections = jax.jit(state_alone)()
        params = jax.tree_util.tree_map_with_path(_random, shapes)
        moments, key = optimizer.init(params), jax.random.key(experiment.seed)
        state = TrainState(jnp.zeros((), jnp.int32), key, params, collections, moments)
        mesh = Sharding(devices=1).mesh()
        state = put_same(state, replicated(mesh))
        frozen = Frozen.of(experiment, mesh, _variables(state))
        state = refreshed(method, optimizer, source, state, frozen)
        return Started(experiment, state, frozen.with_variables(_variables(state)))

    def after_a_step(self, devices: int) -> tuple[TrainState, float]:
        """The state after a step on the first batch, and its loss."""
        state, metrics = self.step(*self.placed(devices))
        return state, float(metrics["loss"])

    def placed(self, devices: int) -> tuple[TrainState, dict[str, jax.Array]]:
        """What the step takes, on these devices."""
        mesh = Sharding(devices=devices).mesh()
        return put_same(self.state, replicated(mesh)), put_batch(mesh, self.batch)

    @functools.cached_property
    def step(self):
        experiment = self.experiment
        optimizer = experiment.optimizer.build(experiment.steps, experiment.method.teachers)
        step = functools.partial(train_step, experiment.method, optimizer, experiment)
        # Gradients of convolutions compile in less than half the time.
        return jax.jit(step, compiler_options={"xla_cpu_use_fusion_emitters": False})

    @functools.cached_property
    def batch(self) -> dict[str, np.ndarray]:
        experiment = self.experiment
        views, rows = experiment.method.views, experiment.batch_size
        return train_dataset(experiment.source, views, rows, seed=0)[0]


def _random(path, leaf) -> jax.Array:
    rng = np.random.default_rng(len(jax.tree_util.keystr(path)) + leaf.size)
    values = rng.standard_normal(leaf.shape, np.float32)
    if leaf.ndim > 1:
        return jnp.asarray(values / np.sqrt(np.prod(leaf.shape[:-1])), leaf.dtype)
    # A bias before BatchNorm gets nothing but rounding, which only shows beside a zero.
    return jnp.asarray((1 + 0.1 * values) * (path[-1].key != "bias"), leaf.dtype)


def _variables(state: TrainState) -> dict:
    return {"params": state.params, **state.state, **run_collection(0, 4)}


@pytest.fixture(scope="module", params=CONFIGS)
def started(request) -> Started:
    with contextlib.chdir(ROOT):
        return Started.of(configs.build(configs.load(f"{request.param}:tiny")))


@pytest.mark.parametrize("path", CONFIGS)
def test_a_config_tells_command_cost_and_numbers(path):
    docstring = (ROOT / path).read_text().split('"""')[1]
    name = re.escape(path.removeprefix("configs/"))
    assert re.search(rf"--config=(configs/)?{name}\b", docstring)
    assert re.search(r"^Cost\b.*[:.]", docstring, re.MULTILINE) or "Cost:" in docstring
    # A number, or that there is none.
    assert re.search(r"^\s*[Oo]urs\b.*(\d|not measured)", docstring, re.MULTILINE | re.DOTALL)
    with contextlib.chdir(ROOT):
        configs.load(path)  # the paper's own variant, data need not be there


def test_it_trains_the_same_on_four_devices_as_on_one_and_every_weight_learns(started):
    (split, loss), (alone, expected) = (started.after_a_step(devices) for devices in (4, 1))
    assert np.isfinite(loss)
    # `fit` counts these of every method before its first step; traced it is already.
    assert model_flops(started.step.trace(*started.placed(4)).jaxpr.jaxpr) > 0
    assert loss == pytest.approx(expected, rel=1e-4)
    teachers, still, moves = started.experiment.method.teachers, [], ([], [])
    for (path, before), *after in zip(
        jax.tree_util.tree_leaves_with_path(started.state.params),
        *(jax.tree.leaves(state.params) for state in (split, alone)),
        strict=True,
    ):
        assert np.isfinite(after[0]).all()
        if path[0].key in teachers:
            np.testing.assert_array_equal(after[0], before)
        elif np.array_equal(after[0], before):
            still.append(jax.tree_util.keystr(path))
        for move, one in zip(moves, after, strict=True):
            move.append((np.asarray(one) - np.asarray(before)).ravel())
    assert not still, f"no gradient reached {still}"
    # The update of plain SGD is the gradient; a missing gather or local statistics show here.
    gradient, other = map(np.concatenate, moves)
    assert np.linalg.norm(gradient - other) < 1e-2 * np.linalg.norm(other)


def test_views_are_a_pure_function_of_record_and_seed(started):
    experiment = started.experiment
    record = experiment.source[1]
    first, again, other = (
        experiment.method.views(record, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert all(np.array_equal(first[k], again[k]) for k in first)
    assert {k: (v.shape, v.dtype) for k, v in first.items()} == {
        k: (v.shape, v.dtype) for k, v in other.items()
    }


def test_encode_yields_the_layers_that_evaluators_name(started):
    method, frozen = started.experiment.method, started.frozen
    record = started.experiment.source[0]
    for stream in method.streams:
        inputs = method.clips(record, stream, method.times(record, stream, 2))
        assert {len(x) for x in inputs.values()} == {2}
        layers = jax.eval_shape(
            lambda v, x, stream=stream: method.encode(v, stream, x), frozen.variables, inputs
        )
        assert layers
        assert {len(x) for x in layers.values()} == {2}
    for evaluator in started.experiment.evaluators.values():
        for _, value in evaluator.run(frozen):
            assert np.isfinite(value).all()


def test_bfloat16_trains_with_float32_weights(started):
    method = started.experiment.method.with_dtype("bfloat16")
    variables = _variables(started.state)
    params = variables.pop("params")

    def loss_and_features(params, state, batch, inputs):
        found = method.loss(params, state, batch, jax.random.key(0))
        return found, method.encode({"params": params, **state}, stream, inputs)

    stream, record = next(iter(method.streams)), started.experiment.source[0]
    inputs = method.clips(record, stream, method.times(record, stream, 1))
    found, layers = jax.eval_shape(loss_and_features, params, variables, started.batch, inputs)
    leaves = jax.tree.leaves((params, found))
    assert {leaf.dtype for leaf in leaves} <= {jnp.dtype("float32"), jnp.dtype("int32")}
    # What heads give is float32; a traced dict stands in the order of its names.
    of_trunk = (x for name, x in layers.items() if name not in ("head", "embedding"))
    assert next(of_trunk).dtype == jnp.bfloat16


def test_every_net_treats_rows_by_themselves_or_micro_batches_are_refused(started):
    """Outputs of two parts, put together, are the whole batch's (BatchNorm and dropout at rest)."""
    method, examples, key = started.experiment.method, started.experiment.batch_size, KEY
    variables = _variables(started.state)
    params = variables.pop("params")
    batch = jax.tree.map(jnp.asarray, started.batch)
    try:
        jax.eval_shape(lambda: loss_and_gradients(method, params, variables, batch, key, 2)[1])
    except ValueError as error:
        # A loss of its own, or a net whose rows meet.
        assert str(error).startswith("micro_batches=2: ")  # noqa: PT017
        assert str(error).endswith("; use 1")  # noqa: PT017
        return
    assert not method.has_own_loss
    assert not method.rows_meet
    puzzle = jax.jit(lambda batch: method.inputs(method.augment(batch, variables, key)))(batch)
    # Both halves share one compiled program.
    outputs = jax.jit(lambda puzzle: method.outputs(params, variables, puzzle, key, False)[0])
    whole = outputs(puzzle)
    rows = {k: x for k, x in puzzle.items() if x.ndim and len(x) % examples == 0}
    split = {k: _split(x, examples, 2) for k, x in rows.items()}
    parts = [outputs({**puzzle, **{k: x[i] for k, x in split.items()}}) for i in range(2)]
    for mine, *theirs in zip(*map(jax.tree.leaves, (whole, *parts)), strict=True):
        merged = theirs[0]
        if theirs[0].shape != mine.shape:
            merged = _merge(jnp.stack(theirs), examples)
        np.testing.assert_allclose(merged, mine, rtol=1e-3, atol=1e-4)


def test_the_tiny_method_itself_is_held_to_the_contract():
    started = Started.of(configs.build(tiny.experiment()))
    test_it_trains_the_same_on_four_devices_as_on_one_and_every_weight_learns(started)
