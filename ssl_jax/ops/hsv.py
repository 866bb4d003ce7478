"""Colour as hue, saturation and value, and Exemplar-CNN's random changes of it.

Images are floats (b h w 3) in 0..1. Every example has draws of its own.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

# Principal axes of the colours of natural images: light, blue-yellow, green-magenta (Ruderman,
# Cronin and Chiao 1998). The rows are orthonormal.
COLOUR_AXES = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (2**-0.5, 0.0, -(2**-0.5)),
    (6**-0.5, -2 * 6**-0.5, 6**-0.5),
)


def rgb_to_hsv(x: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    """Hue (0 red, 1/3 green, 2/3 blue; in 0..1), saturation and value; grey has hue 0."""
    red, green, blue = x[..., 0], x[..., 1], x[..., 2]
    high, low = jnp.max(x, axis=-1), jnp.min(x, axis=-1)
    chroma = high - low
    divisor = jnp.where(chroma > 0, chroma, 1)
    sixths = jnp.where(
        (red >= green) & (red >= blue),
        (green - blue) / divisor % 6,
        jnp.where(green >= blue, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    saturation = chroma / jnp.where(high > 0, high, 1)
    return jnp.stack([sixths / 6, saturation, high], axis=-1)


def hsv_to_rgb(x: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    """The inverse of `rgb_to_hsv`; the hue may be any number, a circle is 1."""
    hue, saturation, value = x[..., :1], x[..., 1:2], x[..., 2:]
    away = (6 * hue + jnp.array([5.0, 3.0, 1.0])) % 6
    return value - value * saturation * jnp.clip(jnp.minimum(away, 4 - away), 0, 1)


def random_hsv(
    key: Key[Array, ""],
    images: Float[Array, "b h w 3"],
    power: float = 4.0,
    factor: tuple[float, float] = (0.7, 1.4),
    offset: float = 0.1,
    hue: float = 0.1,
) -> Float[Array, "b h w 3"]:
    """Saturation and value become factor * x ** exponent + offset; the hue is turned.

    Dosovitskiy et al. 2014. Each of the two has draws of its own. Grey pixels stay grey: they have
    no hue to be saturated.

    Args:
      power: exponents from 1/power to power, log-uniform.
      factor: smallest and largest, uniform.
      offset, hue: at most so much to either side, uniform.
    """
    key_power, key_factor, key_offset, key_hue = jax.random.split(key, 4)
    b = len(images)

    def draw(key: Array, low, high) -> Array:
        return jax.random.uniform(key, (b, 1, 1, 2), minval=low, maxval=high)

    exponents = power ** draw(key_power, -1.0, 1.0)
    factors, offsets = draw(key_factor, *factor), draw(key_offset, -offset, offset)
    turns = jax.random.uniform(key_hue, (b, 1, 1, 1), minval=-hue, maxval=hue)
    x = rgb_to_hsv(images)
    changed = jnp.clip(factors * x[..., 1:] ** exponents + offsets, 0, 1)
    saturation = jnp.where(x[..., 1:2] > 0, changed[..., :1], 0.0)
    return hsv_to_rgb(jnp.concatenate([x[..., :1] + turns, saturation, changed[..., 1:]], axis=-1))


def random_colour_contrast(
    key: Key[Array, ""], images: Float[Array, "b h w 3"], factor: tuple[float, float] = (0.5, 2.0)
) -> Float[Array, "b h w 3"]:
    """Stretches each image's colours about their mean, along each of `COLOUR_AXES` by a factor.

    Dosovitskiy et al. 2014, who take the principal axes of their own patches. Factors are
    log-uniform. Results are clipped to 0..1.
    """
    low, high = jnp.log(jnp.array(factor))
    shape = (len(images), 1, 1, 3)
    factors = jnp.exp(jax.random.uniform(key, shape, minval=low, maxval=high))
    axes = jnp.array(COLOUR_AXES)
    mean = jnp.mean(images, axis=(1, 2), keepdims=True)
    precise = jax.lax.Precision.HIGHEST
    along = jnp.matmul(images - mean, axes.T, precision=precise)
    return jnp.clip(mean + jnp.matmul(factors * along, axes, precision=precise), 0, 1)
