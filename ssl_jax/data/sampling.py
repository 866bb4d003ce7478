"""Which frames and which second of a film to decode: arithmetic on numbers, before any decoding.

Pure functions of the film's length and a random generator. Frames are counted from 0.
"""

import itertools
import math

import numpy as np
from jaxtyping import Float, Int, UInt8

Indices = Int[np.ndarray, "t"]

# Seconds that times, being sums of fractions, may be off.
ROUNDING = 1e-6


def random_frame(num_frames: int, rng: np.random.Generator) -> int:
    """Any frame, all equally likely."""
    _need_any(num_frames)
    return int(rng.integers(num_frames))


def even_frames(num_frames: int, count: int) -> Indices:
    """`count` frames from the first to the last, evenly spread; the middle one if count is 1.

    Frames repeat where the film has fewer.
    """
    _need_any(num_frames)
    return _even(num_frames - 1, count)


def random_clip(num_frames: int, length: int, rng: np.random.Generator, stride: int = 1) -> Indices:
    """`length` frames, each `stride` after the last, from a random start.

    Raises:
      ValueError: the film is too short.
    """
    span = _span(length, stride)
    what = f"a clip of {length} frames at stride {stride}"
    _need(num_frames, span, what, "number of frames or the stride")
    return rng.integers(num_frames - span + 1) + stride * np.arange(length)


def even_clips(num_frames: int, count: int, length: int, stride: int = 1) -> Int[np.ndarray, "n t"]:
    """`count` clips whose starts are evenly spread, the last ending with the film (for testing).

    A single clip is the middle one. No film is left out: where one is shorter than a clip, its last
    frame is repeated. The starts are those of VCOP (Xu et al. 2019) at test time.
    """
    _need_any(num_frames)
    starts = _even(max(0, num_frames - _span(length, stride)), count)
    return np.minimum(starts[:, None] + stride * np.arange(length), num_frames - 1)


def spaced_clips(
    num_frames: int,
    count: int,
    length: int,
    gap: int,
    rng: np.random.Generator,
    stride: int = 1,
) -> Int[np.ndarray, "n t"]:
    """`count` clips in true order from a random start, `gap` frames left out between neighbours.

    VCOP (Xu et al. 2019) takes 3 clips of 16 frames with gaps of 8, which span 64 frames. With a
    stride, frames of the gaps are counted at that stride too.

    Raises:
      ValueError: the film is too short.
    """
    first = (length + gap) * np.arange(count)[:, None] + np.arange(length)
    span = _span(int(first[-1, -1]) + 1, stride)
    what = f"{count} clips of {length} frames with gaps of {gap} at stride {stride}"
    _need(num_frames, span, what, "number of clips, their frames, the gap or the stride")
    return rng.integers(num_frames - span + 1) + stride * first


def ordered_tuple(
    magnitudes: Float[np.ndarray, "t"], count: int, rng: np.random.Generator
) -> Int[np.ndarray, "n"]:
    """`count` different frames in true order, those with much motion more likely (OPN).

    Drawn without replacement: each draw takes one of the frames left with a probability
    proportional to its magnitude. Frames without motion come only after all that have some.

    Raises:
      ValueError: fewer magnitudes than asked for.
    """
    _need(len(magnitudes), count, f"an ordered tuple of {count}", "number of ordered frames")
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
    height, width = frames.shape[1:3]
    if size > min(height, width):
        raise ValueError(
            f"a window of {size} pixels does not fit frames of {height}x{width}; lower the window "
            "or resize to more pixels"
        )
    change = np.zeros(frames.shape[1:], np.int64)
    for frame, after in itertools.pairwise(frames):
        change += np.maximum(frame, after) - np.minimum(frame, after)  # in uint8: fast
    change = change.sum(-1)
    corner = np.zeros((height + 1, width + 1), np.int64)  # sums of everything above and left
    corner[1:, 1:] = change.cumsum(0).cumsum(1)
    inside = corner[size:, size:] - corner[:-size, size:] - corner[size:, :-size]
    inside += corner[:-size, :-size]
    if inside.max() == 0:
        return (height - size) // 2, (width - size) // 2
    y, x = np.unravel_index(inside.argmax(), inside.shape)
    return int(y), int(x)


def audio_window(
    duration: float,
    seconds: float,
    rng: np.random.Generator,
    grid: float | None = None,
    away: tuple[float, float] | None = None,
) -> float:
    """Start in seconds of a random window of sound.

    With frames on a grid of times, sound drawn off that grid would tell that it belongs to no
    frame (Arandjelovic, Zisserman 2018: 0.04 s at 25 frames per second), so all windows, matching
    or not, are drawn from one grid.

    Args:
      duration: of the film.
      seconds: of the window, which ends before the film does.
      grid: the start is a multiple of so many seconds; None or 0: any time.
      away: (start, distance): only starts at least so far from that start, before or after.

    Raises:
      ValueError: the film is too short.
    """
    latest = duration - seconds
    start, distance = away if away is not None else (math.inf, 0.0)
    allowed = [(0.0, min(latest, start - distance)), (start + distance, latest)]
    allowed = [(low, max(low, high)) for low, high in allowed if high >= low - ROUNDING]
    if grid:
        starts = [
            grid * np.arange(math.ceil((low - ROUNDING) / grid), (high + ROUNDING) // grid + 1)
            for low, high in allowed
        ]
        allowed = [(time, time) for time in np.concatenate([[], *starts])]
    if not allowed:
        apart = f" {distance:g} s away from another" if away is not None else ""
        raise ValueError(
            f"sound of {seconds:g} s{apart} does not fit a film of {duration:g} s; lower seconds"
            + (" or the distance" if away is not None else "")
        )
    lengths = np.array([high - low for low, high in allowed])
    likely = lengths / lengths.sum() if lengths.sum() > 0 else None
    low, high = allowed[rng.choice(len(allowed), p=likely)]
    return float(rng.uniform(low, high))


def even_times(
    duration: float, seconds: float, count: int, grid: float | None = None
) -> list[float]:
    """Starts of `count` windows from the first to the last that fits, evenly spread.

    A single window is the middle one. With a grid, each start is moved down to it.

    Raises:
      ValueError: the film is shorter than a window.
    """
    latest = duration - seconds
    if latest < -ROUNDING:
        raise ValueError(
            f"sound of {seconds:g} s does not fit a film of {duration:g} s; lower seconds"
        )
    latest = max(0.0, latest)
    starts = np.linspace(0.0, latest, count) if count > 1 else np.array([latest / 2])
    if grid:
        starts = grid * np.floor((starts + ROUNDING) / grid)
    return starts.tolist()


def _span(length: int, stride: int) -> int:
    """How many frames of a film `length` frames at a stride reach over."""
    if length < 1 or stride < 1:
        raise ValueError(f"a clip needs a length and a stride of 1 or more, not {length}, {stride}")
    return (length - 1) * stride + 1


def _need_any(num_frames: int) -> None:
    if num_frames < 1:
        raise ValueError("there are no frames; is this a sound without pictures?")


def _need(there: int, needed: int, what: str, lower: str) -> None:
    if there < needed:
        raise ValueError(f"{what}: {needed} frames needed, {there} there; lower the {lower}")


def _even(last: int, count: int) -> Indices:
    """`count` whole numbers from 0 to `last`, evenly spread and rounded down."""
    if count < 1:
        raise ValueError(f"at least 1 clip or frame must be asked for, not {count}")
    return np.arange(count) * last // (count - 1) if count > 1 else np.array([last // 2])


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
