"""Arrays as pixels: images, frames, spectrograms of waves, maps of other channels."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from ssl_jax.ops.colour import lab_to_rgb
from ssl_jax.ops.spectrogram import log_spectrogram


def as_picture(raw: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "h w 3"]:
    """What a method's `clips` gives of one record, as a picture.

    An image as it is, of a video or several patches the middle one, of a wave its spectrogram.
    ValueError for anything else, such as text.
    """
    if raw.ndim == 1 and np.issubdtype(raw.dtype, np.floating):
        return as_picture(spectrogram(raw))
    if raw.ndim >= 4:
        return as_picture(raw[len(raw) // 2])
    if raw.ndim != 3:
        raise ValueError(f"an input of shape {raw.shape} cannot be drawn as a picture")
    return as_bytes(three_channels(raw))


def as_bytes(values: Shaped[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Values of any range as uint8; those in 0..1 or 0..255 keep their brightness.

    Others are stretched, all but the 0.5 % that stick out at each end and would leave the rest
    without contrast. Equal ones are grey.
    """
    if values.dtype == np.uint8:
        return values
    values = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    low, high = values.min(), values.max()
    if low >= 0 and (0.5 < high <= 1 or 64 < high <= 255):
        low, high = 0.0, 1.0 if high <= 1 else 255.0
    else:
        low, high = np.percentile(values, (0.5, 99.5))
        if not high - low > 1e-6 * max(abs(low), abs(high)):
            return np.full(values.shape, 128, np.uint8)
    return (255 * (values - low) / (high - low)).clip(0, 255).round().astype(np.uint8)


def around_grey(values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """0 is middle grey, the largest absolute value black or white."""
    largest = np.abs(values).max()
    return np.round(127.5 + 127.5 * values / (largest if largest > 0 else 1)).astype(np.uint8)


def three_channels(values: Shaped[np.ndarray, "*n c"]) -> Shaped[np.ndarray, "*n 3"]:
    """Two channels as the colours a and b of Lab; of other numbers than three the first alone."""
    match values.shape[-1]:
        case 3:
            return values
        case 2:  # at middle lightness; small numbers, as of a flow, are enlarged
            most = np.abs(values).max()
            ab = values.astype(np.float32) * (1 if 20 < most <= 110 else 80 / max(most, 1e-6))
            lab = np.concatenate([np.full_like(ab[..., :1], 60), ab], axis=-1)
            return np.round(255 * np.asarray(lab_to_rgb(jnp.asarray(lab)))).astype(np.uint8)
    return np.repeat(values[..., :1], 3, axis=-1)


def spectrogram(waves: Float[np.ndarray, "*n s"]) -> Float[np.ndarray, "*n f t 1"]:
    """Of waves, as a map of one channel with low pitches below."""
    return upright(np.asarray(log_spectrogram(jnp.asarray(waves, jnp.float32), 256, 128, 256)))


def upright(spectrograms: Float[np.ndarray, "*n t f"]) -> Float[np.ndarray, "*n f t 1"]:
    """Time to the right, low pitches below."""
    return np.flip(spectrograms.swapaxes(-1, -2), axis=-2)[..., None]
