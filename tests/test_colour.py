"""Lab, the 313 colours, and the losses on them: published numbers, slow loops, limits."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.objectives import colour
from ssl_jax.objectives.colour import ab_bins
from ssl_jax.ops import colour as ops
from ssl_jax.ops.colour import lab_to_rgb, rgb_to_lab

# scikit-image's rgb2lab in float64.
LAB = {
    (0, 0, 0): (0, 0, 0),
    (255, 255, 255): (100, -0.002455, 0.004653),
    (128, 128, 128): (53.585013, -0.001473, 0.002791),
    (64, 64, 64): (27.093414, -0.000912, 0.001729),
    (255, 0, 0): (53.240588, 80.092308, 67.202751),
    (0, 255, 0): (87.735099, -86.183030, 83.179703),
    (0, 0, 255): (32.295673, 79.185591, -107.857300),
    (0, 255, 255): (91.113301, -48.090596, -14.126330),
    (255, 0, 255): (60.323507, 98.233054, -60.821015),
    (255, 255, 0): (97.139507, -21.554681, 94.478122),
    (255, 128, 0): (67.054801, 42.825382, 74.017459),
    (10, 200, 100): (71.070745, -63.377222, 38.360484),
    (200, 150, 100): (65.760061, 12.758895, 33.564737),
    (12, 34, 56): (12.656173, 0.121390, -16.831648),
    (1, 2, 3): (0.509825, -0.122490, -0.470496),
}
# The published table: for a = -90, -80, ..., 100 the least and the largest b.
ROWS = (
    *((50, 90), (20, 90), (0, 90), (-20, 90), (-30, 100), (-40, 100), (-50, 100), (-50, 100)),
    *((-60, 100), (-70, 100), (-80, 90), (-80, 90), (-90, 90), (-100, 90), (-100, 80)),
    *((-110, 80), (-110, 80), (-110, 70), (-110, 70), (-90, 0)),
)

PUBLISHED = np.array(
    [
        (a, b)
        for a, (low, high) in zip(range(-90, 101, 10), ROWS, strict=True)
        for b in range(low, high + 1, 10)
    ]
)

# Compiled once a shape, instead of every operation by itself.
to_lab, to_rgb = jax.jit(rgb_to_lab), jax.jit(lab_to_rgb)
resize_corners = jax.jit(ops.resize_corners, static_argnums=(1, 2))
soft_bins = jax.jit(colour.soft_bins, static_argnames="neighbours")
rebalancing = jax.jit(colour.rebalancing, static_argnames="uniform")
cross_entropy = jax.jit(colour.colour_cross_entropy)
classification = jax.jit(colour.channel_classification)
annealed_mean = jax.jit(colour.annealed_mean, static_argnums=1)


def all_levels(step: int) -> np.ndarray:
    levels = np.append(np.arange(0, 255, step), 255).astype(np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)


@functools.cache
def slow_soft_bins(a: float, b: float, neighbours: int) -> np.ndarray:
    squares = [(a - x) ** 2 + (b - y) ** 2 for x, y in PUBLISHED]
    nearest = sorted(range(len(squares)), key=lambda i: (squares[i], i))[:neighbours]
    shares = np.zeros(len(squares))
    shares[nearest] = [math.exp(-squares[i] / 50) for i in nearest]
    return shares / shares.sum()


# Lab


def test_known_colours():
    got = to_lab(jnp.array(list(LAB), jnp.uint8))
    np.testing.assert_allclose(got, list(LAB.values()), atol=1e-4)
    assert got.dtype == jnp.float32
    # Floats are 0..1; what is computed in bfloat16 elsewhere is computed in float32 here.
    np.testing.assert_allclose(to_lab(jnp.array(list(LAB)) / 255.0), got, atol=1e-4)
    assert to_lab(jnp.ones((2, 3), jnp.bfloat16)).dtype == jnp.float32


def test_range_of_all_colours():
    lab = np.asarray(to_lab(jnp.asarray(all_levels(15))))
    np.testing.assert_allclose(lab.min(0), (0, -86.183, -107.857), atol=1e-3)
    np.testing.assert_allclose(lab.max(0), (100, 98.233, 94.478), atol=1e-3)


def test_there_and_back():
    rgb = all_levels(5)
    back = np.round(255 * np.asarray(to_rgb(to_lab(jnp.asarray(rgb)))))
    np.testing.assert_array_equal(back, rgb)


def test_colours_that_no_screen_shows_are_clipped():
    lab = jnp.array([[50.0, 120, -120], [0, -90, 90], [100, 90, 90], [5, 0, 110]])
    rgb = np.asarray(to_rgb(lab))
    assert np.isfinite(rgb).all()
    assert rgb.min() == 0
    assert rgb.max() == 1


@pytest.mark.parametrize("there", [rgb_to_lab, lab_to_rgb])
def test_gradients_are_finite_at_black(there):
    gradient = jax.jit(jax.grad(lambda x: there(x).sum()))(jnp.zeros((1, 3)))
    assert np.isfinite(gradient).all()


def test_resizing_keeps_the_corners_where_they_are():
    cells = jnp.arange(6.0).reshape(1, 2, 3, 1)
    ramp = resize_corners(cells, 4, 5)[0, ..., 0]
    expected = np.linspace(0, 2, 5)[None] + np.linspace(0, 3, 4)[:, None]
    np.testing.assert_allclose(ramp, expected, atol=1e-6)
    one = resize_corners(jnp.full((1, 1, 1, 2), 7.0), 3, 1)
    np.testing.assert_array_equal(one, np.full((1, 3, 1, 2), 7.0))
    assert resize_corners(cells, 1, 1).item() == 0


# The bins


def test_the_313_bins_are_the_published_ones():
    assert len(PUBLISHED) == 313
    np.testing.assert_array_equal(ab_bins(), PUBLISHED)
    assert ab_bins().sum(axis=0).tolist() == [4910, 2090]


@pytest.mark.parametrize(("step", "count"), [(5, 1083), (15, 159), (20, 101)])
def test_bins_of_other_sizes(step, count):
    assert len(ab_bins(step)) == count


def test_nearest_bins_of_pure_colours():
    names = {(255, 0, 0): 283, (0, 255, 0): 3, (0, 0, 255): 265, (0, 255, 255): 37}
    names |= {(255, 0, 255): 306, (255, 255, 0): 94, (128, 128, 128): 120}
    ab = to_lab(jnp.array(list(names), jnp.uint8))[:, 1:]
    assert colour.nearest_bin(ab).tolist() == list(names.values())
    # Every colour has a bin within half a cell's diagonal.
    ab = to_lab(jnp.asarray(all_levels(51)))[:, 1:]
    assert np.linalg.norm(ab - ab_bins()[colour.nearest_bin(ab)], axis=1).max() <= 50**0.5


SHARES = {
    5: ((120, 119, 139, 138, 102), (0.40623895, 0.27231011, 0.18253495, 0.12235682, 0.01655919)),
    10: (
        (120, 119, 139, 138, 102, 101, 121, 140, 118, 137),
        (
            *(0.39362984, 0.26385797, 0.17686929, 0.11855903, 0.01604522),
            *(0.01075543, 0.01075543, 0.00483273, 0.00323947, 0.00145559),
        ),
    ),
}


@pytest.mark.parametrize("neighbours", [5, 10])
def test_soft_encoding(neighbours):
    shares = np.asarray(soft_bins(jnp.array([[3.0, -4.0]]), neighbours=neighbours))[0]
    numbers, expected = SHARES[neighbours]
    np.testing.assert_allclose(shares[list(numbers)], expected, atol=1e-6)
    assert np.count_nonzero(shares) == neighbours
    other = soft_bins(jnp.array([53.2, -27.9]), neighbours=5)
    np.testing.assert_allclose(
        other[jnp.array([213, 233, 214, 234, 212])],
        [0.49720219, 0.24201429, 0.15586602, 0.07586813, 0.02904937],
        atol=1e-6,
    )


def test_soft_encoding_against_a_slow_loop_also_where_distances_are_equal():
    random = np.random.default_rng(0).uniform(-80, 80, (30, 2)).round(1)
    points = np.concatenate([random, [(0, 0), (5, 5), (-90, 50), (100, 0), (15, -20)]])
    for neighbours in (1, 5, 10):
        expected = [slow_soft_bins(*map(float, point), neighbours) for point in points]
        got = soft_bins(jnp.asarray(points, jnp.float32), neighbours=neighbours)
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_decoding_undoes_encoding():
    ab = to_lab(jnp.asarray(all_levels(51)))[:, 1:]
    for neighbours in (5, 10):
        decoded = soft_bins(ab, neighbours=neighbours) @ ab_bins()
        assert np.linalg.norm(decoded - ab, axis=1).max() < 1
    mean = soft_bins(jnp.array([3.0, -4.0]), neighbours=5) @ ab_bins()
    np.testing.assert_allclose(mean, (2.883326, -3.946669), atol=1e-4)


# Rebalancing


def test_rebalancing():
    got = rebalancing(jnp.array([0.7, 0.2, 0.1]))
    np.testing.assert_allclose(got, (0.7541696882, 1.4612037708, 1.798404641), rtol=1e-6)


def test_rare_colours_weigh_more_and_the_mean_weight_is_one():
    prior = np.random.default_rng(0).dirichlet(np.full(313, 0.1)).astype(np.float32)
    prior[7] = 0
    prior /= prior.sum()
    for uniform in (0.1, 0.5, 1.0):
        weights = np.asarray(rebalancing(jnp.asarray(prior), uniform=uniform))
        assert np.sum(prior * weights) == pytest.approx(1, rel=1e-5)
        assert np.all(np.diff(weights[np.argsort(prior)]) <= 0)
        assert np.isfinite(weights).all()  # also of the colour that never occurred
    np.testing.assert_allclose(weights, 1, rtol=1e-5)
    with pytest.raises(ValueError, match="must be above 0 and at most 1"):
        colour.rebalancing(jnp.asarray(prior), 0.0)


# Losses


def coloured(b: int, side: int) -> jax.Array:
    return jax.random.uniform(jax.random.key(b), (b, side, side, 2), minval=-60.0, maxval=60.0)


def test_cross_entropy_against_a_slow_loop():
    ab, weights = coloured(2, 2), jax.random.uniform(jax.random.key(5), (313,)) + 0.5
    ab = ab.at[1].set(jnp.array([4.9, -4.9]))  # a grey picture
    logits = jax.random.normal(jax.random.key(6), (2, 2, 2, 313))
    total, hits = 0.0, 0
    for i, y, x in np.ndindex(2, 2, 2):
        target = slow_soft_bins(*(float(v) for v in ab[i, y, x]), 5)
        scores = np.asarray(logits[i, y, x], np.float64)
        log_p = scores - math.log(np.exp(scores).sum())
        total -= (i == 0) * float(weights[target.argmax()]) * float(target @ log_p) / 8
        hits += target.argmax() == scores.argmax()
    loss, metrics = cross_entropy(logits, ab, weights)
    assert loss == pytest.approx(total, rel=1e-5)
    assert metrics["accuracy"] == pytest.approx(hits / 8)


def test_chance():
    ab, ones = coloured(2, 3), jnp.ones(313)
    logits = jnp.zeros((2, 3, 3, 313), jnp.bfloat16)
    loss, _ = cross_entropy(logits, ab, ones)
    assert loss == pytest.approx(5.746203, rel=1e-5)
    assert loss.dtype == jnp.float32
    loss, _ = classification(logits, ab)
    assert loss == pytest.approx(5.746203, rel=1e-5)
    loss, _ = classification(logits[..., :50], 50 + ab[..., :1] / 2)
    assert loss == pytest.approx(3.912023, rel=1e-5)


def test_a_greys_gradient_is_zero_and_a_colours_is_not():
    ab = jnp.stack([jnp.full((2, 2, 2), 3.0), jnp.full((2, 2, 2), 30.0)])
    gradient = jax.jit(jax.grad(lambda z: colour.colour_cross_entropy(z, ab, jnp.ones(313))[0]))
    grey, colourful = gradient(jnp.zeros((2, 2, 2, 313)))
    assert not grey.any()
    assert colourful.any()


def test_annealed_mean():
    # Logits of three colours, with the rest of the bins as good as impossible.
    logits = jnp.full(313, -1e9)
    places = [ab_bins().tolist().index(c) for c in ([0, 0], [50, 20], [-30, 60])]
    logits = logits.at[jnp.array(places)].set(jnp.array([0.5, 0.3, 0.2]))
    probabilities = logits.at[jnp.array(places)].set(jnp.log(jnp.array([0.5, 0.3, 0.2])))
    # T = 1 is the mean, T -> 0 the mode.
    np.testing.assert_allclose(annealed_mean(probabilities, 1.0), (9, 18), atol=1e-4)
    np.testing.assert_allclose(annealed_mean(probabilities, 1e-3), (0, 0), atol=1e-4)
    np.testing.assert_allclose(annealed_mean(logits - 1.0, 1e-3), (0, 0), atol=1e-4)
    np.testing.assert_allclose(
        annealed_mean(probabilities, 0.38), (7.6608444852, 7.8467911744), atol=1e-4
    )
    np.testing.assert_allclose(
        annealed_mean(probabilities, 1 / 2.606), (7.7088352878, 7.9593399348), atol=1e-4
    )


def test_lightness_has_50_classes_and_white_belongs_to_the_last():
    lightness = jnp.array([0.0, 1.99, 2.0, 53.6, 99.99, 100.0, 100.00001])
    assert colour.lightness_bin(lightness).tolist() == [0, 0, 1, 26, 49, 49, 49]


def test_regression():
    target = jnp.array([[[[50.0, -100.0], [0.0, 0.0]]]])
    loss, metrics = colour.channel_regression(jnp.zeros((1, 1, 2, 2)), target)
    assert loss == pytest.approx((1 + 4) / 2)
    assert metrics["error"] == pytest.approx(math.sqrt((50**2 + 100**2) / 2))
    right, _ = colour.channel_regression(jnp.array([[[[0.0], [1.0]]]]), target[..., :1] * 0 + 50)
    assert right == pytest.approx(1 / 2)  # an L of 50 is 0; the second says 100


def test_maps_are_fitted_corner_on_corner():
    cells = jnp.arange(12.0).reshape(1, 3, 4, 1).astype(jnp.bfloat16)
    same = colour.fit_map(cells, jnp.zeros((1, 3, 4, 2)))
    np.testing.assert_array_equal(same, cells)
    assert same.dtype == jnp.float32
    larger = colour.fit_map(cells, jnp.zeros((1, 5, 7, 2)))
    np.testing.assert_allclose(larger[:, ::2, ::2], cells, atol=1e-6)
