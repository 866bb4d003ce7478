"""BYOL: the published losses, sizes and slowness; a slow copy that control, micro-batches, several
tasks and resuming leave as it should be."""

import dataclasses
import functools
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ssl_jax import config as configs
from ssl_jax import puzzles, train
from ssl_jax.config import call
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.devices.sharding import Sharding
from ssl_jax.experiment import Checkpoints
from ssl_jax.method import run_collection
from ssl_jax.methods.image.bootstrap import Bootstrap
from ssl_jax.methods.multitask import Multitask
from ssl_jax.objectives.bootstrap import bootstrap
from ssl_jax.ops import augment
from ssl_jax.optim import Optimizer
from ssl_jax.training.checkpoint import TrainState
from ssl_jax.training.trained import load

KEY = jax.random.key(0)
FOLDER = pathlib.Path(__file__).parent.parent / "configs" / "image"

# Two rows of three numbers: predictions and targets of view 1 and of view 2.
P1, P2 = [(1.0, 2, 3), (-1, 0, 2)], [(1.0, 1, 0), (0, 1, -1)]
Z1, Z2 = [(2.0, 0, 1), (0, -1, 1)], [(1.0, 2, 2), (-2, 1, 2)]
P, Z = (jnp.stack([jnp.array(one), jnp.array(two)], axis=1) for one, two in ((P1, P2), (Z1, Z2)))


def small(**knobs) -> Bootstrap:
    """On pictures of 8 pixels."""
    sizes = {"size": 8, "stored": 8, "hidden": 12, "embedding": 6, "centre": 1.0}
    return Bootstrap(tiny.TinyTrunk(), **{**sizes, **knobs})


def experiment(**changes):
    knobs = {
        "method": call(
            Bootstrap,
            vision=call(tiny.TinyTrunk),
            size=8,
            stored=8,
            hidden=12,
            embedding=6,
            tau=0.5,
            centre=1.0,
        ),
        "optimizer": call(Optimizer, name="adam", learning_rate=0.01),
        "steps": 4,
        "checkpoints": call(Checkpoints, every_steps=2, every_minutes=0.0, keep=9),
    }
    return tiny.experiment(**{**knobs, **changes})


def pixels(count=8, side=8):
    shape = (count, side, side, 3)
    return {"vision": jnp.asarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))}


def started(method, step=0, steps=4):
    """Params and state."""
    variables = jax.jit(method.init, static_argnums=2)(KEY, pixels(), 8)
    params = variables.pop("params")
    return params, {**variables, **run_collection(step, steps)}


# The objective


def test_loss_and_gradient_have_the_published_values():
    loss, metrics = bootstrap(P, Z)
    assert loss == pytest.approx(2.4931593900, rel=1e-6)
    rows = np.array([0.0400842260 + 0.7350889359, 0.2111456180 + 4.0])
    assert loss == pytest.approx(rows.mean(), rel=1e-6)
    assert metrics["cosine"] == pytest.approx((4 - 2.4931593900) / 4, rel=1e-6)
    gradient = jax.grad(lambda p: bootstrap(p, Z)[0])(P)[:, 0]
    expected = [
        (-0.0190900887, -0.0381801774, 0.0318168145),
        (0.1192569588, -0.1490711985, 0.0596284794),
    ]
    np.testing.assert_allclose(gradient, expected, atol=1e-7)
    assert bootstrap(P, jnp.roll(Z, 1, axis=0))[0] == pytest.approx(3.8344916867, rel=1e-6)


def test_a_prediction_of_length_zero_has_loss_one_and_a_finite_gradient():
    zeros = P.at[:, 0].set(0.0)
    loss, gradient = jax.value_and_grad(lambda p: bootstrap(p, Z)[0])(zeros)
    assert loss == pytest.approx(1 + (0.7350889359 + 4) / 2, rel=1e-6)
    assert np.isfinite(gradient).all()


def test_the_loss_forgets_lengths_and_order_and_shows_a_collapse():
    loss, _ = bootstrap(P, Z)
    assert bootstrap(3 * P, Z)[0] == pytest.approx(float(loss), rel=1e-6)
    assert bootstrap(P[::-1], Z[::-1])[0] == pytest.approx(float(loss), rel=1e-6)
    assert bootstrap(P.astype(jnp.bfloat16), Z)[0].dtype == jnp.float32
    rng = np.random.default_rng(0)
    z = jnp.asarray(rng.normal(size=(512, 2, 64)), jnp.float32)
    _, right = bootstrap(z[:, ::-1], z)
    assert right["accuracy"] == 1
    assert right["target_std"] == pytest.approx(1 / 8, rel=0.02)  # 1 / sqrt(64)
    loss, same = bootstrap(jnp.ones_like(z), jnp.ones_like(z))
    assert loss == pytest.approx(0, abs=1e-6)
    assert same["target_std"] == pytest.approx(0, abs=1e-6)
    assert same["accuracy"] == pytest.approx(1 / 512)
    _, opposite = bootstrap(-z[:, ::-1], z)
    assert opposite["cosine"] == pytest.approx(-1)


# The slow copy


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (0.99, (0.99, 0.9914644661, 0.995, 0.9985355339, 1)),
        (0.996, (0.996, 0.9965857864, 0.998, 0.9994142136, 1)),
        (0.97, (0.97, 0.9743933983, 0.985, 0.9956066017, 1)),
    ],
)
def test_the_copy_gets_slower_along_half_a_cosine(base, expected):
    method = small(tau=base)
    found = [method.tau_at(run_collection(step, 8)) for step in (0, 2, 4, 6, 8)]
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_the_copy_follows_the_updated_weights_and_their_statistics():
    method, slow = small(tau=0.9), 0.0

    def tree(value):
        return {name: {"w": jnp.full(2, value)} for name in ("vision", "projector")}

    for step, (weight, expected) in enumerate(((1.0, 0.1), (2.0, 0.2425), (4.0, 0.3364375))):
        before = {"params": tree(slow), "batch_stats": tree(2 * slow)}
        state = {"batch_stats": tree(2 * weight), "slow": before, **run_collection(step, 3)}
        params = {**tree(weight), "predictor": {"w": jnp.zeros(2)}}
        after = method.after(params, state, {}, None)["slow"]
        assert set(after["params"]) == {"vision", "projector"}
        for leaf in jax.tree.leaves(after["params"]):
            np.testing.assert_allclose(leaf, expected, rtol=1e-6)
        slow = float(after["params"]["vision"]["w"][0])
        stats = after["batch_stats"]["projector"]["w"]
        np.testing.assert_allclose(stats, 2 * slow, rtol=1e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of four steps: its folder and last state."""
    workdir = tmp_path_factory.mktemp("bootstrap")
    return workdir, train.fit(experiment(), str(workdir))


def test_the_copy_moves_and_is_not_the_online_network(trained):
    workdir, state = trained
    slow, first = state.state["slow"], load(workdir, step=2).variables["slow"]
    assert set(slow["params"]) == {"vision", "projector"}
    assert tiny.distance(slow["params"], {k: state.params[k] for k in slow["params"]}) > 1e-3
    assert tiny.distance(slow, first) > 1e-3


def test_a_resumed_run_ends_in_the_same_bits(trained, tmp_path):
    workdir, state = trained
    shutil.copytree(workdir, tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "checkpoints" / "4")
    again = train.fit(experiment(), str(tmp_path / "killed"))
    assert tiny.distance(again.replace(key=0), state.replace(key=0)) == 0.0


def test_the_copy_begins_as_the_trunk_of_init_from_and_stays_with_tau_one(trained, tmp_path):
    workdir, before = trained
    config = experiment(steps=2, seed=5, init_from=str(workdir))
    config.method.tau = 1.0
    state = train.fit(config, str(tmp_path))
    slow = state.state["slow"]
    assert tiny.distance(slow["params"]["vision"], before.params["vision"]) == 0.0
    statistics = before.state["batch_stats"]["vision"]
    assert tiny.distance(slow["batch_stats"]["vision"], statistics) == 0.0
    assert tiny.distance(state.params["vision"], before.params["vision"]) > 1e-3


def test_no_gradient_reaches_the_copy_and_views_are_normalised_apart():
    method = small()
    params, state = started(method)

    def loss(slow):
        return method.loss(params, {**state, "slow": slow}, pixels(), KEY)[0]

    value, gradients = jax.jit(jax.value_and_grad(loss))(state["slow"])
    assert 0 < value < 8
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradients))

    batch = jax.jit(method.augment)(pixels(), state, KEY)
    prepared = method.inputs(batch)
    other = {**prepared, "vision": prepared["vision"].at[:4, 1].multiply(3.0)}
    outputs = jax.jit(functools.partial(method.outputs, train=True))
    (one, new), (two, _) = (outputs(params, state, b, KEY) for b in (prepared, other))
    np.testing.assert_allclose(one[:, 0], two[:, 0], rtol=1e-5)
    assert not np.allclose(one[:, 1], two[:, 1], rtol=1e-2)
    assert tiny.distance(new["batch_stats"], state["batch_stats"]) > 0

    # The targets are the copy's projections as in training, whatever its running statistics are.
    blurred = jax.tree.map(lambda leaf: leaf + 3.0, state["slow"]["batch_stats"])
    moved = {**state, "slow": {**state["slow"], "batch_stats": blurred}}
    targets = jax.jit(method.augment)(pixels(), moved, KEY)["target"]
    np.testing.assert_allclose(targets, batch["target"], rtol=1e-5)
    assert targets.shape == (8, 2, 6)


def test_both_trunks_are_streams(trained):
    frozen = load(trained[0])
    record = SyntheticSource(size=2, frames=2, height=32, width=32)[0]
    inputs = frozen.method.clips(record, "slow", [0.0])
    assert inputs["vision"].shape == (1, 8, 8, 3)
    online, slow = (frozen.encode(stream, inputs) for stream in ("vision", "slow"))
    assert list(online) == list(slow) == ["input", "hidden", "pool"]
    assert np.abs(online["pool"] - slow["pool"]).max() > 1e-4
    tree = {name: part["vision"] for name, part in frozen.variables["slow"].items()}
    x = frozen.method.prepare("vision", jnp.asarray(inputs["vision"] / 255.0))
    expected = frozen.method.vision.apply(tree, x, train=False)
    np.testing.assert_allclose(slow["pool"], expected["pool"], atol=1e-5)


# Sizes


def size(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("config", "projector", "predictor", "all_but_predictor"),
    [
        ("bootstrap_imagenet", 9_449_472, 2_109_440, (68_024_448 - 2_109_440) // 2),
        ("bootstrap_cifar10", 3_158_016, 2_109_440, None),
        ("bootstrap_cifar10.py:fashion", 64 * 256 + 256 + 512 + 256 * 64, 33_536, None),
    ],
)
def test_networks_have_the_published_sizes(config, projector, predictor, all_but_predictor):
    name, _, variant = config.partition(".py")
    recorded = configs.load(f"{FOLDER}/{name}.py{variant}")
    method = configs.build(recorded.method)
    batch = {"vision": jnp.zeros((2, method.stored, method.stored, 3), jnp.uint8)}
    variables = jax.eval_shape(functools.partial(method.init, records=2), KEY, batch)
    params, slow = variables["params"], variables["slow"]["params"]
    # The published heads have a bias before BatchNorm, which would never matter.
    assert size(params["projector"]) + method.hidden == projector
    assert size(params["predictor"]) + method.hidden == predictor
    assert set(slow) == {"vision", "projector"}
    assert jax.tree.map(jnp.shape, slow) == jax.tree.map(jnp.shape, {k: params[k] for k in slow})
    if all_but_predictor:
        assert size(slow) + method.hidden == all_but_predictor


@pytest.mark.parametrize(
    ("epochs", "base", "decay", "tau", "steps", "warmup", "peak", "second"),
    [
        ("", 0.2, 1.5e-6, 0.996, 312_784, 3_127, 3.2, 0.0010233451),
        (":epochs300", 0.3, 1e-6, 0.99, 93_835, 3_127, 4.8, 0.0015350176),
        (":epochs100", 0.45, 1e-6, 0.99, 31_278, 3_127, 7.2, 0.0023025264),
        (":epochs40", 0.45, 1e-6, 0.97, 12_511, 3_127, 7.2, 0.0023025264),
    ],
)
def test_imagenet_has_the_released_schedules(epochs, base, decay, tau, steps, warmup, peak, second):
    recorded = configs.load(f"{FOLDER}/bootstrap_imagenet.py{epochs}")
    optimizer = configs.build(recorded.optimizer)
    assert (recorded.steps, recorded.method.tau) == (steps, tau)
    assert (optimizer.weight_decay, optimizer.schedule.warmup) == (decay, warmup)
    assert optimizer.learning_rate == pytest.approx(base * 4096 / 256) == pytest.approx(peak)
    assert optimizer.rate_at(0, steps) == 0
    assert optimizer.rate_at(1, steps) == pytest.approx(second, rel=1e-5)
    assert optimizer.rate_at(warmup, steps) == pytest.approx(peak)
    assert optimizer.rate_at(steps, steps) == pytest.approx(0, abs=1e-6)


# Views


def test_solarizing_inverts_what_is_bright():
    x = jnp.array([0.0, 0.4, 0.5, 0.75, 1.0]).reshape(1, 1, 5, 1).repeat(64, axis=0)
    found = augment.random_solarize(KEY, x, 1.0)
    np.testing.assert_allclose(found[0, 0, :, 0], [0, 0.4, 0.5, 0.25, 0])
    np.testing.assert_array_equal(augment.random_solarize(KEY, x, 0.0), x)
    some = np.asarray(augment.random_solarize(KEY, x, 0.2))
    share = np.mean([not np.array_equal(a, b) for a, b in zip(some, x, strict=True)])
    assert 0.05 < share < 0.4
    with pytest.raises(ValueError, match="random_solarize: takes floats"):
        augment.random_solarize(KEY, x.astype(jnp.uint8))


def test_each_colour_has_a_reach_of_its_own():
    grey = jnp.full((64, 2, 2, 3), 0.5)
    images = grey.at[..., 0].set(0.6)
    found = np.asarray(augment.jitter_colours(KEY, images, (0.0, 0.0, 0.0, 0.0)))
    np.testing.assert_allclose(found, images, atol=1e-6)
    brighter = np.asarray(augment.jitter_colours(KEY, grey, (0.3, 0.0, 0.0, 0.0), 1.0, True))
    assert 0.2 - 1e-6 <= brighter.min() < 0.3 < 0.7 < brighter.max() <= 0.8 + 1e-6
    # A uniform picture has no contrast, a grey one no saturation and no hue.
    same = np.asarray(augment.jitter_colours(KEY, grey, (0.0, 0.4, 0.4, 0.1)))
    np.testing.assert_allclose(same, grey, atol=1e-4)  # a fortieth of a grey level
    by_half = augment.jitter_colours(KEY, images, (0.4, 0.4, 0.4, 0.1))
    np.testing.assert_array_equal(by_half, augment.colour_jitter(KEY, images, 0.5))


def test_only_the_second_view_is_solarized():
    plain = {"area": (1.0, 1.0), "jittered": 0.0, "grey": 0.0, "blur": (0.0, 0.0)}
    method = small(**plain, solarize=(0.0, 1.0))
    _, state = started(method)
    white = {"vision": jnp.full((4, 8, 8, 3), 255, jnp.uint8)}
    views = np.asarray(jax.jit(method.augment)(white, state, KEY)["vision"])
    np.testing.assert_allclose(views[:, 0], 1, atol=1e-6)
    np.testing.assert_allclose(views[:, 1], 0, atol=1e-6)
    both = dataclasses.replace(method, solarize=(0.0, 0.0))
    views = np.asarray(jax.jit(both.augment)(pixels(), state, KEY)["vision"])
    flips = [np.allclose(a, b) or np.allclose(a, b[:, ::-1]) for a, b in views]
    assert all(flips)
    assert views.shape == (8, 2, 8, 8, 3)


# With all that a method goes through


def test_control_micro_batches_and_drawing(tmp_path):
    config = experiment(
        micro_batches=2, control=("target",), sharding=call(Sharding, devices=2), steps=2
    )
    state = train.fit(config, str(tmp_path))
    assert np.isfinite(state.params["predictor"]["dense2"]["kernel"]).all()
    picture = np.asarray(puzzles.show(config, rows=2))
    assert picture.std() > 0


@pytest.mark.parametrize("parts", [1, 4])
def test_the_copy_moves_once_a_step_however_many_micro_batches(parts):
    run = configs.build(experiment(micro_batches=parts, steps=2, batch_size=16))
    optimizer = run.optimizer.build(run.steps)
    params, state = started(run.method, steps=2)
    slow, state = state["slow"], {k: v for k, v in state.items() if k != "run"}
    zero, key = jnp.zeros((), jnp.int32), jax.random.key(1)
    before = TrainState(zero, key, params, state, optimizer.init(params))
    step = jax.jit(functools.partial(train.train_step, run.method, optimizer, run))
    after, metrics = step(before, pixels(16))
    online = {k: after.params[k] for k in slow["params"]}
    halfway = jax.tree.map(lambda old, new: (old + new) / 2, slow["params"], online)
    assert tiny.distance(after.state["slow"]["params"], halfway) < 1e-6
    assert tiny.distance(after.state["slow"]["params"], slow["params"]) > 1e-3
    assert metrics["tau"] == pytest.approx(0.5)


def test_beside_another_task_the_copy_is_of_the_shared_trunk(tmp_path):
    trunk = call(tiny.TinyTrunk)
    tasks = {
        "colour": call(tiny.MeanColour, vision=trunk),
        "bootstrap": experiment().method,
    }
    config = experiment(method=call(Multitask, tasks=tasks), control=("bootstrap/target",))
    state = train.fit(config, str(tmp_path))
    slow = state.state["slow"]["bootstrap"]
    shared = state.params["vision"]
    assert 1e-4 < tiny.distance(slow["params"]["vision"], shared) < 0.1
    assert list(state.state["slow"]) == ["bootstrap"]
    assert np.asarray(puzzles.show(config, rows=2)).std() > 0
