"""The ridge probe against scikit-learn and the normal equations."""

import dataclasses

import jax
import numpy as np
import pytest
from computed import computed, features
from sklearn.linear_model import Ridge as Reference
from sklearn.preprocessing import StandardScaler

from ssl_jax.config import ConfigError
from ssl_jax.evals.ridge import Ridge
from ssl_jax.solvers import ridge
from ssl_jax.solvers.probe import few_labels, held_out, standardise


@pytest.mark.parametrize(("n", "d"), [(30, 7), (9, 14)])
def test_same_as_scikit_learn_with_more_or_fewer_rows_than_features(n, d):
    rng = np.random.default_rng(0)
    x, y, new = rng.normal(2, 1, (n, d)), rng.normal(1, 1, (n, 3)), rng.normal(2, 1, (5, d))
    l2 = (0.01, 1.0, 100.0)
    use = np.stack([np.ones(n), np.arange(n) % 3 > 0])

    def answers(dtype):
        data = (np.asarray(array, dtype) for array in (x, y, use, l2))
        weight, bias = map(np.asarray, ridge.solve(*data))
        return new @ weight + bias[:, :, None]

    single = answers(np.float32)
    with jax.enable_x64(True):
        double = answers(np.float64)
    for fold, rows in enumerate(use > 0):
        for i, strength in enumerate(l2):
            expected = Reference(alpha=strength).fit(x[rows], y[rows]).predict(new)
            np.testing.assert_allclose(double[fold, i], expected, atol=1e-10)
            np.testing.assert_allclose(single[fold, i], expected, atol=2e-4)


def test_normal_equations_summed_over_devices_give_the_same_weights():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(30, 3)).astype(np.float32), np.arange(30) % 3
    mesh = jax.make_mesh((4,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])
    use = np.stack([np.ones(30, bool), y < 2])
    alone, split = (ridge.fit(x, y, use, (0.5, 5.0), 3, m) for m in (None, mesh))
    for one, other in zip(alone, split, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def scores(x, y, classes, l2):
    weight, bias = ridge.fit(x, y, np.ones((1, len(x)), bool), l2, classes)
    return x @ weight[0] + bias[0][:, None]


def test_two_points():
    x, y = np.array([[0.0], [1.0]], np.float32), np.array([0, 1])
    found = scores(x, y, 2, (0.0, 1.0))
    # No penalty: both points are met. With it: the normal equations, constant of 100 and all.
    np.testing.assert_allclose(found[0], [[1, -1], [-1, 1]], atol=1e-5)
    constant = np.concatenate([x - x.mean(), np.full((2, 1), 100.0)], axis=1)
    target = np.array([[1.0, -1.0], [-1.0, 1.0]])
    weight = np.linalg.solve(constant.T @ constant + np.eye(2), constant.T @ target)
    np.testing.assert_allclose(found[1], constant @ weight, atol=1e-6)


def test_square_and_repeated_features_stay_finite_in_single_precision():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20, 20)).astype(np.float32)
    x[:, 10:] = x[:, :10]
    y = np.arange(20) % 2
    found = scores(x, y, 2, (0.0, 1e-3))
    assert np.abs(found).max() < 10
    # The float64 answer without the ten copies, which share their original's weight.
    centred, target = x[:, :10] - x[:, :10].mean(axis=0), 2 * np.eye(2)[y] - 1
    gram = centred.T.astype(np.float64) @ centred + 0.5e-3 * np.eye(10)
    expected = centred @ np.linalg.solve(gram, centred.T @ (target - target.mean(axis=0)))
    np.testing.assert_allclose(found[1], expected + target.mean(axis=0), atol=1e-3)


def accuracy(strength, x, y, new, truth):
    model = Reference(alpha=strength).fit(x, 2 * np.eye(3)[y] - 1)
    return np.mean(model.predict(new).argmax(axis=1) == truth)


def test_ridge_chooses_on_held_out_training_rows_and_reports_layers():
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(3, 40))
    y, truth = rng.permutation(np.arange(45) % 3), rng.permutation(np.arange(60) % 3)
    x = centres[y] + 2.5 * rng.normal(size=(45, 40))
    new = centres[truth] + 2.5 * rng.normal(size=(60, 40))
    grid = (0.01, 30.0, 1e6)
    train, test = features(y, conv=x, noise=0 * x + x[:1]), features(truth, conv=new, noise=new)
    with jax.transfer_guard("disallow"):  # as inside the training loop
        results = dict(Ridge("train", "test", l2=grid).run(computed(train, test)))

    scaler = StandardScaler().fit(x)
    x, new = scaler.transform(x), scaler.transform(new)
    held = held_out(y, seed=0)
    best = max((accuracy(l2, x[~held], y[~held], x[held], y[held]), l2) for l2 in grid)[1]
    assert results["conv/l2"] == best
    assert results["conv"] == pytest.approx(accuracy(best, x, y, new, truth))
    # A layer that does not change in training says nothing, whatever it does in the test.
    assert results["noise"] == results["chance"] == pytest.approx(1 / 3)


def test_few_labels_are_balanced_draws():
    rng = np.random.default_rng(3)
    y, truth = rng.permutation(np.arange(90) % 3), rng.permutation(np.arange(30) % 3)
    x, new = (np.float32(rng.normal(size=(len(t), 4)) + 2 * np.eye(4)[t]) for t in (y, truth))
    few = Ridge("train", "test", l2=(1.0,), labels_per_class=2, draws=3, seed=8)
    frozen = computed(features(y, a=x), features(truth, a=new))
    results = dict(few.run(frozen))
    x, new = standardise(x, new)  # by all 90 rows, though only six have labels
    accuracies = []
    for seed in (8, 9, 10):
        rows = few_labels(y, 2, seed)
        assert np.bincount(y[rows]).tolist() == [2, 2, 2]
        accuracies.append(accuracy(1.0, x[rows], y[rows], new, truth))
    assert len(set(accuracies)) > 1
    assert results["a"] == pytest.approx(np.mean(accuracies))
    assert results["a/std"] == pytest.approx(np.std(accuracies, ddof=1))
    with pytest.raises(ConfigError, match="class 0 has only 30 records"):
        few_labels(y, 31, 0)
    alone = dataclasses.replace(few, labels_per_class=1, l2=(0.1, 1.0))
    with pytest.raises(ConfigError, match="give a single l2"):
        dict(alone.run(frozen))
