"""Features as colours: the three main components of a layer's maps in red, green and blue."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, UInt8

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Source
from ssl_jax.drawing.layout import Tile, page
from ssl_jax.drawing.pixels import as_picture
from ssl_jax.knobs import at_least


@dataclasses.dataclass(frozen=True)
class FeatureColours:
    """A page of images beside the maps of each layer, coloured by their features.

    As the embeddings of Vondrick et al. 2018 (Tracking Emerges by Colorizing Videos) are shown: the
    first three principal components over all positions of all images. Places of one colour have
    similar features, across the images too. Yields 'colours', and '<layer>/three', the share of the
    variance that the colours show.

    Attributes:
      source: images, or videos, whose middle frame is shown.
      layers: with maps; () is all that have.
      count: so many records, spread evenly over the source.
      tile: height of an image in pixels.
    """

    source: Source
    stream: str = "vision"
    layers: tuple[str, ...] = ()
    count: int = 8
    tile: int = 96
    every: int = 0

    def __post_init__(self):
        at_least(self, 1, "count", "tile")

    def run(self, frozen) -> Iterator[tuple[str, float | np.ndarray]]:
        """ConfigError without maps."""
        inputs, _ = frozen.inputs(self.source, self.stream, limit=self.count)
        inputs = {name: values[:, 0] for name, values in inputs.items()}
        found = (
            frozen.maps(self.stream, inputs, self.layers)
            if self.layers
            else frozen.encode(self.stream, inputs)
        )
        chosen = self.layers or [name for name in found if not name.startswith("input")]
        maps = {name: np.float64(found[name]) for name in chosen if found[name].ndim >= 4}
        if not maps:
            raise ConfigError(f"{self.stream} has no layers with maps to colour")
        rows = [[Tile(as_picture(one), "input")] for one in next(iter(inputs.values()))]
        for layer, values in maps.items():
            if values.ndim == 5:
                values = values[:, values.shape[1] // 2]
            if not np.isfinite(values).all():
                raise FloatingPointError(f"layer {layer} is not finite; has training diverged?")
            colours, share = three_components(values)
            for row, pixels in zip(rows, colours, strict=True):
                row.append(Tile(pixels, layer))
            yield f"{layer}/three", share
        yield "colours", page(rows, self.tile)


def three_components(
    maps: Float[np.ndarray, "n h w c"],
) -> tuple[UInt8[np.ndarray, "n h w 3"], float]:
    """Principal components as red, green and blue, and their share of the variance.

    Each is stretched between its 1st and 99th percentile. Its sign is such that it is more often
    above its middle than below. Components that vary no more than rounding are grey.
    """
    rows = maps.reshape(-1, maps.shape[-1])
    centred = rows - rows.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    values, vectors = values[::-1].clip(min=0), vectors[:, ::-1]
    total = values.sum()
    result = np.full((len(rows), 3), 128, np.uint8)
    for channel in range(min(3, len(values))):
        # Below this the component is the rounding of features of such a size.
        if values[channel] <= 1e-12 * np.square(rows).sum():
            continue
        component = centred @ vectors[:, channel]
        low, middle, high = np.percentile(component, (1, 50, 99))
        if middle - low < high - middle:
            component, low, high = -component, -high, -low
        span = high - low if high > low else 1.0
        result[:, channel] = (255 * (component - low) / span).clip(0, 255).round()
    share = float(values[:3].sum() / total) if total > 0 else 0.0
    return result.reshape(*maps.shape[:-1], 3), share
