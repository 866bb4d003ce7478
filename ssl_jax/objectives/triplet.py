"""The triplet objective: nearer to one's own kind than to any other, by a margin."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.objectives.log_sums import products
from ssl_jax.ops.unit import unit

MINING = ("semihard", "hard")

# Farther than any distance, and finite: infinities make NaN of 0 * inf.
FAR = 1e9


def triplet(
    embeddings: Float[Array, "n d"],
    labels: Int[Array, "n"],
    margin: float = 0.5,
    mining: str = "semihard",
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Triplet loss over all pairs of one label, each with one mined negative.

        D(a, b) = 1 - cos(a, b)
        loss    = mean over a, p of one label of max(0, D(a, p) - D(a, n) + margin)

    'semihard' (Schroff, Kalenichenko and Philbin 2015): n is the nearest of another label that is
    farther away than p; the farthest of all where there is none. 'hard': the nearest of another
    label. Embeddings that have collapsed to a point give the margin. Every row is taken to unit
    length by itself. Written on the global batch; memory grows with n * n.

    Returns:
      The loss, and {'accuracy': fraction of the pairs a, p of which p is nearer to a than every row
      of another label, 'violations': fraction of pairs with a loss above 0}.

    Raises:
      ConfigError: unknown `mining`.
    """
    if mining not in MINING:
        raise ConfigError(f"triplet: mining is one of {', '.join(MINING)}, not {mining!r}")
    z = unit(embeddings)
    distances = 1 - products(z, z)
    same = labels[:, None] == labels[None, :]
    pairs = (same & ~jnp.eye(len(labels), dtype=bool)).astype(jnp.float32)
    # Each anchor's negatives from the nearest to the farthest; then come its own kind, as FAR.
    ascending = jnp.sort(jnp.where(same, FAR, distances), axis=1)
    farthest = jnp.sum(~same, axis=1, keepdims=True) - 1
    place = jnp.zeros_like(farthest)
    if mining == "semihard":
        # The first that is farther than p; behind the farthest if there is none.
        first = jax.vmap(lambda row, x: jnp.searchsorted(row, x, side="right"))
        place = first(*jax.lax.stop_gradient((ascending, distances)))
    chosen = jnp.clip(jnp.broadcast_to(place, same.shape), 0, farthest)
    negative = jnp.take_along_axis(ascending, chosen, axis=1)
    hinge = jax.nn.relu(distances - negative + margin)

    def mean(values: Array) -> Array:
        return jnp.sum(pairs * values) / jnp.maximum(jnp.sum(pairs), 1)

    nearest = distances < ascending[:, :1]
    return mean(hinge), {"accuracy": mean(nearest), "violations": mean(hinge > 0)}
