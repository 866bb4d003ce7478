"""Which frames of a video, and where in them: chosen by how much moves."""

import itertools

import numpy as np
from jaxtyping import Float, Int, UInt8

from ssl_jax.data.sampling.clips import need


def ordered_tuple(
    magnitudes: Float[np.ndarray, "t"], count: int, rng: np.random.Generator
) -> Int[np.ndarray, "n"]:
    """`count` different frames in true order, those with much motion more likely (OPN).

    Drawn without replacement: each draw takes one of the frames left with a probability
    proportional to its magnitude. Frames without motion come only after all that have some.

    Raises:
      ValueError: fewer magnitudes than asked for.
    """
    need(len(magnitudes), count, f"an ordered tuple of {count}", "number of ordered frames")
    weights = np.maximum(magnitudes, 1e-9 * max(np.max(magnitudes), 1e-12))
    # The clock of frame i rings after an exponential time of rate weights[i]: the first to ring are
    # such a draw.
    rings = rng.exponential(size=len(weights)) / weights
    return np.sort(np.argsort(rings)[:count])


def window_by_motion(
    magnitudes: Float[np.ndarray, "t"], window: int, rng: np.random.Generator
) -> int:
    """Start of a window, drawn with a probability proportional to the window's sum of magnitudes.

    As Cross and Learn (Sayed et al. 2018): magnitudes 1 2 3 4 5 and windows of 3 give the starts 0,
    1 and 2 with 2/9, 3/9 and 4/9. Without any motion all starts are equally likely.

    Raises:
      ValueError: fewer magnitudes than the window is long.
    """
    if len(magnitudes) < window:
        raise ValueError(
            f"a window of {window} does not fit {len(magnitudes)} magnitudes; lower it"
        )
    sums = np.convolve(np.asarray(magnitudes, np.float64), np.ones(window), mode="valid")
    total = sums.sum()
    return int(rng.choice(len(sums), p=sums / total if total > 0 else None))


def frame_motion(frames: UInt8[np.ndarray, "t h w c"]) -> Float[np.ndarray, "t-1"]:
    """How much moves between each frame and the next: a cheap stand-in for optical flow.

        ln(1000 mean |x_(k+1) - x_k| + 1),   x the grey frames in 0..1 at a quarter of their size

    The logarithm keeps a cut between scenes from outweighing all real motion.
    """
    grey = _grey_quarters(frames)
    return np.log1p(1000 * np.abs(np.diff(grey, axis=0)).mean((1, 2)))


def high_motion_patch(frames: UInt8[np.ndarray, "t h w c"], size: int) -> tuple[int, int]:
    """Upper left corner (y, x) of the square of `size` pixels in which most changes over time.

    The sum of absolute differences of neighbouring frames inside the square is largest; the middle
    square if nothing moves.

    Raises:
      ValueError: a square larger than the frames.
    """
    change = np.zeros(frames.shape[1:], np.int64)
    for frame, after in itertools.pairwise(frames):
        change += np.maximum(frame, after) - np.minimum(frame, after)  # in uint8: fast
    return busiest_square(change.sum(-1), size)


def busiest_square(values: Int[np.ndarray, "h w"], size: int) -> tuple[int, int]:
    """Upper left corner (y, x) of the square of `size` pixels with the largest sum.

    The middle square if all are 0.

    Raises:
      ValueError: a square larger than the array.
    """
    height, width = values.shape
    if size > min(height, width):
        raise ValueError(
            f"a window of {size} pixels does not fit frames of {height}x{width}; lower the window "
            "or resize to more pixels"
        )
    corner = np.zeros((height + 1, width + 1), np.int64)  # sums of everything above and left
    corner[1:, 1:] = values.cumsum(0).cumsum(1)
    inside = corner[size:, size:] - corner[:-size, size:] - corner[size:, :-size]
    inside += corner[:-size, :-size]
    if inside.max() == 0:
        return (height - size) // 2, (width - size) // 2
    y, x = np.unravel_index(inside.argmax(), inside.shape)
    return int(y), int(x)


def verified_tuple(
    num_frames: int,
    rng: np.random.Generator,
    longest: int = 60,
    apart: int = 15,
    magnitudes: Float[np.ndarray, "t"] | None = None,
) -> Int[np.ndarray, "n"]:
    """Five frames a < b < c < d < e for Shuffle and Learn (Misra et al. 2016).

    (b, c, d) is in order, (b, a, d) and (b, e, d) are not: b and d alone tell nothing. b and d are
    `longest` frames apart, or as far as the video allows; a lies `apart` frames or more before b, e
    as many after d (the paper's best: 60 and 15). c is anywhere between b and d.

    Args:
      magnitudes: how much moves at each frame; stretches with much motion are then more likely.

    Raises:
      ValueError: the video is too short for three frames with `apart` on either side.
    """
    if longest < 2 or apart < 1:
        raise ValueError(f"longest={longest} must be 2 or more and apart={apart} 1 or more")
    need(num_frames, 2 * apart + 3, f"a tuple {apart} frames apart", "distance apart")
    # Room for a and e to lie up to twice as far as they must.
    span = min(longest + 4 * apart + 1, num_frames)
    start = int(rng.integers(num_frames - span + 1))
    if magnitudes is not None:
        start = min(
            window_by_motion(magnitudes, min(span, len(magnitudes)), rng), num_frames - span
        )
    middle = min(longest, span - 1 - 2 * apart)
    b = start + apart + int(rng.integers(span - middle - 2 * apart))
    d = b + middle
    a = int(rng.integers(start, b - apart + 1))
    e = int(rng.integers(d + apart, start + span))
    return np.array([a, b, int(rng.integers(b + 1, d)), d, e])


def tracked_frames(
    magnitudes: Float[np.ndarray, "t"], rng: np.random.Generator, length: int = 30
) -> Int[np.ndarray, "n"]:
    """Frames in a row over which to follow what moves, those with much motion more likely.

    Wang and Gupta 2015 follow a patch over 30 frames; the patch in the first and in the last of
    them is a pair. `high_motion_patch` of the first few gives the patch to begin with.

    Args:
      magnitudes: of the motion from each frame to the next, so one fewer than frames.

    Raises:
      ValueError: the video is too short.
    """
    need(len(magnitudes) + 1, length, f"a track of {length} frames", "length")
    return window_by_motion(magnitudes, length - 1, rng) + np.arange(length)


def _grey_quarters(frames: UInt8[np.ndarray, "t h w c"]) -> Float[np.ndarray, "t h4 w4"]:
    """Grey frames in 0..1, each pixel the mean of 4 x 4; a rest at the right and below is left."""
    height, width = frames.shape[1:3]
    side = min(4, height, width)
    rows, columns = height // side * side, width // side * side
    # Sums of shifted views, rows first: numpy averages over short axes slowly.
    total = np.zeros((len(frames), rows // side, columns, frames.shape[3]), np.uint16)
    for y in range(side):
        total += frames[:, y:rows:side, :columns]
    total = sum(total[:, :, x::side] for x in range(side))
    weights = np.array([0.299, 0.587, 0.114]) if frames.shape[3] == 3 else np.ones(1)
    return total @ (weights / (255 * side * side)).astype(np.float32)
