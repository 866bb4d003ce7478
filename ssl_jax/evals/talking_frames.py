"""Does the mouth say what is heard? Frames drawn from stills and audio, held against the true."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Source
from ssl_jax.drawing.layout import Tile, page
from ssl_jax.knobs import at_least, within

STREAM, LAYERS = "face", ("generated", "sharpened")


@dataclasses.dataclass(frozen=True)
class TalkingFrames:
    """Errors of the frames that `TalkingFace` draws of held-out people.

    Mean absolute errors of pixels in 0..1: 'l1' of all, 'moving' where the true frame differs from
    the first still, mostly the mouth, and 'rest' elsewhere; of

    * 'generated', and 'sharpened', what the second network made of it;
    * 'other_audio': 'sharpened', but from the next record's audio. If audio is used, it is worse
      where things move, and not elsewhere;
    * 'still': the first still in place of the frame.

    Yields also the picture 'faces'.

    Attributes:
      source: held-out videos with audio.
      records: so many of them, spread evenly over the source; 0: all.
      least: from which difference of a colour on a place counts as moving.
      drawn: records that are drawn.
      tile: height of an image in pixels.
    """

    source: Source
    records: int = 128
    least: float = 0.1
    drawn: int = 6
    tile: int = 96
    every: int = 0

    def __post_init__(self):
        at_least(self, 0, "records")
        within(self, 0, 1, "least")
        at_least(self, 1, "drawn", "tile")

    def check(self, frozen) -> None:
        """ConfigError for another method, or an empty source."""
        name = type(frozen.method).__name__
        if name != "TalkingFace":
            raise ConfigError(f"TalkingFrames is for TalkingFace, this run is of {name}")
        if len(self.source) == 0:
            raise ConfigError(f"the source {self.source} is empty")
        frozen.check_layers(STREAM, LAYERS, self.source)

    def run(self, frozen) -> Iterator[tuple[str, float | np.ndarray]]:
        """ValueError if frames are not finite."""
        inputs, _ = frozen.inputs(self.source, STREAM, limit=self.records)
        inputs = {name: values[:, 0] for name, values in inputs.items()}
        target, still = (
            x.astype(np.float32) / 255 for x in (inputs["target"], inputs["vision"][:, 0])
        )
        drawn = frozen.maps(STREAM, inputs, LAYERS)
        heard = np.roll(inputs["audio"], 1, axis=0)
        other = frozen.maps(STREAM, {**inputs, "audio": heard}, LAYERS)["sharpened"]
        frames = {**drawn, "other_audio": other, "still": still}
        moving = np.abs(target - still).max(axis=-1) > self.least
        for name, found in frames.items():
            if not np.isfinite(found).all():
                raise ValueError(f"frames of '{name}' are not finite")
            for metric, error in errors(found, target, moving).items():
                yield f"{name}/{metric}", error
        few = np.linspace(0, len(target) - 1, min(self.drawn, len(target))).round().astype(int)
        columns = {"a still": still, **drawn, "other audio": other, "true": target}
        rows = [[Tile(_bytes(images[i])) for images in columns.values()] for i in few]
        yield "faces", page(rows, self.tile, headings=tuple(columns))


def errors(
    found: Float[np.ndarray, "n h w 3"],
    target: Float[np.ndarray, "n h w 3"],
    moving: Bool[np.ndarray, "n h w"],
) -> dict[str, float]:
    """Mean absolute errors of all places, of those that move and of the others, if there are."""
    away = np.abs(found - target).mean(axis=-1)
    parts = {"l1": away, "moving": away[moving], "rest": away[~moving]}
    return {name: float(np.mean(part)) for name, part in parts.items() if part.size}


def _bytes(image: Float[np.ndarray, "h w 3"]) -> np.ndarray:
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
