"""Lightness: any image method whose trunk sees no colours."""

import dataclasses

import jax
import jax.numpy as jnp

from ssl_jax.method import Batch, Method, run_collection
from ssl_jax.methods.wrapper import Wrapper
from ssl_jax.ops.colour import rgb_to_lab


@dataclasses.dataclass(frozen=True)
class Lightness(Wrapper):
    """A method whose trunk sees the lightness of Lab three times, from -1 (black) to 1 (white).

    Harmonises the inputs of tasks that share a trunk (Doersch and Zisserman, ICCV 2017): a trunk
    can tell tasks apart by what kind of input they feed, and so shares less among them. The paper
    does it for relative position, in place of dropping colours, and for colorization; exemplars
    stay coloured. Three equal channels, so that the same trunk takes colours too. It takes the
    place of the method's own `prepare`.
    """

    inputs = Method.inputs
    encode = Method.encode

    def init(self, key: jax.Array, batch: Batch, records: int) -> dict:
        made = self.method.init(key, batch, records)  # its state; its net takes other channels
        puzzle = self.augment(batch, {**made, **run_collection(0, 1)}, key)
        return {**made, **Method.init_net(self, key, puzzle)}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        del name
        return jnp.repeat(rgb_to_lab(x)[..., :1] / 50.0 - 1.0, 3, axis=-1)
