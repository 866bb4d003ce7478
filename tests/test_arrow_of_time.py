"""Arrow of time: reversal, borders, the camera, chunks, the trunk's size, class activations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ssl_jax.cues import Bars, CameraMotion
from ssl_jax.data.flow import flow_from_bytes, optical_flow
from ssl_jax.data.record import Record
from ssl_jax.data.stabilise import laid_over, warped
from ssl_jax.drawing.overlay import laid_on
from ssl_jax.methods.video.arrow_of_time import ArrowOfTime
from ssl_jax.models.vgg16 import VGG16

KEY = jax.random.key(4)
TRUNK = tiny.TinyTrunk()
KNOBS = {"chunk": 3, "height": 32, "width": 40, "crop": 24, "hidden": (4,)}
PLAIN = {"cut_borders": False, "stabilise": False}


def record_of(frames: np.ndarray) -> Record:
    return Record(
        "video", 0, len(frames), 10.0, frames=lambda k: frames[np.asarray(k)], duration=1.0
    )


def texture(height: int, width: int) -> np.ndarray:
    """A smooth random image that corners can be followed on."""
    import cv2

    coarse = np.random.default_rng(0).integers(30, 255, (height // 4, width // 4, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def moving(count: int = 7) -> np.ndarray:
    """A texture that moves a pixel to the right from frame to frame."""
    whole = texture(32, 64)
    return np.stack([whole[:, 20 - k : 60 - k] for k in range(count)])


def test_a_video_played_backwards_has_the_flow_of_its_reversed_frames():
    method, video, found = ArrowOfTime(TRUNK, **KNOBS, **PLAIN), moving(), {}
    for seed in range(12):
        example = method.views(record_of(video), np.random.default_rng(seed))
        assert example["vision"].shape == (2, 3, 32, 40, 2)
        found[int(example["target"])] = flow_from_bytes(
            example["vision"].reshape(6, 32, 40, 2), 20.0
        )
    assert set(found) == {0, 1}
    for target, frames in enumerate((video, video[::-1])):
        # A level of a byte is 40 / 255 pixels; none of them is exactly half way between -20 and 20.
        np.testing.assert_allclose(found[target], optical_flow(frames), atol=40 / 255 + 1e-4)
    middle = np.median(found[0][..., 0]), np.median(found[1][..., 0])
    np.testing.assert_allclose(middle, (1, -1), atol=0.2)


def test_frames_in_place_of_flow_are_reversed_with_their_target():
    video = np.broadcast_to(np.arange(6, dtype=np.uint8)[:, None, None, None], (6, 32, 40, 3))
    method = ArrowOfTime(TRUNK, flow=False, **KNOBS, **PLAIN)
    for seed in range(6):
        example = method.views(record_of(video), np.random.default_rng(seed))
        order = example["vision"][..., 0, 0, 0].ravel().tolist()
        assert order == sorted(order, reverse=bool(example["target"]))


def test_a_chunk_is_one_image_of_u_and_v_in_turn():
    fields = np.arange(2 * 2 * 3 * 4 * 5 * 2, dtype=np.float32).reshape(2, 2, 3, 4, 5, 2)
    method = ArrowOfTime(TRUNK, **KNOBS)
    made = np.asarray(method.prepare("vision", jnp.asarray(fields / 255)))
    assert made.shape == (2, 2, 4, 5, 6)
    for channel, (t, c) in enumerate(np.ndindex(3, 2)):
        np.testing.assert_allclose(made[..., channel], fields[:, :, t, :, :, c] - 128, atol=1e-3)
    # One chunk alone, as evaluation reads it.
    alone = method.prepare("vision", jnp.asarray(fields[:, 1] / 255))
    np.testing.assert_allclose(alone, made[:, 1])


def test_crops_are_corners_or_the_middle_and_the_same_for_all_of_a_clip():
    rows, columns = np.mgrid[:32, :40]
    places = np.stack([rows, columns], axis=-1).astype(np.uint8)
    clips = jnp.asarray(np.broadcast_to(places, (60, 2, 3, 32, 40, 2)))
    method = ArrowOfTime(TRUNK, **KNOBS)
    batch = method.augment({"vision": clips, "target": jnp.zeros(60, jnp.int32)}, {}, KEY)
    corners = np.asarray(batch["vision"])[..., 0, 0, :]  # (60, 2, 3, 2)
    assert (corners == corners[:, :1, :1]).all()
    found = set(map(tuple, corners[:, 0, 0].tolist()))
    assert found == {(0, 0), (0, 16), (8, 0), (8, 16), (4, 8)}


def test_noisy_black_borders_are_cut_off():
    rng = np.random.default_rng(0)
    video = rng.integers(0, 7, (8, 48, 60, 3)).astype(np.uint8)  # a border is nearly black
    video[:, 8:40, 10:50] = rng.integers(60, 256, (8, 32, 40, 3))
    method = ArrowOfTime(TRUNK, flow=False, stabilise=False, **KNOBS)
    seen = method.views(record_of(video), np.random.default_rng(0))["vision"]
    inside = {frame.tobytes() for frame in video[:, 8:40, 10:50]}
    assert {frame.tobytes() for frame in seen.reshape(6, 32, 40, 3)} <= inside


def test_a_pan_is_taken_back_and_a_resting_camera_changes_nothing():
    whole = texture(96, 128)
    shifts = [np.array([[1, 0, -2.0 * k], [0, 1, 0]]) for k in range(5)]
    panned = warped(np.stack([whole] * 5), shifts)[:, :, :112]  # without what is mirrored
    placed = laid_over(panned, np.arange(5))
    before, after = (np.abs(optical_flow(x)[:, 20:-20, 20:-20]).mean() for x in (panned, placed))
    assert before > 0.8  # two pixels along one of two axes
    assert after < 0.1 * before
    # Frames in another order give the same frames in that order.
    order = np.array([3, 0, 4, 1, 2])
    np.testing.assert_array_equal(laid_over(panned[order], order), placed[order])
    still = np.stack([whole] * 4)
    np.testing.assert_array_equal(laid_over(still, np.arange(4)), still)


@pytest.mark.parametrize("channels", [3, 20])
def test_vgg16_has_the_published_number_of_weights(channels):
    x = jnp.zeros((1, 224, 224, channels))
    trunk = VGG16()
    layers, made = jax.eval_shape(lambda: trunk.init_with_output(KEY, x, False))
    count = sum(leaf.size for name, leaf in _leaves(made["params"]) if "_bn" not in name)
    # Of the ImageNet network, 138,357,544 less its three dense layers.
    dense = (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert count == 138_357_544 - dense + (channels - 3) * 9 * 64
    assert layers["conv5_3"].shape == (1, 14, 14, 512)
    assert list(layers) == ["conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"]


def _leaves(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def test_the_answer_is_a_linear_layer_on_the_average_of_the_map():
    class Plane(tiny.nn.Module):
        @tiny.nn.compact
        def __call__(self, x, train: bool):
            return {"map": tiny.nn.Conv(3, (1, 1))(x)}

    method = ArrowOfTime(Plane(), hidden=())
    x = jax.random.normal(KEY, (2, 2, 5, 6, 4))
    variables = method.net.init(KEY, {"vision": x}, False)
    conv, score = variables["params"]["vision"]["Conv_0"], variables["params"]["head"]["score"]
    maps = np.asarray(x) @ np.asarray(conv["kernel"])[0, 0] + np.asarray(conv["bias"])
    average = np.concatenate([maps[:, 0].mean((1, 2)), maps[:, 1].mean((1, 2))], axis=-1)
    expected = average @ np.asarray(score["kernel"]) + np.asarray(score["bias"])
    found = method.net.apply(variables, {"vision": x}, False)
    np.testing.assert_allclose(found, expected[:, 0], rtol=1e-4, atol=1e-5)
    loss, metrics = method.objective(found, {"target": jnp.array([0, 1])})
    signs = np.asarray(found) * np.array([-1, 1])
    assert float(loss) == pytest.approx(np.log1p(np.exp(-signs)).mean(), rel=1e-5)
    assert float(metrics["accuracy"]) == np.mean(signs > 0)
    assert method.words({"target": jnp.array([1, 0])})["target"] == ["backwards", "forwards"]


def test_activations_are_red_for_and_blue_against():
    picture = np.full((8, 8, 3), 100, np.uint8)
    drawn = laid_on(picture, np.array([[2.0, 0.0, -2.0]] * 3), 2.0).astype(int)
    assert drawn[4, 0, 0] > 150 > drawn[4, 0, 2]
    assert drawn[4, -1, 2] > 150 > drawn[4, -1, 0]
    blank = laid_on(picture, np.zeros((2, 2)), 0.0)
    np.testing.assert_array_equal(blank, picture)


def test_what_rests_is_drawn_without_colour():
    still = {"vision": jnp.full((1, 2, 3, 4, 4, 2), 128, jnp.uint8)}
    assert not np.any(ArrowOfTime(TRUNK).pictures(still)["vision"])
    assert ArrowOfTime(TRUNK, flow=False).pictures(still)["vision"] is still["vision"]


def test_cues_of_videos_meet_a_network_that_sees_flow():
    method, record = ArrowOfTime(TRUNK, **KNOBS), record_of(moving())
    flow = {"vision": np.zeros((1, 2, 3, 24, 24, 2), np.uint8)}
    assert CameraMotion().applies(method, record, flow)
    assert not Bars().applies(method, record, flow)  # its statistic is of pixels
    maps = {"vision": np.zeros((1, 24, 24, 2), np.float32)}  # as a and b of Lab
    assert not CameraMotion().applies(method, record, maps)
