"""Initial weights from the statistics of some images, and the rescaling of weights that are there.

Krähenbühl, Doersch, Donahue and Darrell, "Data-dependent Initializations of Convolutional Neural
Networks", ICLR 2016. Layer by layer from the input up, filters are drawn or made of the patches
that the layer sees (`filters`), and scaled so that every channel has mean 0.1 and variance 1
(`unit_outputs`). Then, if wanted, the layers are scaled against one another until all would change
at the same relative rate under a random gradient at the output (`balancing_scales`).
"""

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from ssl_jax.config import ConfigError
from ssl_jax.solvers.k_means import k_means

FILTERS = ("gaussian", "random", "pca", "zca", "kmeans")
# Eigenvalues below the first stand for directions in which nothing varies; the second keeps small
# ones from being blown up.
NOTHING, SOFT = 1e-6, 1e-3
# Rounds of Lloyd's algorithm; filters change little after these.
ITERATIONS = 30


def filters(
    kind: str, rows: Float[np.ndarray, "n f"], count: int, seed: int, mesh: Mesh
) -> Float[np.ndarray, "count f"]:
    """Filters for inputs like these rows; their scale does not matter.

    The rows are centred; of their covariance D'D the `count` (or fewer) largest eigenvalues s and
    directions V are kept, and S = 1 / sqrt(s + 0.001).

        pca      S V'
        zca      V S V'
        random   a S V', where a are rows, whitened and scaled to unit length
        kmeans   the same, where a are the centres of all of these

    Where pca and zca have fewer filters than are wanted, the others are random; of more than are
    wanted zca draws.
    With fewer rows than filters all are gaussian, N(0, 1).

    Args:
      kind: one of these, or 'gaussian'.
      mesh: on which k-means runs.

    Raises ConfigError for another kind.
    """
    if kind not in FILTERS:
        raise ConfigError(f"filters are one of {', '.join(FILTERS)}, not {kind!r}")
    rng = np.random.default_rng(seed)
    if kind == "gaussian" or len(rows) < count:
        return rng.standard_normal((count, rows.shape[1]), np.float32)
    rows = np.asarray(rows, np.float64) - rows.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    kept = np.flatnonzero(values > NOTHING)[::-1][:count]  # they ascend
    vectors, scales = vectors[:, kept], 1 / np.sqrt(values[kept] + SOFT)
    whitening = scales[:, None] * vectors.T
    white = rows @ whitening.T
    lengths = np.linalg.norm(white, axis=1)
    white = (white[lengths > NOTHING] / lengths[lengths > NOTHING, None]).astype(np.float32)
    if len(white) < count:  # the others are the mean itself
        return rng.standard_normal((count, rows.shape[1]), np.float32)
    if kind == "kmeans":
        _, centres, _ = k_means(mesh, white, count, restarts=1, iterations=ITERATIONS, seed=seed)
        return (centres @ whitening).astype(np.float32)
    made = whitening if kind == "pca" else np.zeros((0, rows.shape[1]))
    if kind == "zca":
        made = vectors @ whitening  # a filter for each input; none for one that never varies
        made = made[np.linalg.norm(made, axis=1) > NOTHING]
        made = rng.permutation(made)[:count] if len(made) > count else made
    drawn = white[rng.choice(len(white), count - len(made), replace=False)] @ whitening
    return np.concatenate([made, drawn]).astype(np.float32)


def unit_outputs(
    kernel: Float[np.ndarray, "*f o"],
    mean: Float[np.ndarray, "o"],
    std: Float[np.ndarray, "o"],
    offset: float = 0.1,
) -> tuple[Float[np.ndarray, "*f o"], Float[np.ndarray, "o"]]:
    """Kernel and bias under which every output has mean `offset` and deviation 1.

    Args:
      mean, std: of the outputs under the kernel as it is, without a bias. What does not vary is
        not scaled.
    """
    std = np.where(std > NOTHING * max(float(std.max()), 1e-30), std, 1.0)
    return (kernel / std).astype(np.float32), (offset - mean / std).astype(np.float32)


def balancing_scales(
    ratios: Float[np.ndarray, "n"], output_std: float = 1.0
) -> Float[np.ndarray, "n"]:
    """Factors of the layers' kernels after which all change at the same relative rate.

        target = output_std^(1/n) * geometric mean of the ratios,   factor = sqrt(ratio / target)

    Of a network of convolutions, dense layers without biases and ReLU one round is exact, and its
    output is then the same, divided by sqrt(output_std).

    Args:
      ratios: of each layer, the root mean square of the kernel's gradient over that of the kernel.
      output_std: of the network's output; 1 leaves its scale as it is.

    Raises ConfigError for a ratio that is 0 or not finite.
    """
    logs = log_distances(ratios, output_std)
    return np.exp(logs / 2)


def log_distances(
    ratios: Float[np.ndarray, "n"], output_std: float = 1.0
) -> Float[np.ndarray, "n"]:
    """log(ratio / target), by which each layer is out of balance; see `balancing_scales`."""
    ratios = np.asarray(ratios, np.float64)
    if not (np.isfinite(ratios).all() and (ratios > 0).all() and 0 < output_std < np.inf):
        dead = int(np.argmin(np.where(np.isfinite(ratios), ratios, -1.0)))
        raise ConfigError(
            f"rescaling: layer {dead + 1} of {len(ratios)} gets no finite gradient, or the output "
            "does not vary"
        )
    logs = np.log(ratios)
    return logs - logs.mean() - np.log(output_std) / len(ratios)


def accumulated(scales: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Factors of the layers' biases: of a layer, those of its kernel and of all kernels below."""
    return np.cumprod(scales)
