"""Colorization and split-brain: what the nets see, what they must not, and the published shapes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.method import run_collection
from ssl_jax.methods.image.colorization import Colorization
from ssl_jax.methods.image.split_brain import DESIGNS, SplitBrain
from ssl_jax.models.dense_alexnet import DenseAlexNet
from ssl_jax.models.vgg import DilatedVGG
from ssl_jax.objectives.colour import ab_bins, rebalancing, soft_bins
from ssl_jax.ops.colour import lab_to_rgb, rgb_to_lab

KEY = jax.random.key(0)
RUN = run_collection(0, 10)
NARROW = DenseAlexNet(groups=1, conv1_stride=2, fc6=64, fc7=64, width=0.05)


class Pixels(nn.Module):
    """The cheapest trunk there is: every `stride`-th pixel."""

    stride: int = 8
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train: bool):
        return {
            "map": self.param("scale", nn.initializers.ones, ())
            * x[:, :: self.stride, :: self.stride]
        }


def shapes(trunk, *shape):
    """(layers, parameters) of a trunk as shapes; compiles nothing."""

    def run(x):
        layers, variables = trunk.init_with_output(KEY, x, train=False)
        return list(layers.items()), variables["params"]  # tracing sorts dicts, not lists

    names = []

    def order(x):
        pairs, params = run(x)
        names.extend(name for name, _ in pairs)
        return [layer for _, layer in pairs], params

    layers, params = jax.eval_shape(order, jax.ShapeDtypeStruct(shape, jnp.float32))
    return dict(zip(names, (layer.shape[1:] for layer in layers), strict=True)), params


def count(tree) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def picture(seed: int, rows: int = 2, side: int = 40) -> jax.Array:
    """uint8 pictures, smooth enough to have colours of their own in every corner."""
    coarse = jax.random.uniform(jax.random.key(seed), (rows, 5, 5, 3))
    return (255 * jax.image.resize(coarse, (rows, side, side, 3), "linear")).astype(jnp.uint8)


def example(seed: int) -> dict:
    return {"vision": picture(seed)}


# Shapes


def test_the_net_that_colours_has_the_published_shape():
    layers, params = shapes(DilatedVGG(), 1, 176, 176, 1)
    head = 256 * len(ab_bins()) + len(ab_bins())
    assert count(params) + head == 32_230_393
    sides = [88, 44, 22, 22, 22, 22, 22, 44]
    channels = [64, 128, 256, 512, 512, 512, 512, 256]
    assert [layer[0] for layer in layers.values()] == sides
    assert [layer[-1] for layer in layers.values()] == channels
    assert list(layers)[::7] == ["conv1_2", "conv8_3"]


def test_the_dense_alexnet_has_the_papers_maps():
    layers, params = shapes(DenseAlexNet(), 1, 180, 180, 1)
    assert layers == {
        "conv1": (45, 45, 96),
        "pool1": (23, 23, 96),
        "conv2": (23, 23, 256),
        "pool2": (12, 12, 256),
        "conv3": (12, 12, 384),
        "conv4": (12, 12, 384),
        "conv5": (12, 12, 256),
        "pool5": (12, 12, 256),
        "fc6": (12, 12, 4096),
        "fc7": (12, 12, 4096),
    }
    assert params["conv2"]["kernel"].shape == (5, 5, 48, 256)
    assert params["fc6"]["kernel"].shape == (6, 6, 256, 4096)
    assert not [name for name in params if name.endswith("_bn")]


def test_halves_side_by_side_are_as_wide_as_alexnet_with_half_its_weights():
    method = SplitBrain(DenseAlexNet(groups=1, width=0.5))
    halves, params = shapes(method.net.vision, 1, 180, 180, 3)
    whole, whole_params = shapes(DenseAlexNet(groups=1), 1, 180, 180, 3)
    assert halves == whole
    for name in ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7"):
        kernels = [params[half][name]["kernel"] for half in ("halves_0", "halves_1")]
        assert 2 * count(kernels) == count(whole_params[name]["kernel"])
    assert params["halves_0"]["conv1"]["kernel"].shape == (11, 11, 1, 48)
    assert params["halves_1"]["conv1"]["kernel"].shape == (11, 11, 2, 48)


# Colorization


@pytest.fixture(scope="module")
def colorization():
    method = Colorization(NARROW, size=33, stored=40)
    variables = jax.jit(lambda: method.init(KEY, example(0), 2))()
    return method, variables


def test_targets_are_the_colours_of_every_eighth_pixel(colorization):
    method, variables = colorization
    batch = jax.jit(method.augment)(example(3), variables, KEY)
    assert batch["vision"].shape == (2, 33, 33, 3)
    assert batch["target"].shape == (2, 5, 5, 2)
    lab = rgb_to_lab(batch["vision"][:, ::8, ::8])
    np.testing.assert_allclose(batch["target"], lab[..., 1:], atol=1e-4)


def test_the_net_sees_no_colour(colorization):
    method, variables = colorization
    # The same lightness in colours that a screen can show.
    lightness = jax.random.uniform(KEY, (1, 33, 33, 1), minval=40.0, maxval=60.0)
    ab = jax.random.uniform(jax.random.key(1), (2, 33, 33, 2), minval=-15.0, maxval=15.0)
    lab = jnp.concatenate([jnp.repeat(lightness, 2, axis=0), ab], axis=-1)
    encode = jax.jit(lambda x: method.encode(variables, "vision", {"vision": x}))
    for one, other in encode(lab_to_rgb(lab)).values():
        np.testing.assert_allclose(one, other, atol=1e-3 * np.abs(one).max())
    brighter = lab_to_rgb(lab + jnp.array([10.0, 0, 0]))
    one, other = (encode(x)["conv1"][0] for x in (lab_to_rgb(lab), brighter))
    assert np.abs(one - other).max() > 1e-2 * np.abs(one).max()
    assert method.inputs(example(0))["vision"].shape == (2, 40, 40, 1)


def test_the_prior_is_the_mean_of_the_colours_seen():
    method = Colorization(Pixels(), size=33, stored=40)
    variables = jax.jit(lambda: method.init(KEY, example(0), 2))()
    params = variables.pop("params")
    state = {**variables, **RUN}
    np.testing.assert_allclose(state["prior"]["frequencies"], 1 / 313)

    @jax.jit
    def step(state, batch, key):
        _, passed = method.forward(params, state, batch, key)
        state = method.after(params, {**passed.state, **RUN}, passed.batch, passed.outputs)
        return state, passed.batch

    means = []
    for seed, key in enumerate(jax.random.split(KEY, 3)):
        before = state["prior"]["frequencies"]
        state, batch = step(state, example(seed), key)
        # Colours weigh by those of the steps before, of which the batch itself is none.
        np.testing.assert_allclose(batch["weights"], rebalancing(before), rtol=1e-6)
        means.append(np.asarray(soft_bins(batch["target"])).mean((0, 1, 2)))
        expected = np.mean(means, axis=0)
        np.testing.assert_allclose(state["prior"]["frequencies"], expected, atol=1e-6)


# Split-brain


@pytest.fixture(scope="module")
def split_brain():
    method = SplitBrain(NARROW, size=33, stored=40, stride=8)
    variables = jax.jit(lambda: method.init(KEY, example(0), 2))()
    return method, variables


def lab_inputs(channels: slice) -> jax.Array:
    """Two prepared pictures that differ in these channels alone."""
    one, other = jax.random.normal(KEY, (2, 33, 33, 3))
    return jnp.stack([one, one.at[..., channels].set(other[..., channels])])


def test_halves_see_their_own_channels_alone(split_brain):
    method, variables = split_brain
    trunk = method.net.vision
    own = {name: tree["vision"] for name, tree in variables.items()}
    encode = jax.jit(lambda x: trunk.apply(own, x, train=False))
    for channels, blind, seeing in ((slice(1, 3), 0, 1), (slice(0, 1), 1, 0)):
        for layer in encode(lab_inputs(channels)).values():
            halves = np.split(np.asarray(layer), 2, axis=-1)
            np.testing.assert_allclose(*halves[blind], atol=1e-6)
            assert np.abs(halves[seeing][0] - halves[seeing][1]).max() > 1e-3


def test_encode_takes_pictures_and_gives_both_halves(split_brain):
    method, variables = split_brain
    layers = jax.jit(lambda x: method.encode(variables, "vision", x))(
        {"vision": picture(1, side=33)}
    )
    assert layers["conv1"].shape == (2, 17, 17, 10)
    assert layers["fc7"].shape[-1] == 2 * 3


def test_each_half_learns_from_its_own_loss_alone(split_brain):
    method, variables = split_brain
    state = {name: tree for name, tree in variables.items() if name != "params"}

    @jax.jit
    def gradient(params):
        # A head without weights says the same of everything, whatever stands before it.
        params = {**params, "head1_L": jax.tree.map(jnp.zeros_like, params["head1_L"])}
        return jax.grad(lambda p: method.loss(p, state, example(2), KEY)[0])(params)["vision"]

    colour, lightness = (gradient(variables["params"])[f"halves_{half}"] for half in range(2))
    assert any(leaf.any() for leaf in jax.tree.leaves(colour))
    assert not any(leaf.any() for leaf in jax.tree.leaves(lightness))


def test_one_net_predicts_without_seeing_what_it_predicts():
    method = SplitBrain(NARROW, design="single", size=33, stored=40, stride=8)
    net = method.net
    variables = jax.jit(lambda: method.init(KEY, example(0), 2))()
    run = jax.jit(lambda x: net.apply(variables, {"vision": x}, train=False))
    for channels, blind, predicted in ((slice(1, 3), 0, "ab"), (slice(0, 1), 1, "L")):
        outputs = run(lab_inputs(channels))
        np.testing.assert_allclose(*outputs[blind][predicted], atol=1e-6)
        (seeing,) = outputs[1 - blind].values()
        assert np.abs(seeing[0] - seeing[1]).max() > 1e-3


METRICS = {
    "split": {"ab_from_L_accuracy", "L_from_ab_accuracy"},
    "L->ab": {"ab_from_L_accuracy"},
    "ab->L": {"L_from_ab_accuracy"},
    "Lab->Lab": {"L_from_Lab_accuracy", "ab_from_Lab_accuracy"},
    "drop50": {"L_from_Lab_accuracy", "ab_from_Lab_accuracy"},
    "ensemble": {"ab_from_L_accuracy", "ab_from_L_error"},
    "single": {"ab_from_L_accuracy", "L_from_ab_accuracy"},
    "single+Lab": {
        *("ab_from_L_accuracy", "L_from_ab_accuracy"),
        *("L_from_Lab_accuracy", "ab_from_Lab_accuracy"),
    },
}


@pytest.mark.parametrize("design", DESIGNS)
def test_designs_predict_what_their_names_say(design):
    for criterion, name in (("cl", "accuracy"), ("reg", "error")):
        method = SplitBrain(NARROW, design, criterion, size=33, stored=40, stride=8)

        def run(method=method):
            variables = method.init(KEY, example(0), 2)
            params = variables.pop("params")
            return method.loss(params, variables, example(0), KEY), params

        (loss, (_, metrics)), params = jax.eval_shape(run)
        expected = METRICS[design]
        if design != "ensemble":
            expected = {metric.replace("accuracy", name) for metric in expected}
        assert set(metrics) == expected
        assert loss.shape == ()
        assert len(params["vision"]) == len(DESIGNS[design].sees)


def test_the_losses_of_halves_are_added_and_of_showings_averaged():
    target = jnp.concatenate([jnp.full((1, 2, 2, 1), 50.0), jnp.full((1, 2, 2, 2), 50.0)], axis=-1)
    for design, expected in (("split", 2 + 0.25), ("single", (2 + 0.25) / 2)):
        method = SplitBrain(NARROW, design, "reg")
        outputs = [{"ab": jnp.zeros((1, 2, 2, 2))}, {"L": jnp.full((1, 2, 2, 1), 0.5)}]
        loss, metrics = method.objective(outputs, {"target": target})
        assert loss == pytest.approx(expected)
        assert metrics["L_from_ab_error"] == pytest.approx(25)


def test_half_of_the_input_is_dropped_in_training_only():
    method = SplitBrain(Pixels(stride=1), "drop50", "reg")
    x = jnp.ones((4, 16, 16, 3))
    variables = method.net.init({"params": KEY, "dropout": KEY}, {"vision": x}, train=False)
    variables = jax.tree.map(jnp.ones_like, variables)
    for train, dropped in ((False, 0.0), (True, 0.5)):
        # A head of ones adds up what reaches the trunk of the three channels.
        outputs = method.net.apply(variables, {"vision": x}, train, rngs={"dropout": KEY})
        shares = np.asarray(outputs[0]["L"]).ravel() - 1
        kept = shares / (3 / (1 - dropped))
        assert kept.mean() == pytest.approx(1 - dropped, abs=0.05)


def test_a_design_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="design='spilt' must be one of split, L->ab"):
        SplitBrain(NARROW, "spilt")
    with pytest.raises(ConfigError, match="criterion='l2' must be one of cl, reg"):
        SplitBrain(NARROW, criterion="l2")
