"""By how much video and audio are shifted against one another, as a network sees and hears it."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.data.spread import spread
from ssl_jax.knobs import at_least, given
from ssl_jax.scores.offset import distances_by_offset, offset_of


@dataclasses.dataclass(frozen=True)
class SyncOffset:
    """How often a shift of a video's audio is found, by how many frames are looked at.

    Chung and Zisserman 2016. For methods with windows of frames and of audio, as `Synchronization`.
    The audio of each video is shifted by some frames, drawn for each by itself. Distances are
    averaged over some frames in a row; where they are smallest is the answer. Yields

    * 'within_one/<frames>': the share of answers that are right to a frame, for each number of
      frames (large ones are of the longer videos alone);
    * 'within_one/constant': that of always answering 0, the best that can be said without looking;
    * 'confidence/<frames>': the mean difference of the distances' median and minimum.

    Videos that are broken or too short are left out.

    Attributes:
      source: held-out videos with audio.
      layer: of both streams; '': the one that the method trains.
      averaged: numbers of frames in a row whose distances are averaged.
      most: largest shift that is tried, in frames; videos are shifted by up to half of it.
      records: so many of them, spread evenly over the source; 0: all.
      seed: of the shifts.
    """

    source: Source
    layer: str = ""
    averaged: tuple[int, ...] = (1, 5, 25, 100)
    most: int = 15
    records: int = 100
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        given(self, "averaged")
        at_least(self, 4, "most")
        at_least(self, 0, "records", "seed")
        if min(self.averaged) < 1:
            raise ConfigError(f"averaged={self.averaged}: numbers of frames of 1 or more")

    def check(self, frozen) -> None:
        """ConfigError for another method, an empty source, or an unknown layer."""
        check_synchronization(self, frozen, self.layer)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError if no video can be used."""
        rng = np.random.default_rng(self.seed)
        half, layer = self.most // 2, self.layer or frozen.method.layer
        found = {count: ([], []) for count in self.averaged}
        problem = ""
        for index in spread(range(len(self.source)), self.records):
            shift = int(rng.integers(-half, half + 1))
            try:
                record = self.source[index]
                distances = distances_of(frozen, record, layer, self.most, shift, half)
            except MediaError as error:
                if frozen.loading.on_error == "raise":
                    raise
                problem = str(error)
                continue
            problem = f"{record.name}: {len(distances)} frames are left beside the shifts"
            for count, (hits, confidences) in found.items():
                for start in range(0, len(distances) - count + 1, count):
                    offset, confidence = offset_of(distances[start : start + count].mean(0))
                    hits.append(abs(offset - shift) <= 1)
                    confidences.append(confidence)
        if not any(hits for hits, _ in found.values()):
            raise ConfigError(
                f"SyncOffset: no video can be used; lower most or averaged, or see: {problem}"
            )
        yield "within_one/constant", 3 / (2 * half + 1)
        for count, (hits, confidences) in found.items():
            if hits:
                yield f"within_one/{count}", float(np.mean(hits))
                yield f"confidence/{count}", float(np.mean(confidences))


def check_synchronization(evaluator, frozen, layer: str) -> None:
    """ConfigError for another method, an empty source, or an unknown layer."""
    name = type(frozen.method).__name__
    if name != "Synchronization":
        raise ConfigError(
            f"{type(evaluator).__name__} is for Synchronization, this run is of {name}"
        )
    if len(evaluator.source) == 0:
        raise ConfigError(f"the source {evaluator.source} is empty")
    for stream in ("vision", "audio"):
        frozen.check_layers(stream, (layer or frozen.method.layer,), evaluator.source)


def distances_of(
    frozen, record: Record, layer: str, most: int, shift: int = 0, room: int = 0
) -> Float[np.ndarray, "t j"]:
    """Distances of windows of frames to the windows of audio from `most` before to `most` after.

    Only of frames that have so many windows of audio on both sides.

    Args:
      shift: frames by which the audio is taken later than it is.
      room: frames that are left out at both ends, at least |shift|.

    MediaError for a video without audio, or too little of it.
    """
    method = frozen.method
    record.need_frames()
    record.need_audio(method.seconds)
    begin, end = record.audible
    length = max(method.seconds, method.frames / method.fps)
    count = 1 + int((end - begin - length) * method.fps + 1e-6) - 2 * room
    if count < 2 * most + 1:
        needed = (2 * most + 2 * room) / method.fps + length
        raise MediaError(
            f"{record.name}: {end - begin:.2f} s with audio are too short, {needed:.2f} s needed"
        )
    # Whole batches, so that all videos share a compiled program.
    rows = frozen.batch_size
    numbers = np.minimum(np.arange(-(-count // rows) * rows), count - 1)
    times = begin + (room + numbers) / method.fps
    video, audio = (
        np.concatenate(
            [
                frozen.maps(stream, method.clips(record, stream, part.tolist()), (layer,))[layer]
                for part in moments.reshape(-1, rows)
            ]
        )[:count]
        for stream, moments in (("vision", times), ("audio", times + shift / method.fps))
    )
    return distances_by_offset(video, audio, most)[most : count - most]
