"""Vectors of tokens, of their positions and of the segments that they are in."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.knobs import above, at_least, one_of, within
from ssl_jax.models.layers import DTYPES


class TokenEmbedding(nn.Module):
    """The sum of a token's vector, its position's and its segment's, each learned.

    Weights start as N(0, deviation²).

    Attributes:
      size: of the vocabulary.
      width: of the vectors.
      length: of the longest sequence; 0: no positions.
      segments: their number; 0: none.
      normed: LayerNorm over the sum, as in BERT.
      norm_eps: added to its variance.
      deviation: standard deviation of the weights at the start.
      dropout: rate, on the sum.
      dtype: of what is returned.
    """

    size: int
    width: int
    length: int = 0
    segments: int = 0
    normed: bool = False
    norm_eps: float = 1e-5
    deviation: float = 0.02
    dropout: float = 0.0
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "size", "width")
        at_least(self, 0, "length", "segments")
        above(self, 0, "norm_eps", "deviation")
        within(self, 0, 1, "dropout")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    def setup(self):
        init = nn.initializers.normal(self.deviation)
        self.tokens = self.param("tokens", init, (self.size, self.width))
        if self.length:
            self.positions = self.param("positions", init, (self.length, self.width))
        if self.segments:
            self.kinds = self.param("segments", init, (self.segments, self.width))
        if self.normed:
            self.norm = nn.LayerNorm(epsilon=self.norm_eps, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self,
        tokens: Int[Array, "b l"],
        train: bool,
        there: Bool[Array, "b l"] | None = None,
        segments: Int[Array, "b l"] | None = None,
    ) -> Float[Array, "b l d"]:
        """See the class.

        Args:
          tokens: their numbers.
          train: whether dropout is on.
          there: which are not padding. Positions count these alone, so that a sequence is the
            same wherever it is padded. None: all.
          segments: of every token; None: 0.

        Raises ConfigError for sequences longer than `length`.
        """
        x = self.tokens[tokens]
        if self.length:
            if tokens.shape[1] > self.length:
                raise ConfigError(
                    f"a sequence of {tokens.shape[1]} tokens: the text encoder has length="
                    f"{self.length}"
                )
            if there is None:
                x += self.positions[: tokens.shape[1]]
            else:
                x += self.positions[jnp.maximum(there.cumsum(1) - 1, 0)]
        if self.segments:
            x += self.kinds[0] if segments is None else self.kinds[segments]
        x = self.norm(x) if self.normed else x.astype(self.dtype)
        return self.drop(x, deterministic=not train)
