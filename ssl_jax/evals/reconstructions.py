"""What a network gives back of images: beside them as a picture, and how near it is to them."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Source
from ssl_jax.drawing.layout import Tile, page
from ssl_jax.drawing.pixels import three_channels
from ssl_jax.knobs import at_least, given


@dataclasses.dataclass(frozen=True)
class Reconstructions:
    """Reconstructions beside their originals, and distances between them.

    For methods with streams that give both as layers 'target' and 'image', in 0..1 (b h w c): of an
    autoencoder 'reconstruction'; of a BiGAN also 'generated', where the original is itself drawn by
    the generator. Yields for each stream a picture by its name, and

    * '<stream>/squared_error': the mean over all values of (target - image)^2;
    * '<stream>/ratio': the mean distance |target - image|, divided by that of another record's
      target from the same image (as in Donahue et al. 2017's code). 1: the image has nothing of its
      record. An untrained network has about 1, and so has one that always gives the mean image.

    Attributes:
      source: held-out records, at least two.
      streams: names.
      records: so many of them are measured, spread evenly over the source; 0: all.
      drawn: so many of these are drawn.
      tile: height of an image in pixels.
    """

    source: Source
    streams: tuple[str, ...] = ("reconstruction",)
    records: int = 2000
    drawn: int = 40
    tile: int = 56
    every: int = 0

    def __post_init__(self):
        given(self, "streams")
        at_least(self, 0, "records")
        at_least(self, 1, "drawn", "tile")

    def check(self, frozen) -> None:
        """ConfigError without two records, or for a stream that gives nothing back."""
        if len(self.source) < 2 or self.records == 1:
            raise ConfigError("records: at least two are needed, as each is compared with another")
        for stream in self.streams:
            frozen.check_layers(stream, ("target", "image"), self.source)

    def run(self, frozen) -> Iterator[tuple[str, float | np.ndarray]]:
        """ConfigError for a stream that gives nothing back."""
        for stream in self.streams:
            inputs, _ = frozen.inputs(self.source, stream, limit=self.records)
            inputs = {name: values[:, 0] for name, values in inputs.items()}
            found = frozen.maps(stream, inputs, ("target", "image"))
            target, image = (np.float32(found[name]) for name in ("target", "image"))
            if not np.isfinite(image).all():
                raise FloatingPointError(f"{stream} is not finite; has training diverged?")
            yield f"{stream}/squared_error", float(np.mean((target - image) ** 2))
            yield f"{stream}/ratio", distance_ratio(target, image)
            yield stream, self._page(target, image)

    def _page(
        self, target: Float[np.ndarray, "n h w c"], image: Float[np.ndarray, "n h w c"]
    ) -> UInt8[np.ndarray, "h2 w2 3"]:
        """Pairs, original left and reconstruction right, about as many in a row as in a column."""
        count = min(self.drawn, len(target))
        chosen = np.arange(count) * len(target) // count
        pairs = np.concatenate([target[chosen], image[chosen]], axis=2)
        pixels = np.round(255 * three_channels(pairs).clip(0, 1)).astype(np.uint8)
        columns = max(1, round(np.sqrt(len(pixels) / 2)))
        tiles = [Tile(pair) for pair in pixels]
        rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
        return page(rows, self.tile, title="left: original, right: reconstruction")


def distance_ratio(
    target: Float[np.ndarray, "n h w c"], image: Float[np.ndarray, "n h w c"]
) -> float:
    """Mean |target - image| over mean |another's target - image|; the other is half of all away.

    1 where all are alike, and nothing tells one from another.
    """

    def distance(a, b):
        return float(np.sqrt(np.square(a - b).reshape(len(a), -1).sum(axis=1)).mean())

    own, other = distance(target, image), distance(np.roll(target, len(target) // 2, 0), image)
    return own / other if other else 1.0
