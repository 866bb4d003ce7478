"""Machines against liblinear, average precision against scikit-learn and loops."""

import itertools
import math
from fractions import Fraction

import jax
import numpy as np
import pytest
from computed import Computed, facts_of, features
from scipy.optimize import nnls
from sklearn.metrics import average_precision_score
from sklearn.svm import LinearSVC

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import labels_fact, presence
from ssl_jax.data.record import MediaError, Record
from ssl_jax.evals.svm import Svm, VocSvm, normalised, summed
from ssl_jax.evaluator import Read
from ssl_jax.scores.average_precision import KINDS, average_precision, mean_average_precision
from ssl_jax.solvers import squared_hinge
from ssl_jax.solvers.probe import held_folds


def records(extras, labels=None):
    labels = [-1] * len(extras) if labels is None else labels
    return tuple(
        Record(f"record {i}", i, 1, 1.0, label=int(label), extra=extra)
        for i, (extra, label) in enumerate(zip(extras, labels, strict=True))
    )


def reference(x, y, cost, positive_weight=1.0):
    weights = {1: positive_weight, -1: 1.0}
    svc = LinearSVC(C=cost, dual=False, tol=1e-12, max_iter=10000, class_weight=weights)
    return svc.fit(x, y)


def problem(n, d, k, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    shown = np.where(x @ rng.normal(size=(d, k)) + rng.normal(size=(n, k)) > 0.7, 1, -1)
    return x, shown


@pytest.mark.parametrize(("n", "d"), [(60, 5), (25, 90)])
def test_the_weights_are_liblinears(n, d):
    x, shown = problem(n, d, 3, seed=0)
    use = np.stack([np.ones(n, bool), np.arange(n) % 4 > 0])
    costs = np.array([[0.01], [1.0], [50.0]])
    with jax.enable_x64(True):
        weight, bias = squared_hinge.fit(x, shown, use, costs, 2.0, tolerance=1e-16)
    single, single_bias = squared_hinge.fit(np.float32(x), shown, use, costs, 2.0)
    for fold, rows in enumerate(use):
        for i, cost in enumerate(costs[:, 0]):
            for k in range(3):
                model = reference(x[rows], shown[rows, k], cost, 2.0)
                np.testing.assert_allclose(weight[fold, i, :, k], model.coef_[0], atol=1e-6)
                assert bias[fold, i, k] == pytest.approx(model.intercept_[0], abs=1e-6)
                # In single precision many weights are as good as the best.
                data = x[rows], shown[rows, k]
                found = np.float64(single[fold, i, :, k]), single_bias[fold, i, k]
                lowest = objective(*data, model.coef_[0], model.intercept_[0], cost, 2.0)
                assert objective(*data, *found, cost, 2.0) == pytest.approx(lowest, rel=1e-6)


def objective(x, y, weight, bias, cost, positive_weight=1.0):
    loss = np.square(np.maximum(0, 1 - y * (x @ weight + bias)))
    loss = (np.where(y == 1, positive_weight, 1.0) * loss).sum()
    return (weight @ weight + bias**2) / 2 + cost * loss


def test_objective_in_single_precision_at_extreme_costs_and_in_parts(monkeypatch):
    x, shown = problem(80, 12, 4, seed=1)
    x = np.float32(x / np.linalg.norm(x, axis=1, keepdims=True))
    costs = np.array([[1e-7], [1000.0]]) * [1, 2, 1, 1]  # a class may have its own
    everything = np.ones((1, 80), bool)
    weight, bias = squared_hinge.fit(x, shown, everything, costs)
    for i, row in enumerate(costs):
        for k, cost in enumerate(row):
            model = reference(x.astype(float), shown[:, k], cost)
            lowest = objective(x, shown[:, k], model.coef_[0], model.intercept_[0], cost)
            found = objective(x, shown[:, k], np.float64(weight[0, i, :, k]), bias[0, i, k], cost)
            assert found == pytest.approx(lowest, rel=1e-6)
    monkeypatch.setattr(squared_hinge, "SCORES", 1)  # a class at a time,
    monkeypatch.setattr(squared_hinge, "NUMBERS", 80 * 12 - 1)  # as larger features are
    again, again_bias = squared_hinge.fit(x, shown, everything, costs)
    np.testing.assert_allclose(again, weight, rtol=1e-3, atol=1e-3)
    for i, row in enumerate(costs):
        for k, cost in enumerate(row):
            own, best = (
                objective(x, shown[:, k], np.float64(w[0, i, :, k]), b[0, i, k], cost)
                for w, b in ((again, again_bias), (weight, bias))
            )
            assert own == pytest.approx(best, rel=1e-6)


def test_a_fit_that_has_not_converged_is_told(caplog, monkeypatch):
    x, shown = problem(60, 50, 1, seed=6)
    monkeypatch.setattr(squared_hinge, "STEPS", 1)
    monkeypatch.setattr(squared_hinge, "GOOD", 0)
    use, costs = np.ones((1, 60), bool), np.full((1, 1), 100.0)
    squared_hinge.fit(x, shown, use, costs, tolerance=0.0)
    assert "60 rows has not converged in 1 steps" in caplog.text


def test_machines_that_are_too_large_to_be_finished_are_told(caplog, monkeypatch):
    x, shown = problem(60, 50, 1, seed=6)
    monkeypatch.setattr(squared_hinge, "PRODUCTS", 1)
    monkeypatch.setattr(squared_hinge, "GOOD", 0)
    squared_hinge.fit(x, shown, np.ones((1, 60), bool), np.full((1, 1), 100.0))
    assert "1 of 1 support vector machines are too large to be finished" in caplog.text


@pytest.mark.slow
def test_more_than_a_thousand_separable_rows_at_a_large_cost():
    rng = np.random.default_rng(0)
    n, d, cost = 1050, 700, 1000.0
    x = np.float32(rng.normal(size=(n, d)))
    y = np.where(rng.normal(size=n) > 0.5, 1, -1)
    use, costs = np.ones((1, n), bool), np.full((1, 1), cost)
    weight, bias = squared_hinge.fit(np.float64(x), y[:, None], use, costs)
    weight, bias = weight[0, 0, :, 0], bias[0, 0, 0]
    found = objective(x, y, np.float64(np.float32(weight)), np.float64(np.float32(bias)), cost)
    # Every a >= 0 bounds the objective from below: the pulls at nearly the best weights do closely.
    pull = 2 * cost * np.maximum(0, 1 - y * (x @ weight + bias))
    along = (pull * y) @ np.column_stack([x, np.ones(n)])
    lowest = pull.sum() - along @ along / 2 - pull @ pull / (4 * cost)
    assert found == pytest.approx(lowest, rel=1e-6)


def lowest_by_duality(x, y, cost):
    """The lowest objective: maximise sum(a) - a K a / 2 over a >= 0, least squares at a corner."""
    signed = y[:, None] * np.column_stack([x.astype(float), np.ones(len(x))])
    kernel = signed @ signed.T + np.eye(len(x)) / (2 * cost)
    root = np.linalg.cholesky(kernel).T
    a, _ = nnls(root, np.linalg.solve(root.T, np.ones(len(x))))
    return a.sum() - a @ kernel @ a / 2


@pytest.mark.parametrize(
    ("n", "d", "separable"),
    [(100, 500, True), (400, 420, True), (200, 120, True), (300, 60, False)],
)
def test_the_objective_is_the_lowest_at_every_cost(n, d, separable):
    rng = np.random.default_rng(0)
    x = np.float32(rng.normal(size=(n, d)))
    y = np.where(rng.normal(size=n) > 0.5, 1, -1)
    costs = np.array([[1e-3], [10.0], [1000.0]])
    weight, bias = squared_hinge.fit(x, y[:, None], np.ones((1, n), bool), costs)
    for i, cost in enumerate(costs[:, 0]):
        own = np.float64(weight[0, i, :, 0]), np.float64(bias[0, i, 0])
        lowest = lowest_by_duality(x, y, cost)
        assert objective(x, y, *own, cost) == pytest.approx(lowest, rel=1e-6)
    assert ((x @ own[0] + own[1]) * y > 0).all() == separable


def test_a_class_may_leave_rows_out():
    x, shown = problem(40, 3, 2, seed=2)
    part = shown.copy()
    part[::5, 0] = 0
    with jax.enable_x64(True):
        weight, _ = squared_hinge.fit(
            x, part, np.ones((1, 40), bool), np.ones((1, 1)), tolerance=1e-16
        )
    kept = part[:, 0] != 0
    model = reference(x[kept], shown[kept, 0], 1.0)
    np.testing.assert_allclose(weight[0, 0, :, 0], model.coef_[0], atol=1e-6)
    model = reference(x, shown[:, 1], 1.0)
    np.testing.assert_allclose(weight[0, 0, :, 1], model.coef_[0], atol=1e-6)


def test_nothing_to_learn_from_is_refused():
    x, shown = problem(10, 3, 2, seed=3)
    everything = np.ones((1, 10), bool)
    shown[:, 1] = -1
    with pytest.raises(ConfigError, match="class 1: no training record shows it"):
        squared_hinge.fit(x, shown, everything, np.ones((1, 1)))
    shown[:, 1] = 1
    with pytest.raises(ConfigError, match="class 1: no training record lacks it"):
        squared_hinge.fit(x, shown, everything, np.ones((1, 1)))
    with pytest.raises(ConfigError, match=r"costs=\(0.0,\)"):
        squared_hinge.fit(x, shown, everything, np.zeros((1, 1)))


def falling(targets):
    return np.array(targets), np.arange(len(targets), 0, -1.0)


def test_three_numbers_called_voc07():
    target, score = falling([1, 0, 1, 1, 0])
    assert average_precision(target, score, "area") == pytest.approx(5 / 6)
    assert average_precision(target, score, "eleven") == pytest.approx(0.840909, abs=1e-6)
    assert average_precision(target, score, "step") == pytest.approx(0.805556, abs=1e-6)
    # With thresholds of np.arange(0, 1.1, .1) a recall of 3/10 would miss .3 and this be .831169.
    target, score = falling([1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1])
    assert average_precision(target, score, "eleven") == pytest.approx(0.857143, abs=1e-6)
    target, score = falling([1, 0, 1, 0, 1])
    assert average_precision(target, score) == pytest.approx(0.755556, abs=1e-6)


def test_ties_by_name():
    same = np.array([0.5, 0.5])
    first, last = np.array([1, 0]), np.array([0, 1])
    expected = {
        "grouped": (0.5, 0.5),
        "index": (1, 0.5),
        "reversed": (0.5, 1),
        "optimistic": (1, 1),
        "pessimistic": (0.5, 0.5),
    }
    for ties, (of_first, of_last) in expected.items():
        for kind in KINDS:
            assert average_precision(first, same, kind, ties) == of_first
            assert average_precision(last, same, kind, ties) == of_last


def eleven_by_loop(target, score):
    """The devkit's rule in exact fractions, equal scores entering together."""
    points = []
    for threshold in sorted(set(score.tolist()), reverse=True):
        taken = target[score >= threshold]
        points.append((Fraction(int(taken.sum()), int(target.sum())), taken.mean()))
    best = [max((p for r, p in points if r >= Fraction(i, 10)), default=0) for i in range(11)]
    return float(np.mean(best))


def area_by_loop(target, score):
    """VOC2010's: the area below the precision that is reached at this recall or a higher one."""
    hits, points = 0, []
    for threshold in sorted(set(score.tolist()), reverse=True):
        taken = target[score >= threshold]
        points.append((taken.sum() / target.sum(), taken.mean()))
    area = 0.0
    for recall, _ in points:
        area += (recall - hits) * max(p for r, p in points if r >= recall)
        hits = recall
    return area


def test_average_precision_of_random_scores_with_ties():
    rng = np.random.default_rng(4)
    for levels in (2, 4, 1000):
        target = rng.integers(0, 2, 40)
        score = rng.integers(0, levels, 40) / levels
        step = average_precision(target, score, "step")
        assert step == pytest.approx(average_precision_score(target, score))
        eleven = average_precision(target, score, "eleven")
        assert eleven == pytest.approx(eleven_by_loop(target, score))
        area = average_precision(target, score, "area")
        assert area == pytest.approx(area_by_loop(target, score))
        mixed = rng.permutation(40)
        for kind, value in (("step", step), ("area", area), ("eleven", eleven)):
            again = average_precision(target[mixed], score[mixed], kind)
            assert again == pytest.approx(value)


def by_definition(targets, kind):
    """Average precision of targets that stand in this order, no two tied."""
    target, score = falling(targets)
    if kind == "step":
        return average_precision_score(target, score)
    return {"area": area_by_loop, "eleven": eleven_by_loop}[kind](target, score)


def test_ties_against_all_their_orders():
    rng = np.random.default_rng(11)
    for _ in range(4):
        target, score = rng.permutation([1, 1, 1, 0, 0, 0, 0]), rng.integers(0, 3, 7)
        groups = [np.flatnonzero(score == level) for level in (2, 1, 0)]
        orders = [
            np.concatenate(order).astype(int)
            for order in itertools.product(*map(itertools.permutations, groups))
        ]
        assert len(orders) > 1
        # Only the targets count, and many orders show the same.
        shown = {tuple(target[order].tolist()) for order in orders}
        stable = sorted(range(7), key=lambda i: -score[i])
        turned = sorted(range(6, -1, -1), key=lambda i: -score[i])
        for kind in KINDS:
            values = [by_definition(targets, kind) for targets in shown]
            expected = {
                "optimistic": max(values),
                "pessimistic": min(values),
                "index": by_definition(target[stable], kind),
                "reversed": by_definition(target[turned], kind),
            }
            for ties, value in expected.items():
                assert average_precision(target, score, kind, ties) == pytest.approx(value)


def test_undefined_precision_is_refused():
    with pytest.raises(ValueError, match="2 of 3 scores are NaN, first record 1"):
        average_precision(np.array([1, 0, 1]), np.array([0.1, math.nan, math.nan]))
    with pytest.raises(ValueError, match="none of 2 records is a positive"):
        average_precision(np.array([0, 0]), np.array([0.1, 0.2]))
    with pytest.raises(ConfigError, match="kind is one of"):
        average_precision(np.array([1, 0]), np.array([0.1, 0.2]), "voc")
    with pytest.raises(ConfigError, match="ties is one of"):
        average_precision(np.array([1, 0]), np.array([0.1, 0.2]), ties="none")
    with pytest.raises(ConfigError, match="class 1: none of 2 records shows it"):
        mean_average_precision(np.array([[1, -1], [-1, -1]]), np.zeros((2, 2)))


def test_difficult_records_do_not_count():
    presence_of = np.array([[1], [0], [-1], [1]])
    scores = np.array([[4.0], [3.0], [2.0], [1.0]])
    assert mean_average_precision(presence_of, scores, "step") == pytest.approx((1 + 2 / 3) / 2)


def test_presence_reads_numbers_text_and_difficulty():
    source = records(
        [
            {"labels": np.array([0, 2]), "labels_no_difficult": np.array([2])},
            {"labels": "1 2"},
            {"labels": []},
            {},
        ],
        labels=[-1, -1, -1, 1],
    )
    facts = facts_of(source, range(4), labels_fact)
    assert presence(facts).tolist() == [
        [0, -1, 1],
        [-1, 1, 1],
        [-1, -1, -1],
        [-1, 1, -1],
    ]
    assert presence(facts, 4).shape == (4, 4)
    with pytest.raises(ConfigError, match="label 2 is none of the 2 classes"):
        presence(facts, 2)
    with pytest.raises(MediaError, match=r"record 0: has no labels \(extra\['labels'\]\)"):
        labels_fact(records([{}])[0])
    with pytest.raises(MediaError, match="record 0: extra\\['labels'\\] holds no whole numbers"):
        labels_fact(records([{"labels": "dog"}])[0])
    for wrong in ("3 -1", range(65)):
        with pytest.raises(MediaError, match="record 0: needs 0 to 64 labels from 0"):
            labels_fact(records([{"labels": wrong}])[0])


def test_voc_step_by_step():
    rows, labels = problem(100, 6, 2, seed=5)
    (x, new), (shown, truth) = (rows[:60], rows[60:]), (labels[:60], labels[60:])
    train = records([{"labels": np.flatnonzero(row == 1)} for row in shown])
    test = records([{"labels": np.flatnonzero(row == 1)} for row in truth])
    table = (train, features([-1] * 60, conv=x)), (test, features([-1] * 40, conv=new))
    costs = (0.01, 1.0, 100.0)
    results = dict(VocSvm(train, test, costs=costs).run(Computed(table)))

    inner, outer = (
        rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-5) for rows in (x, new)
    )
    by_kind = {"area": area_by_loop, "eleven": eleven_by_loop, "step": average_precision_score}
    values = {kind: [] for kind in by_kind}
    for k in range(2):
        found = []
        for cost in costs:
            folds = []
            for held in held_folds(shown[:, k], 3, seed=0):
                model = reference(inner[~held], shown[~held, k], cost, 2.0)
                answer = model.decision_function(inner[held])
                folds.append(average_precision_score(shown[held, k], answer))
            found.append(np.mean(folds))
        model = reference(inner, shown[:, k], costs[int(np.argmax(found))], 2.0)
        for kind, value in values.items():
            answer = model.decision_function(outer)
            value.append(by_kind[kind](np.where(truth[:, k] == 1, 1, 0), answer))
    assert results["conv"] == pytest.approx(np.mean(values["area"]), abs=1e-6)
    assert results["conv/eleven"] == pytest.approx(np.mean(values["eleven"]), abs=1e-6)
    assert results["conv/step"] == pytest.approx(np.mean(values["step"]), abs=1e-6)
    assert results["chance"] == pytest.approx(np.mean(truth == 1))
    assert results["conv"] > results["chance"] + 0.2


def test_windows_vote_by_their_sum():
    decisions = np.array([[1, 0], [-0.2, 0.1], [0, 1], [0.5, 0]])
    np.testing.assert_allclose(summed(decisions, 2), [[0.8, 0.1], [0.5, 1.0]])


def sounds(n, windows, seed):
    """Records of three classes and four folds whose windows scatter around their class."""
    rng = np.random.default_rng(seed)
    labels, folds = np.arange(n) % 3, np.arange(n) // 3 % 4
    rows = 2 * np.eye(3)[labels][:, None] + rng.normal(size=(n, windows, 3))
    return labels, folds, rows


def test_the_sets_own_folds_are_held_out_in_turn():
    labels, folds, rows = sounds(36, 2, seed=7)
    source = records([{"fold": str(fold)} for fold in folds], labels)
    table = Computed(((source, features(labels, conv=rows)),))
    svm = Svm(source, read=Read(stream="audio", clips=2), costs=(0.01, 1.0))
    results = dict(svm.run(table))

    accuracies = []
    for fold in range(4):
        inner, outer = folds != fold, folds == fold
        x, y = rows[inner].reshape(-1, 3), np.repeat(labels[inner], 2)
        own = np.repeat(folds[inner], 2)
        mean, deviation = x.mean(0), x.std(0)

        def answers(train, answer, cost, x=(x - mean) / deviation, y=y):
            shown = [np.where(y == k, 1, -1) for k in range(3)]
            models = [reference(x[train], one[train], cost) for one in shown]
            return np.stack([model.decision_function(answer) for model in models], axis=1)

        scaled = (x - mean) / deviation
        hits = [
            sum(
                np.sum(
                    summed(answers(own != held, scaled[own == held], cost), 2).argmax(1)
                    == y[own == held][::2]
                )
                for held in np.unique(own)
            )
            for cost in svm.costs
        ]
        new = (rows[outer].reshape(-1, 3) - mean) / deviation
        best = svm.costs[int(np.argmax(hits))]
        found = summed(answers(np.ones(len(x), bool), new, best), 2).argmax(1)
        accuracies.append(np.mean(found == labels[outer]))
    assert results["conv"] == pytest.approx(np.mean(accuracies))
    assert results["conv/std"] == pytest.approx(np.std(accuracies, ddof=1))
    assert results["chance"] == pytest.approx(1 / 3)


def test_a_test_source_takes_the_folds_place():
    labels, _, rows = sounds(30, 1, seed=8)
    train, test = records([{}] * 30, labels), records([{}] * 30, labels)
    _, _, new = sounds(30, 1, seed=9)
    table = Computed(((train, features(labels, conv=rows)), (test, features(labels, conv=new))))
    results = dict(Svm(train, test, read=Read(stream="audio", clips=1), costs=(0.1,)).run(table))
    assert set(results) == {"conv", "chance"}
    assert results["conv"] > 0.6
    with pytest.raises(MediaError, match="record 0: has no fold"):
        dict(Svm(train, read=Read(stream="audio", clips=1)).run(table))


def test_normalised_by_name():
    x, new = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[1.0, 0.0]])
    inner, outer = normalised("length", x, new)
    np.testing.assert_allclose(inner, [[0.6, 0.8], [0, 0]], atol=1e-5)
    np.testing.assert_allclose(outer, [[1, 0]], atol=2e-5)
    assert normalised("none", x)[0] is x
    with pytest.raises(ConfigError, match="normalise='l1'"):
        normalised("l1", x)
