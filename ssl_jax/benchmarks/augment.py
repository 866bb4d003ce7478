"""Speed of SimCLR's augmentations: against Pillow, one picture after the other; and in a step."""

import dataclasses
import functools
import math
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from ssl_jax.benchmarks.turns import typical
from ssl_jax.data.image import resize
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.simclr import SimCLR
from ssl_jax.models.resnet import ResNet
from ssl_jax.optim import Optimizer
from ssl_jax.train import train_step
from ssl_jax.training.checkpoint import TrainState


@dataclasses.dataclass(frozen=True)
class Augment:
    """Ratios of speeds (higher is better) unless a row says otherwise.

    Attributes:
      pictures: of each of which two views are made.
      on_accelerator: likewise, where the backend is no CPU.
      size: side of a view in pixels.
      stored: side of the pictures in pixels.
      depth: of the ResNet whose training step is compared with.
      turns: each side of a comparison runs so often; the median counts.
    """

    pictures: int = 32
    on_accelerator: int = 256
    size: int = 224
    stored: int = 256
    depth: int = 50
    turns: int = 3

    def rows(self) -> Iterator[tuple[str, float]]:
        """Names and numbers, as they are measured."""
        cpu = jax.default_backend() == "cpu"
        count = self.pictures if cpu else self.on_accelerator
        what = f"SimCLR's views, {count} x 2 of {self.size}x{self.size}"
        trunk = ResNet(depth=self.depth, dtype="float32" if cpu else "bfloat16")
        method = SimCLR(trunk, size=self.size, stored=self.stored)
        images = coloured(count, self.stored)
        augment = jax.jit(functools.partial(method.augment, state={}))
        batch, key = jax.device_put(({"vision": images}, jax.random.key(0)))
        jax.block_until_ready(augment(batch, key=key))
        rng = np.random.default_rng(0)

        def ours():
            jax.block_until_ready(augment(batch, key=key))

        def pillow():
            np.stack([view(image, self.size, rng) for image in images for _ in range(2)])

        if cpu:
            fast, plain = typical(self.turns, ours, pillow)
            yield f"augment: {what}, against Pillow (seconds of a core)", plain / fast
        seconds, plain = typical(self.turns, ours, pillow, clock=time.perf_counter)
        yield f"augment: {what}, against Pillow in one thread (by the clock)", plain / seconds
        if not cpu:
            share = seconds / step_seconds(method, batch, self.turns)
            yield f"augment: {what}, share of a training step of ResNet-{self.depth}", share


def step_seconds(method: SimCLR, batch: dict, turns: int) -> float:
    """Of a training step by LARS, augmentation included."""
    rows = len(batch["vision"])
    rule = Optimizer(name="lars")
    run = Experiment(SyntheticSource(), method, rule, steps=10, batch_size=rows)
    optimizer = rule.build(run.steps)

    @jax.jit
    def start(batch, key):
        variables = method.init(key, batch, rows)
        params = variables.pop("params")
        return TrainState(jnp.zeros((), jnp.int32), key, params, variables, optimizer.init(params))

    step = jax.jit(functools.partial(train_step, method, optimizer, run), donate_argnums=0)
    state, _ = step(start(batch, jax.random.key(0)), batch)

    def side():
        nonlocal state
        state, _ = step(state, batch)
        jax.block_until_ready(state.params)

    return typical(turns, side, clock=time.perf_counter)[0]


def coloured(count: int, side: int) -> UInt8[np.ndarray, "count side side 3"]:
    """Pictures of soft blobs in many colours."""
    rng = np.random.default_rng(0)
    return resize(rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8), (side, side))


def view(
    pixels: UInt8[np.ndarray, "h w 3"], size: int, rng: np.random.Generator
) -> Float[np.ndarray, "size size 3"]:
    """SimCLR's view of a picture by Pillow, each step as data loaders for PyTorch do it."""
    from PIL import Image, ImageEnhance, ImageFilter

    bicubic = Image.Resampling.BICUBIC
    image = Image.fromarray(pixels).resize((size, size), bicubic, box=box(*pixels.shape[:2], rng))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.8:
        brightness, contrast, saturation = rng.uniform(0.2, 1.8, 3)
        changes = [
            lambda x: ImageEnhance.Brightness(x).enhance(brightness),
            lambda x: ImageEnhance.Contrast(x).enhance(contrast),
            lambda x: ImageEnhance.Color(x).enhance(saturation),
            lambda x: turned(x, rng.uniform(-0.2, 0.2)),
        ]
        for number in rng.permutation(4):
            image = changes[number](image)
    if rng.random() < 0.2:
        image = image.convert("L").convert("RGB")
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 2.0)))
    return np.asarray(image, np.float32) / 255


def box(height: int, width: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a random crop; the whole picture if ten do not fit."""
    for _ in range(10):
        area = height * width * rng.uniform(0.08, 1)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            return left, top, left + w, top + h
    return 0, 0, width, height


def turned(image, turn: float):
    """A Pillow image with its hue turned by a share of the circle."""
    from PIL import Image

    hue, saturation, value = image.convert("HSV").split()
    moved = np.asarray(hue) + np.uint8(round(256 * turn) % 256)  # beyond 255 it begins again
    return Image.merge("HSV", (Image.fromarray(moved), saturation, value)).convert("RGB")
