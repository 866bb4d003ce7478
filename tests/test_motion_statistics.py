"""Motion and appearance statistics: each number by its definition, and what they do not see."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ssl_jax.config import ConfigError
from ssl_jax.data import motion_statistics as statistics
from ssl_jax.data.flow import cover_flow, mirrored_flow
from ssl_jax.data.record import Record
from ssl_jax.methods.video.motion_statistics import MotionStatistics
from ssl_jax.models.c3d import SmallC3D
from ssl_jax.objectives.explained import explained_variance

SQUARES, RINGS, TRIANGLES = statistics.patterns(112)
# Of the fourteen: cell and direction of u, then of v, for each pattern; frames at last.
CELLS_OF_U, DIRECTIONS_OF_U, CELLS_OF_V = slice(0, 12, 4), slice(1, 12, 4), slice(2, 12, 4)


def test_votes_of_the_worked_example():
    votes = statistics.direction_votes(np.array([1.0, 2, 4]), np.array([0.0, 50, 350]))
    np.testing.assert_allclose(votes, [4.1111, 1.7778, 0.2222, 0, 0, 0, 0, 0.8889], atol=5e-5)
    around = np.array([-10.0, 350, 710])
    np.testing.assert_allclose(
        statistics.direction_votes(np.ones(3), around), [7 / 3, 0, 0, 0, 0, 0, 0, 2 / 3]
    )


def test_cells_have_the_published_sizes_and_cover_the_frame():
    assert SQUARES.sum((1, 2)).tolist() == [784] * 16
    assert RINGS.sum((1, 2)).tolist() == [784, 2352, 3920, 5488]
    assert TRIANGLES.sum((1, 2)).tolist() == [1596] * 8
    for cells in (SQUARES, RINGS, TRIANGLES):
        assert cells.any(0).all()
    assert (SQUARES.sum(0) == 1).all()
    assert (RINGS.sum(0) == 1).all()
    # Triangles share the two diagonals of the whole square, and nothing else.
    y, x = np.mgrid[:112, :112]
    np.testing.assert_array_equal(TRIANGLES.sum(0) == 2, (x == y) | (x + y == 111))
    assert [int(SQUARES[:, row, column].argmax()) for row, column in ((0, 111), (111, 0))] == [
        3,
        12,
    ]
    inside = [(30, 5), (5, 30), (5, 70), (30, 100), (80, 5), (100, 30), (100, 80), (80, 100)]
    assert [int(TRIANGLES[:, row, column].argmax()) for row, column in inside] == list(range(8))


def bump(component: int, row: int, column: int, frame: int = 2) -> np.ndarray:
    """Flow at rest but for a square of 6 pixels that moves by a pixel, in one frame, u or v."""
    flow = np.zeros((5, 112, 112, 2), np.float32)
    flow[frame, row : row + 6, column : column + 6, component] = 1
    return flow


def test_motion_is_found_where_it_is():
    # u in the second square of the first row; v in the last square, one frame later.
    flow = bump(0, 4, 39) + 0.5 * bump(1, 100, 95, frame=3)
    found = statistics.motion_statistics(flow)
    assert found.shape == (14,)
    assert found[CELLS_OF_U].tolist() == [2, 4, 2]
    assert found[CELLS_OF_V].tolist() == [16, 4, 7]
    assert found[12:].tolist() == [3, 4]


@pytest.mark.parametrize("direction", range(8))
def test_directions_go_round_in_steps_of_45_degrees(direction):
    """u grows in one direction all over the frame: to the right is 1, downwards is 3."""
    angle = np.radians(45 * direction)
    y, x = np.mgrid[:112, :112]
    flow = np.zeros((3, 112, 112, 2), np.float32)
    flow[..., 0] = 0.01 * (np.cos(angle) * x + np.sin(angle) * y)
    found = statistics.motion_statistics(flow)
    assert (found[DIRECTIONS_OF_U] == direction + 1).all()


def test_a_moving_camera_changes_nothing_and_a_still_one_sees_nothing():
    flow = bump(0, 11, 39) + bump(1, 60, 80)
    panned = flow + np.array([7.0, -3.0], np.float32)
    np.testing.assert_array_equal(
        statistics.motion_statistics(panned), statistics.motion_statistics(flow)
    )
    assert statistics.motion_statistics(np.zeros_like(flow)).tolist() == [1] * 14


def test_overlap_of_histograms_by_its_definition():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 7, (4, 16, 16, 3)).astype(np.uint8)
    cells = statistics.patterns(16)[2]
    counts = statistics.histograms(frames, cells)
    expected = []
    for cell in cells:
        per_channel = []
        for channel in range(3):
            bins = [np.histogram(f[cell][:, channel], np.arange(257))[0] for f in frames]
            per_channel.append(np.min(bins, 0).sum() / np.max(bins, 0).sum())
        expected.append(np.mean(per_channel))
    np.testing.assert_allclose(statistics.colour_overlap(counts), expected, rtol=1e-12)


def test_colours_are_found_where_they_change():
    frames = np.zeros((6, 112, 112, 3), np.uint8)
    frames[..., 2] = 200  # all is blue
    frames[:, SQUARES[15]] = (250, 250, 250)
    frames[3:, SQUARES[4], 0] = 200  # from blue to magenta, half of the time
    rng = np.random.default_rng(0)
    frames[:, :, :, 1] += rng.integers(0, 5, (6, 112, 112)).astype(np.uint8)  # and all flickers
    frames[:, SQUARES[9], 1] = 7  # but there
    found = statistics.appearance_statistics(frames)
    assert found.shape == (13,)
    assert found[:4].tolist() == [5, 2, 10, 2]
    assert found[12] == 2
    white = np.full((2, 16, 16, 3), 255, np.uint8)
    assert statistics.appearance_statistics(white)[[1, 3, 12]].tolist() == [8, 8, 8]
    # Colours by name: black, blue, green, red.
    for number, colour in ((1, (0, 0, 0)), (2, (0, 0, 128)), (3, (0, 128, 0)), (5, (128, 127, 0))):
        plain = np.broadcast_to(np.array(colour, np.uint8), (2, 16, 16, 3))
        assert statistics.appearance_statistics(plain)[12] == number


def test_no_number_is_larger_than_the_largest():
    rng = np.random.default_rng(1)
    largest = statistics.largest_statistics(5)
    seen = []
    for _ in range(60):
        flow = rng.normal(size=(4, 16, 16, 2)).astype(np.float32)
        frames = rng.integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)
        numbers = statistics.motion_statistics(flow), statistics.appearance_statistics(frames)
        seen.append(np.concatenate(numbers))
    assert np.min(seen) == 1
    assert (np.max(seen, 0) <= largest).all()
    few = largest <= 8  # of these every value comes up among so many
    np.testing.assert_array_equal(np.max(seen, 0)[few][:8], largest[few][:8])


def test_flow_is_scaled_with_its_frames_and_mirrored_with_its_sign():
    flow = np.zeros((2, 20, 30, 2), np.float32)
    flow[..., 0], flow[..., 1] = 3.0, -1.0
    flow[:, :, :15] *= 2
    small = cover_flow(flow, (10, 10))
    assert small.shape == (2, 10, 10, 2)
    np.testing.assert_allclose(small[:, :, 7:], np.broadcast_to([1.5, -0.5], (2, 10, 3, 2)))
    np.testing.assert_allclose(small[:, :, :3], np.broadcast_to([3.0, -1.0], (2, 10, 3, 2)))
    np.testing.assert_array_equal(cover_flow(flow, (20, 30)), flow)
    assert cover_flow(flow, (40, 60))[0, 0, -1].tolist() == [6.0, -2.0]
    mirrored = mirrored_flow(flow)
    assert mirrored[0, 0, -1].tolist() == [-6.0, -2.0]
    np.testing.assert_array_equal(mirrored_flow(mirrored), flow)


def moving(component: int) -> Record:
    """A video with stored flow: in its upper left corner u or v is a bump, which colours show."""
    frames = np.zeros((8, 16, 16, 3), np.uint8)
    frames[:, :4, :4] = 255
    flow = np.zeros((7, 16, 16, 2), np.float32)
    flow[:, :2, 2:4, component] = 1

    def take(of):
        return lambda numbers: of[np.asarray(numbers)]

    return Record("video", 0, 8, 10.0, frames=take(frames), extra={"flow": take(flow)})


@pytest.mark.parametrize("component", [0, 1])
def test_targets_go_with_the_frames_also_when_they_are_mirrored(component):
    method = MotionStatistics(tiny.TinyTrunk(), frames=4, height=16, width=16, crop=16)
    seen = set()
    for seed in range(8):
        made = method.views(moving(component), np.random.default_rng(seed))
        assert made["vision"].shape == (4, 16, 16, 3)
        right = bool(made["vision"][0, 0, -1, 0])
        assert made["target"][2 * component] == (4 if right else 1)
        seen.add(right)
    assert seen == {False, True}
    batch = {"target": jnp.asarray(made["target"])[None]}
    words = method.words(batch)
    corner = "4 4 3" if right else "1 4 2"
    assert f"{'uv'[component]}: {corner}" in words["most motion"][0]
    assert words["colours"][0].startswith("change: 1")


def test_a_mean_answer_explains_nothing():
    rng = np.random.default_rng(0)
    target = rng.integers(1, 17, (9, 27))
    guess = target + rng.normal(size=target.shape)
    from sklearn.metrics import r2_score

    for predicted in (guess, np.broadcast_to(target.mean(0), target.shape), target.astype(float)):
        found = explained_variance(jnp.float32(predicted), jnp.asarray(target))
        expected = r2_score(target, predicted, multioutput="variance_weighted")
        assert float(found) == pytest.approx(expected, abs=1e-5)
    assert float(explained_variance(jnp.ones((2, 3)), jnp.ones((2, 3)))) <= 0


def test_the_loss_weighs_motion_and_appearance():
    method = MotionStatistics(tiny.TinyTrunk(), appearance_weight=0.25)
    target = jnp.asarray(np.arange(54).reshape(2, 27))
    outputs = target + jnp.where(jnp.arange(27) < 14, 2.0, 0.4)
    loss, metrics = method.objective(outputs, {"target": target})
    assert float(loss) == pytest.approx(4 + 0.25 * 0.16, rel=1e-5)
    assert float(metrics["accuracy"]) == pytest.approx(13 / 27)


def shapes(module, *shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x, False), x)


def test_the_trunk_has_the_published_sizes():
    layers, variables = shapes(SmallC3D(), 1, 16, 112, 112, 3)
    assert {name: x.shape[1:] for name, x in layers.items()} == {
        "conv1": (16, 112, 112, 64),
        "conv2": (16, 56, 56, 128),
        "conv3": (8, 28, 28, 256),
        "conv4": (4, 14, 14, 256),
        "conv5": (2, 7, 7, 256),
        "fc6": (2048,),
        "fc7": (2048,),
    }
    widths = itertools.pairwise((3, 64, 128, 256, 256, 256))
    expected = sum(27 * a * b + b for a, b in widths) + (4096 + 1 + 2048 + 1) * 2048
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == expected


@pytest.mark.parametrize(
    ("knobs", "message"),
    [({"crop": 100}, "crop=100 must be a multiple of 8"), ({"crop": 136}, "crop=136")],
)
def test_settings_that_cannot_work(knobs, message):
    with pytest.raises(ConfigError, match=message):
        MotionStatistics(tiny.TinyTrunk(), **knobs)
