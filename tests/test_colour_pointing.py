"""Tracking by colorizing: copied colours and their loss, what may be pointed at, the trunk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.methods.video.colour_pointing import ColourPointing
from ssl_jax.models.pointing import PointingTrunk
from ssl_jax.objectives.pointing import copied, pointing
from ssl_jax.ops.colour import rgb_to_lab
from ssl_jax.solvers.label_propagation import propagate

NARROW = PointingTrunk(depth=10, dilations=(1,), width=0.0625, channels=32, embedding=8)


def test_one_colour_costs_nothing_and_the_loss_is_not_that_of_probabilities_taken_for_logits():
    features = jax.random.normal(jax.random.key(0), (2, 4, 3, 3, 5))
    colour = jnp.full((2, 3, 3, 3), 7)
    found = copied(features[:, :3], features[:, 3], colour, 16)
    loss, metrics = pointing(found, colour[:, 0], colour[:, 2])
    assert float(loss) == pytest.approx(0, abs=1e-5)  # softmax of c_hat would leave 1.874597
    assert float(metrics["accuracy"]) == float(metrics["same_place"]) == 1


def test_even_attention_over_even_colours_costs_log_16():
    colours = jnp.arange(16).reshape(1, 1, 4, 4)
    found = copied(jnp.zeros((1, 1, 4, 4, 3)), jnp.zeros((1, 4, 4, 3)), colours, 16)
    np.testing.assert_allclose(found, 1 / 16, rtol=1e-6)
    loss, _ = pointing(found, colours[:, 0], colours[:, 0])
    assert float(loss) == pytest.approx(np.log(16), abs=1e-4)


@pytest.mark.parametrize("radius", [0, 1])
def test_copied_colours_are_what_a_slow_loop_finds(radius):
    rng = np.random.default_rng(0)
    features, target = rng.normal(size=(1, 2, 3, 4, 5)), rng.normal(size=(1, 3, 4, 5))
    colours = rng.integers(3, size=(1, 2, 3, 4))
    found = copied(*map(jnp.asarray, (features, target, colours)), 3, radius, 0.5)
    expected = np.zeros((3, 4, 3))
    for y, x in np.ndindex(3, 4):
        total = 0
        for r, a, b in np.ndindex(2, 3, 4):
            if radius and max(abs(a - y), abs(b - x)) > radius:
                continue
            weight = np.exp(features[0, r, a, b] @ target[0, y, x] / 0.5)
            expected[y, x, colours[0, r, a, b]] += weight
            total += weight
        expected[y, x] /= total
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_accuracy_where_the_colour_is_another_than_before():
    true, before = jnp.array([[[0, 1, 1, 2]]]), jnp.array([[[0, 1, 0, 0]]])
    guessed = jnp.array([[[0, 0, 1, 1]]])
    _, metrics = pointing(jax.nn.one_hot(guessed, 3), true, before)
    found = {name: float(value) for name, value in metrics.items()}
    assert found == {"accuracy": 0.5, "same_place": 0.5, "moved": 0.5}
    _, metrics = pointing(jax.nn.one_hot(true, 3), true, true)
    assert float(metrics["moved"]) == 0  # nothing moved


def test_propagation_by_scalar_products_is_the_attention_of_training():
    rng = np.random.default_rng(0)
    features, colours = rng.normal(size=(2, 3, 4, 5)), rng.integers(3, size=(3, 4))
    first = np.eye(3)[colours]
    found = propagate(features, first, 1, 9, 1000, 0.5, cosine=False)[1]
    clip = jnp.asarray(features[None])
    expected = copied(clip[:, :1], clip[:, 1], jnp.asarray(colours)[None, None], 3, 0, 0.5)
    np.testing.assert_allclose(found, expected[0], atol=1e-5)
    assert np.abs(found - propagate(features, first, 1, 9, 1000, 0.5)[1]).max() > 0.01


def test_colours_are_the_nearest_clusters_of_the_mean_of_each_cell():
    method = ColourPointing(NARROW, size=8, cell=4, colours=3)
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 8, 8, 3), np.uint8)
    centres = np.array([[-20.0, 10], [5, -30], [30, 30]], np.float32)
    state = {"colours": {"centres": jnp.asarray(centres)}}
    made = method.augment({"vision": jnp.asarray(frames)}, state, jax.random.key(0))
    means = frames.reshape(2, 4, 2, 4, 2, 4, 3).mean((3, 5)) / 255
    away = np.asarray(rgb_to_lab(jnp.asarray(means)))[..., None, 1:] - centres
    expected = (away**2).sum(-1).argmin(-1)
    np.testing.assert_array_equal(made["references"], expected[:, :3])
    np.testing.assert_array_equal(made["target"], expected[:, 3])
    assert set(made) == {"vision", "references", "target", "centres"}


def test_the_network_sees_no_colour():
    method = ColourPointing(NARROW)
    grey = np.random.default_rng(0).uniform(size=(1, 1, 4, 4, 1)).repeat(3, -1)
    seen = method.prepare("vision", jnp.asarray(grey, jnp.float32))
    assert seen.shape == (1, 1, 4, 4, 1)
    assert float(jnp.abs(seen).max()) <= 1
    # Red and the grey that is as light (its luminance, 0.212671, in sRGB) are the same to it.
    as_light = 1.055 * 0.212671 ** (1 / 2.4) - 0.055
    pair = jnp.array([[1.0, 0, 0], [as_light] * 3]).reshape(2, 1, 1, 1, 3)
    red, grey = method.prepare("vision", pair)[..., 0].ravel()
    assert float(red) == pytest.approx(float(grey), abs=1e-4)


def test_one_or_two_channels_are_dropped_and_the_rest_is_scaled_up():
    method = ColourPointing(NARROW, size=8, colours=3, channels="lab")
    clips = jnp.zeros((4000, 4, 8, 8, 3), jnp.uint8)
    state = {"colours": {"centres": jnp.eye(3, 2)}}
    kept = np.asarray(method.augment({"vision": clips}, state, jax.random.key(1))["kept"])
    whole = (kept == 1).all(1)
    assert whole.mean() == pytest.approx(0.3, abs=0.03)
    left = (kept[~whole] > 0).sum(1)
    assert set(left) == {1, 2}
    assert (left == 1).mean() == pytest.approx(0.5, abs=0.04)
    np.testing.assert_allclose(kept.sum(1), 3)  # the mean of the channels' factors is 1
    assert method.prepare("vision", clips[:1] / 255).shape[-1] == 3


def test_the_trunks_have_the_published_sizes():
    def count(trunk, channels):
        clip = jax.ShapeDtypeStruct((1, 4, 64, 64, channels), jnp.float32)
        key = jax.random.key(0)
        shapes = jax.eval_shape(lambda clip: trunk.init(key, clip, False)["params"], clip)
        return {k: sum(x.size for x in jax.tree.leaves(tree)) for k, tree in shapes.items()}

    sizes = count(PointingTrunk(), 1)
    # torchvision's ResNet-18 without its classifier, whose first layer sees three channels.
    assert sizes["resnet"] == 11_176_512 - 2 * 64 * 7 * 7
    space = [9 * (512 + 2) * 256, *[9 * 256 * 256] * 4]
    assert sum(sizes.values()) - sizes["resnet"] == (
        sum(space) + 5 * (3 * 256 * 256 + 2 * 256) + 256 * 64 + 64
    )
    assert sum(sizes.values()) == 15_715_840
    plain = PointingTrunk(strides=(1, 1, 1, 1), dilations=())
    assert set(count(plain, 3)) == {"resnet", "embedding"}


@pytest.mark.parametrize(("strides", "side"), [((1, 2, 1, 1), 32), ((1, 1, 1, 1), 64)])
def test_maps_are_of_an_eighth_or_a_quarter_for_clips_of_any_length(strides, side):
    trunk = PointingTrunk(strides=strides)
    for t in (4, 6):
        clip = jax.ShapeDtypeStruct((1, t, 256, 256, 1), jnp.float32)
        layers = jax.eval_shape(
            lambda clip: trunk.init_with_output(jax.random.key(0), clip, False)[0], clip
        )
        for name, channels in (("stage4", 512), ("conv3d5", 256), ("embedding", 64)):
            assert layers[name].shape == (1, t, side, side, channels)


def test_frames_lie_as_far_apart_as_the_rate_says_and_settings_must_fit():
    source = SyntheticSource(size=2, frames=32, fps=24.0, height=16, width=16)
    record, taken = source[0], []
    method = ColourPointing(NARROW, size=16)
    shown = record.frames
    record.frames = lambda numbers: taken.append(list(numbers)) or shown(numbers)
    assert method.views(record, np.random.default_rng(0))["vision"].shape == (4, 16, 16, 3)
    assert method.clips(record, "vision", [0.0, 1.2])["vision"].shape == (2, 4, 16, 16, 3)
    assert set(np.diff(taken[0])) == {4}
    assert taken[1] == [0, 4, 8, 12, 28, 31, 31, 31]  # the last frame is repeated
    with pytest.raises(ConfigError, match="size=20 must be a multiple of cell=8"):
        ColourPointing(NARROW, size=20)
    batch = {"references": jnp.zeros((1, 3, 2, 2), int), "target": jnp.zeros((1, 2, 2), int)}
    with pytest.raises(ConfigError, match="cell=8 makes 2 cells a side, the trunk's map has 4"):
        method.objective(jnp.zeros((1, 4, 4, 4, 8)), batch)
