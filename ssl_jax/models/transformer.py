"""Transformer (Vaswani et al. 2017): every position of a sequence attends to the others."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.knobs import above, at_least, one_of, within
from ssl_jax.models.layers import DTYPES
from ssl_jax.ops.attention import attend, relative_buckets, seen

ACTIVATIONS = {
    "relu": jax.nn.relu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
}
NORMS = ("layer", "rms")
INITS = ("normal", "residual", "fan_in")


class Transformer(nn.Module):
    """Blocks of self-attention and a feed-forward network, as wide as what comes in.

    Embeddings and positions are not part of it, but for relative ones. Called with sequences
    (b l d), returns the layers block1, block2, ... (b l d), and with `norm_first` a last one,
    'norm'. Called with a `memory` (b m d) too, the output of another, it is a decoder: between the
    two parts of a block stands attention to the memory.

    With `norm_first` (pre-LN, as in GPT) a block is x + f(norm(x)), otherwise (post-LN, as in BERT)
    norm(x + f(x)). The defaults are BERT's; T5 has norm="rms", biases=False, scaled=False,
    position_buckets=32, initial="fan_in".

    Attributes:
      blocks: their number.
      heads: of attention; they must divide d, unless `head_width` is given.
      hidden: width of the feed-forward network.
      norm_first: see above.
      causal: a position sees only those up to itself.
      activation: of the feed-forward network: 'relu', 'gelu', or 'gelu_tanh', its approximation.
      gated: the feed-forward network multiplies its hidden layer with a linear one (Shazeer 2020).
      dropout: rate, on what attention and feed-forward network add.
      attention_dropout: rate, on the weights of attention.
      layer_drop: rate at which a whole block is left out in training (Fan et al. 2020).
      norm: 'layer', or 'rms', which does not subtract the mean (Zhang and Sennrich 2019).
      norm_eps: added to the variance; BERT's is 1e-12.
      biases: whether dense layers have them.
      scaled: whether products of queries and keys are divided by the root of a head's width.
      head_width: 0: d / heads.
      position_buckets: of relative positions, whose biases all blocks share; 0: none, otherwise at
        least 4, or 2 if `causal`. See `ops.attention.relative_buckets`.
      farthest: distance from which on all share a bucket.
      initial: weights: 'normal' is N(0, 0.02); 'residual' the same, but 1 / sqrt(2 blocks) of it in
        the layers that add to x (GPT-2); 'fan_in' is N(0, 1 / inputs), queries not `scaled` that
        much smaller (T5). Biases start as 0.
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
    gated: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    layer_drop: float = 0.0
    norm: str = "layer"
    norm_eps: float = 1e-5
    biases: bool = True
    scaled: bool = True
    head_width: int = 0
    position_buckets: int = 0
    farthest: int = 128
    initial: str = "normal"
    remat: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "blocks", "heads", "hidden")
        at_least(self, 0, "head_width", "position_buckets")
        one_of(self, "activation", ACTIVATIONS)
        within(self, 0, 1, "dropout", "attention_dropout", "layer_drop")
        one_of(self, "norm", NORMS)
        above(self, 0, "norm_eps")
        if self.position_buckets:
            at_least(self, 2 if self.causal else 4, "position_buckets")
        above(self, self.position_buckets // 2, "farthest")
        one_of(self, "initial", INITS)
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b l d"],
        train: bool,
        there: Bool[Array, "b l"] | None = None,
        documents: Int[Array, "b l"] | None = None,
        memory: Float[Array, "b m d"] | None = None,
        memory_there: Bool[Array, "b m"] | None = None,
    ) -> dict[str, Array]:
        """See the class.

        Args:
          x: sequences.
          train: whether dropout is on.
          there: which positions are not padding; the others are not attended to. None: all.
          documents: a number for each position, which attends to its own number alone. None: all.
          memory: see the class.
          memory_there: as `there`, of the memory.
        """
        if not self.head_width and x.shape[-1] % self.heads:
            raise ConfigError(f"transformer: heads={self.heads} must divide width {x.shape[-1]}")
        block = Transformer._block
        if self.remat:
            block = nn.remat(block, static_argnums=(3, 4))
        layers, x = {}, x.astype(self.dtype)
        # Of each attention: the memory that it attends to, the mask, and biases.
        looks = {"attention": (None, seen(there, documents), self._positions(x))}
        if memory is not None:
            looks["cross"] = (memory.astype(self.dtype), seen(memory_there), None)
        for number in range(1, self.blocks + 1):
            changed = block(self, x, looks, number, train)
            if train and self.layer_drop:
                kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.layer_drop)
                changed = jnp.where(kept, changed, x)
            x = layers[f"block{number}"] = changed
        if self.norm_first:
            layers["norm"] = self._norm(x, "norm")
        return layers

    def _positions(self, x: Array) -> Array | None:
        """The biases of relative positions (1 heads l l)."""
        if not self.position_buckets:
            return None
        length, width = x.shape[1:]
        init = nn.initializers.normal(1 / math.sqrt(width))
        table = self.param("positions", init, (self.position_buckets, self.heads))
        buckets = relative_buckets(
            length, length, self.position_buckets, self.farthest, self.causal
        )
        return table[buckets].transpose(2, 0, 1)[None].astype(self.dtype)

    def _block(self, x: Array, looks: dict, number: int, train: bool) -> Array:
        for part in (*looks, "feed"):
            name = f"block{number}_{part}"
            inputs = self._norm(x, f"{name}_norm") if self.norm_first else x
            if part == "feed":
                added = self._feed(inputs, name)
            else:
                added = self._attention(inputs, *looks[part], part == "attention", train, name)
            x = x + nn.Dropout(self.dropout, deterministic=not train)(added)
            x = x if self.norm_first else self._norm(x, f"{name}_norm")
        return x

    def _attention(
        self,
        x: Array,
        memory: Array | None,
        mask: Array | None,
        bias: Array | None,
        own: bool,
        train: bool,
        name: str,
    ) -> Array:
        width = x.shape[-1]
        head = self.head_width or width // self.heads
        smaller = 1.0 if self.scaled else 1 / math.sqrt(head)

        def heads(inputs: Array, part: str, factor: float = 1.0) -> Array:
            found = self._dense(self.heads * head, f"{name}_{part}", factor)(inputs)
            return found.reshape(*inputs.shape[:2], self.heads, head)

        source = x if memory is None else memory
        dropout = self.attention_dropout if train else 0.0
        found = attend(
            heads(x, "query", smaller if self.initial == "fan_in" else 1.0),
            heads(source, "key"),
            heads(source, "value"),
            mask,
            bias,
            causal=self.causal and own,
            scaled=self.scaled,
            dropout=dropout,
            rng=self.make_rng("dropout") if dropout else None,
        )
        return self._residual(width, f"{name}_out")(found.reshape(*x.shape[:2], -1))

    def _feed(self, x: Array, name: str) -> Array:
        hidden = ACTIVATIONS[self.activation](self._dense(self.hidden, f"{name}_hidden")(x))
        if self.gated:
            hidden = hidden * self._dense(self.hidden, f"{name}_gate")(x)
        return self._residual(x.shape[-1], f"{name}_out")(hidden)

    def _residual(self, features: int, name: str) -> nn.Dense:
        """A dense layer whose output is added to x."""
        added = 2 * self.blocks if self.initial == "residual" else 1
        return self._dense(features, name, 1 / math.sqrt(added))

    def _dense(self, features: int, name: str, smaller: float = 1.0) -> nn.Dense:
        if self.initial == "fan_in":
            init = nn.initializers.variance_scaling(smaller**2, "fan_in", "normal")
        else:
            init = nn.initializers.normal(0.02 * smaller)
        return nn.Dense(features, self.biases, self.dtype, kernel_init=init, name=name)

    def _norm(self, x: Array, name: str) -> Array:
        kind = nn.LayerNorm if self.norm == "layer" else nn.RMSNorm
        return kind(epsilon=self.norm_eps, dtype=self.dtype, name=name)(x)
