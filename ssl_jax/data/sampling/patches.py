"""Which patches of a picture: neighbours in a grid, and where they are cut out."""

import itertools

import numpy as np
from jaxtyping import Int

# (rows down, columns right) from the first patch to the second, by class; 7 - k is the way back.
OFFSETS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
GRID = tuple(itertools.product(range(3), repeat=2))  # cells of 3x3, row by row
PAIRS = ("one", "centre", "all")

Cells = Int[np.ndarray, "n 2"]


def neighbouring_cells(
    pairs: str, rng: np.random.Generator
) -> tuple[Cells, Int[np.ndarray, "m 2"], Int[np.ndarray, "m"]]:
    """Cells (row, column) of a grid, pairs of them in random order, and each pair's class.

    Args:
      pairs: 'one' of two cells, every side equally likely; or, of 3x3 cells, the 8 around the
        'centre' or 'all' 40 (Doersch, Gupta and Efros 2015).
    """
    if pairs == "one":
        classes = rng.integers(len(OFFSETS), size=1)
        cells = np.array([(0, 0), OFFSETS[classes[0]]])
        return cells - cells.min(axis=0), np.array([(0, 1)]), classes
    found, classes = neighbours(centre_only=pairs == "centre")
    order = rng.permutation(len(classes))
    return np.array(GRID), found[order], classes[order]


def neighbours(centre_only: bool) -> tuple[Int[np.ndarray, "m 2"], Int[np.ndarray, "m"]]:
    """All ordered pairs of neighbours in a grid of 3x3 cells, numbered row by row; their classes.

    8 pairs if the first has to be the centre, else 40.
    """
    found = [
        (GRID.index(first), GRID.index(second), OFFSETS.index(offset))
        for first, second in itertools.permutations(GRID, 2)
        if (offset := (second[0] - first[0], second[1] - first[1])) in OFFSETS
        and (first == (1, 1) or not centre_only)
    ]
    table = np.array(found)
    return table[:, :2], table[:, 2]


def jittered_corners(
    cells: Cells,
    size: tuple[int, int],
    patch: int,
    gap: int,
    jitter: int,
    rng: np.random.Generator,
) -> Cells:
    """Upper left corners (y, x) of patches, one in each cell of a grid at a random place.

    Args:
      size: height and width of the picture, which has to hold the grid.
      patch: side of a patch.
      gap: pixels between neighbours, before jitter.
      jitter: each patch is moved by up to so many pixels along both axes, not beyond the picture.
    """
    pitch, room = patch + gap, np.array(size) - patch
    corners = rng.integers(room - pitch * cells.max(axis=0) + 1) + pitch * cells
    corners += rng.integers(-jitter, jitter + 1, size=corners.shape)
    return corners.clip(0, room)
