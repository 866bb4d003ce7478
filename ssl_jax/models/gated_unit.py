"""The gated embedding unit of text-video embeddings."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least
from ssl_jax.ops.unit import unit


class GatedUnit(nn.Module):
    """y = W x + b, then y * sigmoid(V y + c), divided by its length (Miech et al. 2018).

    Attributes:
      width: of y.
    """

    width: int

    def __post_init__(self):
        at_least(self, 1, "width")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b width"]:
        y = nn.Dense(self.width, name="fc")(x.astype(jnp.float32))
        return unit(y * jax.nn.sigmoid(nn.Dense(self.width, name="gate")(y)))
