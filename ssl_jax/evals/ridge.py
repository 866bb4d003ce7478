"""Ridge probe: least squares in closed form, quick enough to watch a run with.

The few-shot probe of big_vision (Kolesnikov et al. 2020, Big Transfer): standardised features,
targets -1 and +1 for every class,

    minimise over W, b   sum_i ||x_i W + b - y_i||^2 + l2 * ||W||^2,

solved for every strength from one eigendecomposition, of X'X or, with fewer rows than features, of
XX'. Theirs gets its bias from a constant feature of 100, which leaves it nearly unpenalised; here
it is exactly so, by centring, which spares float32 an eigenvalue 10^4 times as large as the rest.
"""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ssl_jax.data.record import Source
from ssl_jax.evals.probe import probe


@jax.jit
def predict(
    x: Float[Array, "n d"],
    y: Float[Array, "n k"],
    new: Float[Array, "m d"],
    l2: Float[Array, "g"],
) -> Float[Array, "g m k"]:
    """Fits x -> y once for each strength, bias free, and answers for `new`.

    Strengths below the rounding error of the largest eigenvalue act like that error: a smaller one
    would divide noise by nearly nothing.
    """
    centre, offset = x.mean(axis=0), y.mean(axis=0)
    x, y, new = x - centre, y - offset, new - centre
    with jax.default_matmul_precision("highest"):
        if x.shape[0] < x.shape[1]:
            values, vectors = jnp.linalg.eigh(x @ x.T)
            projected, target = (new @ x.T) @ vectors, vectors.T @ y
        else:
            values, vectors = jnp.linalg.eigh(x.T @ x)
            projected, target = new @ vectors, vectors.T @ (x.T @ y)
        # Rounding makes zero eigenvalues slightly negative.
        values = jnp.maximum(values, 0)
        floor = jnp.finfo(x.dtype).eps * values[-1] + jnp.finfo(x.dtype).tiny
        l2 = jnp.maximum(l2, floor)
        return jax.lax.map(lambda one: (projected / (values + one)) @ target, l2) + offset


def scores(
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, "n"],
    new: Float[np.ndarray, "m d"],
    classes: int,
    l2: tuple[float, ...],
) -> Float[np.ndarray, "g m k"]:
    """`predict` with targets -1 and +1 for `classes` classes."""
    target = 2 * np.eye(classes, dtype=x.dtype)[y] - 1
    return jax.device_get(predict(*jax.device_put((x, target, new, np.asarray(l2, x.dtype)))))


@dataclasses.dataclass(frozen=True)
class Ridge:
    """Accuracy of the ridge probe per layer; see `probe.probe` for the names of the results.

    Fields as in `linear.Linear`, but that `l2` is relative to the sum over records, as in the paper
    (whose grid is 64 to 1024).
    """

    train: Source
    test: Source
    modality: str = "vision"
    layers: tuple[str, ...] = ()
    clips: int = 1
    pool: str = "max"
    l2: tuple[float, ...] = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0)
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
        yield from probe(train, test, scores, self.l2, self.labels_per_class, self.draws, self.seed)
