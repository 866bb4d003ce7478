"""Two trunks with linear heads that classify clusters, and how such a head is drawn again."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least

STD = 0.01  # of a new head's weights


class ClusteringNet(nn.Module):
    """The logits (b k) of each head, by its name.

    Called with {'vision': what one trunk takes, 'audio': what the other does}.

    Attributes:
      vision, audio: the trunks.
      layer: of both, the features (b d).
      heads: (name, trunk) of each.
      clusters: k.
    """

    vision: nn.Module
    audio: nn.Module
    layer: str
    heads: tuple[tuple[str, str], ...]
    clusters: int

    def __post_init__(self):
        at_least(self, 1, "clusters")
        super().__post_init__()

    @nn.compact
    def __call__(self, batch: dict[str, Array], train: bool) -> dict[str, Float[Array, "b k"]]:
        trunks = {"vision": self.vision, "audio": self.audio}
        found = {
            name: trunk(batch[name], train)[self.layer].astype(jnp.float32)
            for name, trunk in trunks.items()
        }
        small = nn.initializers.normal(STD)
        return {
            head: nn.Dense(self.clusters, kernel_init=small, name=head)(found[own])
            for head, own in self.heads
        }


def new_head(key: jax.Array, kernel: Float[Array, "d k"]) -> dict[str, Array]:
    """The weights of a head of this shape before its first step."""
    return {
        "kernel": STD * jax.random.normal(key, kernel.shape),
        "bias": jnp.zeros(kernel.shape[1:]),
    }
