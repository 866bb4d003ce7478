"""By how many frames sound is shifted against the picture, and how sure that is."""

import numpy as np
from jaxtyping import Float

EPS = 1e-6  # PyTorch's pairwise distance adds it to every difference


def distances_by_offset(
    video: Float[np.ndarray, "t d"], audio: Float[np.ndarray, "t d"], most: int
) -> Float[np.ndarray, "t j"]:
    """|video[t] - audio[t + j - most]| for shifts j of 0 to 2 most; beyond its ends audio is 0."""
    padded = np.pad(audio.astype(np.float64), ((most, most), (0, 0)))
    shifted = np.stack([padded[j : j + len(audio)] for j in range(2 * most + 1)], axis=1)
    return np.sqrt(((video[:, None].astype(np.float64) - shifted + EPS) ** 2).sum(-1))


def offset_and_confidence(
    video: Float[np.ndarray, "t d"], audio: Float[np.ndarray, "t d"], most: int
) -> tuple[int, float]:
    """SyncNet's offset of a video, and its confidence (Chung, Zisserman 2016; released code).

    Distances are averaged over the video's frames; the offset is where they are smallest, positive
    if the picture is late: what is heard is seen so many frames after. The confidence is their
    median less their minimum.

    Args:
      video, audio: features of the same moments.
      most: frames of the largest shift that is tried.
    """
    mean = distances_by_offset(video, audio, most).mean(0)
    return int(most - mean.argmin()), float(np.median(mean) - mean.min())
