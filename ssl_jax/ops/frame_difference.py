"""Differences of neighbouring frames: motion without optical flow."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from ssl_jax.config import ConfigError


def frame_differences(frames: Num[Array, "b t h w c"]) -> Float[Array, "b h w d"]:
    """x_(k+1) - x_k of clips, stacked as channels: d = (t - 1) c, those of the first step first.

    Five colour frames give 12 channels (Cross and Learn, Sayed et al. 2018, with frames in 0..1,
    without further scaling). A video played backwards gives the steps in reverse order, negated.

    Raises:
      ConfigError: fewer than two frames.
      ValueError: not floats.
    """
    if not jnp.issubdtype(frames.dtype, jnp.floating):
        raise ValueError(f"frame_differences: takes floats, not {frames.dtype}, which has no minus")
    b, t, h, w, c = frames.shape
    if t < 2:
        raise ConfigError(f"frame_differences: needs 2 frames or more, not {t}")
    steps = frames[:, 1:] - frames[:, :-1]
    return jnp.moveaxis(steps, 1, 3).reshape(b, h, w, (t - 1) * c)
