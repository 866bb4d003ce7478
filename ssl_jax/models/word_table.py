"""A table of word vectors, as a trunk."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ssl_jax.knobs import at_least, one_of
from ssl_jax.models.layers import DTYPES


class WordTable(nn.Module):
    """Vectors of words by their numbers, and of a text the mean over its words (number 0 is none).

    Attributes:
      width: of a vector.
      size: words in the vocabulary; a method says how many there are.
      dtype: of the output.
    """

    width: int = 100
    size: int = 0
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "width")
        at_least(self, 0, "size")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(self, ids: Int[Array, "b l"], train: bool) -> dict[str, Float[Array, "b ..."]]:
        """{'words': (b l width), 'mean': (b width)}."""
        del train
        table = self.param("embedding", small_uniform, (self.size, self.width))
        vectors = table[ids]
        there = (ids > 0)[..., None]
        total = jnp.where(there, vectors, 0.0).sum(1)
        mean = total / jnp.maximum(there.sum(1), 1)
        return {"words": vectors.astype(self.dtype), "mean": mean.astype(self.dtype)}


def small_uniform(key: jax.Array, shape: tuple[int, int]) -> Float[Array, "k d"]:
    """Uniform in ±.5 / width, as word2vec.c begins."""
    edge = 0.5 / shape[1]
    return jax.random.uniform(key, shape, minval=-edge, maxval=edge)
