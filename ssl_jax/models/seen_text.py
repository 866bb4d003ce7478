"""A text that is read together with what is seen."""

import flax.linen as nn
from jaxtyping import Array, Bool, Float

from ssl_jax.knobs import at_least, one_of
from ssl_jax.models.gated_unit import GatedUnit
from ssl_jax.models.layers import DTYPES
from ssl_jax.models.transformer import Transformer
from ssl_jax.ops.masked_mean import masked_mean


class SeenText(nn.Module):
    """Tokens attend to one another and to those of a clip; their mean through a gated unit.

    Attributes:
      transformer: a decoder; one block does.
      embedding: width of what comes out, which has length 1.
      dtype: of the transformer.
    """

    transformer: Transformer
    embedding: int = 512
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "embedding")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    def setup(self):
        self.blocks = self.transformer.clone(dtype=self.dtype)
        self.head = GatedUnit(self.embedding)

    def __call__(
        self,
        tokens: Float[Array, "b l d"],
        there: Bool[Array, "b l"],
        seen: Float[Array, "b m e"],
        train: bool,
    ) -> Float[Array, "b embedding"]:
        layers = self.blocks(tokens, train, there, memory=seen)
        return self.head(masked_mean(layers[next(reversed(layers))], there))
