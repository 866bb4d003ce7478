"""Resampling: how much fine detail an image kept when it was scaled, turned or cut."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ssl_jax.cues.cue import per_image, sees_images

COARSE = 8  # pixels from blot to blot
KERNEL = np.array([1, 4, 6, 4, 1]) / 16


@dataclasses.dataclass(frozen=True)
class Resampling:
    """Fine detail that tells by which resizer, and from what size, an image was made.

    Removed: the finest detail of every image the network sees. Control: to it is added what is as
    strong as that detail, but coarse: blots.
    """

    name: ClassVar[str] = "resampling"
    level: ClassVar[str] = "batch"
    sense: ClassVar[str] = "vision"

    applies = staticmethod(sees_images)

    def remove(self, x: Float[Array, "b *n h w 3"], key: jax.Array) -> Float[Array, "b *n h w 3"]:
        return _smooth(x, jnp)

    def control(self, x: Float[Array, "b *n h w 3"], key: jax.Array) -> Float[Array, "b *n h w 3"]:
        wanted = _strength(x - _smooth(x, jnp))
        *rest, h, w, c = x.shape
        few = (*rest, -(-h // COARSE) + 1, -(-w // COARSE) + 1, c)
        blots = jax.image.resize(jax.random.normal(key, few), x.shape, "cubic")
        return x + blots * wanted / _strength(blots)

    def statistic(self, x: Float[np.ndarray, "b *n h w 3"]) -> Float[np.ndarray, "b d"]:
        """The share of the finest detail in the variance of each image."""

        def measure(image):
            image = np.asarray(image, np.float64)
            fine = image - _smooth(image, np)
            return np.array([(fine**2).mean() / max(image.var(), 1e-9)])

        return per_image(x, measure)


def _strength(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(x**2, (-3, -2, -1), keepdims=True) + 1e-12)


def _smooth(x, xp):
    """A binomial blur of five pixels along height and width; edges are mirrored."""
    for axis in (x.ndim - 3, x.ndim - 2):
        pad = [(2, 2) if k == axis else (0, 0) for k in range(x.ndim)]
        wide, size = xp.pad(x, pad, mode="symmetric"), x.shape[axis]
        cut = [slice(None)] * x.ndim
        parts = []
        for k, weight in enumerate(KERNEL):
            cut[axis] = slice(k, k + size)
            parts.append(float(weight) * wide[tuple(cut)])
        x = sum(parts)
    return x
