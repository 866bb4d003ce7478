"""Images read at other places: random affine maps, and halving by a random filter."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ssl_jax.config import ConfigError
from ssl_jax.ops.pooling import avg_pool

# The last is the mean of 2 x 2 pixels.
FILTERS = ("linear", "cubic", "lanczos3", "area")


def random_affine(
    key: Key[Array, ""],
    images: Float[Array, "b h w c"],
    size: int,
    centres: Float[Array, "b 2"] | None = None,
    shift: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    degrees: float = 0.0,
) -> Float[Array, "b size size c"]:
    """Cuts a square out of each image, shifted, enlarged and turned at random.

    Args:
      size: side of the square in pixels.
      centres: (y, x) of its middle in pixels before the shift; None: the image's middle.
      shift: along each axis at most so many sides of the square, uniform.
      scale: smallest and largest magnification, log-uniform.
      degrees: turned by at most so much to either side, uniform.
    """
    key_shift, key_scale, key_turn = jax.random.split(key, 3)
    b, h, w, _ = images.shape
    if centres is None:
        centres = jnp.tile(jnp.array([(h - 1) / 2, (w - 1) / 2]), (b, 1))
    centres = centres + size * shift * jax.random.uniform(key_shift, (b, 2), minval=-1, maxval=1)
    low, high = math.log(scale[0]), math.log(scale[1])
    zoom = jnp.exp(-jax.random.uniform(key_scale, (b,), minval=low, maxval=high))
    turn = math.radians(degrees) * jax.random.uniform(key_turn, (b,), minval=-1, maxval=1)
    cos, sin = zoom * jnp.cos(turn), zoom * jnp.sin(turn)
    matrices = jnp.stack([cos, -sin, sin, cos], axis=-1).reshape(b, 2, 2)
    return affine(images, centres, matrices, size)


def affine(
    images: Float[Array, "b h w c"],
    centres: Float[Array, "b 2"],
    matrices: Float[Array, "b 2 2"],
    size: int,
) -> Float[Array, "b size size c"]:
    """The square whose pixel at (y, x) from its middle is read at centre + matrix (y, x).

    Between pixels it is bilinear; beyond the border the image is mirrored, so that no edge or
    constant colour tells where it ends.
    """
    h, w = images.shape[1:3]
    steps = jnp.arange(size) - (size - 1) / 2
    grid = jnp.stack(jnp.meshgrid(steps, steps, indexing="ij"))
    precise = jax.lax.Precision.HIGHEST  # TPUs would round places to 8 bits
    moved = jnp.einsum("bij,jyx->biyx", matrices, grid, precision=precise)
    places = centres[:, :, None, None] + moved
    corner = jnp.floor(places)
    fraction = (places - corner)[..., None]
    corner = corner.astype(jnp.int32)

    def read(dy: int, dx: int) -> Array:
        y, x = _mirrored(corner[:, 0] + dy, h), _mirrored(corner[:, 1] + dx, w)
        weight = jnp.abs(1 - dy - fraction[:, 0]) * jnp.abs(1 - dx - fraction[:, 1])
        return weight * jax.vmap(lambda image, y, x: image[y, x])(images, y, x)

    return read(0, 0) + read(0, 1) + read(1, 0) + read(1, 1)


def _mirrored(places: Int[Array, "*n"], length: int) -> Int[Array, "*n"]:
    """Places of any size folded into 0 to length - 1; the outermost pixels are not repeated."""
    places = jnp.abs(places) % max(1, 2 * length - 2)
    return jnp.where(places < length, places, 2 * length - 2 - places)


def random_halving(
    key: Key[Array, ""], images: Float[Array, "b h w c"]
) -> Float[Array, "b h2 w2 c"]:
    """Images of half the side, made by one of four filters, the same for the whole batch.

    Bilinear, bicubic, Lanczos, or the mean of 2 x 2 pixels, so that a network cannot learn to
    recognise how images are made smaller.

    Raises:
      ConfigError: an odd side.
    """
    if images.shape[1] % 2 or images.shape[2] % 2:
        raise ConfigError(f"random_halving: sides must be even, not {images.shape[1:3]}")
    choices = [lambda x, name=name: halved(x, name) for name in FILTERS]
    return jax.lax.switch(jax.random.randint(key, (), 0, len(FILTERS)), choices, images)


def halved(images: Float[Array, "b h w c"], name: str) -> Float[Array, "b h2 w2 c"]:
    """Images of half the side by one of `FILTERS`, all of which suppress aliasing."""
    if name == "area":
        return avg_pool(images, 2)
    b, h, w, c = images.shape
    return jax.image.resize(images, (b, h // 2, w // 2, c), name)
