"""Long-term motion: bins of flow, which flow is asked for, weights, and the network's size."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from sklearn.metrics import balanced_accuracy_score

from ssl_jax.config import ConfigError
from ssl_jax.data.atomic_flow import cell_means, flow_bins
from ssl_jax.data.record import Record
from ssl_jax.methods.video.long_term_motion import LongTermMotion
from ssl_jax.models.strided_convs import StridedConvs
from ssl_jax.objectives.atomic_flow import atomic_flow

METHOD = LongTermMotion(
    tiny.TinyTrunk(), steps=3, stride=2, height=32, width=48, bins=9, bound=4.5, hidden=4
)


def test_bins_of_the_worked_example():
    motion = np.array([-9, -8, -0.01, 0, 0.99, 1, 7.99, 8])
    assert flow_bins(motion, 8.0, 16).tolist() == [0, 0, 7, 8, 8, 9, 15, 15]
    # An odd number has a bin around zero.
    assert flow_bins(np.array([-0.4, 0, 0.4, 0.6, -0.6]), 8.5, 17).tolist() == [8, 8, 8, 9, 7]


def test_cells_are_means_of_their_squares():
    flow = np.random.default_rng(0).normal(size=(2, 6, 9, 2)).astype(np.float32)
    found = cell_means(flow, 3)
    assert found.shape == (2, 2, 3, 2)
    for t, row, column in np.ndindex(2, 2, 3):
        square = flow[t, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
        np.testing.assert_allclose(found[t, row, column], square.mean((0, 1)), atol=1e-6)


def drifting(to_the_right: int) -> Record:
    """A texture that moves so many pixels a frame, and does not from frame 10 on."""
    import cv2

    coarse = np.random.default_rng(0).integers(30, 255, (8, 30, 3), np.uint8)
    whole = cv2.resize(coarse, (120, 32), interpolation=cv2.INTER_CUBIC)
    starts = [36 - to_the_right * min(k, 10) for k in range(20)]
    video = np.stack([whole[:, start : start + 48] for start in starts])
    return Record("video", 0, 20, 10.0, frames=lambda numbers: video[np.asarray(numbers)])


@pytest.mark.parametrize("to_the_right", [-1, 1])
def test_targets_are_the_motion_of_the_steps_that_follow_the_pair(to_the_right):
    record, starts = drifting(to_the_right), set()
    frames = record.frames(np.arange(20))
    for seed in range(12):
        made = METHOD.views(record, np.random.default_rng(seed))
        assert made["vision"].shape == (2, 32, 48, 3)
        assert made["target"].shape == (3, 2, 3, 2)
        found = {
            (start, mirrored)
            for start in range(12)
            for mirrored in (False, True)
            if np.array_equal(
                made["vision"], frames[[start, start + 2]][:, :, :: -1 if mirrored else 1]
            )
        }
        # Frames at rest are all the same: from 10 on any start may be meant.
        start, mirrored = min(found)
        sign = -to_the_right if mirrored else to_the_right
        motion = [2 * sign * max(0, min(10 - (start + 2 * k), 2)) // 2 for k in range(4)]
        flow = np.stack([made["seen"], *made["target"]]) - 4  # bins are a pixel wide
        if start < 10:
            # The middle column: what enters at the border has come from nowhere.
            np.testing.assert_array_equal(np.median(flow[..., 1, 0], axis=1), motion)
            starts.add(start)
        assert not flow[..., 1].any()
    assert len(starts) > 3


def test_the_loss_is_a_weighted_cross_entropy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4, 5, 2, 16)).astype(np.float32)
    target = rng.integers(0, 16, (2, 3, 4, 5, 2)).astype(np.int32)
    seen = rng.integers(0, 16, (2, 4, 5, 2)).astype(np.int32)
    weights = rng.uniform(0.5, 2, (2, 16)).astype(np.float32)
    objective = jax.jit(atomic_flow)
    loss, metrics = objective(logits, target, seen, weights)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = [
        -weights[place[-1], k] * np.log(shares[(*place, k)]) for place, k in np.ndenumerate(target)
    ]
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-5)
    answers = {
        "balanced_accuracy": logits.argmax(-1),
        "copied": np.repeat(seen[:, None], 3, axis=1),
        "still": np.full_like(target, 8),
    }
    assert set(metrics) == set(answers)
    for name, answer in answers.items():
        score = balanced_accuracy_score(target.ravel(), answer.ravel())
        assert float(metrics[name]) == pytest.approx(score, rel=1e-5)
    even, _ = objective(np.zeros_like(logits), target, seen, np.ones_like(weights))
    assert float(even) == pytest.approx(2.772589, rel=3e-6)


def test_frequent_motion_weighs_less_once_it_was_seen():
    method = dataclasses.replace(METHOD, bins=3)
    target = np.ones((2, 3, 2, 3, 2), np.int32)  # no motion ...
    target[0, 0, 0, :, 0] = 2  # ... but for 3 of 36 u
    batch = {"target": jnp.asarray(target)}
    state = {"prior": {"frequencies": jnp.full((2, 3), 1 / 3), "steps": jnp.zeros((), jnp.int32)}}
    before = method.augment(batch, state, jax.random.key(0))["weights"]
    np.testing.assert_allclose(before, np.ones((2, 3)), rtol=1e-6)
    state = method.after({}, state, batch, None)
    shares = np.array([[0, 33 / 36, 3 / 36], [0, 1, 0]])
    np.testing.assert_allclose(state["prior"]["frequencies"], shares, atol=1e-6)
    expected = 1 / (0.5 * shares + 0.5 / 3)
    expected /= (shares * expected).sum(1, keepdims=True)
    found = method.augment(batch, state, jax.random.key(0))["weights"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    again = method.after({}, state, {"target": jnp.full_like(batch["target"], 0)}, None)["prior"]
    np.testing.assert_allclose(again["frequencies"][1], [0.5, 0.5, 0], atol=1e-6)


def test_the_pair_is_one_image():
    pair = jnp.asarray(np.random.default_rng(0).random((2, 2, 4, 6, 3), np.float32))
    made = METHOD.prepare("vision", pair)
    np.testing.assert_allclose(made[..., :3], 2 * pair[:, 0] - 1, atol=1e-6)
    np.testing.assert_allclose(made[..., 3:], 2 * pair[:, 1] - 1, atol=1e-6)
    grey = dataclasses.replace(METHOD, grey=True).prepare("vision", pair)
    assert grey.shape == (2, 4, 6, 2)
    one = (np.asarray(pair[:, 1]) * [0.299, 0.587, 0.114]).sum(-1)
    np.testing.assert_allclose(grey[..., 1], 2 * one - 1, atol=1e-6)


def test_the_small_network_has_the_size_of_its_table():
    method = LongTermMotion(StridedConvs(), height=160, width=208, bins=17, hidden=256)
    pair = {"vision": jax.ShapeDtypeStruct((1, 160, 208, 2), jnp.float32)}
    outputs, made = jax.eval_shape(
        lambda x: method.net.init_with_output(jax.random.key(0), x, False), pair
    )
    assert outputs.shape == (1, 8, 10, 13, 2, 17)
    assert sum(leaf.size for leaf in jax.tree.leaves(made["params"])) == 3_772_994
    context = jax.eval_shape(
        lambda v, x: method.net.apply(v, x, False, method="context"), made, pair
    )
    assert context["context"].shape == (1, 256)


def test_motion_is_drawn_in_its_order_and_without_colour_where_all_rests():
    target, seen = jnp.full((1, 3, 2, 3, 2), 4), jnp.full((1, 2, 3, 2), 3)
    drawn = METHOD.pictures({"vision": jnp.zeros((1, 2, 4, 4, 3)), "target": target, "seen": seen})
    assert drawn["motion"].shape == (1, 4, 2, 3, 2)
    assert (drawn["motion"][:, 0] == -1).all()
    assert not np.any(drawn["motion"][:, 1:])


def test_cells_must_fill_the_frame():
    with pytest.raises(ConfigError, match="width=50 must be a multiple of cell=16"):
        dataclasses.replace(METHOD, width=50)
