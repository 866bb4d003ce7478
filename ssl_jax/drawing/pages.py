"""Pages of pictures that evaluators yield: rows of tiles with a line of text under each."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

from ssl_jax.ops.spectrogram import log_spectrogram

PAPER = (240, 240, 240)
GAP = 4  # pixels between tiles
BORDER = 3


@dataclasses.dataclass(frozen=True)
class Tile:
    """A picture of a page.

    Attributes:
      pixels: uint8 (h, w, 3).
      text: below it.
      frame: colour of its border, or '' for none.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    text: str = ""
    frame: str = ""


def page(rows: Sequence[Sequence[Tile]], tile: int = 96) -> UInt8[np.ndarray, "h w 3"]:
    """Tiles in rows, each resized to fit `tile` pixels, in columns that are aligned.

    ValueError if there is none.
    """
    if not rows or not any(rows):
        raise ValueError("a page needs at least one picture")
    font = ImageFont.load_default(size=12)
    line = 16 if any(t.text for row in rows for t in row) else 0
    pitch = tile + 2 * BORDER + GAP
    columns = max(len(row) for row in rows)
    size = (GAP + columns * pitch, GAP + len(rows) * (pitch + line))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for r, row in enumerate(rows):
        for c, one in enumerate(row):
            x, y = GAP + c * pitch, GAP + r * (pitch + line)
            if one.frame:
                side = tile + 2 * BORDER - 1
                draw.rectangle((x, y, x + side, y + side), fill=one.frame)
            picture = _fitted(one.pixels, tile)
            left, top = (tile - picture.width) // 2, (tile - picture.height) // 2
            sheet.paste(picture, (x + BORDER + left, y + BORDER + top))
            draw.text((x + BORDER, y + tile + 2 * BORDER), one.text, fill="black", font=font)
    return np.array(sheet)


def _fitted(pixels: np.ndarray, tile: int) -> Image.Image:
    height, width = pixels.shape[:2]
    scale = tile / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    return Image.fromarray(pixels).resize(size, how)


def stretched(values: Shaped[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Smallest to largest value as 0 to 255; all 128 if they are equal."""
    values = values.astype(np.float64)
    low, high = values.min(), values.max()
    if not high > low:
        return np.full(values.shape, 128, np.uint8)
    return np.round(255 * (values - low) / (high - low)).astype(np.uint8)


def around_grey(values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """0 is middle grey, the largest absolute value black or white."""
    largest = np.abs(values).max()
    return np.round(127.5 + 127.5 * values / (largest if largest > 0 else 1)).astype(np.uint8)


def as_picture(raw: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "h w 3"]:
    """What a method's `clips` gives of one record, as a picture.

    A picture as it is, of a film or several patches the middle one, of a wave the spectrogram with
    low pitches below. ValueError for anything else, such as text.
    """
    if raw.ndim == 1 and np.issubdtype(raw.dtype, np.floating):
        sound = np.asarray(log_spectrogram(jnp.asarray(raw, jnp.float32), 256, 128, 256))
        return as_picture(stretched(sound.T[::-1, :, None]))
    if raw.ndim >= 4:
        return as_picture(raw[len(raw) // 2])
    if raw.ndim != 3:
        raise ValueError(f"an input of shape {raw.shape} cannot be drawn as a picture")
    pixels = raw if raw.dtype == np.uint8 else stretched(raw)
    return pixels if pixels.shape[2] == 3 else np.repeat(pixels[..., :1], 3, axis=2)
