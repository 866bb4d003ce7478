"""By how many frames audio is shifted against its video, and how sure that is."""

import numpy as np
from jaxtyping import Float
from scipy.signal import medfilt

EPS = 1e-6  # PyTorch's pairwise distance adds it to every difference


def distances_by_offset(
    video: Float[np.ndarray, "t d"], audio: Float[np.ndarray, "t d"], most: int
) -> Float[np.ndarray, "t j"]:
    """|video[t] - audio[t + j - most]| for shifts j of 0 to 2 most; beyond its ends audio is 0."""
    padded = np.pad(audio.astype(np.float64), ((most, most), (0, 0)))
    shifted = np.stack([padded[j : j + len(audio)] for j in range(2 * most + 1)], axis=1)
    return np.sqrt(((video[:, None].astype(np.float64) - shifted + EPS) ** 2).sum(-1))


def offset_of(mean: Float[np.ndarray, "j"]) -> tuple[int, float]:
    """SyncNet's offset of a video, and its confidence (Chung, Zisserman 2016; released code).

    The offset is where the mean distance is smallest, positive if the video lags its audio: what
    is heard is seen so many frames after. The confidence is the median less the minimum.

    Args:
      mean: over a video's frames, of `distances_by_offset`.
    """
    most = len(mean) // 2
    return int(most - mean.argmin()), float(np.median(mean) - mean.min())


def confidence_by_frame(
    distances: Float[np.ndarray, "t j"], smoothed: int = 9
) -> Float[np.ndarray, "t"]:
    """How much nearer each frame is to its audio than a video's frames are to others'.

    SyncNet's score of who speaks: the median over shifts of the mean distance, less the frame's own
    distance at the shift that fits the video best, then the median over `smoothed` frames, an odd
    number; ends are filled up with zeros.
    """
    mean = distances.mean(axis=0)
    return medfilt(np.median(mean) - distances[:, mean.argmin()], smoothed)
