"""Geometry of features: have they collapsed to a point, a line, a few units?

Needs no labels and little time, so it can watch a run: give it an `every`. Float64 on the host.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from scipy.special import logsumexp

from ssl_jax.config import ConfigError
from ssl_jax.data.image import crop, resize
from ssl_jax.data.record import Source
from ssl_jax.knobs import above, ascending, at_least, one_of, within
from ssl_jax.solvers.probe import finite_rows, unit


def alignment(
    x: Float[np.ndarray, "n d"], positive: Float[np.ndarray, "n d"], alpha: float = 2.0
) -> float:
    """Mean of ||x_i - positive_i||^alpha (Wang and Isola 2020), for rows of unit length; 0 is best.

    Two random directions have 2 (alpha=2).
    """
    return float(np.mean(np.linalg.norm(x - positive, axis=1) ** alpha))


def uniformity(x: Float[np.ndarray, "n d"], t: float = 2.0) -> float:
    """log of the mean over pairs of exp(-t ||x_i - x_j||^2) (Wang and Isola 2020), unit rows.

    0 if all rows are the same, -2 t if all are at right angles. ConfigError of fewer than two rows.
    """
    _at_least_two(x)
    squares = np.square(x).sum(axis=1)
    logs = []
    for i in range(len(x) - 1):
        distances = squares[i] + squares[i + 1 :] - 2 * x[i + 1 :] @ x[i]
        logs.append(logsumexp(-t * np.maximum(distances, 0)))
    return float(logsumexp(logs) - np.log(len(x) * (len(x) - 1) / 2))


def rankme(singular: Float[np.ndarray, "r"], eps: float = 1e-7) -> float:
    """exp of the entropy of the singular values' shares p = s / sum(s) + eps (Garrido et al. 2023).

    A smooth rank, between 1 and the number of features. The authors' text and other codes differ in
    eps (1e-5 elsewhere), which shows in the third digit at most.
    """
    total = singular.sum()
    share = (singular / total if total > 0 else np.zeros_like(singular)) + eps
    return float(np.exp(-np.sum(share * np.log(share))))


def top_share(singular: Float[np.ndarray, "r"]) -> float:
    """The largest singular value's share of their sum: 1 if all rows lie on a line."""
    total = singular.sum()
    return float(singular.max() / total) if total > 0 else 1.0


def feature_std(x: Float[np.ndarray, "n d"]) -> float:
    """Mean over features of their deviation (n - 1), for rows of unit length.

    Near 1 / sqrt(d) if all directions are used equally, 0 if all rows are the same (as SimSiam's
    authors watch it, Chen and He 2021). ConfigError of fewer than two rows.
    """
    _at_least_two(x)
    return float(x.std(axis=0, ddof=1).mean())


def mean_cosine(x: Float[np.ndarray, "n d"]) -> float:
    """Mean cosine of two different rows, which come with unit length."""
    _at_least_two(x)
    together = np.square(x.sum(axis=0)).sum() - np.square(x).sum()
    return float(together / (len(x) * (len(x) - 1)))


def modality_gap(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    """Distance of the means of two streams' rows of unit length (Liang et al. 2022)."""
    return float(np.linalg.norm(x.mean(axis=0) - y.mean(axis=0)))


def dead_share(low: Float[np.ndarray, "c"], high: Float[np.ndarray, "c"]) -> float:
    """Share of units whose smallest and largest value, anywhere on any input, are the same.

    Such are ReLUs that are never above zero, and every unit of a collapsed layer.
    """
    largest = np.maximum(np.abs(low), np.abs(high))
    return float(np.mean(high - low <= 1e-6 * largest))


def _at_least_two(x: np.ndarray) -> None:
    if len(x) < 2:
        raise ConfigError(f"{len(x)} rows have no pair to compare")


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How the features of each layer lie in their space. Maps are averaged over space and time.

    Yields for every layer 'alignment' and 'uniformity' (smaller is better, and only both together
    mean something), 'rankme', 'top_share', 'feature_std', 'cosine' (of two records), 'dead' (share
    of units), and with `other` a 'modality_gap'.

    Attributes:
      source: any records, labelled or not.
      layers: names; () is all of them.
      limit: so many records, spread evenly over the source; 0: all.
      pairs: what alignment compares an input with: 'crops', a random crop of itself that may be
        mirrored (images and videos), or 'clips', another clip of the record (videos and audio;
        of an image it is the same).
      area: smallest and largest fraction of the image in a crop.
      other: a stream with the same layers to measure the gap to; '' for none.
      seed: of the crops.
    """

    source: Source
    stream: str = "vision"
    layers: tuple[str, ...] = ()
    limit: int = 512
    pairs: str = "crops"
    area: tuple[float, float] = (0.3, 1.0)
    other: str = ""
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        at_least(self, 0, "limit", "seed")
        one_of(self, "pairs", ("crops", "clips"))
        above(self, 0, "area")
        within(self, 0, 1, "area")
        ascending(self, "area")

    def check(self, frozen) -> None:
        """ConfigError for an unknown other stream."""
        if self.other:
            frozen.check_layers(self.other, (), None)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError for unknown pairs, or of fewer than two records."""
        clips = 2 if self.pairs == "clips" else 1
        inputs, indices = frozen.inputs(self.source, self.stream, clips, self.limit)
        first = {name: values[:, 0] for name, values in inputs.items()}
        if self.pairs == "clips":
            second = {name: values[:, 1] for name, values in inputs.items()}
        else:
            second = {k: crops(v, self.area, self.seed) for k, v in first.items()}
        features, low, high = vectors(frozen, self.stream, first, self.layers)
        positives, *_ = vectors(frozen, self.stream, second, self.layers)
        others = {}
        if self.other:
            inputs, _ = frozen.inputs(self.source, self.other, 1, self.limit)
            inputs = {name: values[:, 0] for name, values in inputs.items()}
            others, *_ = vectors(frozen, self.other, inputs, self.layers)
        for layer, values in features.items():
            x = finite_rows(f"layer {layer}", values, indices).astype(np.float64)
            positive = finite_rows(f"layer {layer}", positives[layer], indices)
            z = unit(x)
            singular = np.linalg.svd(x, compute_uv=False)
            yield f"{layer}/alignment", alignment(z, unit(positive.astype(np.float64)))
            yield f"{layer}/uniformity", uniformity(z)
            yield f"{layer}/rankme", rankme(singular)
            yield f"{layer}/top_share", top_share(singular)
            yield f"{layer}/feature_std", feature_std(z)
            yield f"{layer}/cosine", mean_cosine(z)
            yield f"{layer}/dead", dead_share(low[layer], high[layer])
            if layer in others and others[layer].shape[1] == z.shape[1]:
                yield f"{layer}/modality_gap", modality_gap(z, unit(others[layer]))


def vectors(
    frozen, stream: str, inputs: dict[str, np.ndarray], layers: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Layer -> features (n c), maps averaged; and each unit's smallest and largest value (c).

    Maps are reduced batch by batch, as those of all inputs need not fit into memory.
    """
    means, lows, highs = {}, {}, {}
    for start in range(0, len(next(iter(inputs.values()))), frozen.batch_size):
        part = {k: v[start : start + frozen.batch_size] for k, v in inputs.items()}
        out = frozen.maps(stream, part, layers) if layers else frozen.encode(stream, part)
        for name, x in out.items():
            x = np.asarray(x, np.float64)
            inner = tuple(range(1, x.ndim - 1))
            means.setdefault(name, []).append(x.mean(axis=inner))
            lows.setdefault(name, []).append(x.min(axis=(0, *inner)))
            highs.setdefault(name, []).append(x.max(axis=(0, *inner)))
    return (
        {k: np.concatenate(v) for k, v in means.items()},
        {k: np.min(v, axis=0) for k, v in lows.items()},
        {k: np.max(v, axis=0) for k, v in highs.items()},
    )


def crops(
    raw: Shaped[np.ndarray, "n ..."], area: tuple[float, float], seed: int
) -> UInt8[np.ndarray, "n ..."]:
    """A random box of each image or video, of its proportions, enlarged again; half are mirrored.

    ConfigError unless they are images or videos of uint8.
    """
    if raw.dtype != np.uint8 or raw.ndim < 4:
        raise ConfigError("pairs='crops' is for images and videos of uint8; use pairs='clips'")
    rng = np.random.default_rng(seed)
    result = np.empty_like(raw)
    height, width = raw.shape[-3:-1]
    for target, one in zip(result, raw, strict=True):
        side = np.sqrt(rng.uniform(*area))
        h, w = max(1, round(height * side)), max(1, round(width * side))
        top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        frames = one.reshape(-1, *one.shape[-3:])
        cut = resize(crop(frames, top, left, h, w), (height, width)).reshape(one.shape)
        target[...] = cut[..., ::-1, :] if rng.random() < 0.5 else cut
    return result
