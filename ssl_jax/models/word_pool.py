"""A trunk of texts without an order of words: the strongest answer of any word."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ssl_jax.knobs import at_least, one_of
from ssl_jax.models.layers import DTYPES


class WordPool(nn.Module):
    """A dense layer with ReLU on every word's vector, then the maximum over the words.

    Layers: 'words' (b l width), after the ReLU, and 'pool' (b width). Positions without a word
    take no part; a text without any word is 0. (In MIL-NCE's and HowTo100M's code the vector of the
    padding takes part in the maximum.)

    Attributes:
      width: of the dense layer.
      dtype: of the computation.
    """

    width: int = 2048
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "width")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Float[Array, "b l d"], there: Bool[Array, "b l"], train: bool
    ) -> dict[str, Float[Array, "b ..."]]:
        del train
        words = jax.nn.relu(nn.Dense(self.width, dtype=self.dtype, name="dense")(x))
        # After a ReLU nothing is below 0.
        seen = jnp.where(there[..., None], words, jnp.zeros_like(words))
        return {"words": seen, "pool": seen.max(1)}
