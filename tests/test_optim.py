"""The optimiser against published numbers and slow loops."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssl_jax.config import ConfigError, build, call, load, override, read, save
from ssl_jax.models.decoders import ImageDecoder
from ssl_jax.optim import RULES, Optimizer
from ssl_jax.training.schedules import (
    Constant,
    Cosine,
    HoldThenDecay,
    InverseSqrt,
    Linear,
    Plateau,
    Step,
    TriStage,
)


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


# Schedules ----------------------------------------------------------------------------------------


def rates(schedule, base: float, steps: int, at) -> list[float]:
    """The learning rates at these steps, computed in a jitted function as in training."""
    rate_at = jax.jit(Optimizer(learning_rate=base, schedule=schedule).rate_at, static_argnums=1)
    found = [rate_at(step, steps) for step in at]
    assert all(rate.dtype == jnp.float32 for rate in found)
    return [float(rate) for rate in found]


# A peak of 2, 100 steps; the expected values are those of the papers' formulas.
SCHEDULES = {
    "constant": (Constant(), {0: 2, 99: 2}),
    "warm-up": (Constant(warmup=4), {0: 0, 1: 0.5, 3: 1.5, 4: 2, 99: 2}),
    "cosine": (Cosine(), {s: 1 + math.cos(math.pi * s / 100) for s in (0, 1, 50, 99, 100)}),
    "cosine to a tenth": (
        Cosine(warmup=20, final=0.1),
        {10: 1, 20: 2, 60: 0.2 + 1.8 * 0.5, 80: 0.2 + 0.9 * (1 - math.sqrt(0.5)), 100: 0.2},
    ),
    "linear": (Linear(), {0: 2, 25: 1.5, 99: 0.02, 100: 0, 130: 0}),
    "linear to a half": (Linear(warmup=50, final=0.5), {25: 1, 50: 2, 75: 1.5, 100: 1}),
    "step": (Step(boundaries=(30, 60), decay=0.2), {0: 2, 29: 2, 30: 0.4, 59: 0.4, 60: 0.08}),
    "step, warmed up": (Step(boundaries=(4,), decay=0.5, warmup=8), {2: 0.5, 4: 0.5, 8: 1, 99: 1}),
    "inverse square root": (InverseSqrt(warmup=4), {0: 0, 2: 1, 4: 2, 16: 1, 64: 0.5, 100: 0.4}),
    "held, then down to a hundredth": (
        HoldThenDecay(),
        {0: 2, 50: 2, 75: 0.2, 100: 0.02, 120: 0.02},
    ),
    "tri-stage": (TriStage(), {0: 0, 5: 1, 10: 2, 30: 2, 50: 2, 75: 1, 100: 0}),
    "tri-stage to a twentieth": (
        TriStage(warmup=0.03, hold=0.9, final=0.05),
        {3: 2, 93: 2, 98: 0.1 + 1.9 * 2 / 7, 100: 0.1},
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_follows_its_formula(name):
    schedule, golden = SCHEDULES[name]
    np.testing.assert_allclose(rates(schedule, 2.0, 100, golden), [*golden.values()], atol=1e-6)


def test_simclrs_schedule():
    # 1281167 images, batches of 4096, 100 epochs of which 10 warm up, 0.3 for each 256 rows.
    golden = {0: 0, 1: 0.00153502, 3126: 4.79846498, 3127: 4.8, 17203: 2.4, 31279: 0, 40000: 0}
    found = rates(Cosine(warmup=3127), 4.8, 31279, golden)
    np.testing.assert_allclose(found, [*golden.values()], atol=2e-6)


def test_rotnets_schedule():
    golden = {0: 0.1, 59: 0.1, 60: 0.02, 119: 0.02, 120: 0.004, 159: 0.004, 160: 8e-4, 199: 8e-4}
    found = rates(Step(boundaries=(60, 120, 160), decay=0.2), 0.1, 200, golden)
    np.testing.assert_allclose(found, [*golden.values()], rtol=1e-5)


def test_the_transformers_schedule():
    """Of "Attention is all you need", section 5.3: d^-0.5 min(step^-0.5, step warmup^-1.5)."""
    golden = {s: 512**-0.5 * min(s**-0.5, s * 4000**-1.5) for s in (1, 2000, 4000, 4001, 100_000)}
    found = rates(InverseSqrt(warmup=4000), (512 * 4000) ** -0.5, 100_000, golden)
    np.testing.assert_allclose(found, [*golden.values()], rtol=1e-6)


def test_the_schedule_drives_the_update():
    optimizer = Optimizer(learning_rate=1.0, momentum=0.0, schedule=Constant(warmup=2))
    found = steps(optimizer, {"w": array([[0]])}, [{"w": array([[1]])}] * 4)
    assert [float(p["w"][0, 0]) for p in found] == [0, -0.5, -1.5, -2.5]


def a_schedule_of_ones_own(step, steps, base):
    return base * (step + 1)


def test_any_function_of_the_step_is_a_schedule():
    optimizer = Optimizer(learning_rate=1.0, momentum=0.0, schedule=a_schedule_of_ones_own)
    found = steps(optimizer, {"w": array([[0]])}, [{"w": array([[1]])}] * 3)
    assert [float(p["w"][0, 0]) for p in found] == [-1, -3, -6]


def descend(optimizer: Optimizer, losses, carry=None):
    """Weights and learning rates after each loss, the gradient being 1; and what to resume from."""
    transformation = optimizer.build(100)
    params = {"w": array([[0]])}
    params, state = carry or (params, transformation.init(params))

    @jax.jit
    def step(params, state, loss):
        rate = optimizer.rate_at(state.count, 100, state)
        gradient = {"w": array([[1]])}
        updates, state = transformation.update(gradient, state, params, value=loss)
        return optax.apply_updates(params, updates), state, rate

    weights, found = [], []
    for loss in losses:
        params, state, rate = step(params, state, array(loss))
        weights.append(float(params["w"][0, 0]))
        found.append(float(rate))
    return weights, found, (params, state)


# Means of two: 9, 5, 5, 5 (two without improvement), 1, 6, 6 (two), 7, 7 (two, at the lowest).
LOSSES = [10, 8, 5, 5, 6, 4, 5, 5, 1, 1, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_plateau_of_the_loss_lowers_the_rate(name):
    plateau = Plateau(window=2, patience=2, decay=0.5, final=0.25)
    optimizer = Optimizer(name=name, learning_rate=1.0, momentum=0.0, schedule=plateau)
    weights, found, _ = descend(optimizer, LOSSES)
    # The eighth loss completes the second mean without improvement: the ninth step is shorter.
    expected = [1.0] * 8 + [0.5] * 6 + [0.25] * 6
    assert found == expected
    np.testing.assert_allclose(weights, -np.cumsum(expected), rtol=1e-5)


def test_a_plateau_resumes_to_the_same_bits():
    optimizer = Optimizer(learning_rate=0.3, schedule=Plateau(window=2, patience=2, warmup=3))
    weights, found, _ = descend(optimizer, LOSSES)
    for stop in (3, 7, 8):
        *begun, carry = descend(optimizer, LOSSES[:stop])
        *rest, _ = descend(optimizer, LOSSES[stop:], jax.device_get(carry))
        assert [begun[0] + rest[0], begun[1] + rest[1]] == [weights, found]


# Frozen parameters --------------------------------------------------------------------------------


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


def test_a_methods_teacher_is_frozen_beside_the_knobs_own():
    params = {"teacher": array([[1]]), "vision": array([[1]]), "head": array([[1]])}
    optimizer = Optimizer(learning_rate=1.0, l1=0.1, l1_on=("teacher", "head"), freeze=("vision",))
    transformation = optimizer.build(10, ("teacher",))
    state = transformation.init(params)
    assert sum(x.size for x in jax.tree.leaves(state) if x.ndim) == 1  # the head's momentum
    updates, _ = transformation.update(jax.tree.map(jnp.ones_like, params), state, params)
    assert {name: float(u[0, 0]) for name, u in updates.items()} == {
        "teacher": 0,
        "vision": 0,
        "head": -1,  # from 1 to 0, and the penalty stops there
    }
    with pytest.raises(ConfigError, match=r"\('teacher/a', 2.0\) is frozen, as part of 'teacher'"):
        Optimizer(rates=(("teacher/a", 2.0),)).build(10, ("teacher",))
    with pytest.raises(ConfigError, match="no parameters at 'teachers'; at the top there are"):
        Optimizer().build(10, ("teachers",)).init(params)


def test_clipping_measures_only_what_is_trained():
    params = {"vision": array([[1]]), "head": array([[1]])}
    optimizer = Optimizer(learning_rate=1.0, momentum=0.0, clip_norm=1.0, freeze=("vision",))
    gradient = {"vision": array([[100]]), "head": array([[0.5]])}
    assert steps(optimizer, params, [gradient])[0]["head"] == pytest.approx(0.5)


class Own(nn.Module):
    """A module of one's own, with Flax's layers and with parameters of its own names."""

    @nn.compact
    def __call__(self, x):
        heads = self.param("head_bias", nn.initializers.ones, (2, 3, 4))
        gamma = self.param("gamma", nn.initializers.ones, (2, 4))
        token = self.param("token", nn.initializers.ones, (1, 4))
        slope = self.param("slope", nn.initializers.ones, (4,))
        taps = self.param("kernel", nn.initializers.ones, (4,))
        x = nn.BatchNorm(False, axis=(1, 2))(x) + (heads * gamma[:, None] + token * slope * taps)[0]
        x = nn.MultiHeadAttention(num_heads=2)(nn.GroupNorm(2)(nn.LayerNorm()(x)))
        x = nn.WeightNorm(nn.Dense(4), feature_axes=(0, 1), variable_filter={"kernel"})(x)
        x = nn.DenseGeneral((2, 2))(nn.RMSNorm()(x)).reshape(2, 3, 4)
        return nn.RNN(nn.LSTMCell(4))(x) + nn.Embed(5, 4)(jnp.zeros((2, 3), int))


@pytest.mark.parametrize("name", RULES)
def test_what_is_decayed_goes_by_what_a_parameter_is_in_any_module(name):
    params = Own().init(jax.random.key(0), jnp.ones((2, 3, 4)))["params"]
    params = jax.tree.map(jnp.ones_like, params)
    for everything in (False, True):
        optimizer = Optimizer(
            name=name, learning_rate=1.0, weight_decay=0.1, decay_vectors=everything
        )
        (after,) = steps(optimizer, params, [jax.tree.map(jnp.zeros_like, params)])
        moved = {
            jax.tree_util.keystr(path, simple=True, separator="/")
            for path, value in jax.tree_util.tree_leaves_with_path(after)
            if not (value == 1).all()
        }
        every = {
            jax.tree_util.keystr(path, simple=True, separator="/")
            for path, _ in jax.tree_util.tree_leaves_with_path(params)
        }
        ends = ("/kernel", "/embedding")
        weights = {p for p in every if f"/{p}".endswith(ends)} | {"token"}
        assert len(every) > 30
        assert len(weights) > 12
        assert moved == (every if everything else weights)


@pytest.mark.parametrize("everything", [False, True])
def test_lars_gives_biases_and_scales_of_any_shape_plain_sgd(everything):
    names = ("kernel", "bias", "scale", "in_bias")
    params = {name: array([[3, 4]]) for name in names}
    optimizer = Optimizer(
        name="lars", learning_rate=1.0, trust_coefficient=0.1, decay_vectors=everything
    )
    (after,) = steps(optimizer, params, [{name: array([[1, 0]]) for name in names}])
    scaled, plain = [3 - 0.1 * 5, 4], [3 - 1, 4]  # by 0.1 |weights| / |gradient|, or not
    for name in names:
        expected = scaled if everything or name == "kernel" else plain
        assert after[name][0].tolist() == pytest.approx(expected)


def test_a_bias_of_a_map_and_the_norm_of_pairs_are_not_decayed():
    """Both have two axes: (c, h w) and (6, d)."""
    maps = jnp.ones((2, 6, 6, 8))
    decoder = ImageDecoder(channels=(8, 4))
    init = jax.eval_shape(lambda x: decoder.init(jax.random.key(0), x, False), maps)
    experiment = build(load("configs/video/order_prediction_ucf101.py:tiny"))
    order = jax.eval_shape(experiment.initialiser())
    for tree in (init["params"], order["params"]):
        params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), tree)
        zeros = jax.tree.map(jnp.zeros_like, params)
        (after,) = steps(
            Optimizer(name="sgd", learning_rate=1.0, weight_decay=0.1), params, [zeros]
        )
        for path, value in jax.tree_util.tree_leaves_with_path(after):
            assert bool((value != 1).all()) == (path[-1].key == "kernel"), path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Optimizer(name="lamb"), "name='lamb' must be one of sgd, adam, adamw, lars"),
        (lambda: Optimizer(l1=0.1), "l1, above 0, and optimizer.l1_on go together"),
        (lambda: Cosine(warmup=-1), "warmup=-1 must be at least 0"),
        (lambda: InverseSqrt(warmup=0), "warmup=0 must be at least 1"),
        (lambda: TriStage(warmup=0.3, hold=0.8), "warmup=0.3 and hold=0.8 are fractions"),
        (lambda: Step(boundaries=(8, 3)), r"Step.boundaries=\(8, 3\) should be steps in order"),
        (lambda: Plateau(decay=2.0), "decay=2.0 must be below 1"),
        (lambda: Plateau(window=0), "window=0 must be at least 1"),
        (
            lambda: Optimizer(schedule=Cosine(warmup=10)).build(10),
            "Cosine.warmup=10 leaves no steps to decay in, of 10",
        ),
    ],
)
def test_a_knob_that_cannot_work_is_one_line(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_path_that_is_not_there_is_named_with_those_that_are():
    params = {"vision": array([[1]]), "head": array([[1]])}
    for knobs, message in (
        ({"freeze": ("visoin",)}, r"freeze: no parameters at 'visoin'; .* vision, head"),
        ({"rates": (("visoin", 0.1),)}, r"rates: no parameters at 'visoin'; .* vision, head"),
        ({"l1": 0.1, "l1_on": ("haed",)}, "l1_on: no parameters are called 'haed'"),
    ):
        with pytest.raises(ConfigError, match=message):
            Optimizer(**knobs).build(10).init(params)


def test_a_config_records_it():
    recorded = call(Optimizer, name="lars", learning_rate=1, freeze=("vision",))
    assert build(recorded) == Optimizer(name="lars", learning_rate=1.0, freeze=("vision",))
    assert recorded.trust_coefficient == 0.001
    assert recorded.schedule.warmup == 0
    recorded = call(Optimizer, schedule=call(Step, boundaries=(3, 8)))
    override(recorded, "schedule.decay", 0.5)
    assert build(recorded).schedule == Step(boundaries=(3, 8), decay=0.5)


# Rates of their own -------------------------------------------------------------------------------

LAYER = {"kernel": array([[3, 4]]), "bias": array([1])}
PLACES = {"vision": {"conv1": LAYER, "conv2": LAYER}, "vision_head": LAYER, "head": LAYER}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lars"])
def test_a_factor_is_a_learning_rate_of_its_own(name):
    knobs = {"name": name, "weight_decay": 0.1, "schedule": Cosine(warmup=1)}
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
        with pytest.raises(ConfigError, match="should be pairs of a path and a factor"):
            Optimizer(rates=wrong)
    with pytest.raises(ConfigError, match=r"the factor of \('vision', 0\) must be above 0"):
        Optimizer(rates=(("vision", 0),))
    with pytest.raises(ConfigError, match=r"\('vision/a', 2.0\) is frozen, as part of 'vision'"):
        Optimizer(rates=(("vision/a", 2.0),), freeze=("vision",))


def test_rates_can_be_recorded_overridden_and_saved(tmp_path):
    recorded = call(Optimizer, rates=(("vision", 0.1),))
    override(recorded, "rates", (("vision", 0.5), ("head", 2)))
    save(recorded, tmp_path / "config.json")
    assert build(read(tmp_path / "config.json")).rates == (("vision", 0.5), ("head", 2))
