"""A head that makes one vector of a sequence: a transformer, then the mean."""

import flax.linen as nn
from jaxtyping import Array, Bool, Float

from ssl_jax.knobs import at_least, one_of
from ssl_jax.models.layers import DTYPES
from ssl_jax.models.transformer import Transformer
from ssl_jax.ops.masked_mean import masked_mean


class SequencePool(nn.Module):
    """A dense layer to `width`, learned positions, a transformer, and the mean of what is there.

    Layers: 'tokens' (b l width) and 'mean' (b width).

    Attributes:
      transformer: over the sequence.
      width: of it.
      length: of the longest sequence; 0: no positions, as what comes in knows its own.
      dtype: of the computation, the transformer's too.
    """

    transformer: Transformer
    width: int = 512
    length: int = 0
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "width")
        at_least(self, 0, "length")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    def setup(self):
        self.dense = nn.Dense(self.width, dtype=self.dtype)
        if self.length:
            init = nn.initializers.normal(0.02)
            self.positions = self.param("positions", init, (self.length, self.width))
        self.blocks = self.transformer.clone(dtype=self.dtype)

    def __call__(
        self, x: Float[Array, "b l d"], there: Bool[Array, "b l"], train: bool
    ) -> dict[str, Float[Array, "b ..."]]:
        x = self.dense(x)
        if self.length:
            x += self.positions.astype(x.dtype)
        layers = self.blocks(x, train, there)
        tokens = layers[next(reversed(layers))]
        return {"tokens": tokens, "mean": masked_mean(tokens, there)}
