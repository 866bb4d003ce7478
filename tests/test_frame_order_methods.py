"""Shuffle and Learn and Odd-one-out: published numbers, and that targets say what was done."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from sklearn.metrics import balanced_accuracy_score

from ssl_jax.data.record import Record
from ssl_jax.methods.video.odd_one_out import OddOneOut, sum_of_differences
from ssl_jax.methods.video.shuffle_and_learn import ShuffleAndLearn
from ssl_jax.models.alexnet import NORMED_DEEP, AlexNet
from ssl_jax.objectives.balanced_accuracy import balanced_accuracy
from ssl_jax.ops.dynamic_image import dynamic_image, rank_pooling_weights

KEY = jax.random.key(3)
TRUNK = tiny.TinyTrunk()


def parameters(method, batch) -> int:
    made = jax.eval_shape(lambda: method.init_net(KEY, batch))["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(made))


def numbered(frames: int, side: int = 4) -> np.ndarray:
    """A video (t side side 3) whose frames show their number."""
    return np.broadcast_to(
        np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, side, side, 3)
    )


def record_of(frames: np.ndarray) -> Record:
    return Record(
        "video", 0, len(frames), 10.0, frames=lambda k: frames[np.asarray(k)], duration=1.0
    )


def test_tuples_share_their_ends_and_reversed_ones_keep_their_class():
    frames = np.array([10, 30, 50, 80, 100], np.uint8)[None, :, None, None, None]
    frames = np.tile(frames, (400, 1, 2, 2, 3))
    batch = ShuffleAndLearn(TRUNK).augment({"vision": jnp.asarray(frames)}, {}, KEY)
    shown = {
        (*order, target)
        for order, target in zip(
            map(tuple, batch["vision"][:, :, 0, 0, 0].tolist()),
            batch["target"].tolist(),
            strict=True,
        )
    }
    there = {(30, 50, 80, 1), (30, 10, 80, 0), (30, 100, 80, 0)}
    assert shown == there | {(c, b, a, target) for a, b, c, target in there}
    # Three of four are wrong, within four standard deviations.
    assert float(batch["target"].mean()) == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 400))
    words = ShuffleAndLearn(TRUNK).words(batch)["target"]
    assert [word == "in order" for word in words] == batch["target"].astype(bool).tolist()


def test_a_constant_answer_is_right_in_three_of_four_rows_and_half_when_balanced():
    target = jnp.array([1, 0, 0, 0] * 4)
    _, metrics = ShuffleAndLearn(TRUNK).objective(
        jnp.tile(jnp.array([1.0, 0.0]), (16, 1)), {"target": target}
    )
    assert float(metrics["accuracy"]) == 0.75
    assert float(metrics["balanced_accuracy"]) == 0.5


@pytest.mark.parametrize("classes", [2, 5])
def test_balanced_accuracy_is_scikit_learns(classes):
    rng = np.random.default_rng(classes)
    logits = rng.standard_normal((50, classes)).astype(np.float32)
    labels = np.minimum(rng.integers(0, 4, 50), classes - 1)  # the fifth class does not occur
    kept = labels[np.isin(labels, np.unique(labels))]
    answers = np.where(np.isin(logits.argmax(1), labels), logits.argmax(1), labels.max() + 1)
    found = balanced_accuracy(jnp.asarray(logits), jnp.asarray(labels))
    present = [np.mean(answers[kept == k] == k) for k in np.unique(kept)]
    assert float(found) == pytest.approx(np.mean(present), rel=1e-6)
    if classes == 2:
        expected = balanced_accuracy_score(labels, logits.argmax(1))
        assert float(found) == pytest.approx(expected, rel=1e-6)


def test_shuffle_and_learns_tuples_lie_where_something_moves():
    video = np.zeros((300, 8, 8, 3), np.uint8)
    video[200:260] = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3))
    video[:, 0, 0] = numbered(300)[:, 0, 0]  # which wraps beyond 255, where nothing is taken
    method = ShuffleAndLearn(TRUNK, size=8, longest=10, apart=3, motion_stride=5)
    for seed in range(8):
        frames = method.views(record_of(video), np.random.default_rng(seed))["vision"]
        a, _, c, _, e = frames.astype(np.float64) / 255
        assert min(np.square(c - a).mean(), np.square(c - e).mean()) >= 1e-3
    still = np.zeros((40, 8, 8, 3), np.uint8)  # nothing to find, but no end of looking for it
    assert method.views(record_of(still), np.random.default_rng(0))["vision"].shape == (5, 8, 8, 3)


def test_shuffle_and_learn_has_the_papers_number_of_weights():
    trunk = AlexNet(lrn=True, normed=NORMED_DEEP, bn_affine=False)
    batch = {"vision": jnp.zeros((1, 3, 227, 227, 3))}
    assert parameters(ShuffleAndLearn(trunk), batch) == 56_892_802


def test_the_difference_of_all_pairs_counts_items_five_to_minus_five_times():
    x = np.random.default_rng(0).standard_normal((2, 6, 3)).astype(np.float32)
    pairs = sum(x[:, i] - x[:, j] for i in range(6) for j in range(i + 1, 6))
    np.testing.assert_allclose(sum_of_differences(jnp.asarray(x)), pairs, rtol=1e-5, atol=1e-6)
    weights = sum_of_differences(jnp.eye(6)[None])
    assert weights.tolist() == [[5, 3, 1, -1, -3, -5]]
    assert not np.any(sum_of_differences(jnp.ones((1, 6, 4))))


def test_dynamic_images_have_the_published_weights_and_ignore_what_rests():
    expected = [-5.15, -0.15, 1.35, 1.683333, 1.433333, 0.833333]
    np.testing.assert_allclose(rank_pooling_weights(6), expected, atol=1e-6)
    clips = np.random.default_rng(1).random((2, 3, 6, 4, 5, 3)).astype(np.float32)
    by_hand = sum(weight * clips[:, :, k] for k, weight in enumerate(rank_pooling_weights(6)))
    np.testing.assert_allclose(dynamic_image(jnp.asarray(clips)), by_hand, rtol=1e-4, atol=1e-5)
    still = jnp.tile(jnp.asarray(clips[:, :, :1]), (1, 1, 6, 1, 1, 1))
    np.testing.assert_allclose(dynamic_image(still), 0, atol=1e-5)


def odd_views(seed: int, **knobs) -> dict:
    method = OddOneOut(TRUNK, short_side=4, crop=4, **knobs)
    return method.views(record_of(numbered(40)), np.random.default_rng(seed))


@pytest.mark.parametrize("encoding", ["stack", "sum", "dynamic"])
def test_the_odd_clip_alone_is_out_of_order_and_shows_in_what_the_network_sees(encoding):
    method = OddOneOut(TRUNK, encoding=encoding, short_side=4, crop=4)
    slots = set()
    for seed in range(30):
        example = odd_views(seed, encoding=encoding)
        numbers, odd = example["vision"][:, :, 0, 0, 0].astype(int), int(example["target"])
        ordered = (np.diff(numbers) > 0).all(axis=1)
        assert np.flatnonzero(~ordered).tolist() == [odd]
        batch = {k: jnp.asarray(v)[None] for k, v in example.items()}
        augmented = method.augment(batch, {}, KEY)
        seen = np.asarray(method.prepare("vision", augmented["vision"] / 255.0))[0, odd]
        sorted_clip = jnp.sort(augmented["vision"][0, odd], axis=0)
        other = np.asarray(method.prepare("vision", sorted_clip[None] / 255.0))[0]
        assert np.abs(seen - other).max() > 1e-3
        slots.add(odd)
    assert slots == set(range(6))


def test_a_sum_of_differences_is_the_last_frame_minus_the_first():
    clips = np.random.default_rng(2).random((2, 6, 4, 4, 3)).astype(np.float32)
    method = OddOneOut(TRUNK, encoding="sum", short_side=4, crop=4)
    stack = OddOneOut(TRUNK, short_side=4, crop=4).prepare("vision", jnp.asarray(clips))
    steps = np.asarray(stack).reshape(2, 4, 4, 5, 3).sum(axis=3)
    np.testing.assert_allclose(method.prepare("vision", jnp.asarray(clips)), steps, atol=1e-3)


@pytest.mark.parametrize(("encoding", "channels"), [("stack", 15), ("dynamic", 3)])
def test_odd_one_outs_encodings_have_their_channels_with_and_without_clips(encoding, channels):
    method = OddOneOut(TRUNK, encoding=encoding)
    assert method.prepare("vision", jnp.ones((2, 6, 4, 4, 3))).shape == (2, 4, 4, channels)
    assert method.prepare("vision", jnp.ones((2, 6, 6, 4, 4, 3))).shape == (2, 6, 4, 4, channels)


@pytest.mark.parametrize(("fusion", "inputs"), [("concat", 768), ("difference", 128)])
def test_odd_one_outs_fusions_have_the_papers_widths(fusion, inputs):
    trunk = AlexNet(lrn=True, normed=(), fc6=128, fc7=0)
    method = OddOneOut(trunk, fusion=fusion)
    batch = {"vision": jnp.zeros((1, 6, 6, 227, 227, 3))}
    made = jax.eval_shape(lambda: method.init_net(KEY, batch))["params"]
    assert made["fc7"]["kernel"].shape == (inputs, 128)
    convs = [tree for name, tree in made["vision"].items() if name.startswith("conv")]
    assert sum(leaf.size for leaf in jax.tree.leaves(convs)) == 2_473_472


def test_words_of_odd_one_out_name_the_clip():
    assert OddOneOut(TRUNK).words({"target": jnp.array([0, 5])})["target"] == ["clip 1", "clip 6"]
