"""Which frames of a video: clips, tuples of clips, clips by time."""

import numpy as np
from jaxtyping import Float, Int

Indices = Int[np.ndarray, "t"]

# Seconds that times, being sums of fractions, may be off.
ROUNDING = 1e-6


def random_frame(num_frames: int, rng: np.random.Generator) -> int:
    """Any frame, all equally likely; nothing is drawn for an image."""
    need_any(num_frames)
    return int(rng.integers(num_frames)) if num_frames > 1 else 0


def even_frames(num_frames: int, count: int) -> Indices:
    """`count` frames from the first to the last, evenly spread; the middle one if count is 1.

    Frames repeat where the video has fewer.
    """
    need_any(num_frames)
    return _even(num_frames - 1, count)


def random_clip(num_frames: int, length: int, rng: np.random.Generator, stride: int = 1) -> Indices:
    """`length` frames, each `stride` after the last, from a random start.

    Raises:
      ValueError: the video is too short.
    """
    span = span_of(length, stride)
    what = f"a clip of {length} frames at stride {stride}"
    need(num_frames, span, what, "number of frames or the stride")
    return rng.integers(num_frames - span + 1) + stride * np.arange(length)


def even_clips(num_frames: int, count: int, length: int, stride: int = 1) -> Int[np.ndarray, "n t"]:
    """`count` clips whose starts are evenly spread, the last ending with the video (for testing).

    A single clip is the middle one. No video is left out: where one is shorter than a clip, its
    last frame is repeated. The starts are those of VCOP (Xu et al. 2019) at test time.
    """
    need_any(num_frames)
    starts = _even(max(0, num_frames - span_of(length, stride)), count)
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
      ValueError: the video is too short.
    """
    first = (length + gap) * np.arange(count)[:, None] + np.arange(length)
    span = span_of(int(first[-1, -1]) + 1, stride)
    what = f"{count} clips of {length} frames with gaps of {gap} at stride {stride}"
    need(num_frames, span, what, "number of clips, their frames, the gap or the stride")
    return rng.integers(num_frames - span + 1) + stride * first


def starts_apart(num_frames: int, start: int, length: int) -> Indices:
    """Where all other clips of `length` frames begin that share no frame with that from `start`.

    Of 60 frames and clips of 13, one of which begins at 20, the others begin at 0 to 7 and at 33 to
    47.
    """
    starts = np.arange(num_frames - length + 1)
    return starts[np.abs(starts - start) >= length]


def clips_in_cells(
    num_frames: int,
    rng: np.random.Generator,
    cells: int = 4,
    cell: int = 32,
    length: int = 16,
    gap: int = 0,
    stride: int = 1,
) -> Int[np.ndarray, "n t"]:
    """`cells` neighbouring stretches of `cell` frames from a random start, a clip in each.

    A clip lies anywhere in its own stretch, so the gaps between clips differ. The pieces in time of
    the space-time puzzle (Kim et al. 2019), whose 128 frames are cut into four.

    Args:
      gap: frames at the end of a stretch in which no clip lies, so that neighbours are no nearer.
      stride: every how many-th frame of the video counts.

    Raises:
      ValueError: the video is too short, or a clip and the gap longer than a stretch.
    """
    if length < 1 or gap < 0 or length + gap > cell:
        with_gap = f" and a gap of {gap}" if gap else ""
        raise ValueError(
            f"a clip of {length} frames{with_gap} does not fit a cell of {cell} frames"
        )
    span = span_of(cells * cell, stride)
    at_stride = f" at stride {stride}" if stride > 1 else ""
    what = f"{cells} cells of {cell} frames{at_stride}"
    need(num_frames, span, what, "number of cells or the cell")
    start = rng.integers(num_frames - span + 1)
    inside = rng.integers(cell - gap - length + 1, size=cells)
    first = cell * np.arange(cells) + inside
    return start + stride * (first[:, None] + np.arange(length))


def odd_one_out(
    num_frames: int,
    rng: np.random.Generator,
    count: int = 6,
    length: int = 6,
    window: int = 9,
    ends_move: bool = False,
) -> tuple[Int[np.ndarray, "n t"], int]:
    """`count` clips of one video, all in true order but one, and which one that is (O3N).

    Each clip is `length` different frames of its own random window of frames. `window` = `length`
    gives frames in a row, one and a half times that the paper's best ('constrained'), 0 the whole
    video ('random'). The frames of the odd clip stand in an order that is neither the true one nor
    its reverse. Fernando et al. 2017: six clips of six frames, so a guess is right in 1 of 6.

    Args:
      ends_move: the odd clip's first and last frame are not both where they were; without that a
        sum of differences, which is the last frame minus the first, can not see the odd one.

    Raises:
      ValueError: the video is too short, or fewer than 3 frames a clip, which have no odd order.
    """
    window = window or num_frames
    if not 3 <= length <= window:
        raise ValueError(f"odd clips need 3 frames or more, and a window of as many: not {length}")
    need(num_frames, window, f"a window of {window} frames", "window")
    starts = rng.integers(num_frames - window + 1, size=count)
    # The frames with the smallest of random numbers, in their order.
    chosen = np.sort(np.argsort(rng.random((count, window)), axis=1)[:, :length], axis=1)
    clips = starts[:, None] + chosen
    odd = int(rng.integers(count))
    clips[odd] = clips[odd, odd_order(length, rng, ends_move)]
    return clips, odd


def odd_order(
    length: int, rng: np.random.Generator, ends_move: bool = False
) -> Int[np.ndarray, "t"]:
    """A random order of `length` (3 or more) that is neither the true one nor its reverse.

    With `ends_move` the first and the last do not both keep (or swap) their places.
    """
    if length < 3:
        raise ValueError(f"an order of {length} is the true one or its reverse; 3 are needed")
    true = np.arange(length)
    while True:
        order = rng.permutation(length)
        ends = {int(order[0]), int(order[-1])} == {0, length - 1}
        same = np.array_equal(order, true) or np.array_equal(order, true[::-1])
        if not same and not (ends and ends_move):
            return order


def two_speeds(
    num_frames: int,
    length: int,
    rng: np.random.Generator,
    normal: tuple[float, float] = (1.0, 1.2),
    fast: tuple[float, float] = (1.7, 2.2),
    stride: int = 1,
) -> tuple[Indices, Indices]:
    """`length` frames of one stretch of video at a normal rate, and as many at a fast one.

    SpeedNet (Benaim et al. 2020): of a window of 3 `length` frames `frames_kept` leaves out some,
    by one draw for both rates, and the first `length` of those that stay are taken. Where too few
    stay it draws again: a frame shown twice would tell the speed.

    Args:
      normal, fast: lowest and highest rate, each drawn uniformly.
      stride: every how many-th frame of the video counts.

    Raises:
      ValueError: the video is shorter than the window, or rates below 1 or above 3.
    """
    window = 3 * length
    for low, high in (normal, fast):
        if not 1 <= low <= high <= 3:
            raise ValueError(f"rates of {low:g} to {high:g} must be from 1 to 3, in order")
    what = f"a window of {window} frames at stride {stride}"
    need(num_frames, span_of(window, stride), what, "length or the stride")
    start = rng.integers(num_frames - span_of(window, stride) + 1)
    rates = rng.uniform(*normal), rng.uniform(*fast)
    while True:
        uniforms = rng.random(window)
        kept = [frames_kept(uniforms, rate) for rate in rates]
        if min(map(len, kept)) >= length:
            slow, quick = (start + stride * numbers[:length] for numbers in kept)
            return slow, quick


def frames_kept(uniforms: Float[np.ndarray, "n"], rate: float) -> Indices:
    """The frames that stay at a rate: each is left out with probability 1 - 1 / rate.

    That is, where its number, uniform in 0..1, is no larger. So a higher rate keeps a subset.
    """
    return np.flatnonzero(uniforms > 1 - 1 / rate)


def narrow_and_broad(
    num_frames: int,
    rng: np.random.Generator,
    narrow: tuple[int, int] = (16, 2),
    broad: tuple[int, int] = (64, 4),
    aligned: bool = True,
) -> tuple[Int[np.ndarray, "t"], Int[np.ndarray, "t2"]]:
    """A short clip and a long one around it, each (frames, stride): BraVe's two views.

    Recasens et al. 2021. `aligned`: both begin with the same frame, as in the released code;
    otherwise the short one lies anywhere in the long one.

    Raises:
      ValueError: the video is too short, or the short clip is the longer.
    """
    inside, around = span_of(*narrow), span_of(*broad)
    if inside > around:
        raise ValueError(f"the narrow view spans {inside} frames, the broad one {around}")
    whole = random_clip(num_frames, broad[0], rng, broad[1])
    first = whole[0] + (0 if aligned else rng.integers(around - inside + 1))
    return first + narrow[1] * np.arange(narrow[0]), whole


def timed_clip(
    duration: float, length: int, rate: float, rng: np.random.Generator
) -> Float[np.ndarray, "t"]:
    """Seconds of `length` frames at `rate` a second, from a random start.

    `Record.frame_at` gives the frame at a time, whatever the video's own rate, which may vary. Some
    papers' rates: tracking by colouring 6 (3 references and a target), MIL-NCE 5 or 10, MMV 10,
    XDC 30.

    Raises:
      ValueError: the video is too short.
    """
    return _timed(duration, length, rate, 0.0, rng)


def _timed(
    duration: float, length: int, rate: float, more: float, rng: np.random.Generator
) -> Float[np.ndarray, "t"]:
    """`timed_clip` with `more` seconds before its first and after its last frame's end."""
    if length < 1 or not rate > 0:
        raise ValueError(f"a clip needs 1 frame or more and a rate above 0, not {length}, {rate:g}")
    latest = duration - length / rate - 2 * more
    if latest < -ROUNDING:
        raise ValueError(
            f"{length} frames at {rate:g} a second take {length / rate + 2 * more:g} s, the video "
            f"has {duration:g} s; lower their number or raise the rate"
        )
    return more + rng.uniform(0.0, max(0.0, latest)) + np.arange(length) / rate


def clip_with_sound(
    duration: float, length: int, rate: float, seconds: float, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "t"], float]:
    """Seconds of `length` frames at `rate` a second, and the start of sound around their middle.

    The sound of `seconds` and the frames share their middle and lie inside the video. XDC (Alwassel
    et al. 2020): 8 or 32 frames at 30 a second, 2 s of sound. With seconds = length / rate both
    begin together, as in MMV (32 frames at 10 a second, 3.2 s).

    Raises:
      ValueError: the video is too short.
    """
    more = max(0.0, (seconds - length / rate) / 2)
    times = _timed(duration, length, rate, more, rng)
    middle = times[0] + length / rate / 2
    return times, float(min(max(0.0, middle - seconds / 2), max(0.0, duration - seconds)))


def span_of(length: int, stride: int) -> int:
    """How many frames of a video `length` frames at a stride reach over."""
    if length < 1 or stride < 1:
        raise ValueError(f"a clip needs a length and a stride of 1 or more, not {length}, {stride}")
    return (length - 1) * stride + 1


def need_any(num_frames: int) -> None:
    if num_frames < 1:
        raise ValueError("there are no frames; is this a sound without pictures?")


def need(there: int, needed: int, what: str, lower: str) -> None:
    if there < needed:
        raise ValueError(f"{what}: {needed} frames needed, {there} there; lower the {lower}")


def _even(last: int, count: int) -> Indices:
    """`count` whole numbers from 0 to `last`, evenly spread and rounded down."""
    if count < 1:
        raise ValueError(f"at least 1 clip or frame must be asked for, not {count}")
    return np.arange(count) * last // (count - 1) if count > 1 else np.array([last // 2])
