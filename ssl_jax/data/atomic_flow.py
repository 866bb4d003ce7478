"""Optical flow as classes: the mean motion of coarse cells, each axis cut into bins.

The atomic flows of Luo et al., CVPR 2017, without their third axis, which needs depth.
"""

import numpy as np
from jaxtyping import Float, Float32, Int32


def cell_means(
    flow: Float32[np.ndarray, "t h w 2"], cell: int
) -> Float32[np.ndarray, "t rows columns 2"]:
    """The mean (u, v) of squares of `cell` pixels, of which the sides must be multiples."""
    t, h, w, _ = flow.shape
    return flow.reshape(t, h // cell, cell, w // cell, cell, 2).mean((2, 4))


def flow_bins(flow: Float[np.ndarray, "*s"], bound: float, bins: int) -> Int32[np.ndarray, "*s"]:
    """In which of `bins` equal parts of -bound..bound each number lies; what is beyond, at the end.

    With an odd number of bins no motion is the middle of one; with an even number it is where two
    meet, and noise decides.
    """
    numbers = np.floor((flow + bound) / (2 * bound / bins))
    return np.clip(numbers, 0, bins - 1).astype(np.int32)
