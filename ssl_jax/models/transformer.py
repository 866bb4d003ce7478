"""Transformer encoder (Vaswani et al. 2017): every place of a sequence looks at the others."""

import flax.linen as nn
import jax
from jaxtyping import Array, Bool, Float

from ssl_jax.config import ConfigError
from ssl_jax.knobs import above, at_least, one_of, within
from ssl_jax.models.layers import DTYPES

ACTIVATIONS = {
    "relu": jax.nn.relu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
}


class Transformer(nn.Module):
    """Blocks of self-attention and a feed-forward network, as wide as what comes in.

    Embeddings and positions are not part of it. Called with sequences (b l d), returns the layers
    block1, block2, ... (b l d), and with `norm_first` a last one, 'norm'.

    With `norm_first` (pre-LN, as in GPT) a block is x + f(norm(x)), otherwise (post-LN, as in BERT)
    norm(x + f(x)). Weights start as N(0, 0.02), biases as 0.

    Attributes:
      blocks: their number.
      heads: of attention; they must divide d.
      hidden: width of the feed-forward network.
      norm_first: see above.
      causal: a place sees only those up to itself.
      activation: of the feed-forward network: 'relu', 'gelu', or 'gelu_tanh', its approximation.
      dropout: rate, on what attention and feed-forward network add.
      norm_eps: added to the variance; BERT's is 1e-12.
      remat: recompute blocks in the backward pass: less memory, a third more time.
      dtype: of the computation.

    Raises ConfigError if the heads do not divide d.
    """

    blocks: int = 12
    heads: int = 12
    hidden: int = 3072
    norm_first: bool = False
    causal: bool = False
    activation: str = "gelu"
    dropout: float = 0.0
    norm_eps: float = 1e-5
    remat: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "blocks", "heads", "hidden")
        one_of(self, "activation", ACTIVATIONS)
        within(self, 0, 1, "dropout")
        above(self, 0, "norm_eps")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Float[Array, "b l d"], train: bool, there: Bool[Array, "b l"] | None = None
    ) -> dict[str, Array]:
        """`there`: which places hold something; the others are not looked at. None: all."""
        if x.shape[-1] % self.heads:
            raise ConfigError(f"transformer: heads={self.heads} must divide width {x.shape[-1]}")
        block = Transformer._block
        if self.remat:
            block = nn.remat(block, static_argnums=(3, 4))
        layers, x = {}, x.astype(self.dtype)
        for number in range(1, self.blocks + 1):
            x = layers[f"block{number}"] = block(self, x, there, number, train)
        if self.norm_first:
            layers["norm"] = self._norm(x, "norm")
        return layers

    def _block(self, x: Array, there: Array | None, number: int, train: bool) -> Array:
        for part, change in (("attention", self._attention), ("feed", self._feed)):
            name = f"block{number}_{part}"
            inputs = self._norm(x, f"{name}_norm") if self.norm_first else x
            added = change(inputs, there, name)
            x = x + nn.Dropout(self.dropout, deterministic=not train)(added)
            x = x if self.norm_first else self._norm(x, f"{name}_norm")
        return x

    def _attention(self, x: Array, there: Array | None, name: str) -> Array:
        b, length, width = x.shape
        split = (b, length, self.heads, width // self.heads)
        query, key, value = (
            self._dense(width, f"{name}_{part}")(x).reshape(split)
            for part in ("query", "key", "value")
        )
        mask = None if there is None else there[:, None, None, :]  # of (b, heads, from, to)
        seen = jax.nn.dot_product_attention(query, key, value, mask=mask, is_causal=self.causal)
        return self._dense(width, f"{name}_out")(seen.reshape(x.shape))

    def _feed(self, x: Array, there: Array | None, name: str) -> Array:
        del there
        hidden = ACTIVATIONS[self.activation](self._dense(self.hidden, f"{name}_hidden")(x))
        return self._dense(x.shape[-1], f"{name}_out")(hidden)

    def _dense(self, features: int, name: str) -> nn.Dense:
        init = nn.initializers.normal(0.02)
        return nn.Dense(features, kernel_init=init, dtype=self.dtype, name=name)

    def _norm(self, x: Array, name: str) -> Array:
        return nn.LayerNorm(epsilon=self.norm_eps, dtype=self.dtype, name=name)(x)
