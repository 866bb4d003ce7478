"""Keypoints: ridge regression from frozen features to a person's joints."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import Facts, head_of, joints_of, scale_of
from ssl_jax.data.record import Record, Source
from ssl_jax.evaluator import Read
from ssl_jax.knobs import above, at_least, given
from ssl_jax.scores.keypoints import (
    auc_mpii,
    auc_plain,
    body_size,
    head_size,
    joint_distances,
    pck,
)
from ssl_jax.solvers.probe import rows_of, standardise
from ssl_jax.solvers.regression import regress

SCALES = ("annotated", "head", "body", "torso")


@dataclasses.dataclass(frozen=True)
class Keypoints:
    """Places of joints by ridge regression from the features of each layer: PCK, PCKh and AUC.

    The targets are those of DeepPose (Toshev and Szegedy 2014), coordinates as fractions of
    the image's sides, which the papers fine-tune a whole network for; here the network is frozen.
    Yields for each layer 'PCK@a' (the mean over joints of each one's share), 'auc' (the MPII
    toolkit's: area under PCK over thresholds up to half of the scale) and 'auc_plain' (mean over
    thresholds up to 30 pixels, with '<'), 'l2' where a grid was searched, and 'mean pose/...' for
    the training set's mean pose in every image. With scale='head' and 0.5 among the
    thresholds, 'PCK@0.5' is the PCKh@0.5 of MPII.

    Attributes:
      train, test: images with `extra['joints']`, see `annotations`; joints that are missing in
        training are put at their mean place.
      read: what is read of every record.
      scale: what distances are measured in: 'annotated' (pixels in `extra['scale']`), 'head' (0.6
        of the diagonal of `extra['head']`, a box x1 y1 x2 y2), 'body' (0.6 of that of the box
        around the joints) or 'torso', the distance of two joints.
      torso: their numbers; on FLIC left shoulder and right hip.
      thresholds: of PCK.
      l2: strengths; the one with the smallest error on a held-out fifth of train is taken.
      seed: of that fifth.
    """

    train: Source
    test: Source
    read: Read = Read()
    scale: str = "annotated"
    torso: tuple[int, ...] = ()
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.5)
    l2: tuple[float, ...] = (1.0, 16.0, 256.0, 4096.0, 65536.0)
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        check_scale(self.scale, self.torso)
        given(self, "thresholds", "l2")
        above(self, 0, "thresholds")
        at_least(self, 0, "l2", "seed")

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """MediaError without joints."""
        train, test = (
            self.read.features(frozen, source, facts=PoseFacts(self.scale))
            for source in (self.train, self.test)
        )
        known, size, _ = poses(train.facts, self.scale, self.torso)
        true, sizes, scale = poses(test.facts, self.scale, self.torso)
        if known.shape[1] != true.shape[1]:
            raise ConfigError(f"{known.shape[1]} joints in train, {true.shape[1]} in test")
        targets, mean = filled(known / size[:, None])
        for layer in train.layers:
            x, new = rows_of(train, test, layer)
            x, new = standardise(x, new)
            rows = targets.reshape(len(targets), -1)
            answer, best = regress(x, rows, new, self.l2, self.seed, mean_distance)
            places = answer.reshape(len(answer), -1, 2).astype(np.float64) * sizes[:, None]
            yield from pose_scores(layer, places, true, scale, self.thresholds)
            if len(self.l2) > 1:
                yield f"{layer}/l2", best
        mean_pose = mean * sizes[:, None]
        yield from pose_scores("mean pose", mean_pose, true, scale, self.thresholds)


def check_scale(scale: str, torso: tuple[int, ...]) -> None:
    """ConfigError for knobs that say nothing about what distances are measured in."""
    if scale not in SCALES:
        raise ConfigError(f"scale={scale!r}: must be one of {', '.join(SCALES)}")
    if scale == "torso" and len(torso) != 2:
        raise ConfigError("scale='torso' is the distance of two joints: give torso=(a, b)")


def pose_scores(
    name: str,
    predicted: Float[np.ndarray, "n k 2"],
    true: Float[np.ndarray, "n k 2"],
    scale: Float[np.ndarray, "n"],
    thresholds: tuple[float, ...],
) -> Iterator[tuple[str, float]]:
    """'name/PCK@a' for every threshold, 'name/auc' and 'name/auc_plain', of joints in pixels."""
    distances = joint_distances(predicted, true)
    for threshold in thresholds:
        yield f"{name}/PCK@{threshold:g}", pck(distances, scale, threshold)
    yield f"{name}/auc", auc_mpii(distances, scale)
    yield f"{name}/auc_plain", auc_plain(distances)


@dataclasses.dataclass(frozen=True)
class PoseFacts:
    """What `poses` needs of a record: 'joints', 'size' (x, y), and 'scale' or 'head'."""

    scale: str

    def __call__(self, record: Record) -> Facts:
        height, width = record.need_frames()([0]).shape[1:3]
        facts = {"joints": np.float32(joints_of(record)[0]), "size": np.int32((width, height))}
        match self.scale:
            case "annotated":
                facts["scale"] = np.float32(scale_of(record))
            case "head":
                facts["head"] = np.float32(head_of(record))
        return facts


def poses(
    facts: Mapping[str, np.ndarray], scale: str, torso: tuple[int, ...]
) -> tuple[Float[np.ndarray, "n k 2"], Float[np.ndarray, "n 2"], Float[np.ndarray, "n"]]:
    """Joints in pixels, sizes of the images (x, y), and what distances are measured in."""
    joints, sizes = np.float64(facts["joints"]), np.float64(facts["size"])
    match scale:
        case "annotated":
            return joints, sizes, np.float64(facts["scale"])
        case "head":
            return joints, sizes, head_size(np.float64(facts["head"]))
        case "body":
            return joints, sizes, body_size(joints)
    first, second = torso
    return joints, sizes, np.linalg.norm(joints[:, first] - joints[:, second], axis=-1)


def filled(shares: Float[np.ndarray, "n k 2"]) -> tuple[np.ndarray, Float[np.ndarray, "k 2"]]:
    """Joints with the missing ones at their mean place, and the mean place of each.

    A joint that is never annotated gets the image's middle.
    """
    known = ~np.isnan(shares)
    count = known.sum(axis=0)
    mean = np.where(known, shares, 0).sum(axis=0) / np.maximum(count, 1)
    mean = np.where(count > 0, mean, 0.5)
    return np.where(known, shares, mean), mean


def mean_distance(predicted: Float[np.ndarray, "n e"], true: Float[np.ndarray, "n e"]) -> float:
    """Of joints in rows as x y x y ..."""
    steps = (predicted - true).reshape(len(true), -1, 2)
    return float(np.linalg.norm(steps, axis=-1).mean())
