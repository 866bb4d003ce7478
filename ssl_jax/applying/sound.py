"""The sound of silent videos, put together from pieces that were heard in training."""

import os
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Float32, Int

from ssl_jax.data.audio import fit_length, resample
from ssl_jax.data.chosen import Chosen
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.data.sources.files import FilesSource
from ssl_jax.data.spread import spread
from ssl_jax.data.written_video import copy_with_audio

RATE = 44_100  # of the tracks that are written
FADE = 0.005  # seconds over which a piece begins and ends, or joints would click
LAYERS = ("envelopes",)


def add_sound(
    frozen, source: Source, videos: Sequence[str], targets: Sequence[str], exemplars: int
) -> Iterator[str]:
    """Writes each video with the sound that the network thinks it makes; yields a line for each.

    A video is cut into windows. Each gets the audio of the training window for which the same
    envelopes were predicted, as nearly as can be found (Owens et al. 2016, by exemplars). The last
    window ends with the video.

    Args:
      frozen: of `IndicatedSound`.
      source: the training records.
      exemplars: so many of them are searched, a window of each; 0: all.

    Raises MediaError for a video without frames, or shorter than a window.
    """
    method = frozen.method
    chosen = Chosen(source, tuple(spread(range(len(source)), exemplars)))

    def heard(record: Record) -> list[float]:
        record.need_audio(method.seconds)  # what has less is no exemplar
        return method.times(record, "sound", 1)

    found = frozen.features(chosen, "sound", LAYERS, pool="whole", times=heard)
    known = found.layers[LAYERS[0]]
    for record, target in zip(FilesSource(tuple(videos)), targets, strict=True):
        starts = window_starts(record, method.seconds)
        # A long video's frames are not held at once.
        parts = [
            starts[i : i + frozen.batch_size] for i in range(0, len(starts), frozen.batch_size)
        ]
        answers = [
            frozen.maps("sound", method.clips(record, "sound", part), LAYERS)[LAYERS[0]]
            for part in parts
        ]
        asked = np.concatenate(answers).reshape(len(starts), -1)
        nearest = found.indices[closest(asked, known)]
        pieces = [_piece(method, source[int(index)]) for index in nearest]
        copy_with_audio(record.name, target, joined(pieces, starts, record.duration), RATE)
        used = len(set(nearest.tolist()))
        yield f"{target}: {len(starts)} windows, audio of {used} of {len(known)} records"


def window_starts(record: Record, seconds: float) -> list[float]:
    """Windows one after the other, and one that ends with the record."""
    record.need_frames()
    if record.duration < seconds:
        raise MediaError(
            f"{os.path.basename(record.name)}: lasts {record.duration:.2f} s, {seconds:.2f} s are "
            "needed"
        )
    count = int(record.duration / seconds + 1e-6)
    starts = [k * seconds for k in range(count)]
    if record.duration - count * seconds > 1e-3:
        starts.append(record.duration - seconds)
    return starts


def closest(
    asked: Float[np.ndarray, "n d"], known: Float[np.ndarray, "m d"]
) -> Int[np.ndarray, "n"]:
    """For each row the number of the known row at the smallest distance."""
    return np.array([np.argmin(np.square(known - row).sum(1)) for row in asked])


def joined(
    pieces: Sequence[Float32[np.ndarray, "s"]], starts: Sequence[float], duration: float
) -> Float32[np.ndarray, "s2"]:
    """Pieces that begin at these seconds; a later one takes the place of one that still lasts."""
    track = np.zeros(round(duration * RATE), np.float32)
    for number, (piece, start) in enumerate(zip(pieces, starts, strict=True)):
        first = round(start * RATE)
        end = round(starts[number + 1] * RATE) if number + 1 < len(starts) else len(track)
        piece = fit_length(piece, end - first)
        ramp = np.minimum(np.arange(len(piece)) / (FADE * RATE), 1).astype(np.float32)
        track[first:end] = piece * ramp * ramp[::-1]
    return track


def _piece(method, record: Record) -> Float32[np.ndarray, "s"]:
    (start,) = method.times(record, "sound", 1)
    wave = record.need_audio(method.seconds)(start, start + method.seconds)
    return resample(wave, record.sample_rate, RATE)
