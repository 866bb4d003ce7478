"""Maps of scores laid over the pictures that they speak of."""

import numpy as np
from jaxtyping import Float, UInt8

FOR, AGAINST = np.array([220.0, 40, 30]), np.array([40.0, 90, 230])  # red, blue


def laid_on(
    picture: UInt8[np.ndarray, "h w 3"], scores: Float[np.ndarray, "y x"], most: float
) -> UInt8[np.ndarray, "h w 3"]:
    """A grey picture, coloured red where scores are above 0 and blue where below.

    The scores are enlarged to the picture; of the size `most` the colour covers three quarters.
    """
    import cv2

    h, w = picture.shape[:2]
    large = cv2.resize(scores, (w, h), interpolation=cv2.INTER_LINEAR)[..., None]
    cover = 0.75 * np.clip(np.abs(large) / (most if most > 0 else 1.0), 0, 1)
    grey = picture.mean(axis=2, keepdims=True)
    mixed = (1 - cover) * grey + cover * np.where(large > 0, FOR, AGAINST)
    return mixed.round().astype(np.uint8)
