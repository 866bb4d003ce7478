"""How fast a run is: its model's operations a step, the share of the chips' peak, and a trace.

Model FLOPs are those of the matrix products and convolutions of one training step (a multiplication
and an addition count two), read from the traced program. XLA's own estimate would do but for loops:
it counts the body of a `lax.scan` once, however often it runs.
"""

import dataclasses
import math
import os
from collections.abc import Mapping

import flax.linen as nn
import jax
import numpy as np
from jax.extend import core

from ssl_jax.method import Method

# Peaks of one JAX device in TFLOP/s: dense matrix products in bfloat16 (T4 and V100: float16), by
# what `device_kind` begins with or has in it, longer names first. From the makers' data sheets and
# Cloud TPU's system pages; of TPU v2 and v3 a device is one of the two cores of a chip.
PEAKS = {
    "TPU v2": 22.5,
    "TPU v3": 61.5,
    "TPU v4": 275.0,
    "TPU v5 lite": 197.0,
    "TPU v5e": 197.0,
    "TPU v5p": 459.0,
    "TPU v5": 459.0,
    "TPU v6 lite": 918.0,
    "TPU v6e": 918.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "H200": 989.0,
    "GH200": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "T4": 65.0,
    "V100": 125.0,
}


def peak_of(device_kind: str) -> float:
    """Peak FLOP/s of a device by the name JAX gives it; 0 if it is not in the table."""
    words = device_kind.replace("-", " ").split()
    for name in sorted(PEAKS, key=len, reverse=True):
        wanted = name.split()
        if any(words[i : i + len(wanted)] == wanted for i in range(len(words))):
            return PEAKS[name] * 1e12
    return 0.0


@dataclasses.dataclass(frozen=True)
class Speed:
    """What a step costs, and so what a number of steps a second means.

    Attributes:
      rows: of the global batch.
      flops: model FLOPs of a step.
      devices: over which the batch is split.
      peak: FLOP/s of a device, 0 if unknown.
    """

    rows: int
    flops: float = 0.0
    devices: int = 1
    peak: float = 0.0

    @staticmethod
    def of(step_function, state, batch, rows: int, peak_tflops: float) -> "Speed":
        """Of a jitted step on this state and batch; nothing is compiled or run.

        For model FLOPs the step should be one without remat and micro-batches, which compute
        things twice. (So does a contrastive loss in chunks, in the backward pass; its few products
        of embeddings are counted twice.) The peak is looked up by the kind of device unless given
        in TFLOP/s.
        """
        flops = model_flops(step_function.trace(state, batch).jaxpr.jaxpr)
        devices = next(iter(batch.values())).sharding.device_set
        peak = peak_tflops * 1e12 or peak_of(next(iter(devices)).device_kind)
        return Speed(rows, flops, len(devices), peak)

    def numbers(self, steps_per_second: float) -> dict[str, float]:
        """Rates by name; 'mfu' (model FLOPs utilisation) only where the peak is known."""
        rows = self.rows * steps_per_second
        flops = self.flops * steps_per_second / self.devices
        known = {
            "steps_per_second": steps_per_second,
            "rows_per_second": rows,
            "rows_per_second_per_device": rows / self.devices,
            "model_tflops_per_step": self.flops / 1e12,
            "tflops_per_second_per_device": flops / 1e12,
        }
        return {**known, "mfu": flops / self.peak} if self.peak else known

    def __str__(self) -> str:
        peak = f" with a peak of {flops_text(self.peak)}/s each" if self.peak else ""
        return (
            f"{self.rows} rows, {flops_text(self.flops)} of the model, "
            f"on {self.devices} devices{peak}"
        )


def flops_text(flops: float) -> str:
    """Such as '1.23 TFLOP'."""
    units = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K"), (1.0, ""))
    size, letter = next((u for u in units if flops >= u[0]), units[-1])
    return f"{flops / size:.3g} {letter}FLOP"


def without_remat(method: Method) -> Method:
    """The same method, no trunk of which computes anything twice to save memory."""

    def plain(value):
        if isinstance(value, Mapping):  # the tasks of a multitask
            new = {name: plain(v) for name, v in value.items()}
            return new if any(new[name] is not v for name, v in value.items()) else value
        if not isinstance(value, nn.Module | Method):
            return value
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        new = {name: plain(v) for name, v in fields.items() if name not in ("parent", "name")}
        if new.get("remat"):
            new["remat"] = False
        changed = {name: v for name, v in new.items() if v is not fields[name]}
        if not changed:
            return value
        module = isinstance(value, nn.Module)
        return value.clone(**changed) if module else dataclasses.replace(value, **changed)

    return plain(method)


def model_flops(jaxpr: core.Jaxpr) -> float:
    """FLOPs of the matrix products and convolutions of a traced program, over all devices.

    Loops of known length count as often as they run, `while` loops once, of branches the dearest;
    of forms for different platforms the leanest, as others may multiply padded zeros.
    """
    return sum((_equation_flops(equation) for equation in jaxpr.eqns), 0.0)


def _equation_flops(equation) -> float:
    name, knobs = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = knobs["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return (
            2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)
        )
    if name == "conv_general_dilated":
        return _convolution_flops(equation)
    inner = [_inner_flops(value) for value in knobs.values()]
    parts = [flops for group in inner for flops in group]
    if name == "cond":
        by_platform = "branches_platforms" in knobs and knobs["branches_platforms"]
        return min(parts) if by_platform else max(parts)
    times = {"scan": knobs.get("length", 1), "shard_map": getattr(knobs.get("mesh"), "size", 1)}
    return times.get(name, 1) * sum(parts, 0.0)


def _inner_flops(value) -> list[float]:
    """FLOPs of each program among an equation's parameters."""
    if isinstance(value, core.ClosedJaxpr):
        return [model_flops(value.jaxpr)]
    if isinstance(value, core.Jaxpr):
        return [model_flops(value)]
    if isinstance(value, tuple | list):
        return [flops for entry in value for flops in _inner_flops(entry)]
    return []


def _convolution_flops(equation) -> float:
    """Only products of entries that are there: neither padding nor the zeros of a dilation."""
    knobs, numbers = equation.params, equation.params["dimension_numbers"]
    left, right = (v.aval.shape for v in equation.invars[:2])
    out = equation.outvars[0].aval.shape
    products = out[numbers.out_spec[0]] * out[numbers.out_spec[1]] * right[numbers.rhs_spec[1]]
    sizes = zip(
        [left[i] for i in numbers.lhs_spec[2:]],
        [right[i] for i in numbers.rhs_spec[2:]],
        [out[i] for i in numbers.out_spec[2:]],
        knobs["window_strides"],
        knobs["padding"],
        knobs["lhs_dilation"],
        knobs["rhs_dilation"],
        strict=True,
    )
    for entries, taps, places, stride, (before, _), spread, spacing in sizes:
        position = np.arange(places)[:, None] * stride + np.arange(taps) * spacing - before
        inside = (position >= 0) & (position <= (entries - 1) * spread) & (position % spread == 0)
        products *= int(inside.sum())
    return 2.0 * products


class Profile:
    """A trace of some steps by JAX's profiler, in WORKDIR/profile; host 0 only.

    To be read with TensorBoard's profile plugin, XProf or Perfetto.
    """

    def __init__(self, workdir: str, steps: tuple[int, ...]):
        """`steps` are the first and the last to be traced; () for none."""
        self._folder = os.path.join(workdir, "profile")
        self._steps = range(steps[0], steps[1] + 1) if steps else range(0)
        self._running = False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def before(self, step: int) -> None:
        """Starts the trace if this step is the first of them."""
        if step in self._steps and not self._running and jax.process_index() == 0:
            jax.profiler.start_trace(self._folder)
            self._running = True

    def after(self, step: int, result) -> None:
        """Ends the trace after the last of them, once the devices have done it."""
        if self._running and step == self._steps[-1]:
            jax.block_until_ready(result)
            self._stop()

    def _stop(self) -> None:
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
