"""Logistic regression against scikit-learn, and the rules every probe keeps."""

import dataclasses
import warnings

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ssl_jax.evals import logistic
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.probe import class_ranks, held_out, standardise
from ssl_jax.frozen import Features


@dataclasses.dataclass(frozen=True)
class Computed:
    """Stands for a frozen network whose features are known already."""

    train: Features
    test: Features

    def features(self, source, modality, layers, clips, pool):
        full = getattr(self, source)
        return dataclasses.replace(full, layers={k: full.layers[k] for k in layers or full.layers})


def features(labels, **layers):
    n = len(labels)
    layers = {name: np.asarray(rows, np.float32) for name, rows in layers.items()}
    return Features(layers, np.array(labels, np.int64), np.arange(n), np.zeros(n, np.int64))


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


def test_same_optimum_as_scikit_learn():
    x, y = blobs(120, 4, 3, spread=1.5, seed=0)
    l2 = (1e-3, 1e-1, 10.0)
    with jax.enable_x64(True):
        weight, bias = map(np.asarray, logistic.fit(x, y, np.array(l2), 3, tolerance=1e-10))
    for i, strength in enumerate(l2):
        model = reference(x, y, 1 / (len(x) * strength))
        # Adding a number to all biases changes nothing, so compare them centred.
        np.testing.assert_allclose(weight[i], model.coef_.T, atol=1e-6)
        centred = model.intercept_ - model.intercept_.mean()
        np.testing.assert_allclose(bias[i] - bias[i].mean(), centred, atol=1e-6)


def test_with_fewer_rows_than_features_the_optimum_is_still_the_whole_problems():
    x, y = blobs(30, 200, 3, spread=8.0, seed=0)
    new, _ = blobs(20, 200, 3, spread=8.0, seed=1)
    l2 = (1.0, 10.0)
    with jax.enable_x64(True):
        scores = logistic.logits(x, y, new, 3, l2)
    for strength, ours in zip(l2, scores, strict=True):
        wanted = reference(x, y, 1 / (len(x) * strength)).decision_function(new)
        # A gradient of 1e-5 leaves weights within 1e-5 / l2, and rows are about 100 long.
        np.testing.assert_allclose(ours - ours.mean(1, keepdims=True), wanted, atol=2e-3)


def test_two_separable_classes():
    x, y = blobs(40, 2, 2, spread=0.1, seed=1)
    l2 = 0.01
    with jax.enable_x64(True):
        weight, bias = map(np.asarray, logistic.fit(x, y, np.array([l2]), 2, tolerance=1e-10))
    model = reference(x, y, 2 / (len(x) * l2))
    np.testing.assert_allclose(weight[0, :, 1] - weight[0, :, 0], model.coef_[0], atol=1e-6)
    np.testing.assert_allclose(bias[0, 1] - bias[0, 0], model.intercept_[0], atol=1e-6)


def test_linear_reports_every_layer_with_the_strength_chosen_on_train():
    d, k, grid = 6, 7, (1e-3, 1.0, 100.0)
    x, y = blobs(140, d, k, spread=1.0, seed=2)
    new, truth = blobs(45, d, k, spread=1.0, seed=3)
    noise = np.random.default_rng(4)
    # Names of classes need not start at 0 nor be dense.
    train = features(10 * y + 5, good=7 * x + 3, noise=noise.normal(size=x.shape))
    test = features(10 * truth + 5, good=7 * new + 3, noise=noise.normal(size=new.shape))
    results = dict(Linear("train", "test", l2=grid).run(Computed(train, test)))

    # The same protocol, step by step, with scikit-learn.
    held = held_out(y, seed=0)
    inner, outer = standardise(x, new)
    accuracy = []
    for l2 in grid:
        model = reference(inner[~held], y[~held], 1 / ((~held).sum() * l2))
        accuracy.append(model.score(inner[held], y[held]))
    best = max(zip(accuracy, grid, strict=True))[1]
    model = reference(inner, y, 1 / (len(y) * best))
    assert results["good/l2"] == best
    assert results["good"] == pytest.approx(model.score(outer, truth))
    ranked = np.argsort(-model.decision_function(outer), axis=1)[:, :5]
    assert results["good/top5"] == pytest.approx(np.mean(np.any(ranked == truth[:, None], axis=1)))
    assert results["good"] > 0.6 > 0.35 > results["noise"]
    assert results["chance"] == np.mean(truth == np.bincount(y).argmax())

    # Single precision, which the evaluator uses, finds the lowest loss too.
    weight, bias = logistic.fit(inner, y, np.float32([best]), k)
    found = objective(inner, y, np.float64(weight[0]), np.float64(bias[0]), best)
    lowest = objective(inner, y, model.coef_.T, model.intercept_, best)
    assert found == pytest.approx(lowest, abs=1e-7)

    # What the test labels are does not change the choice; only the accuracy.
    relabelled = dataclasses.replace(test, labels=np.roll(test.labels, 1))
    again = dict(
        Linear("train", "test", layers=("good",), l2=grid).run(Computed(train, relabelled))
    )
    assert again["good/l2"] == best
    assert again["good"] < 0.4


def test_bad_features_are_refused_by_name():
    good = features([0, 1, 0, 1], conv1=np.eye(4))
    unlabelled = features([0, 1, -1, -1], conv1=np.eye(4))
    broken = features([0, 1, 0, 1], conv1=np.where(np.eye(4) > 0, np.nan, 0))
    linear = Linear("train", "test")
    with pytest.raises(ValueError, match="test: 2 of 4 records have no label, first record 2"):
        dict(linear.run(Computed(good, unlabelled)))
    with pytest.raises(ValueError, match="train, layer conv1: features of 4 of 4 records are NaN"):
        dict(linear.run(Computed(broken, good)))
    with pytest.raises(ValueError, match="same label"):
        dict(linear.run(Computed(features([1, 1], conv1=np.eye(2)), good)))


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


def test_class_ranks_break_ties_by_class_number():
    scores = np.array([[0.5, 0.5, 0.1]] * 4)
    assert class_ranks(scores, np.array([0, 1, 2, -1])).tolist() == [0, 1, 2, np.inf]
