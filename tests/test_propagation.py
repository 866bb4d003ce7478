"""Masks and joints handed on by likeness: golden numbers, a slow loop, a video that is followed."""

import dataclasses
import math

import cv2
import numpy as np
import pytest
import tiny
from scipy.ndimage import binary_dilation

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import joints_of, masks_of
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals.propagation import JointPropagation, MaskPropagation, bumps, peaks
from ssl_jax.frozen import Frozen
from ssl_jax.scores.masks import (
    boundary,
    boundary_similarity,
    region_similarity,
    series_statistics,
    video_scores,
)
from ssl_jax.solvers.label_propagation import propagate


def square(top, left, size=4, side=10):
    mask = np.zeros((side, side), bool)
    mask[top : top + size, left : left + size] = True
    return mask


def test_region_and_boundary_of_a_square_that_moves():
    true, one, three = square(2, 2), square(2, 3), square(2, 5)
    assert boundary(true).sum() == 16
    assert region_similarity(one, true) == pytest.approx(0.6)
    assert boundary_similarity(one, true) == pytest.approx(1)
    assert region_similarity(three, true) == pytest.approx(1 / 7)
    assert boundary_similarity(three, true) == pytest.approx(0.5625)
    nothing = np.zeros((10, 10), bool)
    assert region_similarity(nothing, nothing) == boundary_similarity(nothing, nothing) == 1
    assert region_similarity(nothing, true) == boundary_similarity(nothing, true) == 0
    assert boundary_similarity(true, nothing) == 0


def test_boundary_tolerance_grows_with_the_picture():
    for width, pixels in ((854, 8), (910, 9)):
        # A line of boundary that lies a number of pixels aside.
        true, near, far = (np.zeros((480, width), bool) for _ in range(3))
        true[:, 100:], near[:, 100 + pixels :], far[:, 101 + pixels :] = True, True, True
        assert boundary_similarity(near, true) == 1
        assert boundary_similarity(far, true) == 0


def test_boundaries_of_random_masks():
    rng = np.random.default_rng(0)
    for _ in range(4):
        noise = cv2.GaussianBlur(rng.normal(size=(2, 40, 30)).transpose(1, 2, 0), (9, 9), 2)
        ours, theirs = noise[..., 0] > 0, noise[..., 1] > 0.02
        edges = []
        for mask in (ours, theirs):
            edge = np.zeros(mask.shape, bool)
            for y, x in np.ndindex(mask.shape):
                inside = [(y + a, x + b) for a, b in ((0, 1), (1, 0), (1, 1))]
                inside = [p for p in inside if p[0] < 40 and p[1] < 30]
                edge[y, x] = any(mask[p] != mask[y, x] for p in inside)
            np.testing.assert_array_equal(boundary(mask), edge)
            edges.append(edge)
        disc = np.hypot(*np.mgrid[-3:4, -3:4]) <= 3
        near = [binary_dilation(edge, disc) for edge in edges]
        precision = (edges[0] & near[1]).sum() / edges[0].sum()
        recall = (edges[1] & near[0]).sum() / edges[1].sum()
        expected = 2 * precision * recall / (precision + recall)
        assert boundary_similarity(ours, theirs, tolerance=3.0) == pytest.approx(expected)


def test_statistics_of_a_series():
    mean, recall, decay = series_statistics(np.linspace(0.9, 0.1, 9))
    assert (mean, recall, decay) == pytest.approx((0.5, 4 / 9, 0.6))
    # Frames beyond 256 count where they stand.
    long = np.r_[np.ones(240), np.zeros(61)]
    assert series_statistics(long)[2] == pytest.approx(1 - (240 - 225) / 76)


def test_first_and_last_frames_and_unknown_pixels_do_not_count():
    true = np.stack([square(2, 2) * 1 + square(7, 7, 2) * 2] * 5)
    predicted = np.zeros_like(true)
    predicted[1:-1] = true[1:-1]
    scores = video_scores(predicted, true)
    np.testing.assert_allclose(scores, [[1, 1, 0, 1, 1, 0]] * 2)
    true[2, 2:4, 2:6] = 255
    np.testing.assert_allclose(video_scores(predicted, true), scores)
    predicted[2, 2, 2] = 0  # among what is unknown
    np.testing.assert_allclose(video_scores(predicted, true), scores)
    predicted[2] = 0
    assert video_scores(predicted, true)[0, 0] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="2 frames"):
        video_scores(predicted[:2], true[:2])
    with pytest.raises(ValueError, match="no object"):
        video_scores(predicted, 0 * true)


def test_weights_of_the_two_most_similar():
    # One row of positions; the second frame has one whose cosines to them are 1, .9, .8 and .2.
    angles = np.arccos([1, 0.9, 0.8, 0.2])
    begin = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    features = np.stack([begin, np.tile([[1.0, 0]], (4, 1))])[:, None]
    first = np.eye(4)[None]
    found = propagate(features, first, radius=9, top=2, temperature=0.1)
    np.testing.assert_allclose(found[1, 0, 0], [0.731059, 0.268941, 0, 0], atol=1e-5)
    labels = propagate(features, np.array([[[1.0], [0], [1], [1]]]), radius=9, top=2)
    assert labels[1, 0, 0, 0] == pytest.approx(0.731059, abs=1e-5)


@pytest.mark.parametrize("first_everywhere", [False, True])
def test_propagation_is_what_a_slow_loop_finds(first_everywhere):
    rng = np.random.default_rng(1)
    features, first = rng.normal(size=(6, 4, 5, 3)), rng.random((4, 5, 2))
    context, radius, top, temperature = 2, 1, 4, 0.2
    found = propagate(features, first, context, radius, top, temperature, first_everywhere)
    units = features / np.linalg.norm(features, axis=-1, keepdims=True)
    labels = [first]
    for t in range(1, 6):
        frames = sorted({0, *range(max(1, t - context), t)})
        now = np.zeros_like(first)
        for y, x in np.ndindex(4, 5):
            seen = [
                (float(units[t, y, x] @ units[f, a, b]), labels[f][a, b])
                for f in frames
                for a, b in np.ndindex(4, 5)
                if max(abs(a - y), abs(b - x)) <= radius or (first_everywhere and f == 0)
            ]
            seen = sorted(seen, key=lambda pair: -pair[0])[:top]
            weights = np.array([math.exp(cosine / temperature) for cosine, _ in seen])
            now[y, x] = weights @ np.array([label for _, label in seen]) / weights.sum()
        labels.append(now)
    np.testing.assert_allclose(found, np.stack(labels), atol=1e-4)


def test_features_that_are_all_the_same_spread_the_labels():
    features, first = np.ones((3, 3, 3, 2)), np.zeros((3, 3, 1))
    first[1, 1] = 1
    found = propagate(features, first, radius=1, top=2)
    assert found[1, 1, 1, 0] == pytest.approx(1 / 9)  # all equals count, not two of them
    assert found[1, 0, 0, 0] == pytest.approx(1 / 4)
    np.testing.assert_allclose(propagate(0 * features, first, radius=1, top=2), found)
    with pytest.raises(FloatingPointError, match="NaN"):
        propagate(features * np.nan, first)
    with pytest.raises(ConfigError, match="top=0"):
        propagate(features, first, top=0)


def test_bumps_and_peaks_are_inverse():
    places = np.array([[3.0, 1.0], [0.0, 4.0], [5.5, 2.0], [np.nan, np.nan]])
    maps = bumps(places, np.array([8, 6]), 0.5)
    assert maps.shape == (6, 8, 4)
    found = peaks(maps[None], 2)[0]
    np.testing.assert_allclose(found[2], [5.5, 2])
    np.testing.assert_allclose(found[:2], places[:2], atol=0.2)
    assert np.isnan(found[3]).all()


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Stands for a frozen network whose one layer is smoothed pixels on a grid of an eighth."""

    videos: bool = False
    batch_size: int = 8

    @property
    def method(self):
        return self

    def times(self, record, stream, count):
        return [0.0] * count

    def clips(self, record, stream, times):
        return {stream: np.zeros((len(times), *((4,) if self.videos else ()), 8, 8, 3), np.uint8)}

    def maps(self, stream, raw, layers):
        frames = raw[0] if self.videos else raw
        t, h, w, c = frames.shape
        cells = frames.reshape(t, h // 4, 4, w // 4, 4, c).mean((2, 4)) - 128
        maps = cells if layers == ("conv",) else cells[: t // 2]
        return {layers[0]: maps[None] if self.videos else maps}


@dataclasses.dataclass(frozen=True)
class Squares:
    """Videos of a red square, with its middle and a corner as joints, crossing a blue ground."""

    count: int = 2

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        def left(number):
            return 8 + 4 * number + 8 * index

        def mask(number):
            found = np.zeros((48, 64), np.uint8)
            found[16:32, left(number) : left(number) + 16] = 1
            return found

        def frames(numbers):
            masks = np.stack([mask(n) for n in numbers])[..., None] > 0
            return np.where(masks, [220, 30, 30], [30, 30, 220]).astype(np.uint8)

        def joints(number):
            return np.array([(left(number) + 7.5, 23.5), (left(number), 16), (np.nan, np.nan)])

        return Record(
            f"square {index}",
            index,
            num_frames=6,
            fps=1.0,
            frames=frames,
            extra={"mask": mask, "joints": joints},
        )


def slow_propagate(features, first, context, radius, top, temperature, first_everywhere):
    """`propagate` by its definition, one position after another."""
    t, h, w, _ = features.shape
    lengths = np.linalg.norm(features.astype(float), axis=-1, keepdims=True)
    units = np.divide(features, lengths, out=np.zeros(features.shape), where=lengths > 0)
    y, x = np.mgrid[:h, :w]
    labels = [first.astype(float)]
    for number in range(1, t):
        now = np.zeros_like(labels[0])
        for a, b in np.ndindex(h, w):
            near = np.maximum(abs(y - a), abs(x - b)) <= radius
            cosines, votes = [], []
            for frame in sorted({0, *range(max(1, number - context), number)}):
                seen = near | (first_everywhere and frame == 0)
                cosines.extend((units[frame] @ units[number, a, b])[seen])
                votes.extend(labels[frame][seen])
            cosines = np.array(cosines)
            # Equals of the last one count too, also those that rounding parts from it.
            last = np.sort(cosines)[::-1][: min(top, len(cosines))][-1]
            weights = np.exp(cosines / temperature) * (cosines >= last - 1e-6)
            now[a, b] = weights @ np.array(votes) / weights.sum()
        labels.append(now)
    return np.stack(labels)


def slow_layer(record, size):
    """What `Pixels` sees: means of 4x4 pixels of the resized frames, less 128."""
    frames = [cv2.resize(f, size, interpolation=cv2.INTER_LINEAR) for f in pixels_of(record)]
    h, w = size[1] // 4, size[0] // 4
    return np.stack([f.reshape(h, 4, w, 4, 3).mean((1, 3)) - 128 for f in frames])


def pixels_of(record):
    return record.frames(np.arange(record.num_frames))


def slow_similarity(record, radius, top, temperature):
    """J of the square (frames of 64x48 pixels), features of frames twice as large."""
    true = np.stack([record.extra["mask"](t) for t in range(6)])
    cells = slow_layer(record, (128, 96))  # 24x32 of them, each of 2x2 pixels of the mask
    share = true[0].reshape(24, 2, 32, 2).mean((1, 3))
    first = np.stack([1 - share, share], axis=-1)
    soft = slow_propagate(cells, first, 7, radius, top, temperature, False)
    scores = []
    for maps, mask in zip(soft[1:-1], true[1:-1], strict=True):
        large = [bilinear(maps[..., k], 2) for k in (0, 1)]
        large = [(one - one.min()) / (one.max() - one.min()) for one in large]
        ours = large[1] > large[0]
        scores.append((ours & (mask > 0)).sum() / (ours | (mask > 0)).sum())
    return np.mean(scores)


def bilinear(cells, factor):
    """Enlarged by linear interpolation between the cells' middles; the edge goes on beyond."""
    for axis in (0, 1):
        count = cells.shape[axis]
        places = (np.arange(count * factor) + 0.5) / factor - 0.5
        weights = np.stack([np.interp(places, range(count), row) for row in np.eye(count)], axis=1)
        cells = np.moveaxis(np.tensordot(weights, cells, (1, axis)), 0, axis)
    return cells


def slow_joints(record, radius, top):
    """Joints (x, y) in pixels of all frames but the first; the first and the last frame vote."""
    cells = slow_layer(record, (64, 64))  # 16x16 of them, of 4 x 3 pixels each
    y, x = np.mgrid[:16, :16]
    maps = []
    for across, down in record.extra["joints"](0)[:2]:
        across, down = (across + 0.5) / 4 - 0.5, (down + 0.5) / 3 - 0.5
        maps.append(np.exp(-((x - across) ** 2 + (y - down) ** 2) / (2 * 0.5**2)))
    soft = slow_propagate(cells, np.stack(maps, axis=-1), 1, radius, top, 0.05, True)
    found = np.zeros((5, 2, 2))
    for number, joint in np.ndindex(5, 2):
        flat = soft[number + 1, ..., joint].ravel()
        best = np.argsort(-flat, kind="stable")[:3]
        place = np.stack([best % 16, best // 16], axis=1).T @ flat[best] / flat[best].sum()
        found[number, joint] = (place + 0.5) * [4, 3] - 0.5
    return found


@pytest.mark.parametrize("videos", [False, True])
def test_masks_follow_the_square(videos):
    evaluator = MaskPropagation(Squares(), layers=("conv",), short_side=96, radius=3, top=3)
    results = dict(evaluator.run(Pixels(videos)))
    similarity = [slow_similarity(Squares()[i], radius=3, top=3, temperature=0.1) for i in (0, 1)]
    assert results["conv/J"] == pytest.approx(np.mean(similarity), abs=1e-6)
    assert results["conv/J"] > 0.9
    assert results["conv/F"] > 0.9
    assert results["conv/J&F"] == pytest.approx((results["conv/J"] + results["conv/F"]) / 2)
    assert results["conv/J_recall"] == 1
    # The copy of the first mask loses 4 of 16 columns a frame.
    shares = [(16 - 4 * t) / (16 + 4 * t) if t < 4 else 0 for t in range(1, 5)]
    assert results["copy/J"] == pytest.approx(np.mean(shares))
    assert results["input/J"] > 0.9
    assert results["masks"].dtype == np.uint8
    record = Squares()[1]
    record = dataclasses.replace(record, extra={"mask": np.zeros((6, 24, 32), np.uint8)})
    with pytest.raises(MediaError, match="square 1: its masks are 32x24 pixels, frames 64x48"):
        dict(dataclasses.replace(evaluator, source=(record,)).run(Pixels(videos)))
    with pytest.raises(ConfigError, match="'late' has shape"):
        dict(MaskPropagation(Squares(), layers=("late",), short_side=96).run(Pixels(videos)))
    with pytest.raises(ConfigError, match="layers is empty"):
        dict(MaskPropagation(Squares(), layers=()).run(Pixels(videos)))


def test_joints_are_followed_or_lost():
    # A square of one colour tells its middle from its corner by nothing, but by where they were.
    evaluator = JointPropagation(Squares(), layers=("conv",), size=64, radius=2, top=1, context=1)
    results = dict(evaluator.run(Pixels()))
    true = np.stack(
        [[r["joints"](t) for t in range(6)] for r in (Squares()[i].extra for i in (0, 1))]
    )
    size = 0.6 * math.hypot(7.5, 7.5)
    moved = np.linalg.norm(true[:, 1:, :2] - true[:, :1, :2], axis=-1)
    for threshold in (0.1, 0.2, 0.3, 0.4, 0.5):
        expected = np.mean(moved <= threshold * size)
        assert results[f"copy/PCK@{threshold:g}"] == pytest.approx(expected)


def test_joints_on_a_texture_are_where_a_slow_loop_finds_them():
    # Cells that all differ, so that rounding decides nothing. The texture moves to the left.
    noise = np.random.default_rng(0).integers(0, 256, (12, 24, 3), dtype=np.uint8)
    noise = cv2.resize(noise, (96, 48), interpolation=cv2.INTER_LINEAR)

    def frames(numbers):
        return np.stack([noise[:, 4 * n : 4 * n + 64] for n in numbers])

    def joints(number):
        return np.array([(40 - 4 * number, 20), (50.5 - 4 * number, 33), (np.nan, np.nan)])

    record = dataclasses.replace(Squares()[0], frames=frames, extra={"joints": joints})
    thresholds = tuple(np.arange(0.02, 1, 0.04).tolist())
    evaluator = JointPropagation(
        (record,), layers=("conv",), size=64, radius=2, top=2, context=1, thresholds=thresholds
    )
    results = dict(evaluator.run(Pixels()))
    true = np.stack([joints(t) for t in range(1, 6)])[:, :2]
    away = np.linalg.norm(slow_joints(record, radius=2, top=2) - true, axis=-1)
    size = 0.6 * math.hypot(10.5, 13)
    shares = [np.mean(away <= threshold * size) for threshold in thresholds]
    assert len(set(shares)) > 4
    for threshold, share in zip(thresholds, shares, strict=True):
        assert np.abs(away - threshold * size).min() > 1e-4
        assert results[f"conv/PCK@{threshold:g}"] == pytest.approx(share)


def test_what_records_know():
    videos = SyntheticSource(size=2, frames=5, height=20, width=24)
    masks = masks_of(videos[1])
    assert masks.shape == (5, 20, 24)
    np.testing.assert_array_equal(masks[3], videos[1].extra["mask"](3))
    with pytest.raises(MediaError, match="synthetic video 1: has no joints"):
        joints_of(dataclasses.replace(videos[1], extra={}))
    record = dataclasses.replace(videos[0], num_frames=2, extra={"joints": "1 2 nan 4;5 6 7 inf"})
    np.testing.assert_array_equal(
        joints_of(record), [[[1, 2], [np.nan, np.nan]], [[5, 6], [np.nan, np.nan]]]
    )
    flic = {"xcoords": np.array([3.0, np.nan]), "ycoords": np.array([4.0, np.nan])}
    single = dataclasses.replace(videos[0], num_frames=1, extra=flic)
    np.testing.assert_array_equal(joints_of(single), [[[3, 4], [np.nan, np.nan]]])
    for extra, line in (
        ({"joints": "1 2 3;4 5 6"}, "not pairs"),
        ({"joints": "1 2;1 2 3 4"}, "different numbers"),
        ({"joints": np.zeros((3, 4, 2))}, r"joints of shape \(3, 4, 2\)"),
    ):
        with pytest.raises(MediaError, match=line):
            joints_of(dataclasses.replace(record, extra=extra))
    with pytest.raises(MediaError, match="has no masks"):
        masks_of(record)
    with pytest.raises(MediaError, match="not one a frame"):
        masks_of(dataclasses.replace(record, extra={"mask": np.zeros((3, 4, 4))}))


def test_layers_of_pictures_of_another_size():
    experiment = configs.build(tiny.experiment())
    frozen = Frozen.of(experiment, Sharding(devices=1).mesh())
    raw = experiment.method.clips(experiment.source[0], "vision", [0.0] * 3)["vision"]
    found = frozen.maps("vision", raw, ("pool",))
    assert set(found) == {"pool"}
    np.testing.assert_allclose(found["pool"], frozen.encode("vision", raw)["pool"], rtol=1e-5)
    # Its layers are fully connected, for pictures of 8 pixels alone.
    assert np.isnan(frozen.maps("vision", np.repeat(raw, 2, axis=1), ("hidden",))["hidden"]).all()
    with pytest.raises(ConfigError, match="no layer 'conv1' in vision; it has input, hidden, pool"):
        frozen.maps("vision", raw, ("conv1",))
    with pytest.raises(ConfigError, match="no stream 'audio'"):
        frozen.maps("audio", raw, ("pool",))
