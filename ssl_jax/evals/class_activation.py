"""Class activation maps: which places of an input speak for an answer."""

import dataclasses
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Source
from ssl_jax.drawing.layout import Tile, page
from ssl_jax.drawing.overlay import laid_on
from ssl_jax.drawing.pixels import as_picture
from ssl_jax.knobs import at_least


@dataclasses.dataclass(frozen=True)
class ClassActivation:
    """A page of inputs, and beside each of them the map of scores laid over it.

    Zhou et al. 2016; for the arrow of time Wei et al. 2018. Red places speak for the class (the
    arrow of time's: backwards), blue ones against it, as strongly as the strongest of the page is
    coloured. Of videos the middle of the clip is drawn. Yields 'activation'.

    Attributes:
      source: held-out records.
      stream: whose `layer` is a map of one channel.
      count: so many records, spread evenly over the source.
      tile: height of an image in pixels.
    """

    source: Source
    stream: str = "activation"
    layer: str = "activation"
    count: int = 8
    tile: int = 96
    every: int = 0

    def __post_init__(self):
        at_least(self, 1, "count", "tile")

    def run(self, frozen) -> Iterator[tuple[str, np.ndarray]]:
        """ConfigError for a layer that is no map of one channel."""
        inputs, _ = frozen.inputs(self.source, self.stream, limit=self.count)
        inputs = {name: values[:, 0] for name, values in inputs.items()}
        maps = np.float64(frozen.maps(self.stream, inputs, (self.layer,))[self.layer])
        if maps.ndim != 4 or maps.shape[-1] != 1:
            raise ConfigError(
                f"layer={self.layer!r} of {self.stream} has the shape {maps.shape[1:]}, a map of "
                "one channel is needed"
            )
        drawn = frozen.method.pictures({k: jnp.asarray(v) for k, v in inputs.items()}) or inputs
        pictures = [as_picture(np.asarray(one)) for one in next(iter(drawn.values()))]
        most = np.abs(maps).max()
        rows = [
            [Tile(picture, "input"), Tile(laid_on(picture, one, most), self.layer)]
            for picture, one in zip(pictures, maps[..., 0], strict=True)
        ]
        yield "activation", page(rows, self.tile)
