"""Weighted nearest neighbours against a slow loop."""

import math

import numpy as np
import pytest
from computed import computed, features
from scipy.spatial.distance import cdist

from ssl_jax.config import ConfigError
from ssl_jax.evals import knn
from ssl_jax.evals.knn import Knn, log_votes, nearest, nearest_by_distance
from ssl_jax.solvers.probe import unit


def test_temperature_decides_between_the_nearest_and_the_many():
    similarity, labels = np.array([[0.9, 0.8, 0.8]]), np.array([[0, 1, 1]])
    cold, warm = (np.exp(log_votes(similarity, labels, 2, t)[0]) for t in (0.07, 0.5))
    assert cold[0] / cold[1] == pytest.approx(383518.392 / 183821.162, rel=1e-6)
    assert warm[0] / warm[1] == pytest.approx(6.0496475 / 9.9060649, rel=1e-6)
    flip = 0.1 / math.log(2)
    assert flip == pytest.approx(0.144270, abs=1e-6)
    below, above = (log_votes(similarity, labels, 2, t)[0] for t in (flip - 1e-6, flip + 1e-6))
    assert below[0] > below[1]
    assert above[0] < above[1]
    # So small a temperature would overflow exp(0.9 / t), or leave no vote to the others.
    tiny = log_votes(similarity, labels, 3, 1e-4)[0]
    np.testing.assert_allclose(tiny[:2], [9000, 8000 + math.log(2)])
    assert tiny[2] == -np.inf


def test_nearest_is_the_sorted_order_in_blocks_of_any_size(monkeypatch):
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(7, 5)).astype(np.float32)
    gallery = rng.normal(size=(11, 5)).astype(np.float32)
    cosine = np.array(
        [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in gallery] for a in queries]
    )
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :4]
    whole = nearest(queries, gallery, 4)
    monkeypatch.setattr(knn, "BLOCK", 3 * 11)  # three queries at once, the last block a partial one
    for similarity, rows in (whole, nearest(queries, gallery, 4)):
        assert rows.tolist() == order.tolist()
        np.testing.assert_allclose(similarity, np.take_along_axis(cosine, order, axis=1), atol=1e-6)


def test_ties_go_to_the_earlier_record():
    gallery = np.array([[0, 1], [2, 0], [1, 0], [3, 0]], np.float32)
    assert nearest(gallery[1:2], gallery, 3)[1].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(("count", "k"), [(71, 2), (64, 1), (50, 7), (9, 9)])
def test_ties_go_to_the_earlier_record_in_groups_of_any_width(count, k):
    rng = np.random.default_rng(count)
    axes = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)  # cosines of 1, 0 and -1
    queries, gallery = axes[rng.integers(6, size=5)], axes[rng.integers(6, size=count)]
    expected = np.argsort(-(queries @ gallery.T), axis=1, kind="stable")[:, :k]
    assert nearest(queries, gallery, k)[1].tolist() == expected.tolist()


def test_many_queries_are_worked_through_in_turns(monkeypatch):
    rng = np.random.default_rng(0)
    queries, gallery = (rng.normal(size=(n, 3)).astype(np.float32) for n in (40, 71))
    far = np.linalg.norm(queries[:, None] - gallery, axis=-1)
    monkeypatch.setattr(knn, "BLOCK", 4 * 72)  # four queries in a block, 71 rows and one of padding
    monkeypatch.setattr(knn, "BLOCKS", 3)
    distances, rows = nearest_by_distance(queries, gallery, 2)
    assert rows.tolist() == np.argsort(far, axis=1)[:, :2].tolist()
    np.testing.assert_allclose(distances, np.sort(far, axis=1)[:, :2], rtol=1e-5)
    assert nearest_by_distance(queries * 1e25, gallery * 1e25, 2)[1].tolist() == rows.tolist()


def test_unit_takes_zero_tiny_and_huge_rows():
    rows = np.array([[0, 0], [3e-30, 4e-30], [3e30, -4e30]], np.float32)
    np.testing.assert_allclose(unit(rows), [[0, 0], [0.6, 0.8], [0.6, -0.8]], rtol=1e-6)


def test_what_is_not_finite_has_no_nearest_rows():
    rows = np.eye(3, dtype=np.float32)
    for bad in (np.nan, np.inf):
        broken = np.where(rows[:1] > 0, np.float32(bad), 0)
        assert np.isnan(unit(broken)).any()
        for search in (nearest, nearest_by_distance):
            for queries, gallery in ((broken, rows), (rows, np.concatenate([rows, broken]))):
                with pytest.raises(FloatingPointError, match="NaN or infinite"):
                    search(queries, gallery, 2)


def test_knn_counts_hits_of_every_record():
    rng = np.random.default_rng(1)
    names = np.array([2, 3, 5, 7, 11, 13])
    y, truth = names[rng.integers(0, 6, 40)], names[rng.integers(0, 6, 23)]
    truth[4] = 4  # a class that training does not know: a miss
    x, new = rng.normal(size=(40, 8)) + 3 * np.eye(16)[y, :8], rng.normal(size=(23, 8))
    new += 3 * np.eye(16)[truth, :8]
    train, test = features(y, pool5=x), features(truth, pool5=new)
    results = dict(Knn("train", "test", k=6, temperature=0.2).run(computed(train, test)))

    top1 = top5 = 0
    for row, label in zip(new, truth, strict=True):
        cosine = x @ row / np.linalg.norm(x, axis=1) / np.linalg.norm(row)
        vote = dict.fromkeys(names.tolist(), 0.0)
        for i in np.argsort(-cosine)[:6]:
            vote[int(y[i])] += math.exp(cosine[i] / 0.2)
        ranked = sorted((name for name in vote if vote[name]), key=lambda name: -vote[name])
        top1 += ranked[0] == label
        top5 += label in ranked[:5]
    assert results["pool5"] == pytest.approx(top1 / 23)
    assert results["pool5/top5"] == pytest.approx(top5 / 23)
    values, counts = np.unique(y, return_counts=True)
    assert results["chance"] == np.mean(truth == values[counts.argmax()])


@pytest.mark.parametrize("k", [1, 20])
def test_a_class_without_a_vote_is_never_a_hit(k):
    eye = np.repeat(np.eye(10), 30, axis=0)
    classes = np.repeat(np.arange(10), 30)
    train, test = features(classes, a=eye), features(classes, a=np.roll(eye, 1, axis=1))
    results = dict(Knn("train", "test", k=k).run(computed(train, test)))
    assert (results["a"], results["a/top5"]) == (0, 0)


def test_numbering_the_classes_anew_changes_no_number():
    rng = np.random.default_rng(2)
    x, new = rng.integers(-1, 2, (60, 4)), rng.integers(-1, 2, (30, 4))  # of ties only
    y, truth, order = rng.integers(0, 9, 60), rng.integers(0, 9, 30), rng.permutation(9)
    found = [
        dict(Knn("train", "test", k=12).run(computed(features(a, x=x), features(b, x=new))))
        for a, b in ((y, truth), (order[y], order[truth]))
    ]
    assert found[0] == pytest.approx(found[1])


def far_apart(kind):
    rng = np.random.default_rng(4)
    if kind == "line":
        return np.float32([[1.2]]), np.float32([[0], [1], [1.5], [1e5], [1e5]]), 3
    if kind == "outlier":
        rows = rng.normal(size=(350, 8))
        rows[300] = 1e6
        return np.float32(rows[:50]), np.float32(rows[50:]), 5
    apart = {"clusters": 1000.0, "far clusters": 1e5, "copies": 0.0}[kind]
    rows = rng.normal(size=(400, 16)) + apart * (np.arange(400) % 2)[:, None]
    rows[80:] = np.round(rows[80:]) if kind == "copies" else rows[80:]
    return np.float32(rows[:40]), np.float32(rows[40:]), 7


@pytest.mark.parametrize("kind", ["line", "outlier", "clusters", "far clusters", "copies"])
def test_the_nearest_by_distance_are_those_of_brute_force(kind):
    queries, gallery, k = far_apart(kind)
    distances, rows = nearest_by_distance(queries, gallery, k)
    away = cdist(queries.astype(float), gallery.astype(float))
    np.testing.assert_array_equal(rows, np.argsort(away, axis=1, kind="stable")[:, :k])
    np.testing.assert_allclose(distances, np.sort(away, axis=1)[:, :k], rtol=1e-6)


def test_minus_zero_is_zero():
    rows = nearest(np.zeros((1, 1), np.float32), np.float32([[-1], [1]]), 2)[1]
    assert rows.tolist() == [[0, 1]]


def test_impossible_settings_are_refused():
    table = computed(features([0, 1], a=np.eye(2)), features([0, 1], a=np.eye(2)))
    with pytest.raises(ConfigError, match="20 neighbours asked of 2 records"):
        dict(Knn("train", "test").run(table))
    with pytest.raises(ConfigError, match="temperature=0"):
        dict(Knn("train", "test", k=1, temperature=0.0).run(table))
