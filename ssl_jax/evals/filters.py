"""Filters of the first convolution as a picture: edges and colours, or what went wrong."""

import dataclasses
import math
from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Float, UInt8

from ssl_jax.config import ConfigError
from ssl_jax.drawing.layout import Tile, page
from ssl_jax.drawing.pixels import around_grey
from ssl_jax.knobs import at_least

MOST = 16  # input channels of a filter that are drawn one by one


@dataclasses.dataclass(frozen=True)
class Filters:
    """A page of all filters of a trunk's first convolution, the strongest first.

    Zero is middle grey, and each filter's largest weight black or white (or full in its colour).
    Filters over three channels are drawn in colour, those over other numbers channel by channel;
    those over time as strips. Yields 'filters' and the number 'dead', the share of filters whose
    largest weight is below a hundredth of the largest of all.

    Attributes:
      kernel: its path among the trunk's weights, 'conv1/kernel'; '': that with the fewest input
        channels.
      tile: side of a filter in pixels.
    """

    stream: str = "vision"
    kernel: str = ""
    tile: int = 48
    every: int = 0

    def __post_init__(self):
        at_least(self, 1, "tile")

    def run(self, frozen) -> Iterator[tuple[str, float | np.ndarray]]:
        """ConfigError without such weights."""
        if self.stream not in frozen.variables["params"]:
            known = ", ".join(frozen.variables["params"])
            raise ConfigError(f"no trunk '{self.stream}' has weights; there are {known}")
        name, weights = first_kernel(frozen.variables["params"][self.stream], self.kernel)
        if not np.isfinite(weights).all():
            raise FloatingPointError(f"{name} is NaN or infinite; has training diverged?")
        yield "filters", filter_page(weights, self.tile)
        largest = np.abs(weights).reshape(-1, weights.shape[-1]).max(axis=0)
        yield "dead", float(np.mean(largest <= 0.01 * largest.max()))


def first_kernel(params: dict, path: str = "") -> tuple[str, Float[np.ndarray, "*window c o"]]:
    """Path and weights of the convolution named, or of that with the fewest input channels.

    ConfigError if there is none or there are several.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    kernels = {
        "/".join(str(part.key) for part in place): leaf
        for place, leaf in leaves
        if leaf.ndim in (4, 5)
    }
    if path:
        if path not in kernels:
            raise ConfigError(f"no convolution '{path}'; there are {', '.join(kernels) or 'none'}")
        return path, np.asarray(jax.device_get(kernels[path]), np.float64)
    if not kernels:
        raise ConfigError("this trunk has no convolutions whose filters could be drawn")
    fewest = min(leaf.shape[-2] for leaf in kernels.values())
    # Pointwise filters have no picture.
    fitting = [
        name
        for name, leaf in kernels.items()
        if leaf.shape[-2] == fewest and math.prod(leaf.shape[:-2]) > 1
    ]
    if len(fitting) != 1:
        raise ConfigError(f"which is the first convolution? Set kernel to one of {list(kernels)}")
    return fitting[0], np.asarray(jax.device_get(kernels[fitting[0]]), np.float64)


def filter_page(weights: Float[np.ndarray, "*window c o"], tile: int) -> UInt8[np.ndarray, "h w 3"]:
    """Filters in a grid about twice as wide as high."""
    norms = np.linalg.norm(weights.reshape(-1, weights.shape[-1]), axis=0)
    order = np.argsort(-norms, kind="stable")
    tiles = [Tile(_drawn(weights[..., number])) for number in order]
    pieces = tiles[0].pixels.shape[1] / tiles[0].pixels.shape[0]
    columns = max(1, math.ceil(math.sqrt(2 * len(tiles) / max(pieces, 1))))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    return page(rows, tile)


def _drawn(one: np.ndarray) -> np.ndarray:
    """A filter (*window c) as uint8 (h w 3): its times, then its channels, beside one another."""
    pixels = around_grey(one)
    pixels = pixels[None] if pixels.ndim == 3 else pixels  # t h w c
    if pixels.shape[-1] == 3:
        return np.concatenate(list(pixels), axis=1)
    channels = np.moveaxis(pixels[..., :MOST], -1, 1).reshape(-1, *pixels.shape[1:3])
    return np.repeat(np.concatenate(list(channels), axis=1)[..., None], 3, axis=2)
