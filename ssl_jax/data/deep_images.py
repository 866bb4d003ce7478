"""Images of more than eight bits a pixel, as scanners, microscopes and programs write them."""

import numpy as np
from jaxtyping import UInt8

BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262  # tags of TIFF
WHITE_IS_ZERO = 0


def is_deep(image) -> bool:
    """Whether a Pillow image has one channel of 16-bit, 32-bit or float pixels."""
    return image.mode == "F" or image.mode.startswith("I")


def to_bytes(image) -> UInt8[np.ndarray, "h w"]:
    """Grey levels of a Pillow image that `is_deep`.

    16 bits a pixel (12 in some TIFF) are divided by their largest number. Files of floats or 32-bit
    integers do not say which number is white, so the largest pixel decides:
      1. floats up to 1: 1 is white;
      2. from 16 to 255: 255 is white;
      3. from 4096 to 65535: 65535 is white.

    Raises:
      ValueError: NaN, a negative number, or a largest pixel that is none of these: the image would
        be black, or as bright as its brightest pixel happens to be.
    """
    floats = image.mode == "F"
    values = np.asarray(image, np.float64 if floats else np.int64)
    lowest, largest = float(values.min()), float(values.max())
    bits, inverted = 16, False
    if image.format == "TIFF":
        tags = dict(image.tag_v2)
        bits = tags[BITS_PER_SAMPLE][0]
        inverted = PHOTOMETRIC in tags and tags[PHOTOMETRIC] == WHITE_IS_ZERO
    if not 0 <= lowest <= largest:  # as with NaN
        levels = None
    elif bits < 32 and not floats:
        levels = values // (16 if bits == 12 else 257)
    elif floats and largest <= 1:
        levels = np.rint(255 * values)
    elif largest == 0 or 16 <= largest <= 255:
        levels = values
    elif 4096 <= largest <= 65535:
        levels = values // 257
    else:
        levels = None
    if levels is None:
        raise ValueError(
            f"{'float' if floats else 'integer'} pixels of unknown range, {lowest:g} to "
            f"{largest:g}; store them as 0..255, 0..65535 or floats of 0..1"
        )
    levels = levels.clip(0, 255).astype(np.uint8)
    return 255 - levels if inverted else levels
