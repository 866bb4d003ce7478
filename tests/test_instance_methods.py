"""Exemplars, triplets and counting: objectives, what is changed in pictures, and what stays."""

import colorsys
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.methods.image.counting import Counting
from ssl_jax.methods.image.exemplar import Exemplar, textured_corner
from ssl_jax.methods.image.triplet_exemplar import TripletExemplar
from ssl_jax.models.encoders import ConvNet
from ssl_jax.objectives import counting as counting_objective
from ssl_jax.objectives import triplet as triplet_objective
from ssl_jax.ops import hsv, warp

# Compiled once a shape, instead of every operation by itself.
triplet = jax.jit(triplet_objective.triplet, static_argnames=("margin", "mining"))
counting = jax.jit(counting_objective.counting, static_argnames="margin")
affine = jax.jit(warp.affine, static_argnames="size")
random_affine = jax.jit(warp.random_affine, static_argnames=("size", "shift", "scale", "degrees"))
halved = jax.jit(warp.halved, static_argnames="name")
rgb_to_hsv, hsv_to_rgb = jax.jit(hsv.rgb_to_hsv), jax.jit(hsv.hsv_to_rgb)
random_hsv = jax.jit(hsv.random_hsv, static_argnames=("power", "factor", "offset", "hue"))
random_colour_contrast = jax.jit(hsv.random_colour_contrast)


def array(values) -> jax.Array:
    return jnp.asarray(values, jnp.float32)


def uniform(seed: int, *shape: int) -> jax.Array:
    return jax.random.uniform(jax.random.key(seed), shape)


def pictures(rows: int, side: int, seed: int = 0) -> np.ndarray:
    """Noise: every pixel is unlike its neighbours."""
    return np.random.default_rng(seed).integers(0, 256, (rows, side, side, 3), dtype=np.uint8)


# Triplets


def slow_triplet(z, labels, margin: float, mining: str) -> tuple[float, float]:
    """Loss and accuracy, pair by pair."""
    z = np.asarray(z, np.float64)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    distances, losses, hits = 1 - z @ z.T, [], []
    for a, p in itertools.permutations(range(len(z)), 2):
        if labels[a] != labels[p]:
            continue
        others = [distances[a, n] for n in range(len(z)) if labels[n] != labels[a]]
        farther = [d for d in others if d > distances[a, p]]
        chosen = min(others)
        if mining == "semihard":
            chosen = min(farther) if farther else max(others)
        losses.append(max(0.0, distances[a, p] - chosen + margin))
        hits.append(distances[a, p] < min(others))
    return float(np.mean(losses)), float(np.mean(hits))


@pytest.mark.parametrize(
    ("negative", "expected"),
    # For the anchor (1, 0) alone 0 and 0.3; for (0.8, 0.6) 0.3 and 0.66.
    [((0.0, 1.0), (0 + 0.3) / 2), ((0.6, 0.8), (0.3 + 0.66) / 2)],
)
def test_triplets_by_hand(negative, expected):
    z, labels = array([(1.0, 0.0), (0.8, 0.6), negative]), jnp.array([0, 0, 1])
    loss, _ = triplet(z, labels, 0.5)
    assert loss == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("mining", ["semihard", "hard"])
@pytest.mark.parametrize("margin", [0.1, 0.5])
def test_triplets_against_a_slow_loop(mining, margin):
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 3, 1, 0])  # a class of one has no pairs
    z = np.random.default_rng(1).normal(size=(10, 3))
    loss, metrics = triplet(array(z), jnp.asarray(labels), margin, mining=mining)
    slow, accuracy = slow_triplet(z, labels, margin, mining)
    assert loss == pytest.approx(slow, abs=1e-5)
    assert metrics["accuracy"] == pytest.approx(accuracy)
    assert 0 < accuracy < 1


def test_a_semihard_negative_is_nearer_than_the_positive_only_where_none_is_farther():
    # Distances of the anchor to p 0.5; to the negatives 0.2 and 0.7, then 0.2 and 0.4.
    def at(distance: float) -> list[float]:
        return [1 - distance, (1 - (1 - distance) ** 2) ** 0.5]

    labels = jnp.array([0, 0, 1, 2])
    for others, chosen in (((0.2, 0.7), 0.7), ((0.2, 0.4), 0.4)):
        z = np.array([[1.0, 0.0], at(0.5), *map(at, others)])
        loss, _ = triplet(array(z), labels, 1.0)
        back = 1 - z[1] @ z[2:].T  # the positive as anchor
        farther = [d for d in back if d > 0.5]
        second = 0.5 - (min(farther) if farther else max(back)) + 1
        assert loss == pytest.approx(((0.5 - chosen + 1) + second) / 2, abs=1e-5)


def test_triplets_see_directions_row_by_row_and_collapse_costs_the_margin():
    z, labels = uniform(0, 8, 4) - 0.5, jnp.arange(8) // 2
    loss, _ = triplet(z, labels, 0.5)
    scaled, _ = triplet(z * jnp.arange(1.0, 9.0)[:, None], labels, 0.5)
    assert scaled == pytest.approx(float(loss), abs=1e-6)
    order = np.random.default_rng(0).permutation(8)
    shuffled, _ = triplet(z[order], labels[order], 0.5)
    assert shuffled == pytest.approx(float(loss), abs=1e-6)
    collapsed, metrics = triplet(jnp.ones((8, 4)), labels, 0.5)
    assert collapsed == pytest.approx(0.5)
    assert metrics["accuracy"] == 0
    solved, metrics = triplet(jnp.repeat(jnp.eye(4), 2, axis=0), labels, 0.5)
    assert (solved, metrics["accuracy"]) == (0, 1)


def test_triplets_have_finite_gradients_at_zero_and_reject_unknown_mining():
    labels = jnp.array([0, 0, 1, 1])
    gradient = jax.grad(lambda z: triplet(z, labels)[0])(jnp.zeros((4, 3)))
    assert np.isfinite(gradient).all()
    with pytest.raises(ValueError, match="semihard, hard"):
        triplet_objective.triplet(jnp.ones((4, 3)), labels, mining="soft")


def test_crops_of_one_picture_share_target_and_grey():
    method = TripletExemplar(ConvNet(), size=16, stored=24, crops=3, grey=0.5)
    batch = {"vision": jnp.asarray(pictures(8, 24))}
    out = jax.device_get(jax.jit(method.augment)(batch, {}, jax.random.key(0)))
    assert out["vision"].shape == (24, 16, 16, 3)
    assert out["target"].tolist() == np.repeat(np.arange(8), 3).tolist()
    grey = (np.ptp(out["vision"], axis=-1).max((1, 2)) < 1e-3).reshape(8, 3)
    assert (grey.all(1) | ~grey.any(1)).all()
    assert 0 < grey[:, 0].sum() < 8
    x = np.asarray(jax.jit(method.inputs)({"vision": pictures(2, 16)})["vision"])
    np.testing.assert_allclose(x.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std((1, 2, 3)), 1, atol=1e-2)
    with pytest.raises(ConfigError, match="crops=1"):
        TripletExemplar(ConvNet(), crops=1)


# Counting


def test_counting_by_hand():
    whole, other = array([(3, 1)]), array([(0, 2)])
    tiles = array([[(1, 0), (1, 0), (0, 0.5), (0.5, 0)]])
    # |(3, 1) - (2.5, 0.5)|^2 = 0.5, and 10 - |(0, 2) - (2.5, 0.5)|^2 = 1.5.
    loss, metrics = counting(whole, tiles, other, 10.0)
    assert loss == pytest.approx(2.0)
    assert (metrics["own"], metrics["other"]) == (pytest.approx(0.5), pytest.approx(8.5))
    nothing, _ = counting(jnp.zeros((2, 5)), jnp.zeros((2, 4, 5)), jnp.zeros((2, 5)), 10.0)
    assert nothing == pytest.approx(10.0)


def test_counts_that_add_up_cost_nothing_if_the_other_picture_is_far():
    tiles = 5 * uniform(1, 6, 4, 7)
    whole = tiles.sum(1)
    loss, metrics = counting(whole, tiles, whole + 4.0, 10.0)
    assert loss == pytest.approx(0, abs=1e-6)
    assert metrics["accuracy"] == 1
    near, _ = counting(whole, tiles, whole, 10.0)  # the other counts the same
    assert near == pytest.approx(10.0)
    loss, _ = counting(whole + 1.0, tiles, whole + 4.0, 10.0)
    assert loss == pytest.approx(7.0, rel=1e-5)


def test_all_inputs_of_counting_share_filter_and_grey():
    method = Counting(ConvNet(), size=8, stored=16, grey=0.5)
    batch = {"vision": jnp.asarray(pictures(3, 16))}
    augment = jax.jit(method.augment)
    filters, greys = set(), set()
    for seed in range(24):
        out = jax.device_get(augment(batch, {}, jax.random.key(seed)))
        small, tiles = out["vision"], out["tiles"]
        rows = [np.concatenate([tiles[:, i], tiles[:, i + 1]], axis=2) for i in (0, 2)]
        whole = jnp.asarray(np.concatenate(rows, axis=1), jnp.float32)
        fitting = [f for f in warp.FILTERS if np.abs(halved(whole, f) - small).max() < 1e-4]
        assert len(fitting) == 1
        spread = np.ptp(np.asarray(whole), axis=-1).max((1, 2)) < 1e-4
        assert spread.all() or not spread.any()
        filters.add(fitting[0])
        greys.add(bool(spread.all()))
    assert filters == set(warp.FILTERS)
    assert greys == {True, False}
    # The network gets the tiles in the scale of the whole.
    mean, std = np.array(method.mean), np.array(method.std)
    for name, x in jax.jit(method.inputs)(out).items():
        np.testing.assert_allclose(x * std + mean, out[name], atol=1e-6)


def test_counting_contrasts_a_row_with_another_one():
    method = Counting(ConvNet(), margin=10.0)
    whole = array([[0.0, 0], [5, 0], [0, 5]])
    tiles = jnp.stack([whole / 4] * 4, axis=1)
    loss, metrics = jax.jit(method.objective)((whole, tiles), {})
    assert loss == pytest.approx(0)
    assert metrics["other"] == pytest.approx((25 + 25 + 50) / 3)
    with pytest.raises(ConfigError, match="2 or more"):
        method.objective((whole[:1], tiles[:1]), {})


# Pictures read at other places


def test_halving_keeps_constants_and_rejects_odd_sides():
    flat = jnp.full((1, 6, 8, 3), 0.25)
    for name in warp.FILTERS:
        np.testing.assert_allclose(halved(flat, name), np.full((1, 3, 4, 3), 0.25), atol=1e-6)
    small = halved(array(np.arange(16).reshape(1, 4, 4, 1)), "area")
    assert small[0, :, :, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    with pytest.raises(ValueError, match="even"):
        warp.random_halving(jax.random.key(0), jnp.zeros((1, 5, 6, 3)))


def test_affine_maps_by_hand():
    images = uniform(2, 1, 7, 7, 2)
    centre, same = array([[3.0, 3.0]]), jnp.eye(2)[None]
    np.testing.assert_allclose(affine(images, centre, same, 7), images, atol=1e-6)
    moved = affine(images, centre + array([1.0, -1.0]), same, 5)
    np.testing.assert_allclose(moved, images[:, 2:7, 0:5], atol=1e-6)
    turn = array([[[0.0, 1.0], [-1.0, 0.0]]])  # the pixel below the middle is read to its right
    turned = affine(images, centre, turn, 7)
    np.testing.assert_allclose(turned, np.rot90(images, -1, (2, 1)), atol=1e-6)
    between = affine(images, array([[3.5, 3.0]]), same, 1)
    np.testing.assert_allclose(between[0, 0, 0], images[0, 3:5, 3].mean(0), atol=1e-6)


def test_beyond_the_border_a_picture_is_mirrored():
    images, centre = uniform(3, 1, 5, 5, 1), array([[2.0, 2.0]])
    wide = affine(images, centre, jnp.eye(2)[None], 17)
    expected = np.pad(images, ((0, 0), (6, 6), (6, 6), (0, 0)), mode="reflect")
    np.testing.assert_allclose(wide, expected, atol=1e-6)


def test_random_affine_stays_within_its_bounds():
    y, x = jnp.meshgrid(jnp.arange(41.0), jnp.arange(41.0), indexing="ij")
    images = jnp.tile(jnp.stack([y, x], axis=-1)[None], (200, 1, 1, 1))  # each pixel is its place
    key = jax.random.key(0)
    places = np.asarray(random_affine(key, images, 11, None, 0.2, (0.8, 1.25), 20.0))
    middle = places[:, 5, 5] - 20
    assert np.abs(middle).max() <= 11 * 0.2 + 1e-4
    assert np.abs(middle).max(0).min() > 11 * 0.19
    across = (places[:, 5, 10] - places[:, 5, 0]) / 10
    reach, angle = np.linalg.norm(across, axis=1), np.degrees(np.arctan2(*across.T))
    assert 0.8 - 1e-4 <= reach.min() < 0.82
    assert 1.22 < reach.max() <= 1.25 + 1e-4
    assert -20 - 1e-3 <= angle.min() < -19
    assert 19 < angle.max() <= 20 + 1e-3
    still = random_affine(jax.random.key(1), images, 11)
    np.testing.assert_allclose(still, images[:, 15:26, 15:26], atol=1e-4)


# Colour


def test_hsv_is_that_of_the_standard_library():
    colours = np.array([*itertools.product((0.0, 0.3, 0.75, 1.0), repeat=3)])
    expected = [colorsys.rgb_to_hsv(*c) for c in colours]
    np.testing.assert_allclose(rgb_to_hsv(array(colours)), expected, atol=1e-6)
    np.testing.assert_allclose(hsv_to_rgb(rgb_to_hsv(array(colours))), colours, atol=1e-6)


def test_random_hsv_keeps_grey_grey_and_changes_each_picture_in_its_own_way():
    grey = jnp.broadcast_to(uniform(4, 6, 5, 5, 1), (6, 5, 5, 3))
    out = np.asarray(random_hsv(jax.random.key(0), grey))
    assert np.ptp(out, axis=-1).max() < 1e-6
    images = jnp.tile(uniform(5, 1, 5, 5, 3), (6, 1, 1, 1))
    out = np.asarray(random_hsv(jax.random.key(1), images))
    assert out.min() >= 0
    assert out.max() <= 1
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(out, 2)) > 0.01
    same = random_hsv(jax.random.key(0), images, 1.0, (1.0, 1.0), 0.0, 0.0)
    np.testing.assert_allclose(same, images, atol=1e-6)


def test_colour_contrast_stretches_along_its_axes_about_the_mean():
    axes = np.array(hsv.COLOUR_AXES)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)
    images = 0.45 + 0.1 * uniform(6, 8, 5, 5, 3)
    out = random_colour_contrast(jax.random.key(0), images)
    np.testing.assert_allclose(out.mean((1, 2)), images.mean((1, 2)), atol=1e-5)
    before, after = ((x - x.mean((1, 2), keepdims=True)) @ axes.T for x in (images, out))
    factors = np.asarray(after[:, 0, 0] / before[:, 0, 0])
    np.testing.assert_allclose(after, before * factors[:, None, None], atol=1e-5)
    assert 0.5 <= factors.min() < 0.8
    assert 1.2 < factors.max() <= 2.0


# Exemplars


def test_an_exemplar_is_always_the_same_patch_and_its_class_travels_with_it():
    source = SyntheticSource(size=6, frames=3, height=40, width=40)
    method = Exemplar(ConvNet(), exemplars=6, size=16, stored=32)
    first, again, other = (
        method.views(source[i], np.random.default_rng(seed)) for i, seed in ((4, 0), (4, 1), (5, 0))
    )
    assert first["target"] == 4
    assert other["target"] == 5
    assert all(np.array_equal(first[k], again[k]) for k in first)
    with pytest.raises(ConfigError, match="exemplars=5"):
        dataclasses.replace(method, exemplars=5).views(source[5], np.random.default_rng(0))


def test_changes_of_an_exemplar_are_new_at_every_step():
    method = Exemplar(ConvNet(), exemplars=9, size=16, stored=32)
    batch = {
        "vision": jnp.asarray(pictures(2, 32)),
        "centre": array([(20.5, 8.5), (12.5, 16.5)]),
        "target": jnp.array([7, 3]),
    }
    augment = jax.jit(method.augment)
    one, two = (augment(batch, {}, jax.random.key(seed)) for seed in (0, 1))
    assert one["vision"].shape == (2, 16, 16, 3)
    assert one["target"].tolist() == two["target"].tolist() == [7, 3]
    assert 0 <= one["vision"].min() <= one["vision"].max() <= 1
    assert jnp.abs(one["vision"] - two["vision"]).max() > 0.1
    still = dataclasses.replace(
        method, shift=0.0, scale=(1.0, 1.0), degrees=0.0, contrast=(1.0, 1.0), power=1.0, hue=0.0
    )
    x = jnp.asarray(batch["vision"], jnp.float32)[1, 5:21, 9:25] / 255
    out = random_affine(jax.random.key(0), batch["vision"] / 255.0, 16, batch["centre"])
    np.testing.assert_allclose(out[1], x, atol=1e-5)  # the patch whose middle the centre is
    same = jax.jit(still.augment)(batch, {}, jax.random.key(0))["vision"][1]
    # Only saturation and value are still multiplied and moved.
    np.testing.assert_allclose(rgb_to_hsv(same)[..., 0], rgb_to_hsv(x)[..., 0], atol=1e-3)


def test_seeds_lie_where_there_is_texture():
    rng = np.random.default_rng(0)
    picture = np.full((40, 40, 3), 128, np.uint8)
    picture[28:36, 4:12] = rng.integers(0, 256, (8, 8, 3))
    corners = np.array([textured_corner(picture, 8, rng) for _ in range(200)])
    assert (np.abs(corners - (28, 4)) <= 9).all()  # slopes reach one pixel out of the square
    flat = np.array([textured_corner(picture[:20, :20], 8, rng) for _ in range(400)])
    assert np.unique(flat[:, 0]).tolist() == np.unique(flat[:, 1]).tolist() == list(range(13))


def test_conv_net_has_the_papers_layers_and_takes_larger_pictures():
    net = ConvNet()

    def shapes(side: int):
        x = jax.ShapeDtypeStruct((2, side, side, 3), "float32")
        return jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x, False), x)

    layers, variables = shapes(32)
    assert {k: v.shape[1:] for k, v in layers.items()} == {
        "pool1": (16, 16, 64),
        "pool2": (8, 8, 128),
        "conv3": (8, 8, 256),
        "fc": (1, 1, 512),
    }
    count = sum(x.size for x in jax.tree.leaves(variables))
    assert count == 4_864 + 204_928 + 819_456 + 8_389_120
    larger, same = shapes(96)
    assert larger["fc"].shape == (2, 17, 17, 512)
    assert jax.tree.map(lambda x: x.shape, same) == jax.tree.map(lambda x: x.shape, variables)
