"""A trunk of texts: an embedding of tokens, and a transformer."""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ssl_jax.knobs import above, at_least, one_of, within
from ssl_jax.models.language_weights import loader
from ssl_jax.models.layers import DTYPES
from ssl_jax.models.token_embedding import TokenEmbedding
from ssl_jax.models.transformer import Transformer
from ssl_jax.ops.masked_mean import masked_mean


class TextEncoder(nn.Module):
    """Tokens to the layers 'embedding' and those of the transformer (b l d), and their summaries.

    These are of the last layer: 'mean' (b d) over the positions that are not padding, and 'last'
    (b d), that of the last such position, or unless `causal` 'first', of the position of [CLS].

    Attributes:
      transformer: over the embedding.
      width: d.
      length: of the longest sequence; 0: no learned positions.
      segments, normed, deviation, dropout: of the `TokenEmbedding`.
      vocabulary: number of tokens; a method sets it to what its tokenizer has.
      dtype: of the computation, the transformer's too.
    """

    transformer: Transformer
    width: int = 768
    length: int = 1024
    segments: int = 0
    normed: bool = False
    deviation: float = 0.02
    dropout: float = 0.0
    vocabulary: int = 1
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "width", "vocabulary")
        at_least(self, 0, "length", "segments")
        above(self, 0, "deviation")
        within(self, 0, 1, "dropout")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    def setup(self):
        self.embedding = TokenEmbedding(
            self.vocabulary,
            self.width,
            self.length,
            self.segments,
            self.normed,
            self.transformer.norm_eps,
            self.deviation,
            self.dropout,
            self.dtype,
        )
        self.blocks = self.transformer.clone(dtype=self.dtype)

    def __call__(self, x: Int[Array, "b l"] | dict[str, Array], train: bool) -> dict[str, Array]:
        """Layers of tokens, or of a dict with an entry 'text' and any of these (b l):

        'there', bool: which positions are not padding; 'segments', int: of each position;
        'documents', int: positions attend to those of their own document.
        """
        inputs = x if isinstance(x, dict) else {"text": x}
        tokens = inputs["text"]
        there, segments, documents = (
            inputs[name] if name in inputs else None for name in ("there", "segments", "documents")
        )
        embedded = self.embedding(tokens, train, there, segments)
        layers = self.blocks(embedded, train, there, documents)
        top = layers[self.top]
        there = jnp.ones(tokens.shape, bool) if there is None else there
        summaries = {"mean": masked_mean(top, there)}
        places = jnp.arange(tokens.shape[1])
        if self.transformer.causal:
            place, name = jnp.where(there, places, -1).max(1), "last"
        else:
            place, name = jnp.where(there, places, len(places) - 1).min(1), "first"
        summaries[name] = jnp.take_along_axis(top, place[:, None, None], axis=1)[:, 0]
        return {"embedding": embedded, **layers, **summaries}

    def imported(self, arrays: Mapping[str, np.ndarray]) -> dict:
        """Its parameters, from arrays of a Hugging Face file of GPT-2, BERT or T5 (the encoder)."""
        return loader(arrays)(arrays)["text"]

    def embed(self, tokens: Int[Array, "b l"], train: bool) -> Array:
        """The embedding alone."""
        return self.embedding(tokens, train)

    @property
    def top(self) -> str:
        """The name of the last layer that has all positions."""
        return "norm" if self.transformer.norm_first else f"block{self.transformer.blocks}"

    @property
    def table(self) -> Array:
        """The vectors of all tokens (k d), for an output that shares them."""
        return self.embedding.tokens
