"""Parts of images hidden or corrupted: holes to be filled, noise to be taken away.

Masks are 1 where an image is hidden, 0 where it is seen.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Num

from ssl_jax.config import ConfigError

CORRUPTIONS = ("none", "masking", "gaussian", "salt_pepper")


def square_mask(size: int, hole: int) -> Float[Array, "size size 1"]:
    """The middle square of `hole` pixels; its first row is (size - hole) // 2."""
    first = (size - hole) // 2
    inside = (jnp.arange(size) >= first) & (jnp.arange(size) < first + hole)
    return (inside[:, None] & inside[None, :]).astype(jnp.float32)[..., None]


def middle_square(images: Num[Array, "b h w c"], side: int) -> Num[Array, "b side side c"]:
    """What `square_mask` hides, cut out."""
    top, left = ((length - side) // 2 for length in images.shape[1:3])
    return images[:, top : top + side, left : left + side]


def random_blocks(
    key: Key[Array, ""], rows: int, size: int, area: float = 0.25, count: int = 5
) -> Float[Array, "rows size size 1"]:
    """`count` equal squares at random places, which may overlap ("random block").

    Pathak et al. 2016. Together they hide at most the fraction `area` of an image.
    """
    side = int(size * math.sqrt(area / count))
    corners = jax.random.randint(key, (rows, count, 2), 0, size - side + 1)

    def covered(corner: Int[Array, "rows count"]) -> Bool[Array, "rows count size"]:
        places = jnp.arange(size)
        return (places >= corner[..., None]) & (places < corner[..., None] + side)

    ys, xs = covered(corners[..., 0]), covered(corners[..., 1])
    return jnp.any(ys[..., :, None] & xs[..., None, :], axis=1).astype(jnp.float32)[..., None]


def random_regions(
    key: Key[Array, ""],
    rows: int,
    size: int,
    area: tuple[float, float] = (0.2, 0.3),
    coarseness: float = 0.06,
) -> Float[Array, "rows size size 1"]:
    """Blobs of arbitrary shape ("random region").

    Pathak et al. 2016, as their code: coarse uniform noise, enlarged by cubic interpolation, is
    hidden where it is lowest. Theirs cuts one pattern for a batch from a huge one until the
    fraction fits; here every image has its own, of exactly the fraction that is drawn.

    Args:
      area: smallest and largest fraction that is hidden.
      coarseness: points of noise for each pixel along an axis; less makes larger blobs.
    """
    key_noise, key_area = jax.random.split(key)
    cells = max(2, round(size * coarseness))
    noise = jax.random.uniform(key_noise, (rows, cells, cells))
    smooth = jax.image.resize(noise, (rows, size, size), "cubic")
    shares = jax.random.uniform(key_area, (rows,), minval=area[0], maxval=area[1])
    places = (shares * size * size).astype(jnp.int32)
    ascending = jnp.sort(smooth.reshape(rows, -1), axis=1)
    threshold = jnp.take_along_axis(ascending, places[:, None], axis=1)
    return (smooth < threshold[..., None]).astype(jnp.float32)[..., None]


def corrupt(
    key: Key[Array, ""], images: Float[Array, "b *space c"], kind: str, amount: float
) -> Float[Array, "b *space c"]:
    """Images in 0..1, corrupted as denoising autoencoders see them (Vincent et al. 2010).

    Args:
      kind: 'none'; 'masking': each value is 0 with probability `amount`; 'gaussian': noise of the
        deviation `amount` is added; 'salt_pepper': with probability `amount` a value is replaced
        by 0 or 1, either as likely.

    Raises:
      ConfigError: another kind.
    """
    if kind not in CORRUPTIONS:
        raise ConfigError(f"corruption is one of {', '.join(CORRUPTIONS)}, not {kind!r}")
    if kind == "none":
        return images
    if kind == "gaussian":
        return images + amount * jax.random.normal(key, images.shape)
    # Below amount / 2 it is pepper, from there to amount it is salt.
    draw = jax.random.uniform(key, images.shape)
    salt = (draw >= amount / 2).astype(images.dtype) if kind == "salt_pepper" else 0.0
    return jnp.where(draw < amount, salt, images)
