"""Few labels: balanced draws, their samples for VOC07, and a known number on digits."""

import dataclasses

import numpy as np
import pytest
from computed import Computed, computed, features
from sklearn import linear_model
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Record
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.low_shot import LowShot, VocLowShot, few_of_each, nearest_scores
from ssl_jax.evals.ridge import Ridge
from ssl_jax.evaluator import Read
from ssl_jax.solvers.probe import few_labels


def test_a_class_gets_k_positives_and_so_many_negatives_as_the_other_classes_would():
    rng = np.random.default_rng(0)
    shown = np.where(rng.uniform(size=(40, 3)) < 0.4, 1, -1)
    shown[:5] = 0  # difficult: never drawn
    table = few_of_each(shown, 2, seed=0)
    for k in range(3):
        assert np.sum(table[:, k] == 1) == 2
        assert np.sum(table[:, k] == 0) == 4
        assert np.sum(table[:, k] == -1) == 34
        assert (shown[table[:, k] == 1, k] == 1).all()
        assert (shown[table[:, k] == 0, k] == -1).all()
    assert (few_of_each(shown, 2, seed=0) == table).all()
    assert (few_of_each(shown, 2, seed=1) != table).any()
    with pytest.raises(ConfigError, match="shots=30: 30 records that show class 0 are needed"):
        few_of_each(shown, 30, seed=0)


def test_nearest_scores_are_a_neighbours():
    rng = np.random.default_rng(1)
    x, y, new = rng.normal(size=(9, 4)), np.arange(9) % 3, rng.normal(size=(20, 4))
    found = nearest_scores(x, y, new, 3)
    wanted = KNeighborsClassifier(1).fit(x, y).predict(new)
    assert (found.argmax(axis=1) == wanted).all()
    assert (found.sum(axis=1) == 1).all()


def digits():
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    inner, outer = order[:1297], order[1297:]
    train, test = features(labels[inner], input=images[inner]), features(labels[outer])
    test = dataclasses.replace(test, layers={"input": images[outer].astype(np.float32)})
    return computed(train, test)


def test_one_neighbour_with_a_hundred_labels_of_digits():
    frozen = digits()
    sources = tuple(owner for owner, _ in frozen.known)
    results = dict(LowShot(*sources, classifier="nearest").run(frozen))
    # Known of raw pixels, from draws and a split of others: 92.3 +- 1.4; standardised a bit less.
    assert results["input/10 a class"] == pytest.approx(0.91, abs=0.03)
    assert 0.005 < results["input/10 a class/std"] < 0.025
    assert set(results) == {"input/10 a class", "input/10 a class/std", "chance"}

    # The same draws, by hand.
    train, test = (found for _, found in frozen.known)
    scaler = StandardScaler().fit(train.layers["input"].astype(float))
    x, new = (scaler.transform(part.layers["input"].astype(float)) for part in (train, test))
    accuracies = []
    for seed in range(20):
        rows = few_labels(train.labels, 10, seed)
        model = KNeighborsClassifier(1).fit(x[rows], train.labels[rows])
        accuracies.append(model.score(new, test.labels))
    assert results["input/10 a class"] == pytest.approx(np.mean(accuracies), abs=2e-3)


@pytest.mark.parametrize("classifier", ["logistic", "ridge"])
def test_more_labels_are_better_and_raw_input_always_is_there(classifier):
    rng = np.random.default_rng(2)
    y, truth = np.arange(120) % 3, np.arange(60) % 3
    x, new = (np.eye(6)[t] * 2 + rng.normal(size=(len(t), 6)) for t in (y, truth))
    train, test = ("train",), ("test",)
    frozen = Computed(
        (
            (train, features(y, input=x[:, 3:], conv=x)),
            (test, features(truth, input=new[:, 3:], conv=new)),
        )
    )
    low = LowShot(
        train,
        test,
        read=Read(layers=("conv",)),
        shots=(1, 8),
        draws=3,
        classifier=classifier,
        l2=(0.01, 1.0),
    )
    results = dict(low.run(frozen))
    assert list(results)[:2] == ["input/1 a class", "input/1 a class/std"]
    assert results["conv/8 a class"] > max(results["conv/1 a class"], 0.7)
    assert results["conv/8 a class"] > results["input/8 a class"] + 0.2
    # With one strength, by scikit-learn on the same draws.
    one = dict(dataclasses.replace(low, l2=(0.5,)).run(frozen))
    scaler = StandardScaler().fit(x)
    known, asked, accuracies = scaler.transform(x), scaler.transform(new), []
    for seed in range(3):
        rows = few_labels(y, 8, seed)
        if classifier == "logistic":
            model = LogisticRegression(C=1 / (len(rows) * 0.5), tol=1e-8, max_iter=1000)
            answers = model.fit(known[rows], y[rows]).decision_function(asked)
        else:
            target = 2 * np.eye(3)[y[rows]] - 1
            answers = linear_model.Ridge(0.5).fit(known[rows], target).predict(asked)
        accuracies.append(np.mean(answers.argmax(axis=1) == truth))
    assert one["conv/8 a class"] == pytest.approx(np.mean(accuracies))
    assert one["conv/8 a class/std"] == pytest.approx(np.std(accuracies, ddof=1))
    # With the usual strengths it is the probe of the same name.
    usual = dict(dataclasses.replace(low, l2=()).run(frozen))
    probe = {"logistic": Linear, "ridge": Ridge}[classifier](
        train, test, read=Read(layers=("conv",)), folds=5, labels_per_class=8, draws=3
    )
    same = dict(probe.run(frozen))
    assert usual["conv/8 a class"] == same["conv"]
    assert usual["conv/8 a class/std"] == same["conv/std"]
    for knobs, message in (
        ({"shots": (41,)}, "class 0 has only 40 records"),
        ({"draws": 0}, "draws=0"),
        ({"classifier": "svm"}, "classifier='svm' must be one of"),
    ):
        with pytest.raises(ConfigError, match=message):
            dict(dataclasses.replace(low, **knobs).run(frozen))


def test_voc_low_shot_reports_the_honest_and_the_published_choice():
    rng = np.random.default_rng(3)
    shown = np.where(np.eye(3)[np.arange(16) % 3] > 0, 1, -1)
    x = (shown + 1.5 * rng.normal(size=(16, 3))).astype(np.float32)
    new = (shown + 1.5 * rng.normal(size=(16, 3))).astype(np.float32)
    train, test = (
        tuple(
            Record(f"{i}", i, 1, 1.0, extra={"labels": np.flatnonzero(row == 1), "part": part})
            for i, row in enumerate(shown)
        )
        for part in ("train", "test")
    )
    frozen = Computed(((train, features([-1] * 16, conv=x)), (test, features([-1] * 16, conv=new))))
    low = VocLowShot(train, test, shots=(1, 4), samples=2, costs=(1e-3, 1.0, 100.0))
    results = dict(low.run(frozen))
    for shots in (1, 4):
        honest, published = (results[f"conv/{shots} shots{how}"] for how in ("", ", C by test"))
        assert results["chance"] < honest
        assert 0.5 < published <= 1
        assert 0 <= results[f"conv/{shots} shots/std"] < 0.3
    # One shot by scikit-learn on the same samples: the middle cost, rows of length one.
    inner, outer = (r / (np.linalg.norm(r, axis=1, keepdims=True) + 1e-5) for r in (x, new))
    found = []
    for seed in range(2):
        table = few_of_each(shown, 1, seed)
        for k in range(3):
            rows = table[:, k] >= 0
            svc = LinearSVC(C=1.0, dual=False, tol=1e-10, class_weight={1: 2.0, 0: 1.0})
            svc.fit(inner[rows].astype(float), table[rows, k])
            answers = svc.decision_function(outer.astype(float))
            found.append(average_precision_score(shown[:, k] == 1, answers))
    step = dict(dataclasses.replace(low, kind="step", shots=(1,)).run(frozen))
    assert step["conv/1 shots"] == pytest.approx(np.mean(found), abs=1e-6)
    assert results["conv/4 shots"] > results["conv/1 shots"]
    assert results["chance"] == pytest.approx(np.mean(shown == 1))
    with pytest.raises(ConfigError, match="shots=7: 7 records that show class 0 are needed"):
        dict(dataclasses.replace(low, shots=(7,)).run(frozen))
