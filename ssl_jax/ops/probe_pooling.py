"""Making a layer's map small enough for a linear probe, in the ways of the literature."""

import jax
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.ops.pooling import adaptive_pool, avg_pool, global_avg_pool, reduced_side

POOLS = ("max", "avg", "windows", "resize", "global", "whole")


def reduce_map(x: Float[Array, "b h w c"], how: str) -> Float[Array, "b h2 w2 c"]:
    """A square map of at most about 9000 numbers; a smaller one stays as it is, square or not.

    Args:
      how: 'max' or 'avg', adaptive pooling (Gidaris et al. 2018); 'windows', means of windows that
        overlap (Goyal et al. 2019: on AlexNet of size 19, 12, 9, 9 and 8, apart by 4, 3, 1, 1 and
        1); 'resize', bilinear (Zhang et al. 2016); 'global', the mean over all, small maps' too;
        'whole', not at all, whatever the size.

    Raises ConfigError for another.
    """
    if how not in POOLS:
        raise ConfigError(f"pool={how!r}: must be one of {POOLS}")
    batch, height, width, channels = x.shape
    if how == "global":
        return global_avg_pool(x)[:, None, None]
    if how == "whole" or height * width * channels <= 9600:
        return x
    side = min(reduced_side(channels), height, width)
    if how == "resize":
        return jax.image.resize(x, (batch, side, side, channels), "bilinear", antialias=False)
    if how == "windows":
        sizes = height, width
        strides = tuple(max(size // side - 1, 1) for size in sizes)
        window = tuple(n - (side - 1) * stride for n, stride in zip(sizes, strides, strict=True))
        return avg_pool(x, window, strides)
    return adaptive_pool(x, side, how)


def reduced_rows(x: jax.Array, pool: str) -> jax.Array:
    """(n, ..., h, w, c) -> (n, at most about 9000); time is averaged, small arrays stay whole."""
    if x.ndim == 1:  # a number a row, such as a true length
        x = x[:, None]
    if x.ndim == 5:
        x = x.mean(1)
    if x.ndim == 3:  # a spectrogram: one channel
        x = x[..., None]
    if x.ndim == 4:
        x = reduce_map(x, pool)
    return x.reshape(len(x), -1)
