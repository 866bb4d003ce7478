"""What reveals where the tiles of an image belong: their borders, and how bright they are."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ssl_jax.cues.cue import Arrays, images_of, pixel_entries
from ssl_jax.data.record import Record
from ssl_jax.knobs import above, within
from ssl_jax.method import Method


def _has_tiles(method: Method, record: Record, batch: Arrays) -> bool:
    """Whether a row of the batch is several parts of one image."""
    return record.num_frames == 1 and any(batch[k].ndim == 5 for k in pixel_entries(method, batch))


@dataclasses.dataclass(frozen=True)
class PatchBorders:
    """Lines that go on from one tile to the next (Doersch, Gupta and Efros 2015).

    Removed: the rim of every tile is filled with the tile's mean. Control: a strip across the
    tile's middle of the same area.

    Attributes:
      rim: its width as a share of the tile's side, one pixel at least.
    """

    rim: float = 1 / 16
    name: ClassVar[str] = "borders"
    level: ClassVar[str] = "batch"
    sense: ClassVar[str] = "vision"

    def __post_init__(self):
        above(self, 0, "rim")
        within(self, 0, 0.5, "rim")

    applies = staticmethod(_has_tiles)

    def _width(self, side: int) -> int:
        return max(1, round(self.rim * side))

    def remove(self, x: Float[Array, "b *n h w 3"], key: jax.Array) -> Float[Array, "b *n h w 3"]:
        h, w = x.shape[-3:-1]
        rim = self._width(min(h, w))
        inside = np.zeros((h, w, 1), bool)
        inside[rim : h - rim, rim : w - rim] = True
        return jnp.where(inside, x, jnp.mean(x, (-3, -2), keepdims=True))

    def control(self, x: Float[Array, "b *n h w 3"], key: jax.Array) -> Float[Array, "b *n h w 3"]:
        h, w = x.shape[-3:-1]
        rim = self._width(min(h, w))
        high = round((h * w - (h - 2 * rim) * (w - 2 * rim)) / w)
        top = (h - high) // 2
        outside = np.ones((h, w, 1), bool)
        outside[top : top + high] = False
        return jnp.where(outside, x, jnp.mean(x, (-3, -2), keepdims=True))

    def statistic(self, x: Float[np.ndarray, "b *n h w 3"]) -> Float[np.ndarray, "b d"]:
        """For each two tiles, how unlike are the sides by which they would touch."""
        tiles = images_of(x)
        sides = {
            "right": tiles[..., :, -1, :], "left": tiles[..., :, 0, :],
            "below": tiles[..., -1, :, :], "above": tiles[..., 0, :, :],
        }  # fmt: skip
        columns = []
        for first, second in np.ndindex(tiles.shape[1], tiles.shape[1]):
            if first != second:
                for own, other in (("right", "left"), ("below", "above")):
                    apart = sides[own][:, first] - sides[other][:, second]
                    columns.append(np.sqrt((apart**2).mean((1, 2), dtype=np.float64)))
        return np.stack(columns, 1) if columns else np.zeros((len(x), 0))


@dataclasses.dataclass(frozen=True)
class TileStatistics:
    """Tiles that lie together are alike in brightness and contrast (Noroozi and Favaro 2016).

    Removed: every tile gets the same mean and deviation. Control: the tiles of an image get them
    together, so that differences between them stay.
    """

    name: ClassVar[str] = "tile_statistics"
    level: ClassVar[str] = "batch"
    sense: ClassVar[str] = "vision"

    applies = staticmethod(_has_tiles)

    def remove(self, x: Float[Array, "b *n h w 3"], key: jax.Array) -> Float[Array, "b *n h w 3"]:
        return _standardised(x, (-3, -2, -1))

    def control(self, x: Float[Array, "b *n h w 3"], key: jax.Array) -> Float[Array, "b *n h w 3"]:
        return _standardised(x, tuple(range(1, x.ndim)))

    def statistic(self, x: Float[np.ndarray, "b *n h w 3"]) -> Float[np.ndarray, "b d"]:
        """Mean and deviation of each tile's channels."""
        tiles = images_of(x).astype(np.float64)
        both = np.concatenate([tiles.mean((2, 3)), tiles.std((2, 3))], axis=2)
        return both.reshape(len(x), -1)


def _standardised(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """To mean 0.5 and deviation 0.25, over these axes."""
    apart = x - jnp.mean(x, axes, keepdims=True)
    return 0.5 + 0.25 * apart / jnp.sqrt(jnp.mean(apart**2, axes, keepdims=True) + 1e-6)
