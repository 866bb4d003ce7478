"""Dynamic images: a clip as one image that says how it changes (Bilen et al. 2016)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def rank_pooling_weights(length: int) -> Float[np.ndarray, "t"]:
    """What each frame of a clip is multiplied with, by approximate rank pooling.

        a_k = 2 (T - k + 1) - (T + 1) (H_T - H_(k-1)),   k = 1 .. T,   H_k = 1 + 1/2 + ... + 1/k

    They sum to zero, so what rests cancels.
    """
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, length + 1))])
    k = np.arange(1, length + 1)
    return 2.0 * (length - k + 1) - (length + 1) * (harmonic[-1] - harmonic[:-1])


def dynamic_image(clips: Float[Array, "*b t h w c"]) -> Float[Array, "*b h w c"]:
    """The sum of the frames of each clip, weighted by `rank_pooling_weights`."""
    weights = jnp.asarray(rank_pooling_weights(clips.shape[-4]), clips.dtype)
    # At full precision, or what rests would not cancel.
    return jnp.einsum("...thwc,t->...hwc", clips, weights, precision=jax.lax.Precision.HIGHEST)
