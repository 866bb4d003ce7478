"""k-means against slow loops and scikit-learn; scores of partitions against scikit-learn."""

import dataclasses
from itertools import permutations

import numpy as np
import pytest
from sklearn import metrics
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from ssl_jax.config import ConfigError
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals.clustering import Clustering, whitened
from ssl_jax.frozen import Features
from ssl_jax.scores import clusters as scores
from ssl_jax.solvers import k_means as k_means_module
from ssl_jax.solvers.k_means import k_means

FIRST, SECOND = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 1, 1, 1])


@pytest.fixture(scope="module")
def mesh():
    return Sharding(devices=4).mesh()


@pytest.mark.parametrize(
    ("mean", "expected"), [("arithmetic", 0.515804), ("geometric", 0.529541), ("max", 0.420620)]
)
def test_three_kinds_of_nmi(mean, expected):
    assert scores.nmi(FIRST, SECOND, mean) == pytest.approx(expected, abs=1e-6)
    assert scores.nmi(SECOND, FIRST, mean) == pytest.approx(expected, abs=1e-6)


def test_purity_of_both_kinds():
    # Clusters 0 and 2 are pure; cluster 1 is half of each class.
    assert scores.purity(FIRST, SECOND) == pytest.approx(5 / 6)
    assert scores.mean_cluster_purity(FIRST, SECOND) == pytest.approx(5 / 6)
    uneven = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 0])
    assert scores.purity(*uneven) == pytest.approx(4 / 6)
    assert scores.mean_cluster_purity(*uneven) == pytest.approx((3 / 4 + 1 / 2) / 2)
    share = np.array([3 / 4, 1 / 4])
    expected = (-(share * np.log(share)).sum() + np.log(2)) / 2
    assert scores.mean_cluster_entropy(*uneven) == pytest.approx(expected)


def partitions():
    rng = np.random.default_rng(0)
    yield rng.integers(0, 5, 60), rng.integers(-1, 3, 60)
    yield rng.integers(0, 40, 60), rng.integers(0, 2, 60)
    labels = rng.integers(0, 4, 50)
    yield labels, (labels * 7 + 3) % 11  # the same with other names
    yield labels, np.where(rng.random(50) < 0.3, rng.integers(0, 4, 50), labels)
    yield np.zeros(9, int), rng.integers(0, 3, 9)
    yield np.zeros(9, int), np.zeros(9, int)
    yield np.arange(9), np.arange(9)[::-1]
    yield np.arange(9), np.zeros(9, int)
    yield np.arange(9), np.arange(9) // 3
    yield np.array([3]), np.array([0])


@pytest.mark.parametrize(("first", "second"), list(partitions()))
def test_scores_of_partitions(first, second):
    for mean in ("arithmetic", "geometric", "max"):
        theirs = metrics.normalized_mutual_info_score(first, second, average_method=mean)
        assert scores.nmi(first, second, mean) == pytest.approx(theirs, abs=1e-12)
    theirs = metrics.adjusted_rand_score(first, second)
    assert scores.adjusted_rand_index(first, second) == pytest.approx(theirs, abs=1e-12)
    theirs = metrics.adjusted_mutual_info_score(first, second)
    assert scores.adjusted_mutual_information(first, second) == pytest.approx(theirs, abs=1e-9)


def test_no_items_have_no_partition():
    with pytest.raises(ValueError, match="no items"):
        scores.nmi(np.zeros(0, int), np.zeros(0, int))
    with pytest.raises(ValueError, match="mean='harmonic'"):
        scores.nmi(FIRST, SECOND, "harmonic")


def test_matched_accuracy_tries_all_ways_to_name_the_clusters():
    rng = np.random.default_rng(1)
    for _ in range(5):
        clusters, classes = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
        best = max(np.mean(np.array(p)[clusters] == classes) for p in permutations(range(4)))
        assert scores.matched_accuracy(clusters, classes) == pytest.approx(best)
    # A class split in two clusters: one of both is wrong.
    assert scores.matched_accuracy(np.array([0, 0, 1, 2]), np.array([5, 5, 5, 6])) == 0.75


def blobs(n=120, seed=2):
    rng = np.random.default_rng(seed)
    centres = 6 * rng.normal(size=(5, 3))
    labels = rng.integers(0, 5, n)
    return np.float32(centres[labels] + 0.5 * rng.normal(size=(n, 3)) + [50, 0, -9]), labels


def test_k_means_finds_what_is_there_and_what_scikit_learn_finds(mesh):
    x, labels = blobs()
    found, centres, inertia = k_means(mesh, x, 5, restarts=4)
    assert scores.nmi(found, labels) == pytest.approx(1)
    theirs = KMeans(5, n_init=10, random_state=0).fit(x)
    assert inertia == pytest.approx(theirs.inertia_, rel=1e-4)
    for k in range(5):
        np.testing.assert_allclose(centres[k], x[found == k].mean(0), rtol=1e-4)
    away = np.linalg.norm(x[:, None] - centres, axis=2)
    np.testing.assert_array_equal(found, away.argmin(axis=1))
    assert inertia == pytest.approx((away.min(axis=1) ** 2).sum(), rel=1e-4)


def test_devices_and_blocks_change_nothing(mesh, monkeypatch):
    x, _ = blobs(n=101)  # not a multiple of anything
    whole = k_means(mesh, x, 7, restarts=1)
    alone = k_means(Sharding(devices=1).mesh(), x, 7, restarts=1)
    monkeypatch.setattr(k_means_module, "BLOCK", 7 * 6)  # six rows of a device at once
    blocks = k_means(mesh, x, 7, restarts=1)
    for other in (alone, blocks):
        np.testing.assert_array_equal(whole[0], other[0])
        np.testing.assert_allclose(whole[1], other[1], rtol=1e-5)
        assert other[2] == pytest.approx(whole[2], rel=1e-5)


def test_more_starts_and_more_steps_do_not_do_worse(mesh):
    x = np.random.default_rng(3).normal(size=(80, 4)).astype(np.float32)
    one, several = (k_means(mesh, x, 9, restarts=r)[2] for r in (1, 6))
    assert several <= one
    steps = [k_means(mesh, x, 9, restarts=1, iterations=i)[2] for i in (1, 2, 3, 100)]
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] < steps[0]


def test_rows_that_repeat(mesh):
    x = np.float32([[1, 2]] * 6 + [[5, 5]] * 3)
    labels, _, inertia = k_means(mesh, x, 4, restarts=2)
    assert inertia == pytest.approx(0, abs=1e-9)
    assert scores.nmi(labels, np.array([0] * 6 + [1] * 3)) > 0.8
    collapsed = k_means(mesh, np.ones((6, 2), np.float32), 3)
    assert len(np.unique(collapsed[0])) == 1
    assert collapsed[2] == 0
    every = np.arange(5, dtype=np.float32)[:, None]
    assert sorted(k_means(mesh, every, 5, restarts=3)[0]) == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match="5 rows do not make 6 clusters"):
        k_means(mesh, every, 6)
    with pytest.raises(FloatingPointError, match="NaN"):
        k_means(mesh, np.where(every == 2, np.nan, every).astype(np.float32), 2)


def test_an_empty_cluster_begins_anew(mesh):
    # However the start falls, no cluster stays empty while rows differ.
    x = np.float32(np.concatenate([np.zeros((40, 1)), [[100], [101], [250], [251], [-70]]]))
    for seed in range(4):
        labels, *_ = k_means(mesh, x, 6, restarts=1, seed=seed)
        assert len(np.unique(labels)) == 6


def test_huge_and_tiny_features(mesh):
    x, _ = blobs()
    plain = k_means(mesh, x, 5)[0]
    for scale in (1e18, 1e-18):
        scaled = k_means(mesh, np.float32(x.astype(np.float64) * scale), 5)[0]
        assert scores.nmi(scaled, plain) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_whitening_is_pca(shape):
    x = np.float32(np.random.default_rng(4).normal(size=shape) * np.linspace(1, 5, shape[1]) + 3)
    found = whitened(x, 4)
    theirs = PCA(4, whiten=True, svd_solver="full").fit_transform(x.astype(np.float64))
    theirs *= np.sqrt(len(x) / (len(x) - 1))  # scikit-learn's variance divides by n - 1
    signs = np.sign((found * theirs).sum(axis=0))
    np.testing.assert_allclose(found, theirs * signs, atol=1e-4)
    np.testing.assert_array_equal(whitened(np.ones((5, 3), np.float32), 2), np.zeros((5, 1)))


@dataclasses.dataclass(frozen=True)
class Computed:
    """Stands for a frozen network whose features are known already."""

    full: Features
    mesh: object

    def features(self, source, stream, layers, clips, pool, average, facts):
        return self.full


def test_clustering_of_layers(mesh):
    x, labels = blobs()
    rng = np.random.default_rng(5)
    noise = np.float32(rng.normal(size=(len(x), 8)))
    n, nobody = len(x), np.zeros(len(x), np.int64)
    full = Features({"input": noise, "conv5": x}, labels.astype(np.int64), np.arange(n), nobody)
    results = dict(Clustering("x", scale="none").run(Computed(full, mesh)))
    assert results["conv5/nmi"] == results["conv5/accuracy"] == pytest.approx(1)
    assert results["conv5/ami"] == results["conv5/ari"] == pytest.approx(1)
    assert results["conv5/cluster_entropy"] == pytest.approx(0)
    assert 4 < results["conv5/used"] <= 5
    for layer in ("input", "chance"):
        assert abs(results[f"{layer}/ami"]) < 0.1
        assert results[f"{layer}/nmi"] > results[f"{layer}/ami"]
        assert results[f"{layer}/accuracy"] < 0.5
    many = dict(Clustering("x", scale="features", clusters=12).run(Computed(full, mesh)))
    assert many["conv5/purity"] == pytest.approx(1)
    assert many["conv5/nmi"] < 0.9
    assert "conv5/accuracy" not in many
    white = dict(Clustering("x", whiten=2).run(Computed(full, mesh)))
    assert white["conv5/nmi"] > 0.5 > white["input/nmi"]
    collapsed = dataclasses.replace(full, layers={"pool": np.ones((n, 4), np.float32)})
    for knobs in ({"scale": "unit"}, {"scale": "none"}, {"scale": "features"}, {"whiten": 2}):
        results = dict(Clustering("x", **knobs).run(Computed(collapsed, mesh)))
        assert results["pool/used"] == 1
        assert results["pool/nmi"] == results["pool/ari"] == 0
    unlabelled = dataclasses.replace(full, labels=np.full(n, -1))
    with pytest.raises(ConfigError, match="have no label"):
        dict(Clustering("x").run(Computed(unlabelled, mesh)))
    with pytest.raises(ConfigError, match="scale='big'"):
        dict(Clustering("x", scale="big").run(Computed(full, mesh)))


@pytest.mark.parametrize("seed", [0, 1])
def test_one_far_row_does_not_blur_the_others(mesh, seed):
    x = np.random.default_rng(seed).normal(size=(300, 8))
    x[77] = 1e6
    x = np.float32(x)
    labels, _, inertia = k_means(mesh, x, 8, restarts=20, seed=seed)
    lowest = KMeans(8, n_init=20, random_state=seed).fit(x.astype(float)).inertia_
    own = [x[labels == k].astype(float) for k in range(8)]
    assert sum(((rows - rows.mean(axis=0)) ** 2).sum() for rows in own) == pytest.approx(inertia)
    assert inertia <= 1.02 * lowest


def test_one_class_is_refused(mesh):
    found = Features(
        {"a": np.eye(3, dtype=np.float32)}, np.zeros(3, int), np.arange(3), np.zeros(3, int)
    )
    with pytest.raises(ConfigError, match="the same label"):
        dict(Clustering("source").run(Computed(found, mesh)))
