"""Alignment of two videos of the same event: does the nearest frame show the same moment?"""

import numpy as np
from jaxtyping import Float


def alignment_error(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]) -> float:
    """Mean over t of |t - s(t)| / n, s(t) the row of b that is nearest to row t of a.

    Sermanet et al. 2018 (TCN). 0 is perfect; see `chance_alignment`. One direction only: the other
    is alignment_error(b, a). Of rows equally near the first is taken.
    """
    squares = np.square(a[:, None] - b[None]).sum(-1)
    return float(np.abs(np.arange(len(a)) - squares.argmin(axis=1)).mean() / len(a))


def chance_alignment(n: int) -> float:
    """Its expectation for a random row of b: (n^2 - 1) / (3 n^2), a third for long videos."""
    return (n * n - 1) / (3 * n * n)
