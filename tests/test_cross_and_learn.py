"""Cross and Learn with optical flow: windows, what is shared by frame and flow, the baseline."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ssl_jax.config import ConfigError
from ssl_jax.data.flow import flow_from_bytes, flow_magnitude, optical_flow
from ssl_jax.data.flow_levels import flow_clips, flow_levels, mirrored
from ssl_jax.data.moving import moving_flow, moving_frames
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sampling import frame_motion
from ssl_jax.methods.video.cross_and_learn import CrossAndLearn
from ssl_jax.models.vgg16 import VGG16
from ssl_jax.ops.flow import flow_channels, random_flow_flip

KEY = jax.random.key(3)
TRUNK = tiny.TinyTrunk()
LEVEL = 40 / 255  # pixels a level of a byte, at a bound of 20


def record_of(frames: np.ndarray, **extra) -> Record:
    return Record(
        "video", 0, len(frames), 10.0, frames=lambda k: frames[np.asarray(k)], extra=extra
    )


def stored(count: int, height: int = 24, width: int = 32) -> Record:
    """Frame k is of brightness k, and the flow after it is (k / 8, -k / 8) everywhere."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    frames += np.arange(count, dtype=np.uint8)[:, None, None, None]

    def flow(numbers):
        steps = np.asarray(numbers, np.float32)[:, None, None, None] * np.float32([0.125, -0.125])
        return np.broadcast_to(steps, (len(numbers), height, width, 2))

    return record_of(frames, flow=flow, flow_motion=np.arange(count - 1, dtype=np.float32))


def with_flow(**knobs) -> CrossAndLearn:
    sizes = {"frames": 5, "candidates": 7, "short_side": 24, "crop": 16}
    trunks = {"vision": TRUNK, "flow": tiny.TinyTrunk()}
    return CrossAndLearn(**{**trunks, **sizes, **knobs})


# Windows ------------------------------------------------------------------------------------------


def test_windows_of_stored_flow_are_drawn_from_the_whole_video_by_how_much_moves():
    record, starts = stored(6), []
    record.extra["flow_motion"][:] = (1, 2, 3, 4, 5)
    for seed in range(900):
        numbers, _ = moving_flow(record, 3, np.random.default_rng(seed), candidates=4)
        assert (np.diff(numbers) == 1).all()
        starts.append(numbers[0])
    shares = np.bincount(starts, minlength=3) / 900
    # Four standard errors of a share are 0.067.
    np.testing.assert_allclose(shares, [2 / 9, 3 / 9, 4 / 9], atol=0.067)
    # Without candidates all windows are alike, also the last: at 0 and 2 a third each, not 2 : 4.
    draws = [moving_flow(record, 3, np.random.default_rng(s))[0][0] for s in range(900)]
    np.testing.assert_allclose(np.bincount(draws) / 900, [1 / 3] * 3, atol=0.067)


def test_windows_are_cut_out_of_their_candidates():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (20, 24, 32, 3), dtype=np.uint8)
    frames[:12] = frames[0]  # nothing moves at first
    for take in (moving_frames, moving_flow):
        numbers, found = take(record_of(frames), 3, np.random.default_rng(1), 2, 40)
        np.testing.assert_array_equal(np.diff(numbers), [2, 2])
        assert numbers[-1] >= 11
        pairs = [optical_flow(frames[[k, k + 1]])[0] for k in numbers if take is moving_flow]
        np.testing.assert_array_equal(found, pairs or frames[numbers])
    magnitudes = flow_magnitude(optical_flow(frames)), frame_motion(frames)
    assert all(m[11:].min() > m[:11].max() for m in magnitudes)


def test_videos_too_short_repeat_their_last():
    assert moving_frames(stored(3), 5, np.random.default_rng(0))[0].tolist() == [0, 1, 2, 2, 2]
    assert moving_flow(stored(3), 4, np.random.default_rng(0))[0].tolist() == [0, 1, 1, 1]
    with pytest.raises(MediaError, match="has 1 frames, 2 are needed"):
        moving_flow(stored(1), 2, np.random.default_rng(0))
    with pytest.raises(MediaError, match="has 4 frames, 5 are needed"):
        with_flow().views(stored(4), np.random.default_rng(0))


def test_the_frame_is_in_the_middle_of_its_flow():
    for seed in range(5):
        example = with_flow(bound=5.0).views(stored(40), np.random.default_rng(seed))
        assert example["vision"].shape == (24, 24, 3)
        assert example["flow"].shape == (4, 24, 24, 2)
        steps = 8 * flow_from_bytes(example["flow"][:, 0, 0], 5.0)
        middle = float(example["vision"][0, 0, 0])
        # A level is 8 * 10 / 255 = 0.31 frames here.
        np.testing.assert_allclose(steps[:, 0], middle + np.arange(-2, 2), atol=0.32)
        np.testing.assert_allclose(steps[:, 1], -steps[:, 0], atol=0.64)


# Flow as bytes ------------------------------------------------------------------------------------


def test_flow_is_scaled_with_its_frames():
    flow = np.broadcast_to(np.float32([3.0, -2.0]), (2, 20, 40, 2))
    cut = flow_from_bytes(flow_levels(flow, (10, 10), 20.0), 20.0)
    np.testing.assert_allclose(cut, np.broadcast_to([1.5, -1.0], (2, 10, 10, 2)), atol=LEVEL)
    stretched = flow_from_bytes(flow_levels(flow, (10, 10), 20.0, stretch=True), 20.0)
    expected = np.broadcast_to([0.75, -1.0], (2, 10, 10, 2))
    np.testing.assert_allclose(stretched, expected, atol=LEVEL)
    assert flow_levels(100 * flow, (20, 40), 20.0)[0, 0, 0].tolist() == [255, 1]
    assert (flow_levels(0 * flow, (20, 40), 20.0) == 128).all()


def test_mirroring_turns_u_round_and_twice_is_nothing():
    rng = np.random.default_rng(0)
    levels = rng.integers(1, 256, (4, 3, 5, 6, 2), dtype=np.uint8)
    once = mirrored(levels)
    slow = levels.copy()
    for x in range(6):
        slow[..., x, 0] = 256 - levels[..., 5 - x, 0].astype(int)
        slow[..., x, 1] = levels[..., 5 - x, 1]
    np.testing.assert_array_equal(once, slow)
    np.testing.assert_array_equal(mirrored(once), levels)
    np.testing.assert_array_equal(random_flow_flip(KEY, jnp.asarray(levels), 1.0), once)
    np.testing.assert_array_equal(random_flow_flip(KEY, jnp.asarray(levels), 0.0), levels)


def test_a_trunk_sees_u_and_v_in_turn_without_what_the_camera_does():
    rng = np.random.default_rng(0)
    levels = rng.integers(1, 256, (2, 3, 4, 5, 2), dtype=np.uint8)
    plain = np.asarray(flow_channels(jnp.asarray(levels / 255, jnp.float32), centred=False))
    for channel, (t, c) in enumerate(np.ndindex(3, 2)):
        np.testing.assert_allclose(plain[..., channel], levels[:, t, :, :, c] - 128.0, atol=1e-4)
    centred = flow_channels(jnp.asarray(levels / 255, jnp.float32))
    np.testing.assert_allclose(centred, plain - plain.mean((1, 2), keepdims=True), atol=1e-3)


def test_clips_of_flow_repeat_the_last_field():
    levels = flow_clips(stored(4), np.array([[0, 1], [2, 3]]), (24, 24), 20.0)
    assert levels.shape == (2, 2, 24, 24, 2)
    np.testing.assert_array_equal(levels[1, 0], levels[1, 1])
    clips = with_flow().clips(stored(40), "flow", [0.0, 3.9])
    assert clips["flow"].shape == (2, 4, 16, 16, 2)


# The puzzle ---------------------------------------------------------------------------------------


def test_frame_and_flow_are_cut_and_mirrored_alike_and_items_reversed_together():
    rows, columns = np.mgrid[:24, :24]
    places = np.stack([rows, columns], axis=-1).astype(np.uint8) + 1  # never 0
    flow = np.stack([places + 30 * t for t in range(4)]).astype(np.uint8)  # v, u by their places
    frame = np.repeat(places[..., 1:], 3, axis=-1)  # a column's number
    batch = {
        "vision": jnp.asarray(np.broadcast_to(frame, (40, *frame.shape))),
        "flow": jnp.asarray(np.broadcast_to(flow[..., ::-1], (40, *flow.shape))),
    }
    found = {k: np.asarray(v, int) for k, v in with_flow().augment(batch, {}, KEY).items()}
    ways, directions = set(), []
    for row in range(40):
        image, fields = found["vision"][row, :, :, 0], found["flow"][row]
        flipped = image[0, 0] > image[0, -1]
        # v tells the time's direction: it is negated, and the last field comes first.
        backwards = fields[0, 0, 0, 1] > 128
        steps = 256 - fields[::-1] if backwards else fields
        u = 256 - steps[..., 0] if flipped else steps[..., 0]
        np.testing.assert_array_equal(u, [image + 30 * t for t in range(4)])
        ways.add((bool(flipped), bool(backwards)))
        directions.append(bool(backwards))
    assert len(ways) == 4
    assert directions[0::2] == directions[1::2]
    crops = {tuple(image[0, [0, -1], 0]) for image in found["vision"]}
    assert len(crops) > 4


def test_differences_are_reversed_in_both_videos_of_an_item():
    method = CrossAndLearn(TRUNK, TRUNK, frames=4, short_side=8, crop=8)
    times = jnp.broadcast_to(jnp.arange(4, dtype=jnp.uint8)[:, None, None, None], (20, 4, 8, 8, 3))
    found = method.augment({"difference": times}, {}, KEY)
    order = np.asarray(found["difference"])[:, :, 0, 0, 0]
    assert set(map(tuple, order.tolist())) == {(0, 1, 2, 3), (3, 2, 1, 0)}
    np.testing.assert_array_equal(order[0::2], order[1::2])
    assert (np.asarray(found["vision"]) == 2).all()  # the image is the same either way


def test_the_baseline_tells_own_motion_from_that_of_the_other_video():
    class Pixels(nn.Module):
        def __call__(self, x, train: bool):
            return {"input": x}

    method = with_flow(vision=Pixels(), flow=Pixels(), joint=3, dropout=0.0)
    rng = np.random.default_rng(0)
    shapes = {"vision": (4, 2, 2, 3), "flow": (4, 2, 2, 8)}
    inputs = {k: jnp.asarray(rng.normal(size=shape), jnp.float32) for k, shape in shapes.items()}
    variables = method.net.init(KEY, inputs, False)
    logits = method.net.apply(variables, inputs, False)
    assert logits.shape == (4, 2, 2)
    swapped = {**inputs, "flow": inputs["flow"][jnp.array([1, 0, 3, 2])]}
    others = method.net.apply(variables, swapped, False)
    np.testing.assert_allclose(others, logits[:, ::-1], rtol=1e-4, atol=1e-5)
    made = rng.normal(size=(4, 2, 2)).astype(np.float32)
    right = np.array([[1, 0]] * 4)
    odds = np.exp(made) / np.exp(made).sum(-1, keepdims=True)
    loss, metrics = method.objective(jnp.asarray(made), inputs)
    own = np.take_along_axis(odds, right[..., None], -1)
    assert float(loss) == pytest.approx(-np.log(own).mean(), rel=1e-5)
    assert float(metrics["accuracy"]) == np.mean(made.argmax(-1) == right)
    assert method.rows_meet
    assert not dataclasses.replace(method, joint=0).rows_meet


def test_flow_has_a_trunk_and_words_of_its_own():
    method = with_flow()
    assert method.trunks == ("vision", "flow")
    assert set(method.streams) == {"vision", "flow"}
    still = {"vision": jnp.zeros((2, 16, 16, 3)), "flow": jnp.full((2, 4, 16, 16, 2), 128, "uint8")}
    assert not np.any(method.pictures(still)["flow"])
    assert method.words(still)[""][0].startswith("match: own flow")
    for trunks in ({}, {"difference": TRUNK, "flow": TRUNK}):
        with pytest.raises(ConfigError, match="one trunk of motion, difference or flow"):
            CrossAndLearn(TRUNK, **trunks)


def test_vgg16_up_to_fc6_has_the_published_number_of_weights():
    trunk = VGG16(bn_after_relu=False, bn_eps=1e-5, pool5=True, fc6=4096)
    image = jnp.zeros((1, 224, 224, 3))
    layers, made = jax.eval_shape(lambda: trunk.init_with_output(KEY, image, False))
    # torchvision's vgg16_bn, 138,365,992, less its two last dense layers.
    dense = (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert sum(x.size for x in jax.tree.leaves(made["params"])) == 138_365_992 - dense
    assert layers["pool5"].shape == (1, 7, 7, 512)
    assert layers["fc6"].shape == (1, 4096)
    with pytest.raises(ConfigError, match="fc6 needs pool5"):
        VGG16(fc6=10)
