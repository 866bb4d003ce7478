"""Vectors to entries of codebooks, drawn by the Gumbel trick (wav2vec 2.0, Baevski et al. 2020)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.knobs import at_least


class GumbelQuantizer(nn.Module):
    """Puts in place of each vector one entry of every codebook, side by side.

    Attributes:
      groups: codebooks.
      entries: of each.
      out: width of the entries of all together; groups must divide it.

    Raises ConfigError if they do not.
    """

    groups: int = 2
    entries: int = 320
    out: int = 256

    def __post_init__(self):
        at_least(self, 1, "groups", "out")
        at_least(self, 2, "entries")
        if self.out % self.groups:
            raise ConfigError(f"groups={self.groups} must divide out={self.out}")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Float[Array, "*n d"], train: bool, temperature: float | Float[Array, ""] = 1.0
    ) -> tuple[Float[Array, "*n out"], Float[Array, "*n g v"], Int[Array, "*n g"]]:
        """The entries, the logits of choosing them, and which they are, all float32.

        In training the choice is drawn with probabilities softmax(logits): the largest of the
        logits with Gumbel noise. What comes out is that entry and no mixture; the gradient is that
        of the mixture by softmax((logits + noise) / temperature), as if the choice were soft
        (straight-through, Jang et al. 2017). Otherwise the most probable entry is taken.
        """
        shape = (*x.shape[:-1], self.groups, self.entries)
        init = nn.initializers.normal(1.0)
        # Weights of N(0, 1) make large logits, for which TPUs would round the factors to bfloat16.
        precise = {"kernel_init": init, "precision": Precision.HIGHEST, "name": "logits"}
        dense = nn.Dense(self.groups * self.entries, **precise)
        logits = dense(x.astype(jnp.float32)).reshape(shape)
        size = (self.groups, self.entries, self.out // self.groups)
        codebooks = self.param("codebooks", nn.initializers.uniform(1.0), size)
        noisy = logits
        if train:
            noisy = logits + jax.random.gumbel(self.make_rng("dropout"), shape)
        codes = jnp.argmax(noisy, axis=-1)
        found = codebooks[jnp.arange(self.groups), codes]
        if train:
            soft = jax.nn.softmax(noisy / temperature)
            mixed = jnp.einsum("...gv,gve->...ge", soft, jax.lax.stop_gradient(codebooks))
            # In this order the sum is exactly the entry.
            found = found + (mixed - jax.lax.stop_gradient(mixed))
        return found.reshape(*x.shape[:-1], self.out), logits, codes
