"""Logistic regression against scikit-learn, and the rules every probe keeps."""

import dataclasses
import warnings
from itertools import permutations

import jax
import numpy as np
import pytest
from computed import computed, features
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ssl_jax.config import ConfigError
from ssl_jax.evals.linear import Linear
from ssl_jax.evaluator import Read
from ssl_jax.solvers import logistic, newton
from ssl_jax.solvers.probe import chance, held_folds, held_out, standardise, top_hits


def blobs(n, d, k, spread, seed):
    """Rows scattered around k fixed centres, and which centre each row belongs to."""
    centres = np.random.default_rng(99).normal(size=(k, d))
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % k)
    return centres[labels] + spread * rng.normal(size=(n, d)), labels


def reference(x, y, c):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own future arguments
        return LogisticRegression(C=c, tol=1e-12, max_iter=10000).fit(x, y)


def objective(x, y, weight, bias, l2):
    scores = x @ weight + bias
    scores = scores - scores.max(axis=1, keepdims=True)
    log = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return -log[np.arange(len(y)), y].mean() + l2 / 2 * np.sum(weight**2)


def everything(n):
    return np.ones((1, n), bool)


def test_same_optimum_as_scikit_learn_for_every_strength_and_choice_of_rows():
    x, y = blobs(120, 4, 3, spread=1.5, seed=0)
    l2 = (1e-3, 1e-1, 10.0)
    use = np.stack([np.ones(120, bool), np.arange(120) % 4 > 0])
    with jax.enable_x64(True):
        weight, bias = logistic.fit(x, y, use, l2, 3, tolerance=1e-15)
    for fold, rows in enumerate(use):
        for i, strength in enumerate(l2):
            model = reference(x[rows], y[rows], 1 / (rows.sum() * strength))
            # Adding a number to all biases changes nothing, so compare them centred.
            np.testing.assert_allclose(weight[fold, i], model.coef_.T, atol=1e-6)
            centred = model.intercept_ - model.intercept_.mean()
            np.testing.assert_allclose(bias[fold, i] - bias[fold, i].mean(), centred, atol=1e-6)


def test_with_fewer_rows_than_features_the_optimum_is_still_the_whole_problems():
    x, y = blobs(30, 200, 3, spread=8.0, seed=0)
    l2 = (1.0, 10.0)
    with jax.enable_x64(True):
        weight, _ = logistic.fit(x, y, everything(30), l2, 3, tolerance=1e-15)
    single, _ = logistic.fit(np.float32(x), y, everything(30), l2, 3)
    for i, strength in enumerate(l2):
        model = reference(x, y, 1 / (len(x) * strength))
        np.testing.assert_allclose(weight[0, i], model.coef_.T, atol=1e-6)
        np.testing.assert_allclose(single[0, i], model.coef_.T, atol=1e-5)


def test_features_of_very_different_variance_and_more_than_the_scaled_directions():
    rng = np.random.default_rng(5)
    size = 160
    assert size > newton.DIRECTIONS
    y = np.arange(400) % 4
    x = (rng.normal(size=(400, size)) + np.eye(4)[y] @ rng.normal(size=(4, size))) @ np.diag(
        10.0 ** rng.uniform(-2, 2, size)
    )
    l2 = 1e-3
    with jax.enable_x64(True):
        weight, bias = logistic.fit(x, y, everything(400), (l2,), 4, tolerance=1e-13)
    single, offset = logistic.fit(np.float32(x), y, everything(400), (l2,), 4)
    model = reference(x, y, 1 / (len(x) * l2))
    lowest = objective(x, y, model.coef_.T, model.intercept_, l2)
    assert objective(x, y, weight[0, 0], bias[0, 0], l2) <= lowest + 1e-10
    found = objective(x, y, np.float64(single[0, 0]), np.float64(offset[0, 0]), l2)
    assert found == pytest.approx(lowest, abs=1e-7)


def test_rows_split_over_devices_give_the_same_weights():
    x, y = blobs(30, 3, 3, spread=1.5, seed=0)  # 30 rows do not divide by 4
    mesh = jax.make_mesh((4,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])
    use = np.stack([np.ones(30, bool), np.arange(30) % 3 > 0])
    alone, split = (logistic.fit(np.float32(x), y, use, (0.1,), 3, mesh=m) for m in (None, mesh))
    for one, other in zip(alone, split, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_two_separable_classes():
    x, y = blobs(40, 2, 2, spread=0.1, seed=1)
    l2 = 0.01
    with jax.enable_x64(True):
        weight, bias = logistic.fit(x, y, everything(40), (l2,), 2, tolerance=1e-15)
    weight, bias = weight[0, 0], bias[0, 0]
    model = reference(x, y, 2 / (len(x) * l2))
    np.testing.assert_allclose(weight[:, 1] - weight[:, 0], model.coef_[0], atol=1e-6)
    np.testing.assert_allclose(bias[1] - bias[0], model.intercept_[0], atol=1e-6)


def test_linear_reports_every_layer_with_the_strength_chosen_on_train():
    d, k, grid = 6, 7, (1e-3, 1.0, 100.0)
    x, y = blobs(140, d, k, spread=1.0, seed=2)
    new, truth = blobs(45, d, k, spread=1.0, seed=3)
    noise = np.random.default_rng(4)
    # Names of classes need not start at 0 nor be dense.
    train = features(10 * y + 5, good=7 * x + 3, noise=noise.normal(size=x.shape))
    test = features(10 * truth + 5, good=7 * new + 3, noise=noise.normal(size=new.shape))
    results = dict(Linear("train", "test", l2=grid).run(computed(train, test)))

    # The same protocol, step by step, with scikit-learn.
    scaler = StandardScaler().fit(x)
    inner, outer = scaler.transform(x), scaler.transform(new)
    accuracy = np.zeros(len(grid))
    for held in held_folds(y, 5, seed=0):
        for i, l2 in enumerate(grid):
            model = reference(inner[~held], y[~held], 1 / ((~held).sum() * l2))
            accuracy[i] += np.sum(model.predict(inner[held]) == y[held])
    best = max(zip(accuracy, grid, strict=True))[1]
    model = reference(inner, y, 1 / (len(y) * best))
    assert results["good/l2"] == best
    assert results["good"] == pytest.approx(model.score(outer, truth))
    ranked = np.argsort(-model.decision_function(outer), axis=1)[:, :5]
    assert results["good/top5"] == pytest.approx(np.mean(np.any(ranked == truth[:, None], axis=1)))
    assert results["good"] > 0.6 > 0.35 > results["noise"]
    assert results["chance"] == pytest.approx(1 / 7)  # all classes are equally frequent

    # Single precision, which the evaluator uses, finds the lowest loss too.
    weight, bias = logistic.fit(inner, y, everything(len(y)), (best,), k)
    found = objective(inner, y, np.float64(weight[0, 0]), np.float64(bias[0, 0]), best)
    lowest = objective(inner, y, model.coef_.T, model.intercept_, best)
    assert found == pytest.approx(lowest, abs=1e-7)

    # What the test labels are does not change the choice; only the accuracy.
    relabelled = dataclasses.replace(test, labels=np.roll(test.labels, 1))
    again = dict(
        Linear("train", "test", read=Read(layers=("good",)), l2=grid).run(
            computed(train, relabelled)
        )
    )
    assert again["good/l2"] == best
    assert again["good"] < 0.4


def test_bad_features_are_refused_by_name():
    good = features([0, 1, 0, 1], conv1=np.eye(4))
    unlabelled = features([-1] * 4, conv1=np.eye(4))
    broken = features([0, 1, 0, 1], conv1=np.where(np.eye(4) > 0, np.nan, 0))
    linear = Linear("train", "test")
    with pytest.raises(ConfigError, match="test: all 4 records have no label, first record 0"):
        dict(linear.run(computed(good, unlabelled)))
    with pytest.raises(FloatingPointError, match="train, layer conv1: features of 4 of 4 records"):
        dict(linear.run(computed(broken, good)))
    with pytest.raises(ConfigError, match="same label"):
        dict(linear.run(computed(features([1, 1], conv1=np.eye(2)), good)))


def test_records_without_a_label_are_left_out():
    x = np.float32(np.random.default_rng(0).normal(size=(8, 3)))
    labels = np.arange(8) % 2
    some = np.where(np.arange(8) < 6, labels, -1)
    linear = Linear("train", "test", l2=(0.1,))
    whole = features(labels, conv1=x)
    found = dict(linear.run(computed(whole, features(some, conv1=x))))
    assert found == dict(linear.run(computed(whole, features(labels[:6], conv1=x[:6]))))


def test_impossible_knobs_are_refused_in_one_line():
    x = np.eye(4)
    table = computed(features([0, 1, 0, 1], conv1=x), features([0, 1, 0, 1], conv1=x))
    for knobs, message in (
        ({"l2": (-1.0,)}, r"l2=\(-1.0,\): each must be at least 0"),
        ({"l2": ()}, "l2 is empty"),
        ({"folds": 5}, "folds=5, but there are only 4 labelled records: choose fewer folds"),
        ({"folds": 0}, "folds=0 must be at least 1"),
        ({"labels_per_class": 3}, "class 0 has only 2 records"),
    ):
        with pytest.raises(ConfigError, match=message):
            dict(Linear("train", "test", **knobs).run(table))


def test_folds_deal_every_class_evenly_and_hold_every_row_out_once():
    labels = np.array([0] * 10 + [1] * 5 + [2] * 2 + [3])
    held = held_folds(labels, 5, seed=0)
    assert held.shape == (5, 18)
    assert held.sum(axis=0).tolist() == [1] * 17 + [0]  # the only row of its class is needed
    counts = np.array([np.bincount(labels[one], minlength=4) for one in held])
    assert (counts[:, 0] == 2).all()
    assert (counts[:, 1] == 1).all()
    assert counts[:, 2].max() == 1
    assert (held != held_folds(labels, 5, seed=1)).any()
    assert (held_folds(labels, 1, seed=0) == held_out(labels, seed=0)).all()


def test_held_out_takes_a_share_of_every_class():
    labels = np.array([0] * 10 + [1] * 5 + [2] * 2 + [3])
    mark = held_out(labels, seed=0)
    assert np.bincount(labels[mark], minlength=4).tolist() == [2, 1, 1, 0]
    assert (mark != held_out(labels, seed=1)).any()


def test_standardise_uses_train_only_and_silences_dead_features():
    rounding = np.nextafter(np.float32(1e4), np.float32(2e4))
    train = np.array([[1, 1e4, 0], [3, rounding, 0]], np.float32)
    test = np.array([[5, 1e4 + 1, 9]], np.float32)
    inner, outer = standardise(train, test)
    np.testing.assert_allclose(inner, [[-1, 0, 0], [1, 0, 0]])
    np.testing.assert_allclose(outer, [[3, 0, 0]])


@pytest.mark.parametrize("scale", [1e-30, 1e-25, 1e-20, 1.0, 1e20, 1e25, 1e30])
def test_standardise_at_every_scale(scale):
    column = np.float32([[1], [2], [3], [4]]) * np.float32(scale)
    expected = np.array([-3, -1, 1, 3]) / np.sqrt(5)
    np.testing.assert_allclose(standardise(column)[0][:, 0], expected, rtol=1e-6)


def test_classes_of_equal_scores_share_the_hit():
    scores = np.array([[0.5, 0.5, 0.1]] * 4)
    labels = np.array([0, 1, 2, -1])
    assert top_hits(scores, labels, 1).tolist() == [0.5, 0.5, 0, 0]
    assert top_hits(scores, labels, 2).tolist() == [1, 1, 0, 0]
    assert top_hits(scores, labels, 3).tolist() == [1, 1, 1, 0]


def test_hits_are_the_mean_over_all_orders_of_equals():
    scores = np.random.default_rng(0).integers(0, 3, (6, 4)).astype(float)
    labels = np.array([0, 1, 2, 3, 0, 1])
    orders = list(permutations(range(4)))
    for top in (1, 2, 3):
        found = np.zeros(6)
        for order in orders:  # numbers the classes anew, then of equals the first comes first
            ranked = np.argsort(-scores[:, order], axis=1, kind="stable")[:, :top]
            found += (np.array(order)[ranked] == labels[:, None]).any(axis=1)
        np.testing.assert_allclose(top_hits(scores, labels, top), found / len(orders))


def test_chance_takes_any_of_the_most_frequent_classes():
    truth = np.array([0, 0, 0, 2])
    assert chance(np.array([0, 1, 1, 2, 2]), truth) == pytest.approx(1 / 8)
    assert chance(np.array([0, 0, 1, 2]), truth) == pytest.approx(3 / 4)


def test_scores_that_are_not_numbers_are_never_right():
    scores = np.array([[np.nan, np.nan], [np.nan, 1.0], [0.0, np.nan], [0.0, np.inf]])
    assert top_hits(scores, np.array([0, 1, 0, 1]), 1).tolist() == [0, 0, 0, 1]
