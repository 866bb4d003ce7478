"""Augmentations: slow loops, published kernels, and what they must leave as it is."""

import colorsys
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ssl_jax.ops import augment
from ssl_jax.ops.frame_difference import frame_differences

KEY = jax.random.key(7)


def pictures(*shape: int) -> jax.Array:
    return jax.random.uniform(jax.random.key(1), shape)


def coordinates(*shape: int) -> jax.Array:
    """Pictures (b, ..., h, w, 3) whose pixels hold their row, their column and their example."""
    h, w = shape[-2:]
    rows, columns = jnp.mgrid[:h, :w]
    example = jnp.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 1))
    return jnp.stack(
        [jnp.broadcast_to(x, shape) for x in (rows, columns, example)], axis=-1
    ).astype(jnp.float32)


def spread(*arrays):
    """The arrays with their rows split over all devices."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    return jax.device_put(arrays, NamedSharding(mesh, PartitionSpec("data")))


# Geometry


def test_random_crops_are_windows_at_every_place():
    crop = jax.jit(functools.partial(augment.random_crop, size=4))
    images = coordinates(256, 6, 7)
    found = np.asarray(crop(KEY, images))
    corners = {tuple(window[0, 0, :2].astype(int)) for window in found}
    assert corners == set(itertools.product(range(3), range(4)))
    for image, window in zip(np.asarray(images), found, strict=True):
        y, x = window[0, 0, :2].astype(int)
        np.testing.assert_array_equal(window, image[y : y + 4, x : x + 4])


def test_random_crop_mirrors_beyond_the_border_and_keeps_the_type():
    images = (255 * pictures(16, 5, 5, 3)).astype(jnp.uint8)
    found = augment.random_crop(KEY, images, 5, padding=2)
    assert found.dtype == jnp.uint8
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    for image, window in zip(padded, np.asarray(found), strict=True):
        windows = (image[y : y + 5, x : x + 5] for y, x in itertools.product(range(5), repeat=2))
        assert sum(np.array_equal(window, w) for w in windows) == 1


def test_a_whole_box_is_the_picture_itself():
    images = pictures(3, 8, 8, 3)
    whole = dict(size=8, area=(1.0, 1.0), aspect=(1.0, 1.0))
    for method in ("linear", "cubic"):
        crop = functools.partial(augment.random_resized_crop, method=method, **whole)
        found = jax.jit(crop)(KEY, images)
        np.testing.assert_allclose(found, images, atol=1e-5)


def test_resized_crops_have_the_asked_area_and_shape_and_stay_inside():
    h, w, size = 40, 60, 10
    crop = functools.partial(augment.random_resized_crop, size=size, area=(0.1, 0.5))
    found = np.asarray(jax.jit(crop)(KEY, coordinates(128, h, w)), np.float64)
    # Rows and columns of the source stay evenly spaced: read the box off two inner pixels.
    steps = (found[:, 7, 7, :2] - found[:, 2, 2, :2]) / 5
    starts = found[:, 2, 2, :2] + 0.5 - 2.5 * steps
    heights, widths = (steps * size).T
    shares, shapes = heights * widths / (h * w), widths / heights
    assert shares.min() > 0.1 - 1e-3
    assert shares.max() < 0.5 + 1e-3
    assert shapes.min() > 3 / 4 - 1e-3
    assert shapes.max() < 4 / 3 + 1e-3
    assert starts.min() > -1e-2
    assert (starts[:, 0] + heights).max() < h + 1e-2
    assert (starts[:, 1] + widths).max() < w + 1e-2
    # All of it is used, a box as likely wide as high.
    assert shares.std() == pytest.approx(0.4 / 12**0.5, rel=0.2)
    assert np.log(shapes).mean() == pytest.approx(0, abs=0.05)


def test_a_box_that_cannot_fit_is_the_whole_picture():
    images = coordinates(2, 8, 24)
    crop = functools.partial(augment.random_resized_crop, size=4, area=(0.9, 1.0))
    whole = jax.image.resize(images, (2, 4, 4, 3), "cubic")
    np.testing.assert_allclose(jax.jit(crop)(KEY, images), whole, atol=1e-4)


def test_flips():
    images = pictures(32, 4, 5, 3)
    flip = jax.jit(augment.random_flip)
    once = flip(KEY, images)
    np.testing.assert_array_equal(flip(KEY, once), images)
    np.testing.assert_array_equal(augment.random_flip(KEY, images, 1.0), images[:, :, ::-1])
    flipped = [bool(jnp.any(a != b)) for a, b in zip(once, images, strict=True)]
    assert 6 < sum(flipped) < 26


def test_rotations_are_counter_clockwise():
    square = jnp.array([[1, 2], [3, 4]]).reshape(1, 2, 2, 1)
    turned = augment.rotate90(jnp.repeat(square, 4, axis=0), jnp.arange(4))[..., 0]
    golden = [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]
    np.testing.assert_array_equal(turned, golden)
    images = pictures(4, 2, 5, 5, 3)
    found = augment.rotate90(images, jnp.array([2, 3, 0, 1]))
    for image, turns, got in zip(np.asarray(images), (2, 3, 0, 1), found, strict=True):
        np.testing.assert_array_equal(got, np.rot90(image, turns, axes=(1, 2)))


def test_spatial_jitter_shares_the_place_but_for_small_shifts():
    clips = coordinates(64, 4, 30, 24)
    jitter = jax.jit(functools.partial(augment.spatial_jitter, size=16), static_argnames="shift")
    found = np.asarray(jitter(KEY, clips, shift=3))
    assert found.shape == (64, 4, 16, 16, 3)
    places = found[:, :, 0, 0, :2]
    np.testing.assert_array_equal(
        found[..., :2] - places[:, :, None, None], clips[0, 0, :16, :16, :2] + 0 * found[..., :2]
    )
    assert places.min() >= 0
    assert places[..., 0].max() <= 14
    assert places[..., 1].max() <= 8
    apart = places.max(1) - places.min(1)
    assert apart.max() == 6  # from -3 to 3
    assert (apart > 0).any(1).mean() > 0.9
    np.testing.assert_array_equal(np.unique(found[..., 2].mean((1, 2, 3))), np.arange(64))
    together = np.asarray(jitter(KEY, clips, shift=0))[:, :, 0, 0, :2]
    np.testing.assert_array_equal(together, np.repeat(together[:, :1], 4, axis=1))
    assert len({tuple(place) for place in together[:, 0]}) > 40


# Colour


def slow_hue(image: np.ndarray, turn: float) -> np.ndarray:
    turned = np.zeros_like(image)
    for place in np.ndindex(image.shape[:-1]):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[place])
        turned[place] = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
    return turned


def slow_colours(image, factors, turn, places, additive) -> np.ndarray:
    for change in np.argsort(places):
        grey = image @ np.array([0.2989, 0.587, 0.114])
        if change == 0:
            image = image + factors[0] - 1 if additive else image * factors[0]
        elif change == 1:
            mean = image.mean((0, 1))
            image = mean + factors[1] * (image - mean)
        elif change == 2:
            image = grey[..., None] + factors[2] * (image - grey[..., None])
        else:
            image = slow_hue(image, turn)
        image = image.clip(0, 1)
    return image


@pytest.mark.parametrize("additive", [False, True])
def test_colours_change_in_every_order_as_in_a_slow_loop(additive):
    rng = np.random.default_rng(0)
    places = np.array(list(itertools.permutations(range(4))))
    images = rng.uniform(size=(24, 3, 4, 3))
    images[:, 0, 0] = 0.5  # grey has no hue
    images[:, 0, 1] = [0.2, 0.7, 0.7]  # and two channels may be equally bright
    factors, turns = rng.uniform(0.2, 1.8, (24, 3)), rng.uniform(-0.2, 0.2, 24)
    change = jax.jit(augment.change_colours, static_argnames="additive_brightness")
    found = change(
        jnp.asarray(images, jnp.float32),
        jnp.asarray(factors, jnp.float32),
        jnp.asarray(turns, jnp.float32),
        jnp.asarray(places),
        additive_brightness=additive,
    )
    for i in range(24):
        expected = slow_colours(images[i], factors[i], turns[i], places[i], additive)
        np.testing.assert_allclose(found[i], expected, atol=2e-5)


def test_colour_jitter_draws_for_every_example_within_its_strength():
    images = jnp.full((256, 2, 2, 3), 0.4)  # uniformly grey: only brightness shows
    jitter = jax.jit(augment.colour_jitter, static_argnames=("strength", "probability"))
    factors = np.asarray(jitter(KEY, images))[:, 0, 0, 0] / 0.4
    assert len(np.unique(factors)) == 256
    assert 0.2 - 1e-5 <= factors.min() < 0.3
    assert 1.7 < factors.max() <= 1.8 + 1e-5
    weaker = np.asarray(jitter(KEY, images, strength=0.5, probability=0.8))[:, 0, 0, 0] / 0.4
    assert weaker.min() >= 0.6 - 1e-5
    assert weaker.max() <= 1.4 + 1e-5
    assert (weaker == 1).mean() == pytest.approx(0.2, abs=0.07)


def test_grey():
    images = pictures(64, 3, 3, 3)
    found = augment.random_grey(KEY, images, 1.0)
    expected = np.asarray(images) @ [[0.2989] * 3, [0.587] * 3, [0.114] * 3]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    some = augment.random_grey(KEY, images)
    changed = [bool(jnp.any(a != b)) for a, b in zip(some, images, strict=True)]
    assert 4 < sum(changed) < 24


def test_channel_splitting_keeps_one_channel():
    clips = pictures(16, 4, 2, 2, 3)
    channels = np.moveaxis(np.asarray(clips), -1, 0)

    def kept(found):
        """For each frame, which channel it shows."""
        np.testing.assert_array_equal(found, np.repeat(found[..., :1], 3, axis=-1))
        same = (channels == np.asarray(found)[..., 0]).all((3, 4))
        assert (same.sum(0) == 1).all()
        return same.argmax(0)

    each = kept(augment.channel_split(KEY, clips))
    assert set(each.ravel()) == {0, 1, 2}
    assert (each != each[:, :1]).any()
    shared = kept(augment.channel_split(KEY, clips, per_frame=False))
    np.testing.assert_array_equal(shared, np.repeat(shared[:, :1], 4, axis=1))
    assert set(shared.ravel()) == {0, 1, 2}
    pixels = (255 * clips[:, 0]).astype(jnp.uint8)
    assert augment.channel_split(KEY, pixels).dtype == jnp.uint8


# Blur


def test_gaussian_kernels():
    narrow = augment.gaussian_kernel(jnp.ones(1), 1)
    np.testing.assert_allclose(narrow[0], [0.27406862, 0.45186276, 0.27406862], rtol=1e-5)
    wide = augment.gaussian_kernel(jnp.full(1, 2.0), 11)[0]
    assert wide.shape == (23,)
    golden = [0.19947114, 0.17603266, 0.12098536, 0.0647588]
    np.testing.assert_allclose(wide[11:15], golden, rtol=1e-5)
    np.testing.assert_allclose(wide, wide[::-1])
    np.testing.assert_allclose(
        augment.gaussian_kernel(jnp.full(1, 0.1), 1)[0], [0, 1, 0], atol=1e-9
    )


def test_blur_against_a_slow_loop():
    images = pictures(2, 40, 9, 3)  # reaches int(40 / 10) // 2 = 2 pixels to each side
    blur = functools.partial(augment.gaussian_blur, probability=1.0, sigma=(0.9, 0.9))
    found = jax.jit(blur)(KEY, images)
    weights = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.9**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    expected = np.zeros(images.shape)
    for y, x in itertools.product(range(40), range(9)):
        around = padded[:, y : y + 5, x : x + 5]
        expected[:, y, x] = (weights[:, :, None] * around).sum((1, 2))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_blur_is_drawn_for_every_example():
    images = jnp.zeros((64, 20, 5, 1)).at[:, 10, 2].set(1.0)
    found = np.asarray(jax.jit(augment.gaussian_blur)(KEY, images))
    peaks = found[:, 10, 2, 0]
    blurred = peaks < 1
    assert 18 < blurred.sum() < 46
    assert len(np.unique(peaks[blurred])) > 0.8 * blurred.sum()
    np.testing.assert_allclose(found.sum((1, 2, 3)), 1, rtol=1e-5)
    small = pictures(2, 19, 5, 3)
    np.testing.assert_array_equal(augment.gaussian_blur(KEY, small, 1.0), small)


# All of them


def every_augmentation(key, clips) -> dict[str, jax.Array]:
    """Each augmentation that all frames of a clip share."""
    return {
        "random_resized_crop": augment.random_resized_crop(key, clips, 16),
        "random_crop": augment.random_crop(key, clips, 16, 2),
        "corner_crop": augment.corner_crop(key, clips, 16),
        "random_flip": augment.random_flip(key, clips),
        "rotate90": augment.rotate90(clips, jnp.arange(len(clips)) % 4),
        "colour_jitter": augment.colour_jitter(key, clips),
        "random_grey": augment.random_grey(key, clips, 0.5),
        "gaussian_blur": augment.gaussian_blur(key, clips),
        "channel_split": augment.channel_split(key, clips, per_frame=False),
        "spatial_jitter": augment.spatial_jitter(key, clips, 16, 2),
    }


compiled = jax.jit(every_augmentation)


@pytest.fixture(scope="module")
def resting() -> jax.Array:
    """Clips in which nothing moves."""
    return jnp.repeat(pictures(8, 1, 20, 20, 3), 3, axis=1)


def test_a_video_at_rest_stays_at_rest(resting):
    found = compiled(KEY, resting)
    assert (found.pop("spatial_jitter").var(1) > 0).any()
    for name, clips in found.items():
        np.testing.assert_allclose(
            clips, np.repeat(clips[:, :1], 3, axis=1), atol=1e-6, err_msg=name
        )


def test_the_same_key_gives_the_same_and_another_another(resting):
    first, again, other = (compiled(jax.random.key(seed), resting) for seed in (3, 3, 4))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name], err_msg=name)
        assert name == "rotate90" or np.any(np.asarray(first[name]) != other[name]), name


def test_examples_that_are_alike_are_changed_each_in_its_own_way(resting):
    alike = jnp.repeat(resting[:1], 8, axis=0)
    for name, clips in compiled(KEY, alike).items():
        assert len(np.unique(np.asarray(clips).reshape(8, -1), axis=0)) > 1, name


def test_bfloat16_stays_bfloat16_and_near(resting):
    rounded = resting.astype(jnp.bfloat16)
    exact = compiled(KEY, rounded.astype(jnp.float32))
    for name, clips in compiled(KEY, rounded).items():
        assert clips.dtype == jnp.bfloat16
        np.testing.assert_allclose(clips.astype(jnp.float32), exact[name], atol=0.01, err_msg=name)


def test_over_devices_the_results_are_the_same_and_no_pixels_travel(resting):
    alone = compiled(KEY, resting)
    program = compiled.lower(KEY, *spread(resting)).compile()
    found = program(KEY, *spread(resting))
    for name in alone:
        # Places up to 20 are rounded to about 2e-6 in float32, and slopes reach 1 a pixel.
        np.testing.assert_allclose(found[name], alone[name], atol=1e-5, err_msg=name)
    text = program.as_text()
    for collective in ("all-gather", "all-to-all", "all-reduce", "collective-permute"):
        assert collective not in text


def test_mistakes_are_named():
    pixels = jnp.zeros((2, 8, 8, 3), jnp.uint8)
    for function in (
        augment.colour_jitter,
        augment.random_grey,
        augment.gaussian_blur,
        functools.partial(augment.random_resized_crop, size=4),
    ):
        with pytest.raises(ValueError, match=r"takes floats in 0..1, not uint8; divide by 255"):
            function(KEY, pixels)
    with pytest.raises(ValueError, match="a square of 9 does not fit 8x8 pixels"):
        augment.random_crop(KEY, pixels, 9)
    with pytest.raises(ValueError, match="8x8 cannot be mirrored by 8"):
        augment.random_crop(KEY, pixels, 4, 8)
    with pytest.raises(ValueError, match="spatial_jitter: a square of 9"):
        augment.spatial_jitter(KEY, pixels[:, None], 9)


# Differences of frames


def test_frame_differences_are_channels_step_by_step():
    frames = pictures(2, 5, 3, 4, 3)
    stack = np.asarray(frame_differences(frames))
    assert stack.shape == (2, 3, 4, 12)
    for step in range(4):
        expected = frames[:, step + 1] - frames[:, step]
        np.testing.assert_array_equal(stack[..., 3 * step : 3 * step + 3], expected)
    backwards = np.asarray(frame_differences(frames[:, ::-1]))
    reverse = -stack.reshape(2, 3, 4, 4, 3)[:, :, :, ::-1].reshape(2, 3, 4, 12)
    np.testing.assert_array_equal(backwards, reverse)
    with pytest.raises(ValueError, match="2 frames or more"):
        frame_differences(frames[:, :1])
    with pytest.raises(ValueError, match="takes floats, not uint8"):
        frame_differences(jnp.zeros((1, 3, 2, 2, 3), jnp.uint8))
