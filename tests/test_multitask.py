"""Several tasks on one trunk: weights, the choice of units, harmonised inputs."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from ssl_jax.config import ConfigError
from ssl_jax.method import run_collection
from ssl_jax.methods.control import Control
from ssl_jax.methods.image.colorization import Colorization
from ssl_jax.methods.image.relative_position import RelativePosition
from ssl_jax.methods.image.simclr import SimCLR
from ssl_jax.methods.image.triplet_exemplar import TripletExemplar
from ssl_jax.methods.lightness import Lightness
from ssl_jax.methods.multitask import Multitask
from ssl_jax.models.lasso import Lasso
from ssl_jax.models.resnet_v2 import ResNetV2
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Constant

KEY = jax.random.key(0)


class Units(nn.Module):
    """A trunk of three layers of one shape, and one of another."""

    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train: bool):
        x = x.reshape(len(x), -1)
        layers = {"first": nn.Dense(5, name="first")(x)}
        for name in ("unit1", "unit2", "unit3"):
            x = layers[name] = nn.Dense(4, dtype=self.dtype, name=name)(x)
        return layers


class LastNet(nn.Module):
    vision: nn.Module

    @nn.compact
    def __call__(self, batch, train: bool):
        return nn.Dense(3, name="head")(self.vision(batch["vision"], train)["combined"])


@dataclasses.dataclass(frozen=True)
class LastLayer(tiny.MeanColour):
    """As its parent, from the sum of units."""

    @property
    def net(self):
        return LastNet(self.vision)


UNITS = Lasso(Units(), ("unit1", "unit2", "unit3"))


def two_tasks(task=tiny.MeanColour, trunk=None, **knobs) -> Multitask:
    trunk = trunk or tiny.TinyTrunk(width=6)
    return Multitask({"calm": task(trunk, noise=0.1), "noisy": task(trunk, noise=0.5)}, **knobs)


def batch_of(method: Multitask) -> dict:
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    return {f"{name}/vision": jnp.asarray(images) for name in method.tasks}


def started(method: Multitask):
    """(params, state, batch)."""
    batch = batch_of(method)
    variables = jax.jit(method.init, static_argnums=2)(KEY, batch, 6)
    return variables.pop("params"), {**variables, **run_collection(0, 1)}, batch


def test_the_loss_is_the_weighted_sum_of_the_tasks():
    method = two_tasks(weights={"noisy": 3.0})
    params, state, batch = started(method)
    loss, (_, metrics) = jax.jit(method.loss)(params, state, batch, KEY)
    assert set(metrics) == {f"{task}/{name}" for task in method.tasks for name in ("loss", "error")}
    assert metrics["noisy/loss"] > 0
    assert float(loss) == pytest.approx(float(metrics["calm/loss"] + 3 * metrics["noisy/loss"]))


def test_a_lasso_sums_normalised_layers():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(7, 5)), jnp.float32)
    variables = UNITS.init(KEY, x, train=True)
    np.testing.assert_allclose(variables["params"]["unit_weights"], [1 / 3] * 3)
    assert set(variables["params"]) == {"inner", "unit_weights"}  # norms without weights
    weights = np.array([0.5, 0.0, -2.0], np.float32)
    variables["params"]["unit_weights"] = weights
    layers, _ = UNITS.apply(variables, x, train=True, mutable=["batch_stats"])
    units = [np.asarray(layers[name]) for name in ("unit1", "unit2", "unit3")]
    expected = sum(
        w * (u - u.mean(0)) / np.sqrt(u.var(0) + 1e-5) for w, u in zip(weights, units, strict=True)
    )
    assert list(layers)[-1] == "combined"
    np.testing.assert_allclose(layers["combined"], expected, atol=2e-5)
    with pytest.raises(ValueError, match="layers of one shape; the trunk has first"):
        Lasso(Units(), ("first", "unit1")).init(KEY, x, train=True)
    with pytest.raises(ValueError, match="layers of one shape; the trunk has first"):
        Lasso(Units(), ("unit1", "unit9")).init(KEY, x, train=True)


def test_each_task_has_its_own_choice_of_the_units_of_one_trunk():
    method = two_tasks(LastLayer, UNITS)
    params, state, batch = started(method)
    x = jnp.zeros((2, 48))
    alone = Units().init(KEY, x, train=False)["params"]
    assert jax.tree.map(jnp.shape, params["vision"]) == jax.tree.map(jnp.shape, alone)
    assert set(params) == {"vision", "calm", "noisy"}
    assert set(params["calm"]) == {"vision", "head"}
    assert set(params["calm"]["vision"]) == {"unit_weights"}
    # The noisy task reads unit 2 alone, the calm one nothing.
    params["noisy"]["vision"]["unit_weights"] = jnp.array([0.0, 1.0, 0.0])
    params["calm"]["vision"]["unit_weights"] = jnp.zeros(3)
    (_, (state, _)), gradient = jax.jit(jax.value_and_grad(method.loss, has_aux=True))(
        params, state, batch, KEY
    )
    assert np.any(gradient["vision"]["unit2"]["kernel"])
    assert not np.any(gradient["vision"]["unit3"]["kernel"])
    inputs = {"vision": batch["calm/vision"]}
    layers = method.encode({"params": params, **state}, "vision", inputs)
    names = ["first", "unit1", "unit2", "unit3", "calm_units", "noisy_units"]
    assert list(layers) == names
    assert not np.any(layers["calm_units"])
    moments = state["batch_stats"]["noisy"]["vision"]["norms_1"]
    normalised = (layers["unit2"] - moments["mean"]) / jnp.sqrt(moments["var"] + 1e-5)
    np.testing.assert_allclose(layers["noisy_units"], normalised, rtol=1e-4, atol=1e-5)


def test_bfloat16_reaches_the_trunk_within_a_lasso():
    lasso = LastLayer(UNITS).with_dtype("bfloat16").vision
    x = jnp.zeros((2, 4))
    shapes = jax.eval_shape(lambda: lasso.init_with_output(KEY, x, train=False))
    layers, variables = shapes
    assert layers["unit3"].dtype == layers["combined"].dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def descend(optimizer: Optimizer, params: dict, gradient, steps: int) -> dict:
    transformation = optimizer.build(steps)

    @jax.jit
    def step(carry, _):
        params, state = carry
        updates, state = transformation.update(gradient(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    carry = (params, transformation.init(params))
    return jax.lax.scan(step, carry, length=steps)[0][0]


def test_the_proximal_step_is_soft_thresholding_at_the_steps_rate():
    params = {"unit_weights": jnp.array([0.5, -0.05, 0.2]), "kernel": jnp.array([[0.05]])}
    still = lambda params: jax.tree.map(jnp.zeros_like, params)  # noqa: E731
    optimizer = Optimizer(learning_rate=0.1, l1=1.0, l1_on=("unit_weights",))
    after = descend(optimizer, params, still, 1)
    np.testing.assert_allclose(after["unit_weights"], [0.4, 0.0, 0.1], rtol=1e-6)
    assert after["unit_weights"][1] == 0  # exactly
    assert after["kernel"] == params["kernel"]
    # Rates 0, 0.05, 0.1 of a warm-up: 0.15 in all.
    warm = dataclasses.replace(optimizer, schedule=Constant(warmup=2))
    np.testing.assert_allclose(
        descend(warm, params, still, 3)["unit_weights"], [0.35, 0.0, 0.05], rtol=1e-5
    )


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_lasso_finds_what_scikit_learn_finds_zeros_and_all(name):
    from sklearn.linear_model import Lasso as Reference

    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 8))
    y = x @ np.array([1.5, 0, 0, -0.8, 0, 0, 0.05, 0]) + 0.1 * rng.normal(size=40)
    reference = Reference(alpha=0.2, fit_intercept=False, tol=1e-10).fit(x, y).coef_
    assert 0 < np.count_nonzero(reference) < 8
    fixed_x, fixed_y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    loss = lambda p: jnp.mean((fixed_x @ p["w"] - fixed_y) ** 2) / 2  # noqa: E731
    if name == "sgd":
        optimizer = Optimizer(learning_rate=0.1, momentum=0.0, l1=0.2, l1_on=("w",))
        found = descend(optimizer, {"w": jnp.ones(8)}, jax.grad(loss), 500)["w"]
        np.testing.assert_allclose(found, reference, atol=1e-4)
        assert ((np.asarray(found) == 0) == (reference == 0)).all()
    else:  # its steps have another size for every weight, so that only zeros are to be had
        optimizer = Optimizer(name="adam", learning_rate=0.01, l1=5.0, l1_on=("w",))
        found = descend(optimizer, {"w": jnp.ones(8)}, jax.grad(loss), 500)["w"]
        assert not np.any(found)


def test_l1_goes_with_names_that_exist_and_with_frozen_trunks():
    with pytest.raises(ValueError, match=r"l1, above 0, and optimizer\.l1_on go together"):
        Optimizer(l1=0.1)
    with pytest.raises(ValueError, match=r"l1, above 0, and optimizer\.l1_on go together"):
        Optimizer(l1_on=("w",))
    params = {"vision": {"kernel": jnp.ones((2, 2))}, "task": {"unit_weights": jnp.ones(2)}}
    wrong = Optimizer(l1=0.1, l1_on=("weights",))
    with pytest.raises(ValueError, match="no parameters are called 'weights'"):
        wrong.build(4).init(params)
    optimizer = Optimizer(learning_rate=1.0, l1=2.0, l1_on=("unit_weights",), freeze=("vision",))
    after = descend(optimizer, params, lambda p: jax.tree.map(jnp.zeros_like, p), 1)
    assert not np.any(after["task"]["unit_weights"])
    np.testing.assert_array_equal(after["vision"]["kernel"], params["vision"]["kernel"])


def test_harmonised_tasks_see_the_same_lightness_and_the_others_their_own():
    trunk = tiny.TinyTrunk()
    position = RelativePosition(trunk, patch=8, gap=0, jitter=0, pairs="one", colour="keep")
    tasks = {
        "exemplar": TripletExemplar(trunk, size=8, stored=8),
        "position": Lightness(position),
        "colour": Lightness(Colorization(trunk, size=8, stored=8)),
    }
    method = Multitask(tasks)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    batch = {
        "exemplar/vision": jnp.asarray(pixels),
        "position/vision": jnp.asarray(pixels[:, None] / np.float32(255)),
        "colour/vision": jnp.asarray(pixels),
        "colour/target": jnp.ones((2, 1, 1, 2)),
    }
    seen = method.inputs(batch)
    lightness = seen["colour/vision"]
    np.testing.assert_allclose(seen["position/vision"][:, 0], lightness, atol=1e-5)
    np.testing.assert_array_equal(lightness, np.repeat(lightness[..., :1], 3, axis=-1))
    own = tasks["colour"].method.inputs({"vision": batch["colour/vision"]})["vision"]
    np.testing.assert_allclose(lightness[..., :1], own, atol=1e-5)
    coloured = tasks["exemplar"].inputs({"vision": batch["exemplar/vision"]})["vision"]
    np.testing.assert_array_equal(seen["exemplar/vision"], coloured)
    np.testing.assert_array_equal(seen["colour/target"], batch["colour/target"])
    extremes = tasks["colour"].prepare("vision", jnp.array([[[[0.0] * 3, [1.0] * 3]]]))
    np.testing.assert_allclose(extremes[0, 0], [[-1] * 3, [1] * 3], atol=1e-5)


def test_a_second_view_is_as_light_as_the_first():
    method = Lightness(SimCLR(tiny.TinyTrunk(), size=4, stored=4))
    images = jax.random.uniform(KEY, (2, 4, 4, 3))
    seen = method.inputs({"vision": images, "pair": images})
    np.testing.assert_array_equal(seen["pair"], seen["vision"])
    assert np.abs(seen["vision"] - images).max() > 0.1


def test_a_control_of_harmonised_tasks_that_choose_units_trains_too():
    trunk = UNITS
    tasks = {"calm": LastLayer(trunk), "noisy": Lightness(LastLayer(trunk, noise=0.5))}
    method = Multitask(tasks)
    control = Control(method, ("noisy/target",))
    batch = batch_of(method)

    def gradient(key):
        variables = control.init(key, batch, 6)
        params = variables.pop("params")
        state = {**variables, **run_collection(0, 1)}
        return params, jax.grad(control.loss, has_aux=True)(params, state, batch, key)[0]

    params, slopes = jax.eval_shape(gradient, KEY)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, slopes)
    with pytest.raises(ConfigError, match="no 'target' in the augmented batch"):
        Control(method, ("target",)).augment(batch, run_collection(0, 1), KEY)


def test_a_multitask_of_mistakes_says_which():
    with pytest.raises(ConfigError, match=r"weights for \['loud'\], which are no tasks"):
        two_tasks(weights={"loud": 2.0})
    tasks = {"a": tiny.MeanColour(tiny.TinyTrunk(4)), "b": tiny.MeanColour(tiny.TinyTrunk(5))}
    with pytest.raises(ConfigError, match="trunks 'vision' are not the same"):
        Multitask(tasks)


def test_resnet_v2_is_the_papers_up_to_its_third_stage():
    names = []

    def made():
        x = jnp.zeros((1, 224, 224, 3))
        layers, variables = ResNetV2().init_with_output(KEY, x, train=False)
        names.extend(layers)  # what is traced returns the keys sorted
        return layers, variables["params"]

    layers, params = jax.eval_shape(made)
    units = [f"unit{number}" for number in range(1, 24)]
    assert names == ["stem", "stage1", "stage2", *units, "final"]
    assert {layers[name].shape for name in units} == {(1, 14, 14, 1024)}
    assert layers["stem"].shape == (1, 112, 112, 64)
    assert (layers["stage1"].shape, layers["stage2"].shape) == ((1, 56, 56, 256), (1, 28, 28, 512))
    assert params["stage3_unit23"]["second_conv"]["kernel"].shape == (3, 3, 256, 256)
    # ResNet-101 has 42.5 million weights before its classifier, 14.96 of them in its last stage.
    assert 27.4e6 < sum(leaf.size for leaf in jax.tree.leaves(params)) < 27.7e6
