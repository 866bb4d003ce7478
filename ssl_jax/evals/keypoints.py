"""Keypoints: where are a person's joints, told from frozen features by ridge regression?"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from ssl_jax.data.annotations import joints_of
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.scores.keypoints import (
    auc_mpii,
    auc_plain,
    body_size,
    head_size,
    joint_distances,
    pck,
)
from ssl_jax.solvers.probe import finite_rows, standardise
from ssl_jax.solvers.regression import regress

SCALES = ("annotated", "head", "body", "torso")


@dataclasses.dataclass(frozen=True)
class Keypoints:
    """Places of joints by ridge regression from the features of each layer: PCK, PCKh and AUC.

    The targets are those of DeepPose (Toshev and Szegedy 2014), coordinates as shares of the
    picture's sides, which the papers fine-tune a whole network for; here the network is frozen.
    Yields for each layer 'PCK@a' (the mean over joints of each one's share), 'auc' (the MPII
    toolkit's: area under PCK over thresholds up to half of the scale) and 'auc_plain' (mean over
    thresholds up to 30 pixels, with '<'), 'l2' where a grid was searched, and 'mean pose/...' for
    the training set's mean pose in every picture. With scale='head' and 0.5 among the
    thresholds, 'PCK@0.5' is the PCKh@0.5 of MPII.

    Attributes:
      train, test: pictures with `extra['joints']`, see `annotations`; joints that are missing in
        training stand at their mean place.
      layers: names; () is all of them, and 'input' is the raw input.
      pool: 'max' or 'avg', how large maps are made smaller.
      scale: what distances are measured in: 'annotated' (pixels in `extra['scale']`), 'head' (0.6
        of the diagonal of `extra['head']`, a box x1 y1 x2 y2), 'body' (0.6 of that of the box
        around the joints) or 'torso', the distance of two joints.
      torso: their numbers; on FLIC left shoulder and right hip.
      thresholds: of PCK.
      l2: strengths; the one with the smallest error on a held-out fifth of train is taken.
      seed: of that fifth.
      every: steps between runs during training; 0 is only at the end.
    """

    train: Source
    test: Source
    stream: str = "vision"
    layers: tuple[str, ...] = ()
    pool: str = "max"
    scale: str = "annotated"
    torso: tuple[int, ...] = ()
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.5)
    l2: tuple[float, ...] = (1.0, 16.0, 256.0, 4096.0, 65536.0)
    seed: int = 0
    every: int = 0

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """`frozen`: a trained network, `ssl_jax.frozen.Frozen`. MediaError without joints."""
        check_scale(self.scale, self.torso)
        train, test = (
            frozen.features(source, self.stream, self.layers, 1, self.pool)
            for source in (self.train, self.test)
        )
        shares, *_ = poses(self.train, train.indices, self.scale, self.torso)
        _, true, sizes, scale = poses(self.test, test.indices, self.scale, self.torso)
        if shares.shape[1] != true.shape[1]:
            raise ValueError(f"{shares.shape[1]} joints in train, {true.shape[1]} in test")
        targets, mean = filled(shares)
        for layer, values in train.layers.items():
            x = finite_rows(f"train, layer {layer}", values, train.indices)
            new = finite_rows(f"test, layer {layer}", test.layers[layer], test.indices)
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
    """ValueError for knobs that say nothing about what distances are measured in."""
    if scale not in SCALES:
        raise ValueError(f"scale={scale!r}: must be one of {', '.join(SCALES)}")
    if scale == "torso" and len(torso) != 2:
        raise ValueError("scale='torso' is the distance of two joints: give torso=(a, b)")


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


def poses(
    source: Source, indices: Int[np.ndarray, "n"], scale: str, torso: tuple[int, ...]
) -> tuple[np.ndarray, ...]:
    """Joints as shares of the picture, joints in pixels, sizes (x, y), and scales."""
    pixels, sizes, scales = [], [], []
    for index in indices.tolist():
        record = source[index]
        pixels.append(joints_of(record)[0])
        height, width = record.need_frames()([0]).shape[1:3]
        sizes.append((width, height))
        scales.append(_scale(record, pixels[-1], scale, torso))
    pixels, sizes = np.stack(pixels), np.array(sizes, np.float64)
    return pixels / sizes[:, None], pixels, sizes, np.array(scales)


def _scale(
    record: Record, joints: Float[np.ndarray, "k 2"], scale: str, torso: tuple[int, ...]
) -> float:
    match scale:
        case "body":
            return float(body_size(joints[None])[0])
        case "torso":
            return float(np.linalg.norm(np.subtract(*joints[list(torso)])))
    name = {"annotated": "scale", "head": "head"}[scale]
    if name not in record.extra:
        raise MediaError(f"{record.name}: has no extra['{name}'], which scale='{scale}' is")
    found = record.extra[name]
    numbers = np.array(found.split() if isinstance(found, str) else found, np.float64)
    return float(head_size(numbers.reshape(1, 4))[0] if name == "head" else numbers.item())


def filled(shares: Float[np.ndarray, "n k 2"]) -> tuple[np.ndarray, Float[np.ndarray, "k 2"]]:
    """Joints with the missing ones at their mean place, and the mean place of each.

    A joint that is never annotated gets the picture's middle.
    """
    known = ~np.isnan(shares)
    count = known.sum(axis=0)
    mean = np.where(known, shares, 0).sum(axis=0) / np.maximum(count, 1)
    mean = np.where(count > 0, mean, 0.5)
    return np.where(known, shares, mean), mean


def mean_distance(predicted: Float[np.ndarray, "n e"], true: Float[np.ndarray, "n e"]) -> float:
    """Of joints that stand in rows as x y x y ..."""
    steps = (predicted - true).reshape(len(true), -1, 2)
    return float(np.linalg.norm(steps, axis=-1).mean())
