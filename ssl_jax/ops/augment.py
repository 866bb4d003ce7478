"""Random changes of images and clips, on the device.

Images are (b h w c), clips (b t h w c). Every example of the batch has draws of its own; all
frames of a clip share theirs, so that a video at rest stays at rest. To change something frame by
frame, fold the frames into the batch first. The same key gives the same result. Geometry works on
any type, colour and blur on floats in 0..1 (computed in float32, returned as they came).
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, Num

from ssl_jax.config import ConfigError

# Weights of red, green and blue in the grey image (ITU-R 601).
LUMA = (0.2989, 0.587, 0.114)

# Boxes drawn for each example of `random_resized_crop`; the first that fits is taken.
ATTEMPTS = 10


def random_resized_crop(
    key: Key[Array, ""],
    images: Num[Array, "b *t h w c"],
    size: int,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    method: str = "cubic",
) -> Num[Array, "b *t size size c"]:
    """Cuts a random box and resizes it to a square of `size` pixels ("Inception crop").

    The box's fraction of the area is uniform, its width over height log-uniform. Of ten such boxes
    the first that fits is taken, at a uniform place; if none fits, the whole image. Corners need
    not lie on whole pixels. Shrinking averages over what vanishes; cubic results may leave the
    range of the input a little.

    Args:
      area: smallest and largest fraction of the image.
      aspect: smallest and largest width / height.
      method: 'linear' or 'cubic' (Keys, a = -1/2).

    Raises:
      ValueError: not floats.
    """
    _check_range(images, "random_resized_crop")
    b, h, w = len(images), *images.shape[-3:-1]
    key_area, key_aspect, key_y, key_x = jax.random.split(key, 4)
    low, high = math.log(aspect[0]), math.log(aspect[1])
    areas = h * w * jax.random.uniform(key_area, (b, ATTEMPTS), minval=area[0], maxval=area[1])
    ratios = jnp.exp(jax.random.uniform(key_aspect, (b, ATTEMPTS), minval=low, maxval=high))
    heights, widths = jnp.sqrt(areas / ratios), jnp.sqrt(areas * ratios)
    fits = (heights <= h) & (widths <= w)
    first = jnp.argmax(fits, axis=1)[:, None]
    some = jnp.any(fits, axis=1)
    height = jnp.where(some, jnp.take_along_axis(heights, first, axis=1)[:, 0], h)
    width = jnp.where(some, jnp.take_along_axis(widths, first, axis=1)[:, 0], w)
    top = jax.random.uniform(key_y, (b,)) * (h - height)
    left = jax.random.uniform(key_x, (b,)) * (w - width)

    def cut(image, corner, scale):
        shape = (*image.shape[:-3], size, size, image.shape[-1])
        axes = (image.ndim - 3, image.ndim - 2)
        return jax.image.scale_and_translate(image, shape, axes, scale, -corner * scale, method)

    scales = size / jnp.stack([height, width], axis=1)
    corners = jnp.stack([top, left], axis=1)
    return jax.vmap(cut)(images.astype(jnp.float32), corners, scales).astype(images.dtype)


def random_crop(
    key: Key[Array, ""], images: Num[Array, "b *t h w c"], size: int, padding: int = 0
) -> Num[Array, "b *t size size c"]:
    """Cuts a square of `size` pixels at a random place.

    Args:
      padding: before that the image is continued so many pixels outwards by mirroring, which
        leaves no border that a network could see.

    Raises:
      ConfigError: the square is larger than the padded image, or the padding than the image.
    """
    h, w = images.shape[-3:-1]
    if padding >= min(h, w):
        raise ConfigError(f"random_crop: an image of {h}x{w} cannot be mirrored by {padding}")
    if padding:
        still = [(0, 0)] * (images.ndim - 3)
        sides = [*still, (padding, padding), (padding, padding), (0, 0)]
        images = jnp.pad(images, sides, mode="reflect")
    return _cut(images, _corners(key, images, size, "random_crop"), size)


def corner_crop(
    key: Key[Array, ""], images: Num[Array, "b *t h w c"], size: int
) -> Num[Array, "b *t size size c"]:
    """Cuts a square of `size` pixels at one of the four corners or in the middle.

    Raises:
      ConfigError: the square is larger than the image.
    """
    h, w = images.shape[-3:-1]
    if size > min(h, w):
        raise ConfigError(
            f"corner_crop: a square of {size} does not fit {h}x{w} pixels; lower the crop"
        )
    down, right = h - size, w - size
    places = jnp.array([(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)])
    return _cut(images, places[jax.random.randint(key, (len(images),), 0, len(places))], size)


def spatial_jitter(
    key: Key[Array, ""], clips: Num[Array, "b t h w c"], size: int, shift: int = 5
) -> Num[Array, "b t size size c"]:
    """A random square of `size` pixels, the same for all frames but for a small shift of each.

    OPN (Lee et al. 2017): squares of 80 in windows of 100, then each frame's square is moved by a
    uniform number of pixels in -shift..shift along both axes; a move that would leave the window
    is left out. It hides how far things at rest are from one another in time.

    Raises:
      ConfigError: the square is larger than the frames.
    """
    key_corner, key_shift = jax.random.split(key)
    b, t, h, w, _ = clips.shape
    corners = _corners(key_corner, clips, size, "spatial_jitter")[:, None]
    moved = corners + jax.random.randint(key_shift, (b, t, 2), -shift, shift + 1)
    inside = (moved >= 0) & (moved <= jnp.array([h - size, w - size]))
    corners = jnp.where(jnp.all(inside, axis=-1, keepdims=True), moved, corners)
    return jax.vmap(_cut, in_axes=(0, 0, None))(clips, corners, size)


def random_flip(
    key: Key[Array, ""], images: Num[Array, "b *t h w c"], probability: float = 0.5
) -> Num[Array, "b *t h w c"]:
    """Swaps left and right."""
    chosen = jax.random.bernoulli(key, probability, (len(images),))
    return jnp.where(_spread(chosen, images), images[..., ::-1, :], images)


def rotate90(images: Num[Array, "b *t h h c"], turns: Int[Array, "b"]) -> Num[Array, "b *t h h c"]:
    """Turns squares counter-clockwise by `turns` quarters (0 to 3), as numpy.rot90.

    Nothing is interpolated or filled in, so that turning leaves no trace.
    """
    half = jnp.where(_spread(turns >= 2, images), images[..., ::-1, ::-1, :], images)
    quarter = jnp.swapaxes(half, -3, -2)[..., ::-1, :, :]
    return jnp.where(_spread(turns % 2 == 1, images), quarter, half)


def colour_jitter(
    key: Key[Array, ""],
    images: Num[Array, "b *t h w 3"],
    strength: float = 1.0,
    probability: float = 1.0,
    additive_brightness: bool = False,
) -> Num[Array, "b *t h w 3"]:
    """Colour distortion after SimCLR (Chen et al. 2020): four changes in random order.

    Contrast is TensorFlow's, as in the authors' code; saturation is torchvision's, where TensorFlow
    scales the S of HSV.

    With s the strength: brightness x f, contrast m + f (x - m) with m the mean of each channel,
    saturation g + f (x - g) with g the grey image, each f uniform in max(0, 1 - 0.8 s) to
    1 + 0.8 s; and the hue turned by a uniform fraction in -0.2 s..0.2 s of the circle. Clipped to
    0..1 after each.

    Args:
      strength: 1 for ImageNet, 1/2 for CIFAR in the paper.
      probability: of changing an example at all.
      additive_brightness: x + f - 1 instead of x f, as in the first version of the authors' code.

    Raises:
      ValueError: not floats.
    """
    reach = 0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength
    return jitter_colours(key, images, reach, probability, additive_brightness)


def jitter_colours(
    key: Key[Array, ""],
    images: Num[Array, "b *t h w 3"],
    reach: tuple[float, float, float, float],
    probability: float = 1.0,
    additive_brightness: bool = False,
) -> Num[Array, "b *t h w 3"]:
    """`colour_jitter`, how far each of its four changes goes being given.

    Args:
      reach: of brightness, contrast and saturation: their factors are uniform in max(0, 1 - reach)
        to 1 + reach; of the hue: the largest turn, as a fraction of the circle.
      probability: of changing an example at all.
      additive_brightness: x + f - 1 instead of x f.

    Raises:
      ValueError: not floats.
    """
    _check_range(images, "jitter_colours")
    b = len(images)
    key_order, key_factor, key_hue, key_chosen = jax.random.split(key, 4)
    places = jnp.argsort(jax.random.uniform(key_order, (b, 4)), axis=1)
    *reaches, turn = reach
    low, high = jnp.array([(max(0.0, 1 - r), 1 + r) for r in reaches], jnp.float32).T
    factors = jax.random.uniform(key_factor, (b, 3), minval=low, maxval=high)
    turns = jax.random.uniform(key_hue, (b,), minval=-turn, maxval=turn)
    chosen = jax.random.bernoulli(key_chosen, probability, (b,))
    jittered = change_colours(images, factors, turns, places, additive_brightness)
    return jnp.where(_spread(chosen, images), jittered, images)


@functools.partial(jax.jit, static_argnames="additive_brightness")
def change_colours(
    images: Num[Array, "b *t h w 3"],
    factors: Float[Array, "b 3"],
    turns: Float[Array, "b"],
    places: Int[Array, "b 4"],
    additive_brightness: bool = False,
) -> Num[Array, "b *t h w 3"]:
    """The four changes of `colour_jitter`, given.

    Args:
      factors: of brightness, contrast and saturation.
      turns: of the hue, as fractions of the circle.
      places: of brightness, contrast, saturation and hue in the order, 0 to 3.
    """

    # The colours lie outermost meanwhile, or processors would have to work in strides of three.
    def change(
        x: Float[Array, "3 b *t h w"], place: Int[Array, ""], active: Bool[Array, "b"]
    ) -> Float[Array, "3 b *t h w"]:
        """Whichever of the first three stands at this place, where active."""
        here = places[:, :3] == place
        factor = jnp.sum(factors * here, axis=1)
        active = active & jnp.any(here, axis=1)
        brightness, contrast, active, factor = (
            _spread(value, x[0]) for value in (here[:, 0], here[:, 1], active, factor)
        )
        mean = jnp.mean(x, axis=(-2, -1), keepdims=True)
        middle = jnp.where(brightness, 0.0, jnp.where(contrast, mean, _grey(x)))
        changed = middle + factor * (x - middle)
        if additive_brightness:
            changed = jnp.where(brightness, x + factor - 1, changed)
        return jnp.where(active, jnp.clip(changed, 0, 1), x)

    # The hue costs most, so it is turned once, between those of the others that stand before it
    # and those that stand after it; trying all four at all four places would take it four times.
    # Loops, because compilers for CPUs would compute a change again wherever it is used.
    x = jnp.moveaxis(images.astype(jnp.float32), -1, 0)
    x = lax.fori_loop(0, 3, lambda place, x: change(x, place, place < places[:, 3]), x)
    x = jnp.clip(_turn_hue(x, _spread(turns, x[0])), 0, 1)
    x = lax.fori_loop(1, 4, lambda place, x: change(x, place, place > places[:, 3]), x)
    return jnp.moveaxis(x, 0, -1).astype(images.dtype)


def random_grey(
    key: Key[Array, ""], images: Num[Array, "b *t h w 3"], probability: float = 0.2
) -> Num[Array, "b *t h w 3"]:
    """Replaces all three channels by the image's brightness.

    Raises:
      ValueError: not floats.
    """
    _check_range(images, "random_grey")
    chosen = jax.random.bernoulli(key, probability, (len(images),))
    grey = _grey(jnp.moveaxis(images.astype(jnp.float32), -1, 0)).astype(images.dtype)
    return jnp.where(_spread(chosen, images), grey[..., None], images)


def random_solarize(
    key: Key[Array, ""],
    images: Num[Array, "b *t h w c"],
    probability: float = 0.2,
    threshold: float = 0.5,
) -> Num[Array, "b *t h w c"]:
    """Inverts what is at least as bright as the threshold: x becomes 1 - x.

    Raises:
      ValueError: not floats.
    """
    _check_range(images, "random_solarize")
    chosen = jax.random.bernoulli(key, probability, (len(images),))
    inverted = _spread(chosen, images) & (images >= threshold)
    return jnp.where(inverted, 1 - images, images)


def gaussian_blur(
    key: Key[Array, ""],
    images: Num[Array, "b *t h w c"],
    probability: float = 0.5,
    sigma: tuple[float, float] = (0.1, 2.0),
) -> Num[Array, "b *t h w c"]:
    """SimCLR's blur: a Gaussian over about a tenth of the height, of uniform width.

    The kernel reaches int(h / 10) // 2 pixels to each side (224: 11, 32: 1; below 20 nothing
    happens). Beyond the border the last pixel is repeated, where the authors' zeros darken it.

    Args:
      probability: of blurring an example at all.
      sigma: smallest and largest standard deviation in pixels.

    Raises:
      ValueError: not floats.
    """
    _check_range(images, "gaussian_blur")
    key_sigma, key_chosen = jax.random.split(key)
    b, radius = len(images), int(images.shape[-3] / 10) // 2
    sigmas = jax.random.uniform(key_sigma, (b,), minval=sigma[0], maxval=sigma[1])
    chosen = jax.random.bernoulli(key_chosen, probability, (b,))
    weights = gaussian_kernel(sigmas, radius)
    x = images.astype(jnp.float32)
    for axis in (images.ndim - 3, images.ndim - 2):
        sides = [(radius, radius) if i == axis else (0, 0) for i in range(x.ndim)]
        length = x.shape[axis]
        # The barrier keeps the compiler from taking the padding apart again for every tap.
        padded = lax.optimization_barrier(jnp.pad(x, sides, mode="edge"))
        # Shifted sums: convolutions with a kernel for each example and channel are slow.
        x = sum(
            _spread(weights[:, i], x) * lax.slice_in_dim(padded, i, i + length, axis=axis)
            for i in range(2 * radius + 1)
        )
    return jnp.where(_spread(chosen, images), x.astype(images.dtype), images)


def gaussian_kernel(sigmas: Float[Array, "b"], radius: int) -> Float[Array, "b taps"]:
    """Normalised Gaussians at the whole numbers from -radius to radius."""
    places = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    weights = jnp.exp(-(places**2) / (2 * sigmas[:, None] ** 2))
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def channel_split(
    key: Key[Array, ""], images: Num[Array, "b *t h w 3"], per_frame: bool = True
) -> Num[Array, "b *t h w 3"]:
    """Keeps one random channel and copies it to all three (Lee et al. 2017).

    It hides the lens's chromatic aberration, and colour.

    Args:
      per_frame: every frame of a clip has a channel of its own; False: one for the whole clip.
    """
    shape = images.shape[:-3] if per_frame else images.shape[:1]
    kept = jax.random.randint(key, shape, 0, 3)
    kept = kept.reshape(*shape, *(1,) * (images.ndim - len(shape)))
    red, green, blue = (images[..., i : i + 1] for i in range(3))
    one = jnp.where(kept == 0, red, jnp.where(kept == 1, green, blue))
    return jnp.broadcast_to(one, images.shape)


def _corners(key, images, size: int, who: str) -> Int[Array, "b 2"]:
    """For each example the upper left corner (y, x) of a random square."""
    h, w = images.shape[-3:-1]
    if size > min(h, w):
        raise ConfigError(f"{who}: a square of {size} does not fit {h}x{w} pixels; lower the crop")
    room = jnp.array([h - size + 1, w - size + 1])
    return jax.random.randint(key, (len(images), 2), 0, room)


def _cut(images, corners: Int[Array, "b 2"], size: int):
    """For each example the square with this upper left corner, from all of its frames."""

    def cut(image, corner):
        start = (*(0,) * (image.ndim - 3), corner[0], corner[1], 0)
        return lax.dynamic_slice(image, start, (*image.shape[:-3], size, size, image.shape[-1]))

    return jax.vmap(cut)(images, corners)


def _spread(values: Array, images: Array) -> Array:
    """(b,) -> (b, 1, 1, ...), to meet images."""
    return values.reshape(-1, *(1,) * (images.ndim - 1))


def _grey(x: Float[Array, "3 *b h w"]) -> Float[Array, "*b h w"]:
    return sum(weight * colour for weight, colour in zip(LUMA, x, strict=True))


def _turn_hue(x: Float[Array, "3 *b h w"], turn: Array) -> Float[Array, "3 *b h w"]:
    """Turns the hue by a fraction of the circle; brightest and darkest channel keep their value."""
    red, green, blue = x
    high = jnp.maximum(jnp.maximum(red, green), blue)
    low = jnp.minimum(jnp.minimum(red, green), blue)
    chroma = high - low
    divisor = jnp.where(chroma > 0, chroma, 1)
    # In sixths of the circle, from red over green to blue. Which channel is highest is not asked by
    # `high == red`: compiled, both may be rounded in different ways.
    hue = jnp.where(
        (red >= green) & (red >= blue),
        (green - blue) / divisor,
        jnp.where(green >= blue, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    turned = hue + 6 * turn
    turned -= 6 * jnp.floor(turned / 6)  # what % does, which is slow

    def colour(place: float) -> Array:
        """Highest around its own place on the circle, falling off to both sides."""
        away = jnp.where(turned + place < 6, turned + place, turned + place - 6)
        return high - chroma * jnp.clip(jnp.minimum(away, 4 - away), 0, 1)

    return jnp.stack([colour(5.0), colour(3.0), colour(1.0)])


def _check_range(images: Array, who: str) -> None:
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"{who}: takes floats in 0..1, not {images.dtype}; divide by 255 first")
