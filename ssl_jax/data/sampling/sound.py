"""Which seconds of sound: windows, and sound that does not fit its pictures."""

import math

import numpy as np

from ssl_jax.data.sampling.clips import ROUNDING, need


def audio_window(
    duration: float,
    seconds: float,
    rng: np.random.Generator,
    grid: float | None = None,
    away: tuple[float, float] | None = None,
    begin: float = 0.0,
) -> float:
    """Start in seconds of a random window of sound.

    With frames on a grid of times, sound drawn off that grid would tell that it belongs to no
    frame (Arandjelovic, Zisserman 2018: 0.04 s at 25 frames per second), so all windows, matching
    or not, are drawn from one grid.

    Args:
      duration: of the video; or the second at which its audio ends, see `Record.audible`.
      seconds: of the window, which ends before the video does.
      grid: the start is a multiple of so many seconds; None or 0: any time.
      away: (start, distance): only starts at least so far from that start, before or after.
      begin: where audio begins, in seconds; windows may start up to one step of the grid earlier.

    Raises:
      ValueError: the video is too short.
    """
    latest = duration - seconds
    start, distance = away if away is not None else (math.inf, 0.0)
    fits = begin <= latest + ROUNDING
    begin = grid * math.floor((begin + ROUNDING) / grid) if grid else begin
    allowed = [(begin, min(latest, start - distance)), (max(begin, start + distance), latest)]
    allowed = allowed if fits else []
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
            f"sound of {seconds:g} s{apart} does not fit a video of {duration - begin:g} s; "
            "lower seconds" + (" or the distance" if away is not None else "")
        )
    lengths = np.array([high - low for low, high in allowed])
    likely = lengths / lengths.sum() if lengths.sum() > 0 else None
    low, high = allowed[rng.choice(len(allowed), p=likely)]
    return float(rng.uniform(low, high))


def even_times(
    duration: float, seconds: float, count: int, grid: float | None = None, begin: float = 0.0
) -> list[float]:
    """Starts of `count` windows from the first to the last that fits, evenly spread.

    The first starts at `begin` and the last ends at `duration`, in seconds. A single window is the
    middle one. With a grid, each start is moved down to it.

    Raises:
      ValueError: the video is shorter than a window.
    """
    latest = duration - seconds
    if latest < begin - ROUNDING:
        raise ValueError(
            f"sound of {seconds:g} s does not fit a video of {duration - begin:g} s; lower seconds"
        )
    latest = max(begin, latest)
    starts = np.linspace(begin, latest, count) if count > 1 else np.array([(begin + latest) / 2])
    if grid:
        starts = grid * np.floor((starts + ROUNDING) / grid)
    return starts.tolist()


def hard_pair(
    begin: float,
    end: float,
    seconds: float,
    rng: np.random.Generator,
    gap: float = 0.5,
    grid: float = 0.04,
) -> tuple[float, float | None]:
    """Starts of two windows of one track, the second a hard negative of the first.

    AVTS (Korbar et al. 2018): at least half a second lies between both, they never overlap. An easy
    negative is the sound of another video. All ordered pairs on the grid of times (see
    `audio_window`) are equally likely, so that windows which match start as often at any time as
    those which do not.

    Args:
      begin, end: of the audio, in seconds; no window leaves it.
      seconds: of a window.
      gap: smallest time between the end of one and the start of the other.
      grid: both starts are multiples of so many seconds.

    Returns the starts; None for the second if the track is too short for it: the first may then be
    any window.

    Raises:
      ValueError: no window starts on the grid and lies inside the track.
    """
    first = math.ceil((begin - ROUNDING) / grid)
    count = math.floor((end - seconds + ROUNDING) / grid) - first + 1
    if count < 1:
        raise ValueError(
            f"no sound of {seconds:g} s on a grid of {grid:g} s lies between {begin:g} and "
            f"{end:g} s; lower seconds"
        )
    nearest = math.ceil((seconds + gap) / grid - ROUNDING)
    if nearest >= count:
        return grid * (first + int(rng.integers(count))), None
    one, other = _places_apart(count, nearest, count, rng)
    return grid * (first + one), grid * (first + other)


def misaligned_starts(
    num_frames: int,
    rng: np.random.Generator,
    length: int = 125,
    shared: int = 60,
    farthest: int = 176,
) -> tuple[int, int]:
    """First frames of two stretches of a video: of the pictures, and of sound that does not fit.

    They are at most `farthest` frames apart and share at most `shared` of their `length` frames;
    all such pairs are equally likely. Owens and Efros 2018: 125 of 302 frames at 29.97 a second, so
    sound is 65 to 176 frames (2.2 to 5.9 s) early or late; sound that fits begins with the first.

    Raises:
      ValueError: the video is too short.
    """
    if not 0 <= shared < length or farthest < length - shared:
        raise ValueError(
            f"stretches of {length} frames that share at most {shared} are {length - shared} apart "
            f"or more, farthest={farthest}"
        )
    nearest = length - shared
    need(
        num_frames, length + nearest, f"two stretches of {length} frames", "length or the distance"
    )
    return _places_apart(num_frames - length + 1, nearest, farthest, rng)


def _places_apart(
    count: int, nearest: int, farthest: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Two of `count` places, so far apart: of all ordered pairs, each is equally likely."""
    apart = np.arange(nearest, min(farthest, count - 1) + 1)
    pairs = count - apart  # so many are this far apart, either way round
    distance = int(rng.choice(apart, p=pairs / pairs.sum()))
    first = int(rng.integers(count - distance))
    return (first, first + distance) if rng.random() < 0.5 else (first + distance, first)


def shifted_start(
    num_frames: int,
    start: int,
    rng: np.random.Generator,
    length: int = 5,
    nearest: int = 5,
    farthest: int = 50,
) -> int:
    """First frame of `length` frames that begin `nearest` to `farthest` frames from `start`.

    Earlier or later, all that lie inside the video equally likely. The negatives of SyncNet (Chung,
    Zisserman 2016): sound of the same track up to two seconds off, here of 25 frames a second.

    Raises:
      ValueError: no such stretch lies inside the video.
    """
    if not 1 <= nearest <= farthest:
        raise ValueError(f"nearest={nearest} and farthest={farthest} must be 1 or more, in order")
    shifts = np.concatenate([-np.arange(nearest, farthest + 1), np.arange(nearest, farthest + 1)])
    starts = start + shifts
    starts = starts[(starts >= 0) & (starts <= num_frames - length)]
    if len(starts) == 0:
        raise ValueError(
            f"no stretch of {length} frames lies {nearest} to {farthest} frames from frame {start} "
            f"in a video of {num_frames}; lower nearest"
        )
    return int(rng.choice(starts))


def speech_window(
    samples: int, rng: np.random.Generator, longest: int = 250_000, shortest: int = 32_000
) -> tuple[int, int]:
    """(first sample, number of samples) of a random piece of speech, no longer than `longest`.

    wav2vec 2.0 (Baevski et al. 2020) cuts speech of 16 kHz to 250 000 samples (15.6 s; its large
    model to 320 000) and leaves out what has fewer than 32 000. CPC (van den Oord et al. 2018)
    takes 20 480 everywhere: longest = shortest = 20 480.

    Raises:
      ValueError: fewer than `shortest` samples.
    """
    if samples < shortest or samples < 1:
        raise ValueError(f"{samples} samples of speech, {shortest} are needed; lower shortest")
    length = min(samples, longest)
    return int(rng.integers(samples - length + 1)), length
