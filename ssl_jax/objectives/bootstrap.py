"""BYOL's objective: predict what a slow copy says of the other view."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.objectives.log_sums import products
from ssl_jax.ops.unit import unit

Metrics = dict[str, Float[Array, ""]]


def bootstrap(
    predictions: Float[Array, "n 2 d"], targets: Float[Array, "n 2 d"]
) -> tuple[Float[Array, ""], Metrics]:
    """Distance of each view's prediction to the other view's target (Grill et al. 2020).

        p, z = predictions, targets, each vector divided by its length
        loss = mean over n of |p_1 - z_2|^2 + |p_2 - z_1|^2        (= 4 - 2 cos - 2 cos, 0 to 8)

    In float32 whatever comes in, with finite gradients at zero vectors. The paper's sum over both
    directions; other codes average them or drop the constants (4 times smaller gradients).

    Args:
      predictions: of view 1 and of view 2.
      targets: the slow copy's projections of view 1 and of view 2.

    Returns:
      The loss, and metrics: `cosine`, the mean of a prediction with its target; `accuracy`, the
      fraction of predictions that are nearer to their own target than to any other row's (1/n by
      chance); `target_std`, the deviation over the batch of each number of z, averaged (about
      1 / sqrt(d); 0 once the targets have collapsed to one).
    """
    p, z = unit(predictions), unit(targets)
    wanted = z[:, ::-1]
    # Not 4 minus cosines: predictions of length zero would have the wrong loss.
    loss = jnp.mean(jnp.sum((p - wanted) ** 2, axis=(1, 2)))
    rows = jnp.arange(len(p))
    hits = [jnp.argmax(products(p[:, i], wanted[:, i]), axis=1) == rows for i in range(2)]
    return loss, {
        "cosine": jnp.mean(jnp.sum(p * wanted, axis=-1)),
        "accuracy": jnp.mean(jnp.stack(hits).astype(jnp.float32)),
        "target_std": jnp.mean(jnp.std(z, axis=0)),
    }
