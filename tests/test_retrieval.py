"""Retrieval: orders, ties, groups, and the map between two feature spaces."""

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as Reference
from sklearn.metrics import ndcg_score

from ssl_jax.evals.knn import nearest
from ssl_jax.evals.probe import standardise
from ssl_jax.evals.retrieval import (
    ClassRetrieval,
    CrossModalRetrieval,
    matching_ranks,
    median_rank,
    ndcg,
    predict_features,
    ranks,
    recall_at,
)
from ssl_jax.frozen import Features


@dataclasses.dataclass(frozen=True)
class Computed:
    """Stands for a frozen network whose features are known already."""

    tables: dict[str, Features]  # 'source modality' -> features

    def features(self, source, modality, layers, clips, pool):
        full = self.tables[f"{source} {modality}"]
        return dataclasses.replace(full, layers={k: full.layers[k] for k in layers or full.layers})


def features(labels, groups=None, **layers):
    n = len(labels)
    layers = {name: np.asarray(rows, np.float32) for name, rows in layers.items()}
    groups = np.zeros(n, np.int64) if groups is None else np.array(groups, np.int64)
    return Features(layers, np.array(labels, np.int64), np.arange(n), groups)


def unlabelled(groups=None, **layers):
    return features([-1] * len(next(iter(layers.values()))), groups, **layers)


def test_names_of_ties():
    similarity = np.array([[9, 1, 3, 2], [8, 5, 6, 1], [2, 2, 2, 2], [4, 3, 2, 1]]) / 10
    right = np.arange(4)
    best, worst, mean = (ranks(similarity, right, t) for t in ("optimistic", "pessimistic", "mean"))
    assert best.tolist() == [0, 2, 0, 3]
    assert worst.tolist() == [0, 2, 3, 3]
    assert mean.tolist() == [0, 2, 1.5, 3]
    assert ranks(similarity, right, "index").tolist() == [0, 2, 2, 3]
    assert (recall_at(best, 1), median_rank(best)) == (0.5, 2)
    assert (recall_at(mean, 1), median_rank(mean)) == (0.25, 2.75)
    assert (recall_at(worst, 1), median_rank(worst)) == (0.25, 3.5)
    with pytest.raises(ValueError, match="ties='lucky'"):
        ranks(similarity, right, "lucky")
    with pytest.raises(ValueError, match="NaN"):
        ranks(np.where(similarity > 0.8, np.nan, similarity), right)


def test_ranks_count_what_a_sort_finds():
    rng = np.random.default_rng(0)
    similarity, right = rng.normal(size=(20, 9)), rng.integers(0, 9, 20)
    order = np.argsort(-similarity, axis=1)
    expected = [list(row).index(item) for row, item in zip(order, right, strict=True)]
    for ties in ("optimistic", "pessimistic", "mean", "index"):
        assert ranks(similarity, right, ties).tolist() == expected


def test_ndcg():
    relevance, similarity = np.array([[3.0, 2, 0, 1]]), np.array([[4.0, 3, 2, 1]])
    assert ndcg(relevance, similarity, 4)[0] == pytest.approx(0.985442, abs=1e-6)
    assert ndcg(relevance, similarity, 4, "exponential")[0] == pytest.approx(0.992620, abs=1e-6)
    rng = np.random.default_rng(1)
    relevance, similarity = rng.integers(0, 4, (6, 12)), rng.normal(size=(6, 12))
    relevance[2] = 0
    for k in (1, 5, 30):
        each = ndcg(relevance, similarity, k)
        assert each[2] == 0
        assert each.mean() == pytest.approx(ndcg_score(relevance, similarity, k=k))


def test_collapsed_features_score_chance():
    same = np.random.default_rng(2).normal(size=(1, 50)) + np.zeros((30, 1))
    shaken = same + 1e-8 * np.random.default_rng(3).normal(size=(30, 50))
    found = matching_ranks(same, shaken, np.zeros(30, int), "mean")
    assert found.tolist() == [14.5] * 30
    assert recall_at(found, 5) == 0


def test_cross_modal_retrieval_and_its_groups():
    rng = np.random.default_rng(4)
    groups = [0] * 4 + [7] * 6 + [3] * 10
    # Sound tells the group, and within it half of what it takes to tell the record.
    meaning = rng.normal(size=(20, 6)) + 10 * np.eye(8)[groups, :6]
    sound = meaning + 2 * rng.normal(size=(20, 6))
    frozen = Computed(
        {
            "test vision": unlabelled(groups, embedding=meaning, conv1=0 * meaning),
            "test audio": unlabelled(groups, embedding=sound),
        }
    )
    cosine = np.array(
        [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in sound] for a in meaning]
    )
    for within in (False, True):
        found = []
        for i in range(20):
            rivals = [j for j in range(20) if not within or groups[j] == groups[i]]
            found.append(sum(cosine[i, j] > cosine[i, i] for j in rivals))
        results = dict(CrossModalRetrieval("test", within_groups=within).run(frozen))
        for k in (1, 5, 10):
            assert results[f"embedding/R@{k}"] == np.mean(np.array(found) < k)
        assert results["embedding/median_rank"] == np.median(found) + 1
        if within:
            assert results["chance/R@1"] == pytest.approx(3 / 20)
            assert results["chance/R@5"] == pytest.approx((4 + 6 * 5 / 6 + 10 * 5 / 10) / 20)
        else:
            assert results["chance/R@5"] == pytest.approx(5 / 20)
    broken = np.where(np.arange(20)[:, None] == 13, np.nan, sound)
    frozen.tables["test audio"] = unlabelled(groups, embedding=broken)
    with pytest.raises(ValueError, match=r"audio embedding: features of 1 of 20 .* record 13"):
        dict(CrossModalRetrieval("test").run(frozen))
    frozen.tables["test audio"] = unlabelled(groups, embedding=rng.normal(size=(20, 9)))
    with pytest.raises(ValueError, match="share no space; use map='ridge'"):
        dict(CrossModalRetrieval("test").run(frozen))


def test_ridge_maps_between_layers_of_any_size():
    rng = np.random.default_rng(5)
    mixing = rng.normal(size=(5, 8))
    tables = {}
    for source, n in (("train", 60), ("test", 25)):
        picture = rng.normal(size=(n, 5))
        sound = 4 + picture @ mixing + 0.3 * rng.normal(size=(n, 8))
        noise = rng.normal(size=(n, 3))
        tables[f"{source} vision"] = unlabelled(input=noise, conv1=picture)
        tables[f"{source} audio"] = unlabelled(fc=sound)
    retrieval = CrossModalRetrieval("test", layer="fc", map="ridge", train="train", l2=(1.0,))
    results = dict(retrieval.run(Computed(tables)))
    x, new = standardise(*(tables[f"{s} vision"].layers["conv1"] for s in ("train", "test")))
    y, true = standardise(*(tables[f"{s} audio"].layers["fc"] for s in ("train", "test")))
    predicted = Reference(alpha=1.0).fit(x, y).predict(new)
    cosine = predicted @ true.T / np.linalg.norm(true, axis=1)
    assert results["conv1/R@1"] == np.mean(cosine.argmax(axis=1) == np.arange(25))
    assert results["conv1/R@1"] > 0.8 > 0.3 > results["input/R@1"]
    assert results["chance/R@1"] == 1 / 25
    with pytest.raises(ValueError, match="train="):
        dict(CrossModalRetrieval("test", map="ridge").run(Computed(tables)))


def test_ridge_map_chooses_its_strength_on_training_pairs():
    rng = np.random.default_rng(6)
    x, new = (rng.normal(size=(n, 20)).astype(np.float32) for n in (30, 200))
    mixing = rng.normal(size=(20, 4))
    y = np.float32(x @ mixing + 8 * rng.normal(size=(30, 4)))
    chosen = predict_features(x, new, y, (1e-3, 20.0), seed=0)
    weak, strong = (predict_features(x, new, y, (l2,), seed=0) for l2 in (1e-3, 20.0))
    assert not np.allclose(weak, strong, atol=0.1)
    np.testing.assert_array_equal(chosen, strong)
    truth = new @ mixing

    def error(answer):
        return np.mean(
            1
            - np.sum(answer * truth, 1)
            / np.linalg.norm(answer, axis=1)
            / np.linalg.norm(truth, axis=1)
        )

    assert error(strong) < error(weak)


def test_class_retrieval():
    queries = np.array([[1, 0], [0, 1]], np.float32)
    gallery = np.array([[0.9, 0.1], [1, 0.05], [0.1, 0.9], [0.6, 0.6]], np.float32)
    assert nearest(queries, gallery, 4)[1].tolist() == [[1, 0, 3, 2], [2, 3, 0, 1]]
    frozen = Computed(
        {
            "train vision": features([1, 0, 0, 1], conv5=gallery),
            "test vision": features([0, 1], conv5=queries),
        }
    )
    results = dict(ClassRetrieval("train", "test", ks=(1, 2, 3)).run(frozen))
    assert results["conv5/hit@1"] == 0.5
    assert results["conv5/hit@2"] == results["conv5/hit@3"] == 1
    assert results["chance/hit@1"] == pytest.approx(0.5)
    hits = [len({0, 3} & set(pair)) > 0 for pair in combinations(range(4), 2)]
    assert results["chance/hit@2"] == pytest.approx(np.mean(hits))
    assert results["chance/hit@3"] == pytest.approx(1)
    with pytest.raises(ValueError, match="50 neighbours asked of 4 records"):
        dict(ClassRetrieval("train", "test").run(frozen))


@pytest.mark.parametrize("centre", ["none", "train_mean", "own_mean"])
def test_centring_before_cosine(centre):
    rng = np.random.default_rng(7)
    y, truth = rng.integers(0, 3, 30), rng.integers(0, 3, 20)
    gallery = np.float32(rng.normal(size=(30, 4)) + 2 * np.eye(4)[y] + 5)
    queries = np.float32(rng.normal(size=(20, 4)) + 2 * np.eye(4)[truth] + [9, 3, 0, 0])
    frozen = Computed(
        {"train vision": features(y, a=gallery), "test vision": features(truth, a=queries)}
    )
    results = dict(ClassRetrieval("train", "test", ks=(1, 3), centre=centre).run(frozen))
    zero = np.zeros(4)
    of_gallery, of_queries = {
        "none": (zero, zero),
        "train_mean": (gallery.mean(0), gallery.mean(0)),
        "own_mean": (gallery.mean(0), queries.mean(0)),
    }[centre]
    for k in (1, 3):
        hits = []
        for row, label in zip(queries - of_queries, truth, strict=True):
            cosine = [row @ g / np.linalg.norm(g) for g in gallery - of_gallery]
            hits.append(label in y[np.argsort(cosine)[::-1][:k]])
        assert results[f"a/hit@{k}"] == pytest.approx(np.mean(hits))
