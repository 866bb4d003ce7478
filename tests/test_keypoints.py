"""Keypoints: golden numbers of the toolkits, and a probe that has something to find."""

import dataclasses

import numpy as np
import pytest
from computed import facts_of

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Record
from ssl_jax.evals.keypoints import Keypoints, filled, mean_distance
from ssl_jax.frozen import Features
from ssl_jax.scores.keypoints import (
    auc_mpii,
    auc_plain,
    body_size,
    head_size,
    joint_distances,
    pck,
)
from ssl_jax.solvers.regression import regress

DISTANCES, HEAD = np.array([[0.0, 3, 6]]), np.array([12.0])


def test_pck_in_a_box_of_the_body():
    true = np.array([[[0.0, 0], [0, 10], [30, 40]]])
    predicted = np.array([[[0.0, 3], [0, 16], [30, 40]]])
    distances, scale = joint_distances(predicted, true), body_size(true)
    assert scale.tolist() == [30]
    assert pck(distances, scale, 0.1) == pytest.approx(2 / 3)
    assert pck(distances, scale, 0.2) == 1


def test_pckh_and_both_areas():
    assert pck(DISTANCES, HEAD, 0.5) == 1  # 6 px are half of the head exactly
    assert pck(DISTANCES, HEAD, 0.5 - 1e-6) == pytest.approx(2 / 3)
    assert auc_mpii(DISTANCES, HEAD) == pytest.approx(0.506667, abs=1e-6)
    assert auc_plain(DISTANCES) == pytest.approx(0.85)
    np.testing.assert_allclose(head_size(np.array([[10.0, 10, 40, 50]])), 30)


def test_missing_joints():
    true = np.array([[[1.0, 1], [5, 5], [9, 9]], [[1, 1], [np.nan, np.nan], [9, 9]]])
    predicted = true + np.array([0, 2])
    predicted[0, 2] = np.nan
    predicted[1, 1] = 3
    distances = joint_distances(predicted, true)
    np.testing.assert_array_equal(distances, [[2, 2, np.inf], [2, np.nan, 2]])
    scale = np.array([10.0, 10])
    # Joint by joint 2/2, 1/1 and 1/2; over all annotated ones 4 of 5.
    assert pck(distances, scale, 0.2) == pytest.approx((1 + 1 + 0.5) / 3)
    assert pck(distances, scale, 0.2, over="all") == pytest.approx(4 / 5)
    assert pck(distances, scale, 0.1) == 0
    assert auc_plain(distances) < 0.8
    nothing = np.full((2, 3), np.nan)
    for measure in (auc_plain, lambda d: pck(d, scale, 0.2), lambda d: auc_mpii(d, scale)):
        with pytest.raises(ConfigError, match="no joint is annotated"):
            measure(nothing)
    with pytest.raises(ConfigError, match="the scale of person 1 is nan"):
        pck(distances, np.array([10, np.nan]), 0.2)
    with pytest.raises(ValueError, match="over='people'"):
        pck(distances, scale, 0.2, over="people")
    # A person of whom nothing is annotated needs no scale.
    assert pck(np.r_[distances, nothing[:1]], np.array([10, 10, np.nan]), 0.2) == pytest.approx(
        (1 + 1 + 0.5) / 3
    )
    assert np.isnan(body_size(np.full((1, 3, 2), np.nan))).all()


@dataclasses.dataclass(frozen=True)
class People:
    """Pictures of 40x30 pixels with joints."""

    joints: np.ndarray = dataclasses.field(hash=False)
    extra: tuple = ()

    def __len__(self):
        return len(self.joints)

    def __getitem__(self, index):
        return Record(
            f"person {index}",
            index,
            num_frames=1,
            fps=1.0,
            frames=lambda numbers: np.zeros((len(numbers), 30, 40, 3), np.uint8),
            extra={"joints": self.joints[index], **dict(self.extra)},
        )


@dataclasses.dataclass(frozen=True)
class Computed:
    """Stands for a frozen network that sees the joints, mixed up; and whose input tells nothing."""

    sources: tuple

    def features(self, source, stream, layers, clips, pool, average, facts):
        rng = np.random.default_rng(len(source))
        seen = np.nan_to_num(source.joints, nan=20.0).reshape(len(source), -1)
        mixed = seen @ np.random.default_rng(0).normal(size=(seen.shape[1], 12))
        n = len(source)
        return Features(
            {
                "input": np.float32(rng.normal(size=(n, 5))),
                "conv5": np.float32(mixed + 0.1 * rng.normal(size=mixed.shape)),
            },
            np.full(n, -1),
            np.arange(n),
            np.zeros(n, np.int64),
            facts_of(source, range(n), facts),
        )


def poses(n, seed):
    return np.random.default_rng(seed).uniform([0, 0], [40, 30], (n, 4, 2))


@pytest.mark.parametrize(
    ("scale", "extra"),
    [("annotated", (("scale", 10.0),)), ("head", (("head", "1 2 9 8"),)), ("body", ())],
)
def test_joints_are_told_from_features(scale, extra):
    known = poses(80, 1)
    known[3, 2] = np.nan
    train, test = People(known, extra), People(poses(30, 2), extra)
    frozen = Computed((train, test))
    results = dict(Keypoints(train, test, scale=scale).run(frozen))
    assert results["conv5/PCK@0.5"] > 0.95
    assert results["conv5/auc"] > 0.8 > 0.5 > results["input/auc"]
    assert results["conv5/auc_plain"] > 0.9
    assert results["mean pose/PCK@0.1"] < 0.3
    assert abs(results["input/PCK@0.2"] - results["mean pose/PCK@0.2"]) < 0.15
    assert results["input/l2"] > results["conv5/l2"]


def test_torso_and_what_is_missing():
    train, test = People(poses(40, 3)), People(poses(20, 4))
    frozen = Computed((train, test))
    torso = dict(Keypoints(train, test, scale="torso", torso=(0, 3), l2=(1.0,)).run(frozen))
    size = np.linalg.norm(test.joints[:, 0] - test.joints[:, 3], axis=1)
    away = np.linalg.norm(train.joints.mean(axis=0) - test.joints, axis=-1)
    assert torso["mean pose/PCK@0.5"] == pytest.approx(np.mean(away <= 0.5 * size[:, None]))
    with pytest.raises(MediaError, match=r"person 0: has no extra\['scale'\] of 1 number"):
        dict(Keypoints(train, test).run(frozen))
    with pytest.raises(ConfigError, match="give torso="):
        dict(Keypoints(train, test, scale="torso").run(frozen))
    with pytest.raises(ConfigError, match="scale='size'"):
        dict(Keypoints(train, test, scale="size").run(frozen))


def test_missing_joints_stand_at_their_mean_in_training():
    shares = np.array([[[0.2, 0.4], [np.nan, np.nan]], [[0.4, 0.8], [np.nan, np.nan]]])
    targets, mean = filled(shares)
    np.testing.assert_allclose(mean, [[0.3, 0.6], [0.5, 0.5]])
    np.testing.assert_allclose(targets[:, 1], 0.5)
    assert mean_distance(np.array([[0.0, 0, 3, 4]]), np.zeros((1, 4))) == pytest.approx(2.5)


def test_the_strength_is_chosen_on_training_pairs():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(30, 40)).astype(np.float32)
    noise = rng.uniform(size=(30, 6))
    answer, best = regress(x, noise, x[:3], (1e-2, 1e5), 0, mean_distance)
    assert best == 1e5  # nothing is there to be learnt
    np.testing.assert_allclose(answer, np.tile(noise.mean(0), (3, 1)), atol=0.02)
    with pytest.raises(ConfigError, match="4 pairs, too few"):
        regress(x[:4], noise[:4], x, (1.0, 2.0), 0, mean_distance)
    with pytest.raises(ConfigError, match="l2 is empty"):
        regress(x, noise, x, (), 0, mean_distance)
