"""Speed of the evaluators, against scikit-learn and faiss, and their share of a training run."""

import contextlib
import dataclasses
import importlib.util
import io
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Float, Int

from ssl_jax.benchmarks.turns import typical
from ssl_jax.config import call
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals import knn
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.ridge import Ridge
from ssl_jax.evaluator import Evaluator, Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.rotation import Rotation
from ssl_jax.models.nin import NIN
from ssl_jax.optim import Optimizer
from ssl_jax.solvers import logistic
from ssl_jax.solvers.probe import standardise
from ssl_jax.train import fit

Rows = Iterator[tuple[str, float]]

MISSING = "not measured: needs pip install 'ssl_jax[benchmark]'"


@dataclasses.dataclass(frozen=True)
class Evals:
    """Seconds that pass on all cores, as ratios (higher is better) unless a row says otherwise.

    Attributes:
      records, features, classes: of the layer that is probed, and half as many records.
      most_records, most_features: of a layer as large as in the literature, fitted once, which
        takes minutes and some copies of 2 GB.
      allowed: about the most that scikit-learn gets for that one, in units of our seconds. It may
        stop before, where its steps drown in the rounding of float32.
      l2: the probe's strength, relative to the mean loss.
      gradient: where scikit-learn stops, its `tol`; at its default of 1e-4 it is still far off.
      gallery, queries, width, neighbours: of the nearest neighbours.
      images, tested, batch: of an epoch of training, of what the probe learns from and is tested
        on (each a tenth, as in our configs), of a step.
      turns: each side of a comparison runs so often; the median counts.
    """

    records: int = 10_000
    features: int = 2_304
    classes: int = 10
    most_records: int = 50_000
    most_features: int = 9_216
    allowed: float = 4.0
    l2: float = 1e-2
    gradient: float = 1e-6
    gallery: int = 50_000
    queries: int = 10_000
    width: int = 512
    neighbours: int = 20
    images: int = 6_400
    tested: int = 640
    batch: int = 32
    turns: int = 2

    def rows(self) -> Rows:
        """Names and numbers."""
        if importlib.util.find_spec("sklearn") is None:
            print(f"linear: {MISSING}", file=sys.stderr)
        else:
            for records in (self.records // 2, self.records):
                yield from _linear(records, self)
            yield from _large(self)
        yield from _neighbours(self)
        yield from _share(self)


def _linear(records: int, sizes: Evals) -> Rows:
    x, y = layer(records, sizes.features, sizes.classes)
    found = {}

    def ours():
        found["ours"] = _ours(x, y, sizes)

    def theirs():
        found["theirs"] = _theirs(x, y, sizes, 100_000)

    ours()  # compiles, once for all folds and strengths of a probe
    fast, plain = typical(sizes.turns, ours, theirs, clock=time.perf_counter)
    yield f"{_name(x, sizes)}, against scikit-learn", plain / fast
    yield (
        "linear: how far scikit-learn ends above our objective (millionths of it)",
        _gap(x, y, **found, l2=sizes.l2),
    )


def _large(sizes: Evals) -> Rows:
    x, y = layer(sizes.most_records, sizes.most_features, sizes.classes)
    _ours(x, y, sizes)
    (ours, seconds), (_, ten) = _timed(_ours, x, y, sizes), _timed(_theirs, x, y, sizes, 10)
    iterations = max(1, math.ceil(sizes.allowed * seconds / (ten / 10)))
    theirs, longer = _timed(_theirs, x, y, sizes, iterations)
    yield f"{_name(x, sizes)} (seconds)", seconds
    yield "linear: scikit-learn's seconds until it stops or is stopped, over ours", longer / seconds
    yield (
        "linear: how far scikit-learn then is above our objective (millionths of it)",
        _gap(x, y, ours, theirs, sizes.l2),
    )


def _name(x: np.ndarray, sizes: Evals) -> str:
    return f"linear: {len(x):,} x {x.shape[1]:,}, {sizes.classes} classes, l2 {sizes.l2:g}"


def _ours(x: np.ndarray, y: np.ndarray, sizes: Evals) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases."""
    use = np.ones((1, len(x)), bool)
    weight, bias = logistic.fit(x, y, use, (sizes.l2,), sizes.classes)
    return weight[0, 0], bias[0, 0]


def _theirs(
    x: np.ndarray, y: np.ndarray, sizes: Evals, iterations: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases by scikit-learn, after at most so many iterations."""
    from sklearn.linear_model import LogisticRegression

    c = 1 / (len(x) * sizes.l2)
    model = LogisticRegression(C=c, tol=sizes.gradient, max_iter=iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: the gap shows it
        model.fit(x, y)
    return model.coef_.T, model.intercept_


def _gap(x: np.ndarray, y: np.ndarray, ours: tuple, theirs: tuple, l2: float) -> float:
    """How much higher their objective is than ours, in millionths of it."""
    mine, other = (objective(x, y, *found, l2) for found in (ours, theirs))
    return float(1e6 * (other - mine) / mine)


def _timed(side: Callable, *arguments) -> tuple[Any, float]:
    """What it gives, and the seconds it took."""
    begin = time.perf_counter()
    return side(*arguments), time.perf_counter() - begin


def layer(n: int, d: int, classes: int) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, "n"]]:
    """Standardised rows like a rectified layer's: few directions vary most; classes overlap."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(n) % classes)
    scale = np.arange(1, 401) ** -1.0
    hidden = rng.normal(size=(n, 400)) * scale
    hidden += 0.5 * (rng.normal(size=(classes, 400)) * scale)[y]
    x = hidden.astype(np.float32) @ rng.normal(size=(400, d)).astype(np.float32)
    x += 0.05 * rng.standard_normal(x.shape, dtype=np.float32)
    (x,) = standardise(np.maximum(x, 0))
    return x, y


def objective(
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, "n"],
    weight: Float[np.ndarray, "d k"],
    bias: Float[np.ndarray, "k"],
    l2: float,
) -> float:
    """What the logistic probe minimises, in float64."""
    total, weight = 0.0, np.float64(weight)
    for rows in np.array_split(np.arange(len(y)), -(-len(y) // 1000)):
        z = x[rows].astype(np.float64) @ weight + bias
        total += np.sum(np.logaddexp.reduce(z, axis=1) - z[np.arange(len(rows)), y[rows]])
    return total / len(y) + l2 / 2 * float(np.sum(weight**2))


def _neighbours(sizes: Evals) -> Rows:
    what = f"knn: {sizes.queries:,} against {sizes.gallery:,} x {sizes.width}, k={sizes.neighbours}"
    if importlib.util.find_spec("faiss") is None:
        print(f"{what}: {MISSING}", file=sys.stderr)
        return
    import faiss

    rng = np.random.default_rng(0)
    gallery, queries = (
        rng.standard_normal((n, sizes.width), dtype=np.float32)
        for n in (sizes.gallery, sizes.queries)
    )
    found = {}

    def ours():
        found["ours"] = knn.nearest(queries, gallery, sizes.neighbours)[1]

    def theirs():
        stored, asked = gallery.copy(), queries.copy()
        faiss.normalize_L2(stored)
        faiss.normalize_L2(asked)
        index = faiss.IndexFlatIP(sizes.width)
        index.add(stored)
        found["theirs"] = index.search(asked, sizes.neighbours)[1]

    ours()
    fast, plain = typical(sizes.turns, ours, theirs, clock=time.perf_counter)
    yield f"{what}, against faiss", plain / fast
    yield (
        "knn: share of neighbours that are faiss', in the same place",
        float(np.mean(found["ours"] == found["theirs"])),
    )


@dataclasses.dataclass(frozen=True)
class Timed:
    """An evaluator that notes when it begins and ends."""

    evaluator: Evaluator
    every: int
    times: ClassVar[list[float]] = []

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """As the evaluator does."""
        jax.block_until_ready(frozen.variables)  # steps still under way are training
        self.times.append(time.perf_counter())
        yield from self.evaluator.run(frozen)
        self.times.append(time.perf_counter())


def _share(sizes: Evals) -> Rows:
    """Rotation on images of 32x32 with a narrow network, on one device; the second epoch."""
    train = call(SyntheticSource, size=sizes.images, frames=1, height=32, width=32)
    probe, test = (
        call(SyntheticSource, size=sizes.tested, frames=1, height=32, width=32, seed=seed)
        for seed in (1, 2)
    )
    epoch = sizes.images // sizes.batch
    ridge = call(Ridge, train=probe, test=test, read=call(Read, layers=("block2", "pool")))
    pretext = call(Pretext, source=test, batch_size=sizes.batch)
    config = call(
        Experiment,
        source=train,
        method=call(Rotation, vision=call(NIN, blocks=3, width=0.25), size=32),
        optimizer=call(Optimizer, name="sgd", learning_rate=0.05),
        steps=2 * epoch + 1,
        batch_size=sizes.batch,
        sharding=call(Sharding, devices=1),
        evaluators={
            "ridge": call(Timed, evaluator=ridge, every=epoch),
            "pretext": call(Timed, evaluator=pretext, every=epoch),
        },
    )
    Timed.times.clear()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        fit(config, folder)
    # Both evaluators' begins and ends, after the first epoch and after the second.
    *_, trained_from, begin, _, _, end = Timed.times[:8]
    what = f"ridge and pretext every epoch of {sizes.images:,} images"
    yield f"{what}: their time in units of the training's", (end - begin) / (begin - trained_from)
