"""Weights and inputs of the recorded trunks: any array by its path and shape, from NumPy alone."""

import zlib

import numpy as np

# name: sides of the input (t h w, or h w), which are odd where a layout could hide in even ones.
SIDES = {
    "resnet18": (64, 64),
    "resnet50": (64, 64),
    "resnet18_same": (64, 64),
    "resnet18_cifar": (15, 15),
    "r3d18": (9, 32, 32),
    "r2plus1d18": (9, 32, 32),
    "mc3": (5, 32, 32),
    "c3d": (16, 32, 32),
    "caffenet": (80, 80),
    "alexnet": (80, 80),
}
SAMPLES = 48  # values of a layer that are recorded


def array(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values that keep activations near unit scale; a kernel's last axis is its outputs."""
    rng = np.random.default_rng(zlib.crc32(path.encode()))
    match path.rsplit("/", 1)[-1]:
        case "kernel":
            return rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))
        case "scale" | "var":
            return rng.uniform(0.5, 1.5, shape)
        case _:
            return rng.normal(size=shape) * 0.3


def images(name: str) -> np.ndarray:
    """Two examples, (2, *sides, 3)."""
    return array(f"{name}/input", (2, *SIDES[name], 3)) / 0.3


def sampled(layer: np.ndarray) -> np.ndarray:
    """Some of a layer's values, channels last, spread evenly over all of them."""
    flat = np.ravel(layer)
    return flat[np.linspace(0, flat.size - 1, SAMPLES).astype(int)]
