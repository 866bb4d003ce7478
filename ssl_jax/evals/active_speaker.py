"""Who speaks: faces whose movements fit what is heard, moment by moment."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import spans_of
from ssl_jax.data.record import MediaError, Source
from ssl_jax.data.spread import spread
from ssl_jax.evals.sync_offset import check_synchronization, distances_of
from ssl_jax.knobs import at_least
from ssl_jax.scores.average_precision import average_precision
from ssl_jax.scores.offset import confidence_by_frame


@dataclasses.dataclass(frozen=True)
class ActiveSpeaker:
    """Average precision of the moments in which the person in view is the one who is heard.

    Chung and Zisserman 2016, scored as AVA's active speakers are: every moment of every video is a
    row, its score the confidence of `scores.offset.confidence_by_frame`. A person whose lips move
    while another one speaks is a negative. For `Synchronization`. Yields 'ap' (over the distinct
    scores, without an envelope), and 'ap/chance', the share of positives.

    The source's videos are tracks of one face each, and `extra['spans']`, a column of a manifest,
    holds the seconds in which that person speaks: '0.4 2.1; 3 3.5'. Moments too near an end for all
    shifts have the score of the nearest one that is not. Videos that are broken or too short are
    left out.

    Attributes:
      source: held-out tracks with audio.
      layer: of both streams; '': the one that the method trains.
      most: largest shift that is tried, in frames.
      smoothed: frames, an odd number, over which scores are smoothed.
      records: so many of them, spread evenly over the source; 0: all.
    """

    source: Source
    layer: str = ""
    most: int = 15
    smoothed: int = 9
    records: int = 0
    every: int = 0

    def __post_init__(self):
        at_least(self, 1, "most", "smoothed")
        at_least(self, 0, "records")
        if self.smoothed % 2 == 0:
            raise ConfigError(f"smoothed={self.smoothed} must be an odd number of frames")

    def check(self, frozen) -> None:
        """ConfigError for another method, an empty source, or an unknown layer."""
        check_synchronization(self, frozen, self.layer)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError if no video can be used, or nobody speaks in any."""
        method, layer = frozen.method, self.layer or frozen.method.layer
        scores, targets, problem = [], [], ""
        for index in spread(range(len(self.source)), self.records):
            try:
                record = self.source[index]
                spans = spans_of(record)
                distances = distances_of(frozen, record, layer, self.most)
                if len(distances) < self.smoothed:
                    raise MediaError(
                        f"{record.name}: {len(distances)} frames are left beside the shifts, "
                        f"smoothed={self.smoothed} needs more"
                    )
                known = confidence_by_frame(distances, self.smoothed)
            except MediaError as error:
                if frozen.loading.on_error == "raise":
                    raise
                problem = str(error)
                continue
            middles = np.arange(int(record.duration * method.fps)) + 0.5
            # Distances begin where `most` windows have gone by; each belongs to its middle.
            place = (middles / method.fps - record.audible[0] - method.seconds / 2) * method.fps
            # Smoothed scores next to the ends are those of windows filled up with zeros.
            edge = self.smoothed // 2
            last = len(known) - 1 - edge
            place = np.clip(np.round(place).astype(int) - self.most, edge, last)
            scores.append(known[place])
            seconds = middles / method.fps
            targets.append(np.any([(a <= seconds) & (seconds < b) for a, b in spans], axis=0))
        if not scores:
            raise ConfigError(f"ActiveSpeaker: no video can be used: {problem}")
        target = np.concatenate(
            [np.broadcast_to(t, s.shape) for t, s in zip(targets, scores, strict=True)]
        )
        if not target.any():
            raise ConfigError("ActiveSpeaker: nobody speaks in any video (extra['spans'])")
        yield "ap", average_precision(target, np.concatenate(scores), "step")
        yield "ap/chance", float(target.mean())
