"""Where a clip moves most, where its colours change most and least: the numbers of MotionPred.

Wang et al., CVPR 2019. A square frame is cut into cells by three patterns; all numbers count from 1
and go by reading order: row by row, from the left.
"""

import functools

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, UInt8

DIRECTIONS = 8  # of 45 degrees each
COLOURS = 8  # red, green and blue below 128 or not
MOTION = 14  # numbers; 13 are of appearance
LEVELS = 256  # bins of a colour histogram


def largest_statistics(frames: int) -> Int[np.ndarray, "n"]:
    """The largest value of each of the 27 numbers of a clip, motion's and then appearance's."""
    motion = [largest for k in (16, 4, 8) for largest in (k, DIRECTIONS, k, DIRECTIONS)]
    appearance = [largest for k in (16, 4, 8) for largest in (k, COLOURS, k, COLOURS)]
    return np.array([*motion, frames - 1, frames - 1, *appearance, COLOURS])


@functools.cache
def patterns(size: int) -> tuple[Bool[np.ndarray, "k h w"], ...]:
    """Cells of the three patterns of a square of `size` pixels, a multiple of 8.

    Sixteen squares; four square rings, from the middle outwards; eight triangles, two in every
    quarter, which share the pixels of their diagonal.
    """
    y, x = np.mgrid[:size, :size]
    squares = y // (size // 4) * 4 + x // (size // 4)
    # Rings are as wide as an eighth. Twice the distance from the middle is a whole number.
    away = np.maximum(np.abs(2 * y - size + 1), np.abs(2 * x - size + 1))
    rings = away // (size // 4)
    half = size // 2
    quarter = y // half * 2 + x // half
    # Quarters are cut along the diagonals that run through the middle of the square.
    falls = np.isin(quarter, (0, 3))
    down, right = y % half, np.where(falls, x % half, half - 1 - x % half)
    lower, upper = down >= right, down <= right
    left_first = (lower, upper), (upper, lower), (upper, lower), (lower, upper)
    triangles = [
        side & (quarter == place) for place, sides in enumerate(left_first) for side in sides
    ]
    one_by_one = (squares == np.arange(16)[:, None, None], rings == np.arange(4)[:, None, None])
    return (*one_by_one, np.stack(triangles))


def motion_statistics(flow: Float[np.ndarray, "t h h 2"]) -> Int32[np.ndarray, "n"]:
    """Fourteen numbers of a clip's optical flow.

    u and v are differentiated along x and y, which removes what a camera's motion adds, and summed
    over time: the motion boundaries. For each pattern: the cell where those of u are largest on
    average, and the direction in which most of them point there; the same two of v. At last the
    frame with the largest boundaries of u, and of v. Of a video at rest all are 1.
    """
    from scipy.ndimage import correlate

    across = np.tile(np.array([-1.0, 0.0, 1.0], np.float32), (3, 1))
    found: list[int] = []
    parts = np.moveaxis(np.float32(flow), -1, 0)
    slopes = [[correlate(part, k[None]) for k in (across, across.T)] for part in parts]
    sums = [np.stack([slope.sum(0) for slope in both]) for both in slopes]
    for cells in patterns(flow.shape[1]):
        for dx, dy in sums:
            magnitude, degrees = np.hypot(dx, dy), np.degrees(np.arctan2(dy, dx))
            cell = int(_means(cells, magnitude).argmax())
            votes = direction_votes(magnitude[cells[cell]], degrees[cells[cell]])
            found += [cell + 1, int(votes.argmax()) + 1]
    found += [int(np.hypot(dx, dy).sum((1, 2)).argmax()) + 1 for dx, dy in slopes]
    return np.array(found, np.int32)


def direction_votes(
    magnitudes: Float[np.ndarray, "n"], degrees: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "d"]:
    """How much points to each of eight directions, 0, 45, ... degrees.

    Every magnitude is shared between the two directions that its own lies between, as near as it
    is to each.
    """
    places = np.asarray(degrees, np.float64) % 360 / (360 / DIRECTIONS)
    before = np.floor(places)
    share, first = places - before, before.astype(int) % DIRECTIONS
    lower = np.bincount(first, magnitudes * (1 - share), DIRECTIONS)
    return lower + np.bincount((first + 1) % DIRECTIONS, magnitudes * share, DIRECTIONS)


def appearance_statistics(frames: UInt8[np.ndarray, "t h h 3"]) -> Int32[np.ndarray, "n"]:
    """Thirteen numbers of a clip's colours.

    For each pattern: the cell whose colours change most over time (see `colour_overlap`) and its
    main colour, the cell whose colours change least and its main colour; at last the main colour of
    the whole clip. It is the most frequent of eight: 1 is black, 2 blue, 3 green, 5 red, 8 white.
    """
    red, green, blue = np.moveaxis(frames // 128, -1, 0)
    colours = 4 * red + 2 * green + blue
    found: list[int] = []
    for cells in patterns(frames.shape[1]):
        overlaps = colour_overlap(histograms(frames, cells))
        for cell in (int(overlaps.argmin()), int(overlaps.argmax())):
            found += [cell + 1, _most_frequent(colours[:, cells[cell]])]
    return np.array([*found, _most_frequent(colours)], np.int32)


def histograms(
    frames: UInt8[np.ndarray, "t h w c"], cells: Bool[np.ndarray, "k h w"]
) -> Int[np.ndarray, "k t c n"]:
    """How many pixels of each cell have each of the 256 levels: by frame and channel."""
    t, _, _, c = frames.shape
    cell, place = np.nonzero(cells.reshape(len(cells), -1))
    pixels = frames.reshape(t, -1, c)[:, place]
    # All at once: each cell, frame and channel has a stretch of levels of its own.
    owners = (cell[:, None] * t + np.arange(t)[:, None, None]) * c + np.arange(c)
    counts = np.bincount((LEVELS * owners + pixels).ravel(), minlength=len(cells) * t * c * LEVELS)
    return counts.reshape(len(cells), t, c, LEVELS)


def colour_overlap(counts: Int[np.ndarray, "*k t c n"]) -> Float[np.ndarray, "*k"]:
    """How alike the histograms of all frames are: 1 if equal, 0 if no level is in all frames.

    The sum over levels of the smallest count of any frame, by that of the largest one; the mean of
    the colour channels.
    """
    return (counts.min(-3).sum(-1) / counts.max(-3).sum(-1)).mean(-1)


def _most_frequent(colours: UInt8[np.ndarray, "*t"]) -> int:
    return int(np.bincount(colours.ravel()).argmax()) + 1


def _means(
    cells: Bool[np.ndarray, "k h w"], values: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "k"]:
    """The mean of each cell: rings are of different size."""
    return np.array([values[cell].mean() for cell in cells])
