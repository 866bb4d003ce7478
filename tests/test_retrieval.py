"""Retrieval: orders, ties, groups, and the map between two feature spaces."""

import dataclasses
import json
from itertools import combinations, permutations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as Reference
from sklearn.metrics import ndcg_score
from sklearn.preprocessing import StandardScaler

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Caption, Record
from ssl_jax.evals.clip_retrieval import ClassRetrieval
from ssl_jax.evals.cross_modal_retrieval import (
    CrossModalRetrieval,
    GradedRetrieval,
    best_pair,
    predict_features,
)
from ssl_jax.evals.knn import nearest, nearest_by_distance
from ssl_jax.evals.text_video_retrieval import CaptionSource, TextVideoRetrieval
from ssl_jax.frozen import Features
from ssl_jax.scores.label_tree import relevance_by_tree
from ssl_jax.scores.retrieval import (
    matching_positions,
    median_rank,
    ndcg,
    ndcg_by_chance,
    positions,
    rank,
    recall_at,
    recall_by_chance,
)


@dataclasses.dataclass(frozen=True)
class Computed:
    """Stands for a frozen network whose features are known already."""

    tables: dict[str, Features]  # 'source stream' -> features

    def features(self, source, stream, layers=(), clips=1, pool="max", average=True, facts=None):
        name = "videos" if isinstance(source, Videos) else source
        name = "captions" if isinstance(source, CaptionSource) else name
        full = self.tables[f"{name} {stream}"]
        if facts is not None and not full.facts:
            records = [Record("", 0, num_frames=1, fps=1.0, label=int(x)) for x in full.labels]
            shown = np.stack([facts(record)["shown"] for record in records])
            full = dataclasses.replace(full, facts={"shown": shown})
        return dataclasses.replace(full, layers={k: full.layers[k] for k in layers or full.layers})


@dataclasses.dataclass(frozen=True)
class Videos:
    """Videos with so many captions each."""

    captions: tuple[int, ...]

    def __len__(self):
        return len(self.captions)

    def __getitem__(self, index):
        captions = tuple(Caption(f"{index} {n}") for n in range(self.captions[index]))
        return Record(f"video {index}", index, num_frames=1, fps=1.0, captions=captions)


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
    found = positions(similarity, right)
    best, worst, mean = (rank(found, t) for t in ("optimistic", "pessimistic", "mean"))
    assert best.tolist() == [0, 2, 0, 3]
    assert worst.tolist() == [0, 2, 3, 3]
    assert mean.tolist() == [0, 2, 1.5, 3]
    assert rank(found, "index").tolist() == [0, 2, 2, 3]
    assert rank(found, "expected").tolist() == mean.tolist()
    assert (recall_at(found, 1, "optimistic"), median_rank(best)) == (0.5, 2)
    assert (recall_at(found, 1, "mean"), median_rank(mean)) == (0.25, 2.75)
    assert (recall_at(found, 1, "pessimistic"), median_rank(worst)) == (0.25, 3.5)
    assert recall_at(found, 1) == pytest.approx(0.3125)  # (1 + 0 + 1/4 + 0) / 4
    with pytest.raises(ConfigError, match="ties='lucky'"):
        rank(found, "lucky")
    with pytest.raises(ValueError, match="NaN"):
        positions(np.where(similarity > 0.8, np.nan, similarity), right)


@pytest.mark.parametrize(
    ("ties", "recall", "median"),
    [("optimistic", 0.75, 1), ("mean", 0.5, 1.75), ("expected", 0.5625, 1.75)],
)
def test_a_row_of_equals_decides_between_policies(ties, recall, median):
    similarity = np.array([[9, 1, 2, 3], [5, 4, 6, 1], [2, 2, 2, 2], [1, 8, 7, 9]]) / 10
    found = positions(similarity, np.arange(4))
    assert recall_at(found, 1, ties) == pytest.approx(recall)
    assert median_rank(rank(found, ties)) == median


def test_recall_of_nothing_but_ties_is_that_of_chance():
    found = positions(np.zeros((10, 10)), np.arange(10))
    assert [recall_at(found, k) for k in (1, 5, 10)] == pytest.approx([0.1, 0.5, 1])


def test_expected_recall_is_the_mean_over_all_orders():
    rng = np.random.default_rng(3)
    similarity, right = rng.integers(0, 3, (6, 5)) / 3, rng.random((6, 5)) < 0.4
    right[:, 0] |= ~right.any(axis=1)
    for k in (1, 2, 4):
        hits = [
            np.take_along_axis(
                right[:, order], np.argsort(-similarity[:, order], axis=1, kind="stable"), axis=1
            )[:, :k].any(axis=1)
            for order in permutations(range(5))
        ]
        assert recall_at(positions(similarity, right), k) == pytest.approx(np.mean(hits))


def test_ranks_of_nothing_and_of_the_infinite():
    with pytest.raises(ValueError, match="no queries"):
        positions(np.zeros((0, 3)), np.zeros(0, int))
    with pytest.raises(ValueError, match="query 1 has no right answer"):
        positions(np.zeros((2, 3)), np.eye(2, 3, 1, bool) & [[True], [False]])
    similarity = np.array([[np.inf, np.inf, 1.0], [-np.inf, 0.0, -np.inf]])
    right = np.array([1, 0])
    assert rank(positions(similarity, right), "pessimistic").tolist() == [1, 2]
    assert rank(positions(similarity, right), "mean").tolist() == [0.5, 1.5]


def test_the_best_of_several_right_answers_counts():
    similarity = np.array([[5, 4, 4, 3, 9], [1, 1, 1, 1, 1]])
    right = np.array([[0, 1, 0, 1, 0], [0, 1, 1, 0, 0]], bool)
    # Before the 4 at position 1 stand 5 and 9, and the 4 at position 2 is as good.
    for ties, expected in (
        ("optimistic", [2, 0]),
        ("mean", [2.5, 1]),
        ("pessimistic", [3, 3]),
        ("index", [2, 1]),
    ):
        assert rank(positions(similarity, right), ties).tolist() == expected


def test_ranks_count_what_a_sort_finds():
    rng = np.random.default_rng(0)
    similarity, right = rng.normal(size=(20, 9)), rng.integers(0, 9, 20)
    order = np.argsort(-similarity, axis=1)
    expected = [list(row).index(item) for row, item in zip(order, right, strict=True)]
    for ties in ("optimistic", "pessimistic", "mean", "index"):
        assert rank(positions(similarity, right), ties).tolist() == expected


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


def test_ndcg_of_three_places_and_of_shifted_relevance():
    order = np.arange(4, 0, -1.0)[None]
    for gain, expected in (("linear", 0.894999), ("exponential", 0.946768)):
        value = ndcg(np.array([[3, 2, 0, 1]]), order, 3, gain)[0]
        assert value == pytest.approx(expected, abs=1e-6)
    shifted, order = np.array([[20, 15, 18, 20, 17]]), np.arange(5, 0, -1.0)[None]
    for gain, expected in (("linear", 0.924201), ("exponential", 0.651914)):
        assert ndcg(shifted, order, 3, gain)[0] == pytest.approx(expected, abs=1e-6)


def test_ndcg_of_ties_and_of_chance():
    rng = np.random.default_rng(11)
    relevance, similarity = rng.integers(0, 4, (20, 9)), rng.integers(0, 3, (20, 9)).astype(float)
    for k in (1, 4, 9):
        assert ndcg(relevance, similarity, k).mean() == pytest.approx(
            ndcg_score(relevance, similarity, k=k)
        )
        assert ndcg(relevance, similarity, k, ties="index").mean() == pytest.approx(
            ndcg_score(relevance, similarity - 1e-6 * np.arange(9), k=k, ignore_ties=True)
        )
        few = relevance[:, :5]
        orders = [
            [ndcg_score([2**row - 1], [order], k=k) if row.any() else 0.0 for row in few]
            for order in permutations(range(5))
        ]
        np.testing.assert_allclose(
            ndcg_by_chance(few, k, "exponential"), np.mean(orders, axis=0), atol=1e-12
        )
    with pytest.raises(ValueError, match="NaN"):
        ndcg(relevance, np.where(similarity == 2, np.nan, similarity), 3)
    with pytest.raises(ValueError, match="must not be negative"):
        ndcg(relevance - 1, similarity, 3)


def test_collapsed_features_stand_in_the_middle():
    same = np.random.default_rng(2).normal(size=(1, 50)) + np.zeros((30, 1))
    shaken = same + 1e-8 * np.random.default_rng(3).normal(size=(30, 50))
    found = matching_positions(same, shaken, np.zeros(30, int))
    assert rank(found).tolist() == [14.5] * 30
    assert recall_at(found, 5) == pytest.approx(5 / 30)


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
    with pytest.raises(FloatingPointError, match=r"audio embedding: features of 1 .* record 13"):
        dict(CrossModalRetrieval("test").run(frozen))
    frozen.tables["test audio"] = unlabelled(groups, embedding=rng.normal(size=(20, 9)))
    with pytest.raises(ConfigError, match="share no space; use map='ridge'"):
        dict(CrossModalRetrieval("test").run(frozen))


def test_a_record_broken_in_one_modality_leaves_the_others_with_their_partners():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 4))
    sound = unlabelled(embedding=x).rows(np.array([0, 2, 3, 4, 5, 6, 7, 8]))
    picture = unlabelled(embedding=x).rows(np.array([0, 1, 2, 3, 4, 6, 7, 8]))
    frozen = Computed({"test vision": picture, "test audio": sound})
    found = dict(CrossModalRetrieval("test", layer="embedding", ks=(1,)).run(frozen))
    assert found["embedding/R@1"] == 1
    assert found["chance/R@1"] == pytest.approx(1 / 7)
    nothing = Computed(
        {"test vision": picture.rows(np.array([1])), "test audio": sound.rows(np.array([1]))}
    )
    with pytest.raises(ConfigError, match="no record could be read in both"):
        dict(CrossModalRetrieval("test", layer="embedding").run(nothing))


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

    def scaled(name):
        known, asked = (tables[f"{s} {name[0]}"].layers[name[1]] for s in ("train", "test"))
        scaler = StandardScaler().fit(known.reshape(len(known), -1).astype(float))
        return (scaler.transform(part.reshape(len(part), -1)) for part in (known, asked))

    (x, new), (y, true) = scaled(("vision", "conv1")), scaled(("audio", "fc"))
    predicted = Reference(alpha=1.0).fit(x, y).predict(new)
    cosine = predicted @ true.T / np.linalg.norm(true, axis=1)
    assert results["conv1/R@1"] == np.mean(cosine.argmax(axis=1) == np.arange(25))
    assert results["conv1/R@1"] > 0.8 > 0.3 > results["input/R@1"]
    assert results["chance/R@1"] == 1 / 25
    with pytest.raises(ConfigError, match="train="):
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
    with pytest.raises(ConfigError, match="50 neighbours asked of 4 records"):
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


def test_euclidean_neighbours_count_length():
    rng = np.random.default_rng(8)
    gallery = np.float32(rng.normal(size=(40, 5)) * rng.uniform(0.2, 5, (40, 1)) + 100)
    gallery[7], gallery[30] = gallery[3], gallery[3]  # ties go to the earlier
    queries = np.float32(np.concatenate([gallery[3:4], rng.normal(size=(11, 5)) * 2 + 100]))
    exact = np.linalg.norm(np.float64(queries)[:, None] - np.float64(gallery), axis=2)
    distances, rows = nearest_by_distance(queries, gallery, 6)
    np.testing.assert_array_equal(rows, np.argsort(exact, axis=1, kind="stable")[:, :6])
    np.testing.assert_allclose(distances, np.sort(exact, axis=1)[:, :6], atol=1e-4)
    labels = np.arange(40) % 4
    frozen = Computed(
        {
            "train vision": features(labels, a=gallery),
            "test vision": features(np.arange(12) % 4, a=queries),
        }
    )
    results = dict(ClassRetrieval("train", "test", ks=(1, 6), distance="euclidean").run(frozen))
    hits = labels[np.argsort(exact, axis=1, kind="stable")] == (np.arange(12) % 4)[:, None]
    for k in (1, 6):
        assert results[f"a/hit@{k}"] == pytest.approx(hits[:, :k].any(axis=1).mean())
    assert (nearest(queries, gallery, 6)[1] != rows).any()
    with pytest.raises(ConfigError, match="distance='city'"):
        dict(ClassRetrieval("train", "test", distance="city").run(frozen))
    with pytest.raises(ConfigError, match="50 neighbours asked of 40 records"):
        dict(ClassRetrieval("train", "test", distance="euclidean").run(frozen))


def test_a_hit_is_neither_recall_nor_precision():
    gallery = np.array([[1, 0], [0.99, 0.1], [0.98, 0.2], [0, 1], [0.1, 0.99]], np.float32)
    frozen = Computed(
        {
            "train vision": features([1, 0, 1, 0, 0], a=gallery),
            "test vision": features([0, 5], a=[[1, 0.0], [0, 1.0]]),  # class 5 is not in train
        }
    )
    results = dict(ClassRetrieval("train", "test", ks=(1, 2, 3)).run(frozen))
    # Of the first query's three nearest one is right (precision 1/3), of three that are (recall
    # 1/3): a hit. The second query can never hit.
    assert [results[f"a/hit@{k}"] for k in (1, 2, 3)] == [0, 0.5, 0.5]
    assert results["chance/hit@1"] == pytest.approx(0.5 * 3 / 5)


def test_recall_by_chance_counts_all_draws():
    right, wrong = np.array([1, 2, 3, 0]), np.array([4, 3, 0, 2])
    for k in (1, 2, 3, 6):
        for r, w, share in zip(right, wrong, recall_by_chance(right, wrong, k), strict=True):
            draws = list(combinations(range(r + w), min(k, r + w)))
            assert share == pytest.approx(np.mean([min(draw) < r for draw in draws]))


def test_graded_retrieval_leaves_the_query_out(tmp_path):
    rng = np.random.default_rng(9)
    labels = rng.integers(0, 3, 12)
    vision, audio = rng.normal(size=(12, 4)), rng.normal(size=(12, 4))
    vision[5] = vision[2]
    frozen = Computed(
        {
            "test vision": features(labels, embedding=vision),
            "test audio": features(labels, embedding=audio),
        }
    )
    table = np.array([[20, 17, 12], [17, 20, 15], [12, 15, 20]])
    np.savetxt(tmp_path / "tree.txt", table)
    for gallery, values in (("audio", audio), ("vision", vision)):
        for path, relevance in ((str(tmp_path / "tree.txt"), table), ("", np.eye(3))):
            graded = GradedRetrieval("test", gallery=gallery, k=5, relevance=path)
            results = dict(graded.run(frozen))
            scores = []
            for i in range(12):
                others = np.delete(np.arange(12), i)
                cosine = np.array(
                    [
                        np.float32(vision[i])
                        @ np.float32(values[j])
                        / np.linalg.norm(vision[i])
                        / np.linalg.norm(values[j])
                        for j in others
                    ]
                ).round(5)
                gain = 2.0 ** relevance[labels[i]][labels[others]] - 1
                scores.append(ndcg_score([gain], [cosine], k=5))
            assert results["embedding/nDCG@5"] == pytest.approx(np.mean(scores))
            assert 0.1 < results["chance/nDCG@5"] < 1
    np.savetxt(tmp_path / "small.txt", table[:2, :2])
    with pytest.raises(ConfigError, match="2x2 does not cover 3 classes"):
        dict(GradedRetrieval("test", relevance=str(tmp_path / "small.txt")).run(frozen))
    (tmp_path / "ontology.json").write_text(json.dumps(ONTOLOGY))
    with pytest.raises(ConfigError, match="the source names 0 of 3 classes"):
        dict(GradedRetrieval("test", relevance=str(tmp_path / "ontology.json")).run(frozen))
    frozen.tables["test vision"] = unlabelled(embedding=vision)
    with pytest.raises(ConfigError, match="have no label"):
        dict(GradedRetrieval("test").run(frozen))


ONTOLOGY = [
    {"id": "/m/1", "name": "Music", "child_ids": ["/m/2", "/m/3"]},
    {"id": "/m/2", "name": "Guitar", "child_ids": ["/m/4", "/m/5"]},
    {"id": "/m/3", "name": "Drum", "child_ids": []},
    {"id": "/m/4", "name": "Banjo", "child_ids": []},
    {"id": "/m/5", "name": "Bass guitar", "child_ids": []},
    {"id": "/m/6", "name": "Dog", "child_ids": []},
]


def test_relevance_falls_with_the_distance_in_the_tree(tmp_path):
    file = tmp_path / "ontology.json"
    file.write_text(json.dumps(ONTOLOGY))
    classes = ("Banjo", "Bass guitar", "Drum", "/m/6", "Guitar")
    # Banjo - Guitar - Music - Drum: 3 edges; on to the root of all and to Dog: 4.
    expected = [20, 18, 17, 16, 19]
    table = relevance_by_tree(str(file), classes)
    assert table[0].tolist() == expected
    assert (table == table.T).all()
    with pytest.raises(ConfigError, match=r"ontology\.json: has no class 'Cat'"):
        relevance_by_tree(str(file), ("Cat",))
    file.write_text('[{"id": "/m/6"}]')
    with pytest.raises(ConfigError, match=r"ontology\.json: is no tree of labels"):
        relevance_by_tree(str(file), ("Dog",))


def test_of_several_classes_the_best_pair_counts():
    table = np.array([[20.0, 17, 12], [17, 20, 15], [12, 15, 20]])
    shown = np.array([[0, 2], [2, -1], [1, -1]], np.int32)
    assert best_pair(table, shown[0], shown).tolist() == [20, 20, 17]
    assert best_pair(table, shown[1], shown).tolist() == [20, 20, 15]


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_texts_and_videos_with_several_captions(similarity):
    rng = np.random.default_rng(10)
    videos = Videos((2, 1, 0, 3, 1))  # one without captions
    owner = np.repeat(np.arange(5), videos.captions)
    video = rng.normal(size=(5, 6)) * rng.uniform(0.5, 3, (5, 1))
    text = video[owner] + 2 * rng.normal(size=(7, 6))
    frozen = Computed(
        {
            "captions text": unlabelled(owner, embedding=text),
            "videos vision": unlabelled(embedding=video),
        }
    )
    results = dict(TextVideoRetrieval(videos, similarity=similarity, ks=(1, 2)).run(frozen))
    table = text @ video[[0, 1, 3, 4]].T
    if similarity == "cosine":
        lengths = np.linalg.norm(text, axis=1)[:, None], np.linalg.norm(video[[0, 1, 3, 4]], axis=1)
        table = table / lengths[0] / lengths[1]
    right = owner[:, None] == np.array([0, 1, 3, 4])
    to_video = [np.sum(row > row[own][0]) for row, own in zip(table, right, strict=True)]
    to_text = [
        np.sum(column[~own] > column[own].max())
        for column, own in zip(table.T, right.T, strict=True)
    ]
    for name, found in (("text to video", to_video), ("video to text", to_text)):
        for k in (1, 2):
            assert results[f"{name}/R@{k}"] == np.mean(np.array(found) < k)
        assert results[f"{name}/median_rank"] == np.median(found) + 1
    assert results["chance text to video/R@2"] == pytest.approx(2 / 4)
    assert results["chance video to text/R@1"] == pytest.approx(np.mean([2, 1, 3, 1]) / 7)


def test_equal_embeddings_rank_in_the_middle():
    videos = Videos((1,) * 9)
    same = np.full((9, 4), 0.3) + 1e-9 * np.arange(9)[:, None]
    frozen = Computed(
        {
            "captions text": unlabelled(np.arange(9), embedding=same),
            "videos vision": unlabelled(embedding=same),
        }
    )
    results = dict(TextVideoRetrieval(videos).run(frozen))
    assert results["text to video/median_rank"] == results["video to text/median_rank"] == 5
    assert results["text to video/R@1"] == pytest.approx(1 / 9)


def test_captions_as_records():
    videos = Videos((2, 0, 3))
    found = CaptionSource(videos)
    assert [r.captions[0].text for r in map(found.__getitem__, range(len(found)))] == [
        *("0 0", "0 1", "2 0", "2 1", "2 2")
    ]
    assert [found[i].extra["group"] for i in range(5)] == [0, 0, 2, 2, 2]
    assert len(CaptionSource(videos, most=1)) == 2
    with pytest.raises(ConfigError, match="no video has a caption"):
        dict(TextVideoRetrieval(Videos((0, 0))).run(Computed({})))
