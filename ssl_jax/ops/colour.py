"""Colour: sRGB to CIE Lab and back, and small colour maps enlarged to the size of images.

The convention is scikit-image's, as in the papers on colorization: sRGB with D65 white. L is 0 to
100; over all sRGB colours a is -86.2 to 98.2 and b is -107.9 to 94.5. A grey has a and b of a few
thousandths, because the matrix is rounded. Everything is computed in float32 and without matrix
products, which accelerators would round to bfloat16.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, UInt8

RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
XYZ_TO_RGB = tuple(map(tuple, np.linalg.inv(RGB_TO_XYZ).tolist()))
WHITE = (0.95047, 1.0, 1.08883)  # XYZ of D65

# Where in a Lab image they are.
CHANNELS = {"L": slice(0, 1), "ab": slice(1, 3), "Lab": slice(0, 3)}


def rgb_to_lab(images: Num[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    """CIE Lab (float32) of sRGB images, uint8 or floats in 0..1."""
    rgb = images.astype(jnp.float32)
    return unit_rgb_to_lab(rgb / 255.0 if images.dtype == jnp.uint8 else rgb, jnp)


def unit_rgb_to_lab(rgb, xp):
    """`rgb_to_lab` of floats in 0..1, computed by `xp`: numpy or jax.numpy."""
    # The unused branch gets a harmless value: the gradient of a power at 0 would be infinite.
    curved = ((xp.maximum(rgb, 0.04045) + 0.055) / 1.055) ** 2.4
    linear = xp.where(rgb > 0.04045, curved, rgb / 12.92)
    x, y, z = (v / white for v, white in zip(_mix(linear, RGB_TO_XYZ), WHITE, strict=True))
    x, y, z = (
        xp.where(v > 0.008856, xp.cbrt(xp.maximum(v, 0.008856)), 7.787 * v + 16 / 116)
        for v in (x, y, z)
    )
    return xp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def lab_to_rgb(lab: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    """sRGB (float32) of Lab images; colours that a screen cannot show are clipped to 0..1."""
    lightness, a, b = (lab[..., i].astype(jnp.float32) for i in range(3))
    y = (lightness + 16) / 116
    x, z = a / 500 + y, jnp.maximum(y - b / 200, 0.0)
    xyz = [
        white * jnp.where(v > 0.2068966, v**3, (v - 16 / 116) / 7.787)
        for v, white in zip((x, y, z), WHITE, strict=True)
    ]
    linear = jnp.stack(_mix(jnp.stack(xyz, axis=-1), XYZ_TO_RGB), axis=-1)
    curved = 1.055 * jnp.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return jnp.clip(jnp.where(linear > 0.0031308, curved, 12.92 * linear), 0.0, 1.0)


def alone(lab: Float[Array, "*b 3"], channels: str) -> UInt8[Array, "*b 3"]:
    """Images of some of CHANNELS of Lab: of L without colour, of ab at middle lightness."""
    kept = jnp.zeros(3).at[CHANNELS[channels]].set(1)
    rgb = lab_to_rgb(lab * kept + jnp.array([60.0, 0.0, 0.0]) * (1 - kept))
    return jnp.round(255 * rgb).astype(jnp.uint8)


def resize_corners(
    x: Float[Array, "b h w c"], height: int, width: int
) -> Float[Array, "b h2 w2 c"]:
    """Bilinear resizing that maps the centres of the corner cells to the corner pixels.

    A fully convolutional network of stride s sees around pixel s i from its cell i, so this is how
    its map lies over the image. (`jax.image.resize` maps the outer edges to one another.)
    """
    for axis, size in ((1, height), (2, width)):
        places = jnp.linspace(0.0, x.shape[axis] - 1.0, size)
        distances = jnp.abs(places[:, None] - jnp.arange(x.shape[axis]))
        weights = jnp.maximum(1.0 - distances, 0.0)
        x = jnp.moveaxis(
            jnp.tensordot(
                weights, x.astype(jnp.float32), (1, axis), precision=jax.lax.Precision.HIGHEST
            ),
            0,
            axis,
        )
    return x


def _mix(channels, matrix) -> list:
    """The sums of three channels that the rows of a matrix weigh."""
    return [sum(weight * channels[..., i] for i, weight in enumerate(row)) for row in matrix]
