"""Rank correlation."""

import numpy as np
from jaxtyping import Float
from scipy import stats


def spearman(x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"]) -> float:
    """Spearman's rho, equal values sharing their mean rank; 0 where all of x or y are equal."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(stats.spearmanr(x, y).statistic)
