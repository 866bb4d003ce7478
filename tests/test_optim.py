"""The optimiser against published numbers and slow loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssl_jax.config import build, call, override, read, save
from ssl_jax.optim import Optimizer


def array(values) -> jax.Array:
    return jnp.asarray(values, jnp.float32)


def steps(optimizer: Optimizer, params: dict, gradients: list[dict], total: int = 10) -> list:
    """The parameters after each gradient."""
    transformation = optimizer.build(total)
    state, found = transformation.init(params), []
    for gradient in gradients:
        updates, state = transformation.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        found.append(params)
    return found


GRADIENTS = [[0.6, 0.8], [0.8, -0.6], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("rate", "weight_decay", "expected"),
    [
        (1.0, 0.0, [(2.997, 3.996), (2.990304, 3.995397), (2.9842776, 3.9898637975)]),
        (1.0, 0.1, [(2.997, 3.996), (2.9893859277, 3.9932954989), (2.9814911340, 3.9859832509)]),
        (
            4.8,
            1e-4,
            [(2.9856, 3.9808), (2.9535250313, 3.9778413702), (2.9246505384, 3.9513972650)],
        ),
    ],
)
def test_lars_is_simclrs_and_leaves_vectors_to_plain_sgd(rate, weight_decay, expected):
    optimizer = Optimizer(name="lars", learning_rate=rate, weight_decay=weight_decay)
    params = {"kernel": array([[3, 4]]), "bias": array([3, 4])}
    gradients = [{"kernel": array([g]), "bias": array(g)} for g in GRADIENTS]
    velocity, bias = np.zeros(2), np.array([3.0, 4.0])
    found = steps(optimizer, params, gradients)
    for after, kernel, gradient in zip(found, expected, GRADIENTS, strict=True):
        np.testing.assert_allclose(after["kernel"][0], kernel, atol=2e-6)
        velocity = 0.9 * velocity + rate * np.array(gradient)
        bias -= velocity
        np.testing.assert_allclose(after["bias"], bias, rtol=1e-5)


def test_lars_scales_vectors_too_if_asked_and_not_by_a_zero_norm():
    optimizer = Optimizer(name="lars", learning_rate=1.0, decay_vectors=True)
    after = steps(optimizer, {"bias": array([3, 4])}, [{"bias": array(GRADIENTS[0])}])
    np.testing.assert_allclose(after[0]["bias"], [2.997, 3.996], rtol=1e-6)
    zero = steps(optimizer, {"kernel": jnp.zeros((1, 2))}, [{"kernel": array([[0.6, 0.8]])}])
    np.testing.assert_allclose(zero[0]["kernel"], [[-0.6, -0.8]], rtol=1e-6)
    still = steps(optimizer, {"kernel": array([[3, 4]])}, [{"kernel": jnp.zeros((1, 2))}])
    np.testing.assert_array_equal(still[0]["kernel"], [[3, 4]])


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_against_a_slow_loop(nesterov):
    optimizer = Optimizer(
        learning_rate=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.01, clip_norm=0.5
    )
    params = {"kernel": array([[3, 4]]), "bias": array([1])}
    gradients = [{"kernel": array([g]), "bias": array([0.3])} for g in GRADIENTS]
    weights, velocity = np.array([3.0, 4, 1]), np.zeros(3)
    for after, gradient in zip(steps(optimizer, params, gradients), GRADIENTS, strict=True):
        g = np.array([*gradient, 0.3])
        g *= min(1, 0.5 / np.linalg.norm(g))
        g += 0.01 * weights * [1, 1, 0]
        velocity = 0.9 * velocity + g
        weights = weights - 0.1 * (g + 0.9 * velocity if nesterov else velocity)
        found = np.concatenate([after["kernel"][0], after["bias"]])
        np.testing.assert_allclose(found, weights, rtol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_decays_through_the_gradient_and_adamw_beside_it(name):
    optimizer = Optimizer(name=name, learning_rate=0.1, weight_decay=0.5, beta2=0.99)
    params = {"kernel": array([[3, 4]]), "bias": array([1, 1])}
    gradients = [{"kernel": array([g]), "bias": array(g)} for g in GRADIENTS]
    w, decayed = np.array([3.0, 4, 1, 1]), np.array([1, 1, 0, 0])
    first, second = np.zeros(4), np.zeros(4)
    found = steps(optimizer, params, gradients)
    for t, (after, gradient) in enumerate(zip(found, GRADIENTS, strict=True), start=1):
        g = np.array([*gradient, *gradient]) + (0.5 * w * decayed if name == "adam" else 0)
        first, second = 0.9 * first + 0.1 * g, 0.99 * second + 0.01 * g * g
        step = first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.99**t)) + 1e-8)
        w = w - 0.1 * (step + (0.5 * w * decayed if name == "adamw" else 0))
        np.testing.assert_allclose(np.r_[after["kernel"][0], after["bias"]], w, rtol=1e-5)


def test_simclrs_schedule():
    # 1281167 pictures, batches of 4096, 100 epochs of which 10 warm up, 0.3 for each 256 rows.
    optimizer = Optimizer(learning_rate=4.8, schedule="cosine", warmup_steps=3127)
    rate = optimizer.learning_rates(31279)
    golden = {0: 0, 1: 0.00153502, 3126: 4.79846498, 3127: 4.8, 17203: 2.4, 31279: 0}
    for step, expected in golden.items():
        assert rate(step) == pytest.approx(expected, abs=2e-6)
    assert rate(40000) == pytest.approx(0, abs=1e-6)


def test_cosine_without_warm_up_and_constant_with_it():
    cosine = Optimizer(learning_rate=2.0, schedule="cosine").learning_rates(8)
    for step in range(9):
        assert cosine(step) == pytest.approx(1 + math.cos(math.pi * step / 8), abs=1e-6)
    constant = Optimizer(learning_rate=2.0, warmup_steps=4).learning_rates(8)
    assert [float(constant(s)) for s in range(7)] == [0, 0.5, 1, 1.5, 2, 2, 2]
    assert float(Optimizer(learning_rate=2.0).learning_rates(8)(0)) == 2


def test_rotnets_steps():
    optimizer = Optimizer(schedule="step", boundaries=(60, 120, 160), decay=0.2)
    rate = jax.jit(optimizer.learning_rates(200))
    golden = {0: 0.1, 59: 0.1, 60: 0.02, 119: 0.02, 120: 0.004, 159: 0.004, 160: 8e-4, 199: 8e-4}
    for step, expected in golden.items():
        assert rate(jnp.int32(step)) == pytest.approx(expected, rel=1e-5)


def test_the_schedule_drives_the_update():
    optimizer = Optimizer(learning_rate=1.0, momentum=0.0, warmup_steps=2)
    found = steps(optimizer, {"w": array([[0]])}, [{"w": array([[1]])}] * 4)
    assert [float(p["w"][0, 0]) for p in found] == [0, -0.5, -1.5, -2.5]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lars"])
def test_frozen_parameters_stay_and_cost_no_state(name):
    layer = {"kernel": array([[3, 4]]), "bias": array([1])}
    params = {"vision": {"conv1": layer, "conv2": layer}, "vision_head": layer, "head": layer}
    optimizer = Optimizer(name=name, weight_decay=0.1, freeze=("vision", "head/bias"))
    transformation = optimizer.build(10)
    state = transformation.init(params)
    moments = [x for x in jax.tree.leaves(state) if x.ndim]
    copies = 1 if name in ("sgd", "lars") else 2
    assert sum(x.size for x in moments) == copies * (3 + 2)
    gradients = jax.tree.map(jnp.ones_like, params)
    updates, _ = jax.jit(transformation.update)(gradients, state, params)
    moved = jax.tree.map(lambda u: bool(jnp.all(u != 0)), updates)
    assert not any(jax.tree.leaves(moved["vision"]))
    assert moved["vision_head"] == {"kernel": True, "bias": True}
    assert moved["head"] == {"kernel": True, "bias": False}


def test_clipping_measures_only_what_is_trained():
    params = {"vision": array([[1]]), "head": array([[1]])}
    optimizer = Optimizer(learning_rate=1.0, momentum=0.0, clip_norm=1.0, freeze=("vision",))
    gradient = {"vision": array([[100]]), "head": array([[0.5]])}
    assert steps(optimizer, params, [gradient])[0]["head"] == pytest.approx(0.5)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="is one of sgd, adam, adamw, lars, not 'lamb'"):
        Optimizer(name="lamb")
    with pytest.raises(ValueError, match="is one of constant, cosine, step, not 'linear'"):
        Optimizer(schedule="linear")
    for wrong in ({"schedule": "step"}, {"boundaries": (3,)}):
        with pytest.raises(ValueError, match="boundaries go with"):
            Optimizer(**wrong)
    with pytest.raises(ValueError, match="warmup_steps=-1"):
        Optimizer(warmup_steps=-1)
    with pytest.raises(ValueError, match="warmup_steps=10 leaves nothing of 10 steps"):
        Optimizer(schedule="cosine", warmup_steps=10).build(10)
    optimizer = Optimizer(freeze=("visoin",)).build(10)
    with pytest.raises(ValueError, match=r"no parameters at 'visoin'; .* vision, head"):
        optimizer.init({"vision": array([[1]]), "head": array([[1]])})


def test_a_config_records_it():
    recorded = call(Optimizer, name="lars", learning_rate=1, freeze=("vision",))
    assert build(recorded) == Optimizer(name="lars", learning_rate=1.0, freeze=("vision",))
    assert recorded.trust_coefficient == 0.001


# Rates of their own -------------------------------------------------------------------------------

LAYER = {"kernel": array([[3, 4]]), "bias": array([1])}
PLACES = {"vision": {"conv1": LAYER, "conv2": LAYER}, "vision_head": LAYER, "head": LAYER}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lars"])
def test_a_factor_is_a_learning_rate_of_its_own(name):
    knobs = {"name": name, "weight_decay": 0.1, "schedule": "cosine", "warmup_steps": 1}
    tenth = Optimizer(learning_rate=0.05, **knobs)
    plain = Optimizer(learning_rate=0.5, **knobs)
    both = Optimizer(learning_rate=0.5, rates=(("vision", 0.1),), **knobs)
    rng = np.random.default_rng(0)
    gradients = [jax.tree.map(lambda x: array(rng.normal(size=x.shape)), PLACES) for _ in range(4)]

    def moved(optimizer):
        """Of the first steps, from weights that do not move on: so that only rates differ."""
        transformation, found = optimizer.build(10), []
        state = transformation.init(PLACES)
        for gradient in gradients:
            updates, state = transformation.update(gradient, state, PLACES)
            found.append(updates)
        return found

    for one, slow, fast in zip(moved(both), moved(tenth), moved(plain), strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one["vision"], slow["vision"]
        )
        for place in ("vision_head", "head"):
            jax.tree.map(np.testing.assert_array_equal, one[place], fast[place])
    assert np.any(np.asarray(moved(plain)[1]["vision"]["conv1"]["kernel"]))


def test_a_tenth_of_the_sgd_update_decay_included():
    optimizer = Optimizer(
        learning_rate=0.5, momentum=0.0, weight_decay=0.2, rates=(("vision", 0.1), ("head", 2.0))
    )
    gradients = jax.tree.map(jnp.ones_like, PLACES)
    (after,) = steps(optimizer, PLACES, [gradients])
    step = 0.5 * (1 + 0.2 * np.array([[3, 4]]))
    for place, factor in (
        (after["vision"]["conv1"], 0.1),
        (after["vision_head"], 1.0),
        (after["head"], 2.0),
    ):
        np.testing.assert_allclose(place["kernel"], [[3, 4]] - factor * step, rtol=1e-6)
        np.testing.assert_allclose(place["bias"], 1 - factor * 0.5, rtol=1e-6)


def test_the_longest_place_counts_and_frozen_ones_stay():
    rates = (("vision/conv2", 4.0), ("vision", 2.0))
    optimizer = Optimizer(learning_rate=1.0, momentum=0.0, rates=rates, freeze=("vision/conv1",))
    transformation = optimizer.build(10)
    gradients = jax.tree.map(jnp.ones_like, PLACES)
    updates, _ = transformation.update(gradients, transformation.init(PLACES), PLACES)
    biases = [updates["vision"]["conv1"], updates["vision"]["conv2"], updates["head"]]
    assert [float(layer["bias"][0]) for layer in biases] == [0, -4, -1]


def test_the_l1_penalty_reaches_as_far_as_the_rate():
    optimizer = Optimizer(
        learning_rate=1.0, momentum=0.0, l1=0.5, l1_on=("kernel",), rates=(("vision", 0.1),)
    )
    still = jax.tree.map(jnp.zeros_like, PLACES)
    (after,) = steps(optimizer, PLACES, [still])
    np.testing.assert_allclose(after["vision"]["conv1"]["kernel"], [[2.95, 3.95]], rtol=1e-6)
    np.testing.assert_allclose(after["head"]["kernel"], [[2.5, 3.5]], rtol=1e-6)


def test_rates_that_cannot_be_meant():
    for wrong in (("vision", 0.1), (("vision",),), ((0.1, "vision"),)):
        with pytest.raises(ValueError, match="pairs of a place and a factor are meant"):
            Optimizer(rates=wrong)
    with pytest.raises(ValueError, match=r"\('vision', 0\) is no factor above 0; see freeze"):
        Optimizer(rates=(("vision", 0),))
    with pytest.raises(ValueError, match=r"\('vision/a', 2.0\) lies in what is frozen, 'vision'"):
        Optimizer(rates=(("vision/a", 2.0),), freeze=("vision",))
    with pytest.raises(
        ValueError, match=r"rates: no parameters at 'visoin'; .* vision, vision_head, head"
    ):
        Optimizer(rates=(("visoin", 0.1),)).build(10).init(PLACES)


def test_rates_can_be_recorded_overridden_and_saved(tmp_path):
    recorded = call(Optimizer, rates=(("vision", 0.1),))
    override(recorded, "rates", (("vision", 0.5), ("head", 2)))
    save(recorded, tmp_path / "config.json")
    assert build(read(tmp_path / "config.json")).rates == (("vision", 0.5), ("head", 2))
