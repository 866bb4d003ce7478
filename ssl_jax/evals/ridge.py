"""Ridge probe: least squares in closed form, quick enough to watch a run with.

The few-shot probe of big_vision (Kolesnikov et al. 2020, Big Transfer): standardised features,
targets -1 and +1 for every class,

    minimise over W, b   sum_i ||x_i W + b - y_i||^2 + l2 * ||W||^2,

solved for every strength from one eigendecomposition, of X'X or, with fewer rows than features, of
XX'. Theirs gets its bias from a constant feature of 100, which leaves it nearly unpenalised; here
it is exactly so, by centring, which spares float32 an eigenvalue 10^4 times as large as the rest.
"""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from ssl_jax.data.record import Source
from ssl_jax.evals.newton import put_whole, split_rows
from ssl_jax.evals.probe import probe


@jax.jit
def solve(
    x: Float[Array, "n d"],
    y: Float[Array, "n k"],
    use: Float[Array, "f n"],
    l2: Float[Array, "g"],
) -> tuple[Float[Array, "f g d k"], Float[Array, "f g k"]]:
    """Weights and biases of x -> y for every choice of rows (1 in `use`, 0 elsewhere) and strength.

    Strengths below the rounding error of the largest eigenvalue act like that error: a smaller one
    would divide noise by nearly nothing.
    """

    def one(use):
        share = use / use.sum()
        centre, offset = share @ x, share @ y
        inner, outer = (x - centre) * use[:, None], (y - offset) * use[:, None]
        wide = x.shape[0] < x.shape[1]
        values, vectors = jnp.linalg.eigh(inner @ inner.T if wide else inner.T @ inner)
        # Rounding makes zero eigenvalues slightly negative.
        values = jnp.maximum(values, 0)
        floor = jnp.finfo(x.dtype).eps * values[-1] + jnp.finfo(x.dtype).tiny
        target = vectors.T @ (outer if wide else inner.T @ outer)
        scaled = target / (values + jnp.maximum(l2, floor)[:, None])[..., None]
        weight = vectors @ scaled
        weight = inner.T @ weight if wide else weight
        return weight, offset - centre @ weight

    with jax.default_matmul_precision("highest"):
        return jax.lax.map(one, use)


def fit(
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, "n"],
    use: Bool[np.ndarray, "f n"],
    l2: tuple[float, ...],
    classes: int,
    mesh: Mesh | None = None,
) -> tuple[Float[np.ndarray, "f g d k"], Float[np.ndarray, "f g k"]]:
    """`solve` with targets -1 and +1 for `classes` classes.

    With more rows than features the rows are split over the mesh, and products summed over it.
    ValueError for an impossible strength.
    """
    if not all(np.isfinite(one) and one >= 0 for one in l2):
        raise ValueError(f"l2={l2}: strengths must be finite and at least 0")
    mesh = mesh if len(x) >= x.shape[1] else None
    target = 2 * np.eye(classes, dtype=x.dtype)[y] - 1
    rows, target, use = (split_rows(part, mesh) for part in (x, target, use.T.astype(x.dtype)))
    strengths = put_whole(np.asarray(l2, x.dtype), mesh)
    return jax.device_get(put_whole(solve(rows, target, use.T, strengths), mesh))


@dataclasses.dataclass(frozen=True)
class Ridge:
    """Accuracy of the ridge probe per layer; see `probe.probe` for the names of the results.

    Fields as in `linear.Linear`, but that `l2` is relative to the sum over records, as in the paper
    (whose grid is 64 to 1024), and is chosen on a fifth held out once: each fold costs as much.
    """

    train: Source
    test: Source
    modality: str = "vision"
    layers: tuple[str, ...] = ()
    clips: int = 1
    pool: str = "max"
    l2: tuple[float, ...] = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0)
    folds: int = 1
    labels_per_class: int = 0
    draws: int = 5
    seed: int = 0
    every: int = 0

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """`frozen`: a trained network, `ssl_jax.frozen.Frozen`. ValueError without labels."""
        train, test = (
            frozen.features(source, self.modality, self.layers, self.clips, self.pool)
            for source in (self.train, self.test)
        )
        few = self.labels_per_class, self.draws, self.seed
        fit_on_mesh = functools.partial(fit, mesh=frozen.mesh)
        yield from probe(train, test, fit_on_mesh, self.l2, *few, self.folds)
