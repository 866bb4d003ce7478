"""Cues that a network makes itself: where zeros are padded, and which rows share a batch."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from ssl_jax.cues.altered import AlteredNetwork
from ssl_jax.cues.cue import Arrays, sees_images
from ssl_jax.data.record import Record
from ssl_jax.method import Method
from ssl_jax.models.layers import Conv3D, GroupedConv

CONVOLUTIONS = (nn.Conv, GroupedConv, Conv3D)


@dataclasses.dataclass(frozen=True)
class ZeroPadding:
    """Convolutions see zeros beyond an image's edge, by which they know where the edge is.

    Removed: beyond the edge lies the image's mirror. Control: beyond it lies the mean of the whole
    map, which reveals the edge as zeros do. Convolutions alone are changed, not poolings.
    """

    name: ClassVar[str] = "zero_padding"
    level: ClassVar[str] = "network"
    sense: ClassVar[str] = "vision"

    def applies(self, method: Method, record: Record, batch: Arrays) -> bool:
        return not method.has_own_loss and sees_images(method, record, batch)

    def as_is(self, method: Method) -> Method:
        return method

    def remove(self, method: Method) -> Method:
        return AlteredNetwork(method, _padded("reflect"))

    def control(self, method: Method) -> Method:
        return AlteredNetwork(method, _padded("mean"))


@dataclasses.dataclass(frozen=True)
class BatchNormLeak:
    """BatchNorm's statistics tell which rows share a batch, hence who is whose partner.

    As is: with the statistics of the batch, as in training. Removed: with the running ones, which
    know of no batch. Control: halfway between the two.
    """

    name: ClassVar[str] = "batch_norm"
    level: ClassVar[str] = "network"
    sense: ClassVar[str] = "vision"

    def applies(self, method: Method, record: Record, batch: Arrays) -> bool:
        return not method.has_own_loss

    def as_is(self, method: Method) -> Method:
        return AlteredNetwork(method, _normalised(1.0))

    def remove(self, method: Method) -> Method:
        return method

    def control(self, method: Method) -> Method:
        return AlteredNetwork(method, _normalised(0.5))


def _normalised(share: float) -> Callable:
    """BatchNorm of the batch's own statistics, of the running ones, or a mean of both."""

    def around(call, args, kwargs, context):
        module = context.module
        if not isinstance(module, nn.BatchNorm) or context.method_name != "__call__":
            return call(*args, **kwargs)
        x, axes = args[0], tuple(range(args[0].ndim - 1))
        mean, variance = (module.get_variable("batch_stats", name) for name in ("mean", "var"))
        normal = x.astype(jnp.float32)
        own = (normal - normal.mean(axes)) / jnp.sqrt(normal.var(axes) + module.epsilon)
        running = (normal - mean) / jnp.sqrt(variance + module.epsilon)
        y = share * own + (1 - share) * running
        y = y * module.get_variable("params", "scale") if module.use_scale else y
        y = y + module.get_variable("params", "bias") if module.use_bias else y
        return y.astype(x.dtype)

    return around


def _padded(mode: str) -> Callable:
    """Convolutions that pad by themselves what they are given, and then no more."""

    def around(call, args, kwargs, context):
        module = context.module
        if not isinstance(module, CONVOLUTIONS) or context.method_name != "__call__":
            return call(*args, **kwargs)
        x, *others = args
        sides = _sides(module, x)
        if not any(map(any, sides)):
            return call(*args, **kwargs)
        nothing = 0 if isinstance(module, GroupedConv) else "VALID"
        with _changed(module, "padding", nothing):
            return call(_extended(x, sides, mode), *others, **kwargs)

    return around


def _sides(module: nn.Module, x) -> list[tuple[int, int]]:
    """What a convolution pads before and after each axis but the batch's and the channels'."""
    if isinstance(module, GroupedConv):
        return [(module.padding, module.padding)] * 2
    size = module.kernel_size
    size = size if isinstance(size, tuple) else (size,)
    rank, padding = len(size), module.padding
    if isinstance(padding, int):
        return [(padding, padding)] * rank
    if not isinstance(padding, str):
        return [(p, p) if isinstance(p, int) else tuple(p) for p in padding]
    wide = module.kernel_dilation if isinstance(module, nn.Conv) else 1
    strides = module.strides
    dilations, strides = (
        (v or 1,) * rank if v is None or isinstance(v, int) else tuple(v) for v in (wide, strides)
    )
    windows = [(k - 1) * d + 1 for k, d in zip(size, dilations, strict=True)]
    return lax.padtype_to_pads(x.shape[1 : 1 + rank], windows, strides, padding)


def _extended(x, sides: list[tuple[int, int]], mode: str):
    """Pads by the mirror of the map, as far as the map is wide, or by its mean."""
    pads = [(0, 0), *sides, (0, 0)]
    if mode == "mean":
        axes = tuple(range(1, x.ndim - 1))
        mean = jnp.mean(x, axes, keepdims=True)
        return jnp.pad(x - mean, pads) + mean
    for axis, (before, after) in enumerate(pads):
        most = x.shape[axis]
        while before or after:  # a map may be smaller than its padding
            step = [(0, 0)] * x.ndim
            step[axis] = (min(before, most), min(after, most))
            x = jnp.pad(x, step, mode="symmetric")
            before, after = before - step[axis][0], after - step[axis][1]
            most = x.shape[axis]
    return x


class _changed:
    """Another value of a module's field for the time of one call.

    Linen's modules are frozen; a clone would be another module, with other variables.
    """

    def __init__(self, module: nn.Module, name: str, value):
        self.module, self.name, self.value = module, name, value

    def __enter__(self):
        self.before = self.module.__dict__[self.name]
        object.__setattr__(self.module, self.name, self.value)

    def __exit__(self, *_):
        object.__setattr__(self.module, self.name, self.before)
