"""Space-time cubic puzzles: what is shown is what the targets say, and pieces keep apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Record
from ssl_jax.methods.video.space_time_puzzle import SpaceTimePuzzle
from ssl_jax.models.resnet3d import ResNet3D
from ssl_jax.objectives.order import permutations

TRUNK = ResNet3D(layers=(1, 1, 1, 1), width=1 / 16)


def where_and_when():
    """A video of 64 frames whose pixels tell their frame, row and column."""
    axes = np.arange(64)[:, None, None], np.arange(32)[:, None], np.arange(32)
    video = np.stack(np.broadcast_arrays(*axes), axis=-1).astype(np.uint8)
    return Record("where and when", 0, 64, 15.0, frames=lambda numbers: video[np.asarray(numbers)])


def test_orders_are_numbered_lexicographically():
    orders = permutations(4)
    known = {(0, 1, 2, 3): 0, (1, 0, 3, 2): 7, (2, 0, 3, 1): 13, (3, 2, 1, 0): 23}
    assert {order: orders.index(order) for order in known} == known


@pytest.mark.parametrize(("gap", "frame_gap"), [(3, 2), (0, 0)])
def test_targets_say_how_the_pieces_were_shuffled(gap, frame_gap):
    method = SpaceTimePuzzle(
        vision=TRUNK,
        frames=4,
        cell_frames=8,
        frame_gap=frame_gap,
        stride=2,
        piece=10,
        cell=16,
        gap=gap,
        colour="keep",
    )
    record, rows = where_and_when(), 24
    views = [method.views(record, np.random.default_rng(seed))["vision"] for seed in range(rows)]
    made = method.augment({"vision": jnp.array(np.stack(views))}, {}, jax.random.key(0))
    shown, target = (
        np.round(255 * np.asarray(made["vision"])).astype(int),
        np.asarray(made["target"]),
    )
    assert shown.shape == (rows, 2, 4, 4, 10, 10, 3)
    assert target.shape == (rows, 2)
    nearest = {"space": [], "time": []}
    for row in range(rows):
        first = shown[row, :, :, 0, 0, 0]  # of each piece its first frame, row, column
        last = shown[row, :, :, -1, -1, -1]
        assert (last - first == (6, 9, 9)).all()
        (t, y, x), (time, top, left) = first[0].T, first[1].T
        assert len(set(t)) == 1
        cells = 2 * (y // 16) + x // 16
        assert tuple(cells) == permutations(4)[target[row, 0]]
        assert len({(a // 16, b // 16) for a, b in zip(top, left, strict=True)}) == 1
        assert tuple(np.argsort(np.argsort(time))) == permutations(4)[target[row, 1]]
        nearest["time"].append(np.diff(np.sort(time)).min() - 6 - 2)
        for start in (y, x):
            nearest["space"].append(start[start >= 16].min() - start[start < 16].max() - 10)
    assert min(nearest["time"]) >= 2 * frame_gap
    assert min(nearest["space"]) >= gap
    words = method.words(made)
    assert words["time"][3] == " ".join(map(str, permutations(4)[target[3, 1]]))
    assert words["space"][3] == " ".join(map(str, permutations(4)[target[3, 0]]))


def test_pieces_reach_both_ends_of_their_cells():
    method = SpaceTimePuzzle(
        vision=TRUNK, frames=1, cell_frames=2, frame_gap=0, piece=13, cell=16, gap=1
    )
    record = where_and_when()
    views = [method.views(record, np.random.default_rng(seed))["vision"] for seed in range(40)]
    rows = np.stack(views)[:, 0, :, 0, 0, 0, 1] % 16
    assert set(rows.ravel().tolist()) == {0, 1, 2}


@pytest.mark.parametrize(("colour", "share"), [("replicate", 1.0), ("grey", 0.5), ("keep", 0.0)])
def test_every_piece_has_colours_of_its_own(colour, share):
    method = SpaceTimePuzzle(vision=TRUNK, frames=2, piece=2, cell=4, gap=0, colour=colour)
    red = np.zeros((16, 2, 4, 2, 2, 2, 3), np.uint8)
    red[..., 0], red[..., 1] = 200, 100
    shown = np.asarray(method.augment({"vision": jnp.array(red)}, {}, jax.random.key(1))["vision"])
    assert (shown == shown[:, :, :, :1, :1, :1]).all()  # the same in all frames of a piece
    grey = np.ptp(shown[..., 0, 0, 0, :], axis=-1) < 1e-6
    assert grey.mean() == pytest.approx(share, abs=0.15)
    if colour == "replicate":
        values, counts = np.unique(np.round(255 * shown[..., 0, 0, 0, 0]), return_counts=True)
        assert values.tolist() == [0, 100, 200]
        assert counts.min() > 20


def test_each_axis_has_a_head_of_24_classes():
    method = SpaceTimePuzzle(vision=TRUNK)
    pieces = jax.ShapeDtypeStruct((2, 2, 4, 2, 8, 8, 3), jnp.float32)
    outputs, variables = jax.eval_shape(
        lambda x: method.net.init_with_output(jax.random.key(0), {"vision": x}, False), pieces
    )
    assert outputs.shape == (2, 2, 24)
    for head in ("space_head", "time_head"):
        assert variables["params"][head]["linear"]["kernel"].shape == (4 * 32, 24)


def test_the_loss_is_the_mean_over_both_axes():
    method = SpaceTimePuzzle(vision=TRUNK)
    target = jnp.array([[3, 5], [0, 23]])
    loss, metrics = method.objective(jnp.zeros((2, 2, 24)), {"target": target})
    assert float(loss) == pytest.approx(3.178054, abs=1e-6)
    logits = jnp.zeros((2, 2, 24)).at[:, 0].set(9 * jax.nn.one_hot(target[:, 0], 24))
    _, metrics = method.objective(logits, {"target": target})
    found = {name: float(value) for name, value in metrics.items()}
    assert found == {"accuracy": 0.5, "space_accuracy": 1.0, "time_accuracy": 0.0}


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"piece": 100}, "piece=100 and gap=16 must fit cell=112"),
        ({"frame_gap": 20}, "frames=16 and frame_gap=20 must fit cell_frames=32"),
    ],
)
def test_a_piece_and_its_gap_must_fit_the_cell(knobs, message):
    with pytest.raises(ConfigError, match=message):
        SpaceTimePuzzle(vision=TRUNK, **knobs)
