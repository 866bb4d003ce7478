"""Geometry of features: golden numbers, slow loops, and features that have collapsed."""

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from computed import inputs_of

from ssl_jax.config import ConfigError
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.geometry import (
    Geometry,
    alignment,
    crops,
    dead_share,
    feature_std,
    mean_cosine,
    modality_gap,
    rankme,
    top_share,
    uniformity,
)


def singular(x):
    return np.linalg.svd(np.asarray(x, np.float64), compute_uv=False)


def test_alignment_and_uniformity_of_known_directions():
    sixty = np.array([[1, 0.0]]), np.array([[0.5, np.sqrt(0.75)]])
    assert alignment(*sixty) == pytest.approx(1)
    assert alignment(*sixty, alpha=1.0) == pytest.approx(1)
    assert alignment(np.eye(3), np.eye(3)[::-1]) == pytest.approx(2 * 2 / 3)
    assert uniformity(np.eye(4)) == pytest.approx(-4)
    assert uniformity(np.tile([[0.6, 0.8]], (5, 1))) == pytest.approx(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 5))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    pairs = [np.exp(-3 * np.sum((a - b) ** 2)) for a, b in combinations(x, 2)]
    assert uniformity(x, t=3.0) == pytest.approx(np.log(np.mean(pairs)))
    assert mean_cosine(x) == pytest.approx(np.mean([a @ b for a, b in combinations(x, 2)]))
    for measure in (uniformity, mean_cosine, feature_std):
        with pytest.raises(ConfigError, match="1 rows have no pair"):
            measure(x[:1])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(np.eye(4), 4.0000006), (np.ones((4, 4)), 1.0000047), (np.diag([3, 1]), 1.754765)],
)
def test_rankme(rows, expected):
    # Of equal rows the small singular values are rounding, hence not exactly eps.
    assert rankme(singular(rows)) == pytest.approx(expected, abs=1e-6)


def test_a_point_has_no_rank_to_speak_of():
    assert rankme(np.zeros(8)) == pytest.approx(1, abs=1e-4)
    assert top_share(np.zeros(8)) == 1
    assert top_share(singular(np.diag([3, 1]))) == pytest.approx(0.75)


def test_feature_std_dead_units_and_gap():
    assert feature_std(np.eye(4)) == pytest.approx(0.5)
    low, high = np.array([0, 0, -1, 5.0, 1]), np.array([0, 2, 1, 5.0, 1 + 1e-9])
    assert dead_share(low, high) == pytest.approx(3 / 5)
    assert modality_gap(np.eye(2), -np.eye(2)) == pytest.approx(np.sqrt(2))


def test_crops_are_of_the_picture():
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 256, (6, 2, 12, 16, 3), np.uint8)
    whole = crops(raw, (1.0, 1.0), seed=0)
    for found, one in zip(whole, raw, strict=True):
        assert (found == one).all() or (found == one[..., ::-1, :]).all()
    flips = [not (found == one).all() for found, one in zip(whole, raw, strict=True)]
    assert True in flips
    assert False in flips
    halves = crops(np.full_like(raw, 7), (0.2, 0.5), seed=0)
    assert (halves == 7).all()
    with pytest.raises(ConfigError, match="use pairs='clips'"):
        crops(rng.normal(size=(3, 100)), (0.5, 1.0), seed=0)


@dataclasses.dataclass(frozen=True)
class Brightness:
    """Stands for a frozen network with one layer that works and others that have collapsed."""

    batch_size: int = 8
    inputs = inputs_of

    def times(self, record, stream, count):
        return np.arange(count)

    def clips(self, record, stream, times):
        return {stream: record.need_frames()(times * 3)}

    def encode(self, stream, inputs):
        x = inputs["vision"].astype(np.float32) / 255
        return {
            "conv1": np.concatenate([x, 0 * x[..., :1]], axis=3),  # one unit of four is dead
            "pool": x.mean((1, 2)),
            "same": np.ones((len(x), 6), np.float32),
            "zero": np.zeros((len(x), 6), np.float32),
        }

    def maps(self, stream, raw, layers):
        return {k: v for k, v in self.encode(stream, raw).items() if k in layers}


@pytest.mark.parametrize("pairs", ["crops", "clips"])
def test_collapse_shows(pairs):
    videos = SyntheticSource(size=20, frames=4, height=16, width=16)
    results = dict(Geometry(videos, pairs=pairs, limit=18).run(Brightness()))
    assert results["conv1/dead"] == 0.25
    assert results["pool/dead"] == 0
    for layer in ("conv1", "pool"):
        assert 0 < results[f"{layer}/alignment"] < 0.2
        assert -4 < results[f"{layer}/uniformity"] < -0.01
        assert 1.2 < results[f"{layer}/rankme"] < 3.1
        assert results[f"{layer}/feature_std"] > 0.01
    for layer in ("same", "zero"):
        assert results[f"{layer}/dead"] == 1
        assert results[f"{layer}/rankme"] == pytest.approx(1, abs=1e-4)
        assert results[f"{layer}/feature_std"] == pytest.approx(0, abs=1e-9)
        assert results[f"{layer}/uniformity"] == pytest.approx(0, abs=1e-9)
    assert results["same/cosine"] == pytest.approx(1)
    some = dict(Geometry(videos, pairs=pairs, limit=18, layers=("pool",)).run(Brightness()))
    assert some == {k: v for k, v in results.items() if k.startswith("pool/")}
    with pytest.raises(ConfigError, match="pairs='neighbours'"):
        dict(Geometry(videos, pairs="neighbours").run(Brightness()))
