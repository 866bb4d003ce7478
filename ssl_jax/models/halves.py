"""Trunks side by side, each of which sees some of a Lab image's channels."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.knobs import given, one_of
from ssl_jax.ops.colour import CHANNELS


class Halves(nn.Module):
    """Trunks side by side that share nothing, each seeing its own channels of a Lab image.

    The two halves of a split-brain autoencoder (Zhang, Isola and Efros 2017). Called with prepared
    Lab images (b h w 3), returns the layers of one trunk, every layer the trunks' outputs one
    after the other along the channels. Parameters: `halves_0`, `halves_1`.

    Attributes:
      half: the trunk, of which every entry of `sees` gets a copy with weights of its own.
      sees: the channels of each: 'L', 'ab' or 'Lab'.
    """

    half: nn.Module
    sees: tuple[str, ...]

    def __post_init__(self):
        given(self, "sees")
        one_of(self, "sees", CHANNELS)
        super().__post_init__()

    def setup(self):
        self.halves = [self.half.clone() for _ in self.sees]

    def __call__(self, x: Float[Array, "b h w 3"], train: bool) -> dict[str, Array]:
        pairs = zip(self.halves, self.sees, strict=True)
        parts = [half(x[..., CHANNELS[channels]], train) for half, channels in pairs]
        return {name: jnp.concatenate([p[name] for p in parts], axis=-1) for name in parts[0]}
