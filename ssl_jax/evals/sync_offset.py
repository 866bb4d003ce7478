"""By how much picture and sound are shifted against one another, as a network sees and hears it."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Record, Source
from ssl_jax.data.spread import spread
from ssl_jax.knobs import at_least, given
from ssl_jax.scores.offset import distances_by_offset


@dataclasses.dataclass(frozen=True)
class SyncOffset:
    """How often a shift of a video's sound is found, by how many frames are looked at.

    Chung and Zisserman 2016. For methods with windows of frames and of audio, as `Synchronization`.
    The sound of each video is shifted by some frames, drawn anew for each, so that an answer that
    is always 0 earns nothing. Distances are averaged over some frames in a row; where they are
    smallest is the answer. Yields

    * 'within_one/<frames>': the share of answers that are right to a frame, for each number of
      frames; 'within_one/chance' that of guessing;
    * 'confidence/<frames>': the mean difference of the distances' median and minimum.

    Attributes:
      source: held-out videos with audio.
      layer: of both streams.
      averaged: numbers of frames in a row whose distances are averaged.
      most: largest shift that is tried, in frames; videos are shifted by up to half of it.
      records: so many of them, spread evenly over the source; 0: all.
      seed: of the shifts.
    """

    source: Source
    layer: str = "fc7"
    averaged: tuple[int, ...] = (1, 5, 25, 100)
    most: int = 15
    records: int = 100
    seed: int = 0
    every: int = 0

    def __post_init__(self):
        given(self, "averaged")
        at_least(self, 2, "most")
        at_least(self, 0, "records", "seed")
        if min(self.averaged) < 1:
            raise ConfigError(f"averaged={self.averaged}: numbers of frames of 1 or more")

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError if no video is long enough."""
        rng = np.random.default_rng(self.seed)
        half = self.most // 2
        found = {count: ([], []) for count in self.averaged}
        for index in spread(range(len(self.source)), self.records):
            shift = int(rng.integers(-half, half + 1))
            try:
                record = self.source[index]
                distances = distances_of(frozen, record, self.layer, self.most, shift, half)
            except MediaError:
                if frozen.loading.on_error == "raise":
                    raise
                continue
            for count, (hits, sure) in found.items():
                for start in range(0, len(distances) - count + 1, count):
                    mean = distances[start : start + count].mean(0)
                    hits.append(abs(self.most - int(mean.argmin()) - shift) <= 1)
                    sure.append(float(np.median(mean) - mean.min()))
        if not any(hits for hits, _ in found.values()):
            raise ConfigError(
                f"no video is long enough for shifts of most={self.most} frames; lower most"
            )
        yield "within_one/chance", 3 / (2 * self.most + 1)
        for count, (hits, sure) in found.items():
            if hits:
                yield f"within_one/{count}", float(np.mean(hits))
                yield f"confidence/{count}", float(np.mean(sure))


def distances_of(
    frozen, record: Record, layer: str, most: int, shift: int = 0, room: int = 0
) -> Float[np.ndarray, "t j"]:
    """Distances of windows of frames to the windows of audio from `most` before to `most` after.

    Only of frames that have so many windows of audio on both sides. The offset is `most` less the
    place of the smallest: positive if the picture is late.

    Args:
      shift: frames by which the sound is taken later than it is.
      room: frames that are left out at both ends, at least |shift|.

    MediaError for a video too short.
    """
    method = frozen.method
    record.need_frames()
    record.need_audio(method.seconds)
    begin, end = record.audible
    length = max(method.seconds, method.frames / method.fps)
    count = 1 + int((end - begin - length) * method.fps + 1e-6) - 2 * room
    if count < 2 * most + 1:
        needed = (2 * most + 2 * room + 1) / method.fps + length
        raise MediaError(f"{record.name}: {end - begin:.2f} s are too short, {needed:.2f} s needed")
    times = begin + (room + np.arange(count)) / method.fps
    video, audio = (
        np.concatenate(
            [
                frozen.maps(stream, method.clips(record, stream, part.tolist()), (layer,))[layer]
                for part in np.array_split(moments, -(-count // frozen.batch_size))
            ]
        )
        for stream, moments in (("vision", times), ("audio", times + shift / method.fps))
    )
    return distances_by_offset(video, audio, most)[most : count - most]
