"""Learning to count (Noroozi, Pirsiavash and Favaro 2017): parts add up to the whole."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def counting(
    whole: Float[Array, "b d"],
    tiles: Float[Array, "b n d"],
    other: Float[Array, "b d"],
    margin: float = 10.0,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """What is counted in the tiles is what is counted in the image, and not in another.

        total = sum_j tile_j
        loss  = mean over rows of |whole - total|^2 + max(0, margin - |other - total|^2)

    Counting nothing at all costs the margin, which is why there is another image.

    Args:
      whole: counts in an image made small, not negative.
      tiles: counts in each of its tiles.
      other: counts in another image made small.

    Returns:
      The loss, and {'own', 'other': the two mean squared distances, 'accuracy': fraction of rows
      whose tiles add up to something nearer to the own image than to the other, 'active': fraction
      of the d counts that are above 0 somewhere in the batch}.
    """
    whole, tiles, other = (x.astype(jnp.float32) for x in (whole, tiles, other))
    total = jnp.sum(tiles, axis=1)
    near = jnp.sum((whole - total) ** 2, axis=-1)
    far = jnp.sum((other - total) ** 2, axis=-1)
    metrics = {
        "own": jnp.mean(near),
        "other": jnp.mean(far),
        "accuracy": jnp.mean((near < far).astype(jnp.float32)),
        "active": jnp.mean(jnp.any(whole > 0, axis=0).astype(jnp.float32)),
    }
    return jnp.mean(near + jax.nn.relu(margin - far)), metrics
