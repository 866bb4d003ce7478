"""Does a predicted sound happen when the true one does, and is it told from others?"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Record, Source
from ssl_jax.data.record_batches import read_some
from ssl_jax.drawing.layout import Tile, page
from ssl_jax.drawing.pixels import as_picture
from ssl_jax.knobs import at_least
from ssl_jax.scores.envelopes import correlation_in_time, own_ranks

STREAM, LAYER = "sound", "envelopes"


@dataclasses.dataclass(frozen=True)
class PredictedSound:
    """Envelopes that `IndicatedSound` predicts of held-out silent videos, beside the true ones.

    Yields

    * 'envelopes/correlation': over time within a window, mean over bands. 'envelopes/shifted': when
      each prediction may be early or late by up to one frame;
    * 'envelopes/distance': mean Euclidean distance of the steps;
    * 'envelopes/retrieval': how often the true sound is the nearest one among the windows of the
      same group (game), 'envelopes/median': the median of its places as a share of the gallery.
      A right guess of the group gives chance;
    * 'mean/distance': of always answering the mean of training;
    * 'previous/correlation', 'previous/distance': of repeating the true step before, which uses the
      sound and so is no floor but a height;
    * 'chance/retrieval', 'chance/median', 'chance/correlation', and 'chance/shifted': of the
      predictions for the window before;
    * the picture 'sounds': a frame, the true and the predicted envelopes, low bands below.

    Attributes:
      train: gives the mean.
      test: held-out videos with audio.
      clips: windows of each test record.
      records: so many of `train` are read for the mean.
      drawn: windows that are drawn.
      tile: height of an image in pixels.
    """

    train: Source
    test: Source
    clips: int = 1
    records: int = 64
    drawn: int = 6
    tile: int = 96
    every: int = 0

    def __post_init__(self):
        at_least(self, 1, "clips", "records", "drawn", "tile")

    def check(self, frozen) -> None:
        """ConfigError for another method, or an empty source."""
        name = type(frozen.method).__name__
        if name != "IndicatedSound":
            raise ConfigError(f"PredictedSound is for IndicatedSound, this run is of {name}")
        for source in (self.train, self.test):
            if len(source) == 0:
                raise ConfigError(f"the source {source} is empty")
        frozen.check_layers(STREAM, (LAYER,), self.test)

    def run(self, frozen) -> Iterator[tuple[str, float | np.ndarray]]:
        """ConfigError where nothing can be heard."""
        method = frozen.method

        def heard(record: Record) -> dict[str, np.ndarray]:
            times = method.times(record, STREAM, self.clips)
            middle = [time + method.seconds / 2 for time in times]
            frames = method.clips(record, "vision", middle)["vision"][:, 1]
            return {"true": method.heard(record, times), "frame": frames}

        found = frozen.features(
            self.test, STREAM, (LAYER,), self.clips, pool="whole", average=False, facts=heard
        )
        true = found.facts["true"].reshape(-1, *found.facts["true"].shape[2:])
        predicted = np.asarray(found.layers[LAYER]).reshape(true.shape)
        if not np.isfinite(predicted).all():
            raise ValueError("the predicted envelopes are not finite")
        correlation = correlation_in_time(predicted, true)
        if np.isnan(correlation):
            raise ConfigError(f"the audio of {self.test} does nothing")
        yield f"{LAYER}/correlation", correlation
        yield f"{LAYER}/shifted", correlation_in_time(predicted, true, method.steps)
        yield f"{LAYER}/distance", _distance(predicted, true)
        places, sizes = own_ranks(predicted, true, np.repeat(found.groups, self.clips))
        yield f"{LAYER}/retrieval", float(np.mean(places < 0.5))
        yield f"{LAYER}/median", float(np.median(places / np.maximum(sizes - 1, 1)))
        mean = read_some(
            self.train,
            lambda record: {"true": method.heard(record, method.times(record, STREAM, 1))},
            self.records,
            frozen.batch_size,
            frozen.loading,
        )["true"].mean(axis=(0, 1, 2))
        yield "mean/distance", _distance(np.broadcast_to(mean, true.shape), true)
        before = np.concatenate([true[:, :1], true[:, :-1]], axis=1)
        yield "previous/correlation", correlation_in_time(before, true)
        yield "previous/distance", _distance(before, true)
        yield "chance/correlation", 0.0
        # Another window's prediction, which may be shifted to fit as well.
        other = correlation_in_time(np.roll(predicted, 1, axis=0), true, method.steps)
        yield "chance/shifted", other
        yield "chance/retrieval", float(np.mean(1 / sizes))
        yield "chance/median", 0.5
        frames = found.facts["frame"].reshape(-1, *found.facts["frame"].shape[2:])
        few = np.linspace(0, len(true) - 1, min(self.drawn, len(true))).round().astype(int)
        rows = [
            [Tile(as_picture(frames[i])), Tile(_drawn(true[i])), Tile(_drawn(predicted[i]))]
            for i in few
        ]
        yield "sounds", page(rows, self.tile, headings=("frame", "true", "predicted"))


def _distance(predicted: Float[np.ndarray, "n t k"], true: Float[np.ndarray, "n t k"]) -> float:
    return float(np.mean(np.linalg.norm(predicted - true, axis=-1)))


def _drawn(envelopes: Float[np.ndarray, "t k"]) -> np.ndarray:
    shades = np.round(255 * envelopes.T[::-1].clip(0, 1)).astype(np.uint8)
    return np.repeat(shades[..., None], 3, axis=-1)
