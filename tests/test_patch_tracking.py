"""Tracked patches: what moves, where it goes, which negatives are mined, and the loss on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sampling.by_motion import busiest_square
from ssl_jax.data.stabilise import warped
from ssl_jax.data.tracker import follow, moving
from ssl_jax.method import run_collection
from ssl_jax.methods.video.patch_tracking import PatchTracking
from ssl_jax.models.alexnet import AlexNet
from ssl_jax.objectives.ranking import mined, ranking

KEY = jax.random.key(5)
ROWS = np.float32([[1, 0], [0, 1], [1, 1], [-1, 1]])  # two first patches, and their later ones
OTHERS = np.array([[0, 1, 0, 1], [1, 0, 1, 0]], bool)


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random image that corners can be followed on."""
    import cv2

    coarse = np.random.default_rng(seed).integers(30, 255, (height // 4, width // 4, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def flight(count: int = 8, pan: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A square of 24 pixels that crosses a textured ground, which the camera pans over; corners."""
    ground = np.stack([texture(96, 160)] * count)
    shifts = [np.array([[1, 0, -pan * k], [0, 1, 0]]) for k in range(count)]
    frames = warped(ground, shifts)[:, :, :128].copy()
    corners = np.array([(20 + 3 * k, 30 + 4 * k) for k in range(count)])
    for frame, (y, x) in zip(frames, corners, strict=True):
        frame[y : y + 24, x : x + 24] = texture(24, 24, seed=1)
    return frames, corners


def record_of(frames: np.ndarray) -> Record:
    return Record("video", 0, len(frames), 10.0, frames=lambda k: frames[np.asarray(k)])


def small(**knobs) -> PatchTracking:
    sizes = {"track": 8, "candidates": 8, "height": 96, "width": 128, "window": 24, "crop": 20}
    return PatchTracking(tiny.TinyTrunk(), **{**sizes, "share": (0.0, 1.0), **knobs})


# Tracks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pan", [0.0, 2.0])
def test_what_moves_is_what_does_not_move_with_the_camera(pan):
    frames, corners = flight(2, pan)
    (y, x), found = corners[0], moving(*frames)
    inside = np.zeros_like(found)
    inside[y : y + 24, x : x + 24] = True
    far = np.ones_like(found)
    far[max(0, y - 16) : y + 44, max(0, x - 16) : x + 48] = False  # flow is smooth at borders
    far[:16] = far[-16:] = far[:, :16] = far[:, -16:] = False
    assert found[inside].mean() > 0.8
    assert found[far].mean() < 0.05
    assert np.abs(np.subtract(busiest_square(found.astype(int), 24), (y, x))).max() <= 8


def test_a_patch_is_followed_and_one_at_rest_stays():
    frames, corners = flight()
    found, likeness = follow(frames, (20, 30), 24, 6)
    np.testing.assert_array_equal(found, corners)
    assert likeness > 0.95
    still = np.full((4, 40, 40, 3), 9, np.uint8)
    found, likeness = follow(still, (7, 9), 16, 5)
    assert found.tolist() == [[7, 9]] * 4
    assert likeness == 1
    # Beyond its reach it is lost.
    assert follow(frames[::4], (20, 30), 24, 6)[1] < 0.9


def test_large_patches_are_followed_in_smaller_frames():
    frames = np.stack([texture(200, 260)] * 3)
    shifts = [np.array([[1, 0, 8.0 * k], [0, 1, 4.0 * k]]) for k in range(3)]
    found, _ = follow(warped(frames, shifts), (60, 60), 100, 16)
    assert np.abs(found - [[60, 60], [64, 68], [68, 76]]).max() <= 2


def test_a_pair_is_the_beginning_and_the_end_of_a_track():
    frames, _ = flight()
    example = small().views(record_of(frames), np.random.default_rng(0))
    assert example["vision"].shape == example["later"].shape == (24, 24, 3)
    places = np.lib.stride_tricks.sliding_window_view(frames, (24, 24), axis=(1, 2))
    for name, frame in (("vision", 0), ("later", -1)):
        window = np.moveaxis(example[name], -1, 0)
        there = np.abs(places[frame].astype(int) - window).max((2, 3, 4)) == 0
        assert there.any()
        y, x = np.argwhere(there)[0]
        (true,) = {0: [(20, 30)], -1: [(41, 58)]}[frame]
        assert max(abs(y - true[0]), abs(x - true[1])) <= 8
    with pytest.raises(MediaError, match="has 8 frames, 9 are needed"):
        small(track=9, candidates=9).views(record_of(frames), np.random.default_rng(0))


def test_windows_in_which_too_little_moves_are_drawn_again():
    frames, _ = flight()
    video = record_of(
        np.concatenate([frames[:1]] * 2 + [frames])
    )  # two of three windows begin still
    middle = frames[0, 36:60, 52:76]  # where nothing moves the middle is taken

    def still(share):
        first = (
            small(share=share, likeness=0.0).views(video, np.random.default_rng(seed))["vision"]
            for seed in range(30)
        )
        return sum(np.array_equal(patch, middle) for patch in first)

    # 20 of 30 are expected; of five draws all are still in 4 of 30.
    assert still((0.0, 1.0)) >= 12
    assert still((0.01, 0.9)) <= 9


# The ranking --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("margin", "expected"), [(1.0, 0.396447), (0.5, 0.125)])
def test_the_loss_on_all_rows_of_the_other_pair(margin, expected):
    first, later = jnp.asarray(ROWS[:2]), jnp.asarray(ROWS[2:])
    loss, metrics = ranking(first, later, jnp.asarray(OTHERS), 2, margin)
    assert float(loss) == pytest.approx(expected, abs=2e-6)
    # cos(1, its later) is .71, and the others are at most 0; (0, 1) has both laters alike.
    assert float(metrics["accuracy"]) == 0.5
    fewer = jnp.asarray(OTHERS).at[:, 2:].set(False)
    # The divisor stays. By hand: from a pair's first and later patch to the other's first.
    cosines = (0, np.sqrt(0.5), 0, -np.sqrt(0.5))
    by_hand = sum(max(0, -np.sqrt(0.5) + cosine + margin) for cosine in cosines)
    assert float(ranking(first, later, fewer, 2, margin)[0]) == pytest.approx(by_hand / 8, abs=2e-6)


def test_ranked_apart_there_is_no_loss_and_no_gradient():
    x = jnp.eye(4)
    chosen = jnp.ones((4, 8), bool) & (jnp.arange(4)[:, None] != jnp.tile(jnp.arange(4), 2))
    of = jax.jit(jax.value_and_grad(lambda z: ranking(z, z, chosen, 4, 0.5)[0]))
    loss, gradient = of(x)
    assert float(loss) == 0
    assert not np.any(gradient)
    assert np.isfinite(of(jnp.zeros((4, 4)))[1]).all()


def slow_candidates(first, later, margin):
    """Of each pair, rows of others that violate the margin, the most alike first."""
    rows = np.concatenate([first, later]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    n, found = len(first), []
    for i in range(n):
        own = -rows[i] @ rows[n + i]
        away = {j: -rows[i] @ rows[j] for j in range(2 * n) if j % n != i}
        found.append(sorted((j for j in away if own - away[j] + margin > 0), key=away.get))
    return found


@pytest.mark.parametrize(("hard", "margin"), [(0, 1.0), (2, 1.0), (2, 0.1)])
def test_negatives_are_drawn_among_the_nearest_and_what_is_left(hard, margin):
    rng = np.random.default_rng(1)
    first, later = rng.normal(size=(2, 6, 3)).astype(np.float32)
    candidates, seen = slow_candidates(first, later, margin), [set() for _ in range(6)]
    assert min(map(len, candidates)) <= 4 or margin == 1.0  # of few, all are taken
    pairs = jnp.asarray(first), jnp.asarray(later)
    mine = jax.jit(lambda draws: mined(*pairs, draws, hard, 4, margin))
    for seed in range(60):
        chosen = np.asarray(mine(jax.random.uniform(jax.random.key(seed), (6, 2, 12))))
        for row, known, ever in zip(chosen, candidates, seen, strict=True):
            picked = set(np.flatnonzero(row).tolist())
            assert picked <= set(known)
            assert len(picked) == min(4, len(known))
            assert len(picked & set(known[:4])) >= min(hard, len(known))
            ever |= picked
    assert seen == [
        set(known) for known in candidates
    ]  # also hard ones that were not drawn as such


# The method ---------------------------------------------------------------------------------------


def test_patches_are_cropped_by_themselves_and_negatives_become_hard():
    method = small(hard_after=0.5)
    rows = np.broadcast_to(np.arange(24, dtype=np.uint8)[:, None, None], (24, 24, 3))
    patches = jnp.asarray(np.broadcast_to(rows, (6, 24, 24, 3)))
    augment = jax.jit(
        lambda step: method.augment(
            {"vision": patches, "later": patches}, run_collection(step, 100), KEY
        )
    )
    for step, hard in ((0, 0), (49, 0), (50, 2), (99, 2)):
        made = augment(step)
        assert made["hard"].tolist() == [hard] * 6
    assert made["draws"].shape == (6, 2, 12)
    assert made["vision"].shape == made["later"].shape == (6, 20, 20, 3)
    tops = [np.asarray(made[name])[:, 0, 0, 0] for name in ("vision", "later")]
    assert (tops[0] != tops[1]).any()
    assert list(method.pictures(made)) == ["first", "later"]


def test_alexnet_has_the_papers_number_of_weights():
    trunk = AlexNet(lrn=True, normed=(), fc7=1024, dropout=0.0)
    image = jnp.zeros((1, 227, 227, 3))
    layers, made = jax.eval_shape(lambda: trunk.init_with_output(KEY, image, False))
    # Convolutions of two groups, then 6 x 6 x 256 -> 4096 -> 1024.
    convs = [(11, 3, 96), (5, 48, 256), (3, 256, 384), (3, 192, 384), (3, 192, 256)]
    weights = sum(size**2 * before * after + after for size, before, after in convs)
    weights += (6 * 6 * 256 + 1) * 4096 + (4096 + 1) * 1024
    assert sum(x.size for x in jax.tree.leaves(made["params"])) == weights
    assert layers["fc7"].shape == (1, 1024)


def test_knobs_that_do_not_go_together():
    for knobs, message in (
        ({"window": 97, "crop": 20}, "window"),
        ({"crop": 25}, "crop"),
        ({"candidates": 7}, "candidates"),
        ({"share": (0.5, 0.1)}, "share"),
    ):
        with pytest.raises(ConfigError, match=message):
            small(**knobs)
