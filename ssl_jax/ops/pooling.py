"""Pooling over the space (and time) of channel-last arrays, with Caffe's rounding.

The networks of 2015-2017 were trained in Caffe, whose pooled size is rounded up
(`ceil((size + 2 pad - window) / stride) + 1`); everybody else rounds down. For several inputs
that is a row more or less: AlexNet on patches of 96 pixels ends at 3x3 or at 2x2.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError

IMPLS = ("auto", "native", "axes")


def max_pool(
    x: Float[Array, "b *space c"],
    window: int | tuple[int, ...],
    strides: int | tuple[int, ...] | None = None,
    padding: int | str | tuple = 0,
    ceil: bool = False,
    impl: str = "auto",
) -> Float[Array, "b *pooled c"]:
    """Largest value of every window; padding never wins.

    Where several cells of a window are largest, the first of them gets the gradient.

    Args:
      x: images (b h w c) or clips (b t h w c).
      window: size of the window, one number or one for each axis of space.
      strides: likewise; None: windows do not overlap.
      padding: at both ends of an axis, one number or one for each axis, where a pair stands for
        (start, end); or 'SAME', 'VALID'.
      ceil: round the pooled size up (Caffe) instead of down.
      impl: 'native' (lax.reduce_window), 'axes' (one axis at a time: on CPU its gradient is
        10-27 times faster, and equal), or 'auto': axes where the program is compiled for a CPU,
        native elsewhere.

    Raises:
      ConfigError: unknown `impl`, or a window larger than the padded input.
    """
    window, strides, _, pads = _geometry(x.shape[1:-1], window, strides, padding, ceil)
    native = functools.partial(_native_max, window=window, strides=strides, pads=pads)
    axes = functools.partial(_max_by_axes, window=window, strides=strides, pads=pads)
    return _form(impl, x, native, axes)


def largest(x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """The maximum over one axis; the first of equals gets the gradient.

    The gradient of `jnp.max` looks for the maximum among values that XLA may have computed again
    and a rounding apart. Where it finds none, it is 0 / 0.
    """
    place = jnp.argmax(lax.stop_gradient(x), axis=axis, keepdims=True)
    return jnp.take_along_axis(x, place, axis=axis).squeeze(axis)


def avg_pool(
    x: Float[Array, "b *space c"],
    window: int | tuple[int, ...],
    strides: int | tuple[int, ...] | None = None,
    padding: int | str | tuple = 0,
    ceil: bool = False,
    count_padding: bool = True,
    impl: str = "auto",
) -> Float[Array, "b *pooled c"]:
    """Mean of every window; arguments as in `max_pool`.

    Args:
      count_padding: padded zeros count as cells of the mean (Caffe and PyTorch do so). What
        rounding up adds beyond the padding never counts.
    """
    sizes = x.shape[1:-1]
    window, strides, asked, pads = _geometry(sizes, window, strides, padding, ceil)
    native = functools.partial(_native_sum, window=window, strides=strides, pads=pads)
    axes = functools.partial(_sum_by_axes, window=window, strides=strides, pads=pads)
    total = _form(impl, x.astype(jnp.float32), native, axes)
    for axis, size in enumerate(sizes):
        counted = np.zeros(size + sum(pads[axis]))
        low, high = asked[axis] if count_padding else (0, 0)
        counted[pads[axis][0] - low : pads[axis][0] + size + high] = 1
        starts = range(0, len(counted) - window[axis] + 1, strides[axis])
        cells = np.array([counted[i : i + window[axis]].sum() for i in starts], np.float32)
        total = total / jnp.expand_dims(cells, tuple(range(1, len(sizes) - axis + 1)))
    return total.astype(x.dtype)


def global_avg_pool(x: Float[Array, "b *space c"]) -> Float[Array, "b c"]:
    """Mean over space (and time)."""
    return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))


def global_max_pool(x: Float[Array, "b *space c"]) -> Float[Array, "b c"]:
    """Maximum over all positions; the first of equals gets the gradient."""
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    # The gradient of a plain maximum compares it with x, which XLA may have computed again and a
    # rounding apart: then nothing is equal, and the share of each is 0 / 0.
    place = jnp.argmax(jax.lax.stop_gradient(x), axis=1, keepdims=True)
    return jnp.take_along_axis(x, place, axis=1)[:, 0]


def adaptive_pool(
    x: Float[Array, "b h w c"], side: int, how: str = "avg"
) -> Float[Array, "b side side c"]:
    """Pools images of any size to `side` x `side` cells, as PyTorch's adaptive pooling.

    Cell i covers the rows from floor(i h / side) to ceil((i + 1) h / side); cells overlap where h
    is not divisible, and repeat where h < side.

    Args:
      how: 'avg' or 'max'.

    Raises:
      ConfigError: `how` is neither.
    """
    reductions = {"avg": jnp.mean, "max": jnp.max}
    if how not in reductions:
        raise ConfigError(f"adaptive_pool: how is 'avg' or 'max', not {how!r}")
    for axis in (1, 2):
        size = x.shape[axis]
        cells = [
            lax.slice_in_dim(x, i * size // side, -(-(i + 1) * size // side), axis=axis)
            for i in range(side)
        ]
        x = jnp.stack([reductions[how](cell, axis=axis) for cell in cells], axis=axis)
    return x


def reduced_side(channels: int, target: int = 9000) -> int:
    """Side s of a square map so that s * s * channels is as near as can be to `target`.

    Probes of different layers are compared at about equal size: Zhang et al. 2016, Goyal et al.
    2019, Kolesnikov et al. 2019. 64 channels give 12, 256 give 6, 512 give 4, 2048 give 2.
    """
    low = max(1, math.isqrt(target // channels))
    return min((low, low + 1), key=lambda side: abs(side * side * channels - target))


def _form(impl: str, x: Array, native: Callable, axes: Callable) -> Array:
    """The form that `impl` names, of `x`."""
    if impl not in IMPLS:
        raise ConfigError(f"pooling: impl is one of {IMPLS}, not {impl!r}")
    if impl == "auto":
        return lax.platform_dependent(x, cpu=axes, default=native)
    return axes(x) if impl == "axes" else native(x)


def _native_max(x: Array, window, strides, pads) -> Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, *_with_batch(window, strides, pads))


def _max_by_axes(x: Array, window, strides, pads) -> Array:
    lowest = jnp.array(-jnp.inf, x.dtype)
    x = lax.pad(x, lowest, [(0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0)])
    # From the last axis to the first, so that of equal cells the first in reading order wins.
    for axis in reversed(range(len(window))):
        best, *others = _taps(x, axis + 1, window[axis], strides[axis])
        for other in others:
            # Not jnp.maximum: it would share the gradient among equals. A NaN wins and stays.
            best = jnp.where((other > best) | jnp.isnan(other), other, best)
        x = best
    return x


def _native_sum(x: Array, window, strides, pads) -> Array:
    return lax.reduce_window(x, 0.0, lax.add, *_with_batch(window, strides, pads))


def _sum_by_axes(x: Array, window, strides, pads) -> Array:
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    for axis in range(len(window)):
        x = sum(_taps(x, axis + 1, window[axis], strides[axis]))
    return x


def _geometry(sizes, window, strides, padding, ceil) -> tuple[tuple, tuple, tuple, tuple]:
    """For each axis: window, stride, (start, end) padding as asked, and as rounding up needs it."""
    count = len(sizes)
    window = (window,) * count if isinstance(window, int) else tuple(window)
    strides = window if strides is None else strides
    strides = (strides,) * count if isinstance(strides, int) else tuple(strides)
    if isinstance(padding, str):
        padding = tuple(lax.padtype_to_pads(sizes, window, strides, padding))
    padding = (padding,) * count if isinstance(padding, int) else tuple(padding)
    if not len(window) == len(strides) == len(padding) == count:
        raise ValueError(
            f"pooling: window {window}, strides {strides} and padding {padding} each need "
            f"{count} entries, one for each axis of {sizes}"
        )
    padding = tuple((pad, pad) if isinstance(pad, int) else tuple(pad) for pad in padding)
    pads = []
    for size, k, stride, (low, high) in zip(sizes, window, strides, padding, strict=True):
        room = size + low + high - k
        if room < 0 and not (ceil and room > -stride):
            raise ConfigError(
                f"pooling: window {k} does not fit {size} cells with padding {low} + {high}; "
                "use a larger input"
            )
        if ceil:
            steps = -(-room // stride)
            if steps * stride >= size + low:  # the last window would hold nothing but padding
                steps -= 1
            high += max(0, steps * stride - room)
        pads.append((low, high))
    return window, strides, padding, tuple(pads)


def _with_batch(window, strides, pads) -> tuple[tuple, tuple, tuple]:
    """The same for an array that also has a batch and a channel axis."""
    return (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0))


def _taps(x: Array, axis: int, window: int, stride: int) -> list[Array]:
    """The first, second, ... cell of every window along one axis."""
    steps = (x.shape[axis] - window) // stride
    return [
        lax.slice_in_dim(x, i, i + steps * stride + 1, stride, axis=axis) for i in range(window)
    ]
