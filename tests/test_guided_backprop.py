"""Backward rules of ReLUs on a network by hand, and the page of what units see."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from computed import inputs_of

from ssl_jax.config import ConfigError
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.guided_backprop import (
    GuidedBackprop,
    correlation,
    cropped,
    one_a_channel,
    seen_box,
    shuffled,
    strongest,
)
from ssl_jax.ops.pooling import max_pool
from ssl_jax.ops.relu_rules import with_relu_rule

X, W, BACK = jnp.array([1.0, 2]), jnp.array([[1.0, 1, -1], [1, 0, -1]]), jnp.array([2.0, -1, 3])
WAYS = {
    "jax.nn": jax.nn.relu,
    "flax": nn.relu,
    "maximum": lambda x: jnp.maximum(x, 0),
    "swapped": lambda x: jnp.maximum(0.0, x),
    "jitted": jax.jit(jax.nn.relu),
    "remat": jax.checkpoint(jax.nn.relu),
}


@pytest.mark.parametrize("way", WAYS)
def test_rules_on_a_layer_by_hand(way):
    np.testing.assert_allclose(X @ W, [3, 1, -3])
    for rule, expected in (
        ("plain", [1, 2]),
        ("guided", [2, 2]),
        ("deconvnet", [-1, -1]),
        ("open", [-2, -1]),
    ):
        value, back = jax.vjp(with_relu_rule(lambda x: WAYS[way](x @ W), rule), X)
        np.testing.assert_allclose(value, [3, 1, 0])
        np.testing.assert_allclose(back(BACK)[0], expected)
    with pytest.raises(ValueError, match="rule='smooth'"):
        with_relu_rule(jax.nn.relu, "smooth")


class Trunk(nn.Module):
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train):
        layers = {}
        x = nn.Conv(8, (3, 3), padding="VALID", name="conv1")(x)
        x = nn.BatchNorm(use_running_average=not train, name="bn")(x)
        x = layers["conv1"] = jax.nn.relu(x)
        x = nn.leaky_relu(nn.Conv(8, (3, 3), padding="VALID", name="conv2")(max_pool(x, 2)), 0.2)
        layers["conv2"] = nn.relu(x)
        return layers


def test_values_and_plain_gradients_of_a_network_stay():
    trunk, x = Trunk(), jax.random.normal(jax.random.key(0), (1, 12, 12, 3))
    variables = trunk.init(jax.random.key(1), x, train=False)

    def layer(x):
        return trunk.apply(variables, x, train=False)["conv2"]

    @jax.jit
    def both(x, g):
        value, back = jax.vjp(layer, x)
        other, plain = jax.vjp(with_relu_rule(layer, "plain"), x)
        guided = jax.vjp(with_relu_rule(layer, "guided"), x)[1]
        return value, other, back(g)[0], plain(g)[0], guided(g)[0]

    g = jax.random.normal(jax.random.key(2), layer(x).shape)
    value, other, back, plain, guided = both(x, g)
    np.testing.assert_array_equal(value, other)
    np.testing.assert_allclose(back, plain, atol=1e-6)
    assert not np.allclose(back, guided, atol=1e-3)


def test_strongest_activations():
    x = np.zeros((1, 2, 2, 3), np.float32)
    x[0, 1, 0] = [5, 0, 3]
    x[0, 0, 1] = [4, -1, 2]
    found = np.asarray(strongest(jnp.asarray(x), 2))
    assert np.argwhere(found).tolist() == [[0, 0, 1, 0], [0, 1, 0, 0]]
    assert np.asarray(strongest(jnp.asarray(x), 12)).sum() == 4  # nothing that is not above zero
    alone = np.asarray(one_a_channel(jnp.asarray(x), 2))
    assert np.argwhere(alone).tolist() == [[0, 0, 1, 0, 0], [1, 0, 1, 0, 2]]


def test_boxes_and_correlation():
    gradient = np.zeros((12, 16, 3))
    gradient[3:7, 5] = 1
    gradient[0, 0] = 1e-9
    assert seen_box(gradient).tolist() == [3, 5, 7, 6]
    assert seen_box(0 * gradient).tolist() == [0, 0, 12, 16]
    raw = np.arange(24 * 32 * 3, dtype=np.uint8).reshape(24, 32, 3)
    np.testing.assert_array_equal(cropped(raw, gradient), raw[6:14, 10:12])
    video = np.stack([raw, raw[::-1]])
    np.testing.assert_array_equal(
        cropped(video, np.stack([0 * gradient, -gradient])), raw[::-1][6:14, 10:12]
    )
    x = np.random.default_rng(0).normal(size=(4, 5))
    assert correlation(x, 3 * x + 1) == pytest.approx(1)
    assert correlation(x, 0 * x) == 0


@dataclasses.dataclass(frozen=True)
class Net:
    vision: nn.Module = dataclasses.field(default_factory=Trunk)


@dataclasses.dataclass(frozen=True)
class Method:
    net: Net = Net()
    trunks: tuple[str, ...] = ("vision",)

    def times(self, record, stream, count):
        return [0.0] * count

    def clips(self, record, stream, times):
        return {stream: record.need_frames()([0] * len(times))[:, :20, :20]}

    def inputs(self, batch):
        return {"vision": batch["vision"].astype(jnp.float32) / 255 - 0.5}


@dataclasses.dataclass(frozen=True)
class Network:
    """Stands for a frozen network."""

    variables: dict
    method: Method = Method()

    def inputs(self, *arguments, **settings):
        return inputs_of(self.method, *arguments, **settings)


def test_the_page_and_its_control():
    made = Trunk().init(jax.random.key(3), jnp.zeros((1, 20, 20, 3)), train=False)
    variables = {name: {"vision": tree} for name, tree in made.items()}
    videos = SyntheticSource(size=5, frames=2, height=24, width=24)
    evaluator = GuidedBackprop(videos, "conv2", count=2, units=10, crops=3)
    results = dict(evaluator.run(Network(variables)))
    assert results["guided"].dtype == np.uint8
    assert -1 < results["similarity to shuffled"] < 0.99
    other = shuffled(variables, seed=0)
    kernels = [np.asarray(v["params"]["vision"]["conv1"]["kernel"]) for v in (variables, other)]
    assert not np.array_equal(*kernels)
    np.testing.assert_array_equal(*(np.sort(k.ravel()) for k in kernels))
    assert other["batch_stats"] is variables["batch_stats"]
    with pytest.raises(ConfigError, match="no layer 'conv9' in vision; it has conv1, conv2"):
        dict(dataclasses.replace(evaluator, layer="conv9").run(Network(variables)))
    broken = jax.tree.map(lambda x: x * np.nan, variables)
    with pytest.raises(FloatingPointError, match="conv2 is n"):
        dict(evaluator.run(Network(broken)))


def test_a_unit_sees_as_far_as_its_convolutions_reach():
    made = Trunk().init(jax.random.key(4), jnp.zeros((1, 20, 20, 3)), train=False)
    x = jax.random.normal(jax.random.key(5), (1, 20, 20, 3))
    layer = with_relu_rule(lambda x: Trunk().apply(made, x, train=False)["conv2"], "open")
    value, back = jax.vjp(layer, x)
    box = seen_box(np.abs(back(jnp.zeros_like(value).at[0, 2, 3, 1].set(1.0))[0][0]))
    # conv2 looks at 3 cells of pooled pairs, each of which looks 3 pixels far: 8 pixels from 2 * 2.
    assert (box[:2] >= [4, 6]).all()
    assert (box[2:] <= [12, 14]).all()
    assert (box[2:] - box[:2] >= 6).all()  # the pooling passes the larger of two on
