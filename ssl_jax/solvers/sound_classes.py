"""What classes of sounds are made of: statistics on one scale, and their principal directions."""

from collections.abc import Mapping

import numpy as np
import scipy.linalg
from jaxtyping import Float, Float32


def group_scales(
    statistics: Float[np.ndarray, "n d"], ends: Mapping[str, int]
) -> tuple[Float32[np.ndarray, "d"], Float32[np.ndarray, "d"]]:
    """The mean of each statistic, and by what to multiply it so that the groups weigh alike.

    Within a group all are multiplied alike, so that their variances add up to 1; a group that never
    varies by 0.

    Args:
      ends: where each group of statistics ends.
    """
    mean = statistics.mean(axis=0, dtype=np.float64)
    variance = np.square(statistics - mean).mean(axis=0)
    scale, start = np.zeros(len(mean)), 0
    for end in ends.values():
        total = variance[start:end].sum()
        # Below this it is the rounding of float32.
        varies = total > 1e-12 * np.square(mean[start:end]).sum()
        scale[start:end] = 1 / np.sqrt(total) if varies else 0.0
        start = end
    return mean.astype(np.float32), scale.astype(np.float32)


def principal_directions(x: Float[np.ndarray, "n d"], count: int) -> Float32[np.ndarray, "k d"]:
    """The first `count` principal directions of rows whose mean is 0; at most d, or n."""
    d = x.shape[1]
    _, vectors = scipy.linalg.eigh(x.T @ x, subset_by_index=[d - count, d - 1])
    vectors = vectors[:, ::-1].T
    # A direction's sign is nobody's: its largest entry is positive.
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], axis=1)
    return (vectors * np.sign(largest)).astype(np.float32)
