"""Audio of a record around one of its frames, which is what audio-visual methods begin with."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from ssl_jax.data.audio import fit_length, resample
from ssl_jax.data.image import square
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import audio_window, even_times
from ssl_jax.data.squares import squares_at


def audio_at(
    record: Record, start: float, seconds: float, sample_rate: int
) -> Float32[np.ndarray, "s"]:
    """The record's audio from `start` on, resampled to `sample_rate`.

    Raises MediaError for a record without audio, or with less of it.
    """
    wave = record.need_audio(seconds)(start, start + seconds)
    if record.sample_rate != sample_rate:
        wave = resample(wave, record.sample_rate, sample_rate)
    # Rates that do not divide the window round to a sample more or less.
    return fit_length(wave, round(seconds * sample_rate))


def frame_and_audio(
    record: Record,
    rng: np.random.Generator,
    size: int,
    seconds: float,
    sample_rate: int,
    grid: float = 0.04,
    misalignment: float = 0.0,
    within: int = 0,
    apart: float = 1.0,
) -> tuple[UInt8[np.ndarray, "size size 3"], Float32[np.ndarray, "n s"]]:
    """A random window of audio, the frame in its middle, and other windows of the same record.

    Frames stand on the grid of the video's rate, so a window drawn at any time would tell that it
    belongs to no frame. Every window, matching or not, therefore starts on one grid.

    Args:
      size: side of the frame's centre square.
      seconds, sample_rate: of the audio.
      grid: windows start at multiples of so many seconds.
      misalignment: largest random shift in seconds between the frame and the middle of its audio.
      within: how many other windows, after the matching one.
      apart: their smallest distance from the matching one, in seconds.

    Raises MediaError for a record without frames or audio, ValueError for one too short.
    """
    decode = record.need_frames()
    record.need_audio(seconds)
    begin, end = record.audible  # silence beyond the track would count as a match
    starts = [audio_window(end, seconds, rng, grid, begin=begin)]
    for _ in range(within):
        starts.append(audio_window(end, seconds, rng, grid, (starts[0], apart), begin))
    shift = rng.uniform(-misalignment, misalignment)
    number = record.frame_at(starts[0] + seconds / 2 + shift)
    audio = np.stack([audio_at(record, start, seconds, sample_rate) for start in starts])
    return square(decode([number]), size)[0], audio


def matched_times(
    record: Record, seconds: float, count: int, grid: float, heard: bool
) -> Sequence[float]:
    """`count` times at which windows of audio begin, evenly spread, on the grid.

    Args:
      heard: whether audio is needed; for frames alone a record without it has times, too.

    Raises MediaError for a record without the audio that is needed.
    """
    begin, end = record.audible
    if heard:
        record.need_audio(seconds)
    elif end - begin < seconds:
        begin, end = 0.0, record.duration
    return even_times(end, seconds, count, grid, begin)


def matched_clips(
    record: Record,
    names: Sequence[str],
    times: Sequence[float],
    size: int,
    seconds: float,
    sample_rate: int,
) -> dict[str, np.ndarray]:
    """Of 'audio' and 'vision' those that are named: the window at each time, its middle frame."""
    found = {}
    if "audio" in names:
        found["audio"] = np.stack([audio_at(record, t, seconds, sample_rate) for t in times])
    if "vision" in names:
        found["vision"] = squares_at(record, size, [t + seconds / 2 for t in times])
    return found
