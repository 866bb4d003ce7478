"""Rotation and SimCLR: their networks have the published sizes, their knobs do what they say."""

import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import config as configs
from ssl_jax.data.record import Record
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.methods.image.rotation import Rotation
from ssl_jax.methods.image.simclr import SimCLR
from ssl_jax.models.nin import NIN
from ssl_jax.models.resnet import ResNet
from ssl_jax.ops.probe_pooling import reduced_rows

KEY = jax.random.key(0)
FOLDER = pathlib.Path(__file__).parent.parent / "configs" / "image"


def size(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def params_of(method, side: int) -> dict:
    """Shapes of the weights."""
    batch = {"vision": jnp.zeros((2, side, side, 3), jnp.uint8)}
    return jax.eval_shape(lambda: method.init(KEY, batch, 2))["params"]


@pytest.mark.parametrize(("blocks", "weights"), [(3, 1_004_484), (4, 1_411_140), (5, 1_817_796)])
def test_rotnets_network_in_network_has_three_four_or_five_blocks(blocks, weights):
    assert size(params_of(Rotation(NIN(blocks=blocks)), 32)) == weights


def test_rotnets_alexnet_gives_its_probe_the_published_sizes():
    method = configs.build(configs.load(f"{FOLDER}/rotation_imagenet.py").method)
    weights = params_of(method, 256)
    convolutions = {1: (11, 3, 64), 2: (5, 64, 192), 3: (3, 192, 384), 4: (3, 384, 256)}
    convolutions[5] = (3, 256, 256)
    expected = sum(k * k * i * o + o + 2 * o for k, i, o in convolutions.values())
    expected += (6 * 6 * 256 + 4096) * 4096 + 2 * 2 * 4096 + 4096 * 4 + 4
    assert size(weights) == expected
    raw = jnp.zeros((1, 224, 224, 3), jnp.uint8)

    def features():
        x = method.inputs({"vision": raw})["vision"]
        variables = method.net.vision.init(KEY, x, train=False)
        layers = method.net.vision.apply(variables, x, train=False)
        return layers, {name: reduced_rows(x, "max") for name, x in layers.items()}

    layers, probed = jax.eval_shape(features)
    sides = [layers[f"conv{i}"].shape[1:3] for i in range(1, 6)]
    assert sides == [(55, 55), (27, 27), (13, 13), (13, 13), (13, 13)]
    assert [probed[f"conv{i}"].shape[1] for i in range(1, 6)] == [9216, 9408, 9600, 9216, 9216]


def test_a_rotation_of_boxes_is_cut_resized_and_then_turned():
    record = SyntheticSource(size=2, frames=1, height=40, width=52)[0]
    method = Rotation(NIN(), size=16, stored=32, area=(0.2, 0.5), turns=(3, 1))
    example = method.views(record, np.random.default_rng(0))
    assert example["vision"].shape == (32, 32, 3)
    batch = {"vision": jnp.asarray(np.stack([example["vision"]] * 3))}
    made = jax.jit(method.augment)(batch, {}, KEY)
    pictures = np.asarray(made["vision"])
    assert pictures.shape == (6, 16, 16, 3)
    assert 0 <= pictures.min() < 0.5 < pictures.max() <= 1
    np.testing.assert_array_equal(made["target"], [0, 1] * 3)  # the first and second of `turns`
    for first, second in zip(pictures[0::2], pictures[1::2], strict=True):
        np.testing.assert_array_equal(np.rot90(first, 2), second)
    assert not np.array_equal(pictures[0], pictures[2])  # every row has a box of its own
    # Bytes and floats of the same image are the same input.
    floats = method.inputs({"vision": batch["vision"] / 255.0})
    np.testing.assert_allclose(method.inputs(batch)["vision"], floats["vision"], atol=1e-6)
    assert params_of(method, 32)["head"]["linear"]["kernel"].shape == (192, 2)
    clips = method.clips(record, "vision", [0.0])["vision"]
    np.testing.assert_array_equal(clips[0], example["vision"][8:24, 8:24])


@pytest.mark.parametrize("area", [(), (0.3, 1.0)])
@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (33, 33)])
def test_turning_leaves_no_bar_or_corner_whatever_the_pictures_shape(area, shape):
    flat = np.full((1, *shape, 3), 130, np.uint8)
    record = Record("flat", 0, 1, 1.0, frames=lambda numbers: flat[list(numbers)])
    method = Rotation(NIN(), size=16, padding=4, stored=20, area=area)
    batch = {"vision": jnp.asarray(method.views(record, np.random.default_rng(0))["vision"])[None]}
    made = jax.jit(method.augment)(batch, {}, KEY)
    assert np.bincount(made["target"]).tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(made["vision"], 130 / 255 if area else 130, rtol=1e-5)


def test_impossible_rotations_are_refused():
    for turns in ((0,), (0, 4), (1, 1)):
        with pytest.raises(ValueError, match="must be two or more of 0, 1, 2, 3"):
            Rotation(NIN(), turns=turns)
    with pytest.raises(ValueError, match="must be the smallest and the largest"):
        Rotation(NIN(), area=(0.1,))


HEADS = [
    ((2048,), 128, 4_460_672),  # the first version's
    ((2048, 2048), 128, 8_659_072),  # the second's
    ((), 128, 2048 * 128 + 128),
    ((), 0, 0),
]


@pytest.mark.parametrize(("hidden", "embedding", "weights"), HEADS)
def test_simclrs_heads_on_a_resnet50(hidden, embedding, weights):
    method = SimCLR(ResNet(depth=50), size=32, stored=32, hidden=hidden, embedding=embedding)
    params = params_of(method, 32)
    assert size(params.get("head", {})) == weights
    assert size(params["vision"]) == 23_508_032


def small(**knobs) -> SimCLR:
    trunk = ResNet(depth=10, stem="cifar", width=0.0625)
    return SimCLR(trunk, **{"size": 8, "stored": 8, "blur": 0.0, **knobs})


@pytest.mark.parametrize(("hidden", "embedding"), [((12, 10), 6), ((), 6), ((), 0)])
def test_encode_gives_the_heads_layers_the_last_being_what_is_compared(hidden, embedding):
    method = small(hidden=hidden, embedding=embedding)
    rng = np.random.default_rng(0)
    raw = jnp.asarray(rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8))
    shapes = jax.eval_shape(lambda: method.init(KEY, {"vision": raw}, 4))
    # Any weights and statistics, but variances above zero.
    variables = jax.tree.map(lambda x: rng.uniform(0.1, 1.0, x.shape).astype("float32"), shapes)

    @jax.jit
    def both(variables, raw):
        seen = method.inputs({"vision": raw})["vision"]
        outputs = method.net.apply(variables, {"vision": seen, "pair": seen}, train=False)
        return outputs[0], method.encode(variables, "vision", {"vision": raw})

    compared, layers = both(variables, raw)
    names = [f"head{number}" for number in range(1, len(hidden) + 2)] if embedding else []
    assert sorted(name for name in layers if name.startswith("head")) == names
    np.testing.assert_allclose(layers[names[-1] if names else "pool"], compared, rtol=1e-4)
    for name, width in zip(names, hidden, strict=False):
        assert layers[name].shape == (4, width)
        assert layers[name].min() >= 0  # after ReLU


def test_batch_statistics_are_those_of_all_devices():
    """Not those of a device's own rows: variances of shards miss that of the shards' means."""
    method = small(hidden=(6,), embedding=4)
    # Every device's rows are of another brightness.
    levels = np.repeat(np.arange(8, dtype=np.uint8) * 30, 2)[:, None, None, None]
    images = np.random.default_rng(0).integers(0, 40, (16, 8, 8, 3), dtype=np.uint8) + levels
    batch = {"vision": images, "pair": images[::-1].copy()}
    prepared = {k: jnp.asarray(v, jnp.float32) / 255 for k, v in batch.items()}
    variables = jax.jit(lambda b: method.net.init(KEY, b, train=False))(prepared)
    params = {"params": variables["params"]}
    state = {"batch_stats": variables["batch_stats"]}

    @jax.jit
    def statistics(batch):
        return method.net.apply({**params, **state}, batch, train=True, mutable=["batch_stats"])[1]

    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    whole, spread = statistics(prepared), statistics(jax.device_put(prepared, rows))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), whole, spread)
    stem = {"params": variables["params"]["vision"]["stem_conv"]}
    views = jnp.concatenate([prepared["vision"], prepared["pair"][::-1]])
    seen = np.asarray(jax.jit(nn.Conv(4, (3, 3), padding=1, use_bias=False).apply)(stem, views))
    shards = seen.reshape(2, 8, 2, *seen.shape[1:])
    within = shards.var(axis=(0, 2, 3, 4)).mean(0)
    between = shards.mean(axis=(0, 2, 3, 4)).var(0)
    learnt = spread["batch_stats"]["vision"]["stem_bn"]["var"]
    np.testing.assert_allclose(learnt, 0.9 + 0.1 * (within + between), rtol=1e-4)
    assert between.max() > within.max()  # what would be missing


def test_a_hidden_layer_needs_an_embedding():
    with pytest.raises(ValueError, match="embedding=0 is without a head"):
        small(embedding=0)


def test_features_are_read_from_the_middle_of_the_square():
    record = SyntheticSource(size=2, frames=1, height=40, width=40)[0]
    whole = small(size=40).clips(record, "vision", [0.0])["vision"][0]
    middle = small(size=30, centre=0.75).clips(record, "vision", [0.0])["vision"][0]
    np.testing.assert_array_equal(middle, whole[5:35, 5:35])


def test_brightness_is_added_or_multiplied():
    black = {"vision": jnp.zeros((64, 8, 8, 3), jnp.uint8)}
    multiplied, added = (
        np.asarray(jax.jit(small(additive_brightness=additive).augment)(black, {}, KEY)["vision"])
        for additive in (False, True)
    )
    assert not multiplied.any()  # nothing times anything
    assert 0.2 < np.mean(added.max((1, 2, 3)) > 0) < 0.8


@pytest.mark.parametrize(
    ("variant", "peak", "warmup", "steps", "decay"),
    [("", 4.8, 3127, 31279, 1e-6), (":v2", 6.4, 12511, 250_228, 1e-4)],
)
def test_the_recipe_on_imagenet(variant, peak, warmup, steps, decay):
    config = configs.load(f"{FOLDER}/simclr_imagenet.py{variant}")
    optimizer = configs.build(config.optimizer)
    assert (optimizer.name, optimizer.momentum, optimizer.decay_vectors) == ("lars", 0.9, False)
    assert (optimizer.trust_coefficient, optimizer.weight_decay) == (0.001, decay)
    assert (config.steps, optimizer.schedule.warmup) == (steps, warmup)
    assert optimizer.rate_at(0, steps) == 0
    assert optimizer.rate_at(1, steps) == pytest.approx(peak / warmup)
    assert optimizer.rate_at(warmup, steps) == pytest.approx(peak)
    assert optimizer.rate_at(steps, steps) == pytest.approx(0, abs=1e-6)
    assert config.method.temperature == 0.1


def test_the_recipe_on_cifar():
    config = configs.load(f"{FOLDER}/simclr_cifar10.py")
    optimizer = configs.build(config.optimizer)
    assert (config.steps, optimizer.schedule.warmup) == (97657, 976)
    assert optimizer.rate_at(976, 97657) == pytest.approx(2.0)
    assert (config.method.temperature, config.method.strength, config.method.blur) == (0.5, 0.5, 0)
