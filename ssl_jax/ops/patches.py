"""Cutting images into patches, and hiding from a network what gives their places away.

For tasks that ask where a patch lay in its image. Two things tell without any understanding: lines
and brightness that go on from one patch to the next, and the lens, which focuses colours
differently and so shifts green against red and blue outwards (chromatic aberration). Images are
(b h w c); patches of one image are (b n h w c). Every patch has draws of its own.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Num

from ssl_jax.config import ConfigError
from ssl_jax.ops.augment import random_crop

# The axis along which a lens's aberration is seen: green against magenta.
GREEN_MAGENTA = (-1.0, 2.0, -1.0)


def random_tiles(
    key: Key[Array, ""],
    images: Num[Array, "b h h c"],
    grid: int,
    size: int,
    channel_shift: int = 0,
) -> Num[Array, "b n size size c"]:
    """Cuts squares into `grid` x `grid` cells and a tile from a random place in each, row by row.

    Jigsaw (Noroozi & Favaro 2016): between neighbouring tiles lie 0 to 2 (cell - size) pixels, so
    that no line can be followed from one to the next. A rest of h / grid is left at the right and
    below.

    Args:
      size: side of a tile.
      channel_shift: each channel of a tile is moved by 0 to so many pixels of its own along both
        axes, still within the cell (the authors' released code leaves it by as many).

    Raises:
      ConfigError: images that are not square, or tiles with their shift larger than a cell.
    """
    b, h, w, c = images.shape
    cell, reach = h // grid, size + channel_shift
    if h != w or reach > cell:
        raise ConfigError(
            f"random_tiles: tiles of {size} with channels moved by {channel_shift} do not fit the "
            f"{grid}x{grid} cells of {cell} of images of {h}x{w}; take smaller tiles"
        )
    key_tile, key_channel = jax.random.split(key)
    images = images[:, : cell * grid, : cell * grid]
    cells = images.reshape(b, grid, cell, grid, cell, c).swapaxes(2, 3)
    tiles = random_crop(key_tile, cells.reshape(-1, cell, cell, c), reach)
    if channel_shift:
        channels = jnp.moveaxis(tiles, -1, 1).reshape(-1, reach, reach, 1)
        channels = random_crop(key_channel, channels, size)
        tiles = jnp.moveaxis(channels.reshape(-1, c, size, size), 1, -1)
    return tiles.reshape(b, grid * grid, size, size, c)


def replace_tiles(
    key: Key[Array, ""], own: Num[Array, "b n h w c"], other: Num[Array, "b n h w c"], most: int
) -> Num[Array, "b n h w c"]:
    """Puts 0 to `most` tiles of `other`, no two the same, into random slots of `own`.

    How many, into which slots, and which tiles is drawn for every row by itself (Jigsaw++, Noroozi
    et al. 2018).
    """
    key_count, key_slots, key_tiles = jax.random.split(key, 3)
    count = jax.random.randint(key_count, (len(own), 1), 0, most + 1)
    slots, tiles = (
        jnp.argsort(jax.random.uniform(k, own.shape[:2]), axis=1) for k in (key_slots, key_tiles)
    )
    replaced = (slots < count)[..., None, None, None]
    return jnp.where(replaced, jax.vmap(lambda row, order: row[order])(other, tiles), own)


def project_colours(images: Num[Array, "*b h w 3"]) -> Float[Array, "*b h w 3"]:
    """Removes the green-magenta part of every pixel (Doersch, Gupta & Efros 2015).

        x <- x - a (a . x) / (a . a),   a = (-1, 2, -1)

    Grey stays as it is.
    """
    a = np.array(GREEN_MAGENTA, np.float32)
    matrix = np.eye(3, dtype=np.float32) - np.outer(a, a) / (a @ a)
    return jnp.matmul(images.astype(jnp.float32), matrix, precision=jax.lax.Precision.HIGHEST)


def drop_colours(
    key: Key[Array, ""], patches: Num[Array, "*n h w 3"], noise: float = 0.01
) -> Float[Array, "*n h w 3"]:
    """Keeps one random channel of every patch, less its mean, and puts noise for the other two.

    Doersch, Gupta & Efros 2015. The noise is Gaussian, its deviation `noise` times that of the kept
    channel.
    """
    key_kept, key_noise = jax.random.split(key)
    x = patches.astype(jnp.float32)
    x = x - jnp.mean(x, axis=(-3, -2), keepdims=True)
    kept = jax.random.randint(key_kept, (*x.shape[:-3], 1, 1, 1), 0, 3) == jnp.arange(3)
    own = jnp.sum(jnp.where(kept, x, 0), axis=-1, keepdims=True)
    deviation = jnp.sqrt(jnp.mean(own * own, axis=(-3, -2), keepdims=True))
    return jnp.where(kept, x, noise * deviation * jax.random.normal(key_noise, x.shape))


def pixelate(
    key: Key[Array, ""], patches: Num[Array, "*n h h c"], probability: float, coarsest: int = 10
) -> Float[Array, "*n h h c"]:
    """Resizes square patches to a random lower resolution and back (Doersch, Gupta & Efros 2015).

    The number of pixels between is uniform from `coarsest`^2 up to those of the patch. It keeps a
    network from relying on fine texture and traces of compression.

    Args:
      probability: of changing a patch at all.
    """
    key_side, key_chosen = jax.random.split(key)
    shape, h = patches.shape[:-3], patches.shape[-3]
    if not 1 <= coarsest <= h:
        raise ConfigError(f"pixelate: coarsest={coarsest} must be from 1 to the patch's {h}")
    pixels = jax.random.uniform(key_side, shape, minval=coarsest**2, maxval=h**2)
    sides = jnp.sqrt(pixels).astype(jnp.int32)
    chosen = jax.random.bernoulli(key_chosen, probability, (*shape, 1, 1, 1))
    x = patches.astype(jnp.float32)
    change = coarsened(jnp.maximum(sides, coarsest), h)
    exact = jax.lax.Precision.HIGHEST
    x_rows = jnp.einsum("...ij,...jkc->...ikc", change, x, precision=exact)
    blurred = jnp.einsum("...kj,...ijc->...ikc", change, x_rows, precision=exact)
    return jnp.where(chosen, blurred, x)


def coarsened(sides: Num[Array, "*n"], size: int) -> Float[Array, "*n size size"]:
    """Matrices that resize a row of `size` pixels to `sides` pixels and back, both linearly.

    Shrinking averages over a triangle as wide as two of the larger pixels.
    """
    scale = (sides / size)[..., None, None]
    pixels = jnp.arange(size, dtype=jnp.float32)
    # Row j of `down` makes pixel j of the small image. Those from `sides` on are not looked at.
    centres = (pixels[:, None] + 0.5) / scale - 0.5
    down = jnp.maximum(0, 1 - jnp.abs(pixels - centres) * scale)
    down = down / jnp.maximum(jnp.sum(down, axis=-1, keepdims=True), 1e-6)
    places = jnp.clip((pixels[:, None] + 0.5) * scale - 0.5, 0, sides[..., None, None] - 1)
    up = jnp.maximum(0, 1 - jnp.abs(pixels - places))
    return jnp.matmul(up, down, precision=jax.lax.Precision.HIGHEST)


def standardise(patches: Num[Array, "*n h w c"], rms: float = 1.0) -> Float[Array, "*n h w c"]:
    """Each patch less its mean and scaled to a root mean square of `rms`, all channels together.

    Neighbours are alike in brightness and contrast, which this takes away. A patch that varies by
    less than a byte's step, 1/255 where pixels are 0..1, is flat and comes out as about 0.
    """
    x = patches.astype(jnp.float32)
    x = x - jnp.mean(x, axis=(-3, -2, -1), keepdims=True)
    variance = jnp.mean(x * x, axis=(-3, -2, -1), keepdims=True)
    return x * (rms * jax.lax.rsqrt(jnp.maximum(variance, 1 / 255**2)))
