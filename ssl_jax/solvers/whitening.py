"""Whitening of features by their principal components."""

import numpy as np
import scipy.linalg
from jaxtyping import Float


def whitened(x: Float[np.ndarray, "n d"], components: int) -> Float[np.ndarray, "n e"]:
    """The first principal components, each with variance 1; fewer if the rows have not as many.

    One column of zeros where all rows are the same.
    """
    centred = x - x.mean(axis=0, dtype=np.float64)
    n, d = centred.shape
    least = n if n < d else d
    few = min(components, least)
    # The smaller of both products has the same eigenvalues.
    product = centred @ centred.T if n < d else centred.T @ centred
    values, vectors = scipy.linalg.eigh(product, subset_by_index=[least - few, least - 1])
    kept = values > 1e-10 * max(values[-1], np.finfo(float).tiny)
    if not kept.any():
        return np.zeros((n, 1), np.float32)
    values, vectors = values[kept][::-1], vectors[:, kept][:, ::-1]
    projected = vectors * np.sqrt(values) if n < d else centred @ vectors
    return np.float32(projected * np.sqrt(n / values))
