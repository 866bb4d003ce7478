"""Time contrast: frames of one moment are near to one another, other moments of the video are not.

Sermanet et al. 2018 (TCN). Every video is compared with itself only, so that nothing but time tells
its frames apart.
"""

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from ssl_jax.ops.unit import unit

Metrics = dict[str, Float[Array, ""]]


def time_triplet(
    embeddings: Float[Array, "b n d"],
    times: Int[Array, "b n"],
    positive: int,
    negative: int,
    margin: float = 0.2,
    normalize: bool = True,
) -> tuple[Float[Array, ""], Metrics]:
    """Semi-hard triplet loss of n frames of each video, by how far apart in time they are.

        loss = mean over positive pairs i, j of max(0, margin + D_ij - D_ik),   D squared distances

    j is a positive of i if |t_i - t_j| <= positive, k a negative if it is > negative; what is
    between counts as neither. k is the nearest negative that is farther away than j, or if there
    is none the farthest. Frames without any negative are left out as i: the released code takes
    their distance to themselves, which adds a constant that pushes nothing apart. Embeddings that
    have collapsed to a point give the margin. A mean over each video's pairs, then over videos.

    Args:
      times: in frames, of any origin.
      normalize: take embeddings to unit length first.

    Returns:
      The loss, and {'accuracy': share of pairs of which j is nearer to i than every negative,
      'violations': share of pairs with a loss above 0}.
    """
    z = unit(embeddings) if normalize else embeddings.astype(jnp.float32)
    distances = jnp.sum(jnp.square(z[:, :, None] - z[:, None]), axis=-1)
    apart = jnp.abs(times[:, :, None] - times[:, None])
    far = apart > negative
    pairs = (apart <= positive) & ~jnp.eye(times.shape[1], dtype=bool)
    pairs = (pairs & far.any(axis=2, keepdims=True)).astype(jnp.float32)
    # Negatives are chosen by their places: the gradient of a minimum compares it with values that
    # XLA may have computed again and a rounding apart. (b i j k): frames k beside pairs i, j.
    still = lax.stop_gradient(distances)
    beyond = far[:, :, None] & (still[:, :, None] > still[..., None])
    nearest = jnp.argmin(jnp.where(beyond, still[:, :, None], jnp.inf), axis=-1)
    farthest = jnp.argmax(jnp.where(far, still, -jnp.inf), axis=-1)[..., None]
    place = jnp.where(beyond.any(-1), nearest, farthest)
    hinge = jax.nn.relu(margin + distances - jnp.take_along_axis(distances, place, axis=2))
    closest = jnp.min(still, axis=-1, where=far, initial=jnp.inf)[..., None]

    def mean(values: Array) -> Array:
        counts = jnp.sum(pairs, axis=(1, 2))
        return jnp.mean(jnp.sum(pairs * values, axis=(1, 2)) / jnp.maximum(counts, 1))

    metrics = {"accuracy": mean(distances < closest), "violations": mean(hinge > 0)}
    return mean(hinge), metrics


def n_pairs(
    anchors: Float[Array, "b n d"],
    positives: Float[Array, "b n d"],
    own: Int[Array, "b n"],
    weight: float = 0.002,
) -> tuple[Float[Array, ""], Metrics]:
    """N-pairs loss (Sohn 2016) of n moments of each video, seen twice.

        loss = mean_i -log softmax_j(a_i . p_j)[own_i] + weight / 4 (mean |a_i|^2 + mean |p_i|^2)

    One direction, embeddings as they are. A mean over videos.

    Args:
      own: which of the positives is an anchor's own, from 0.

    Returns:
      The loss, and {'accuracy': share of anchors whose own positive has the largest product}.
    """
    a, p = anchors.astype(jnp.float32), positives.astype(jnp.float32)
    logits = jnp.einsum("bid,bjd->bij", a, p, precision=lax.Precision.HIGHEST)
    entropy = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, own))
    lengths = jnp.mean(jnp.sum(a * a, axis=-1)) + jnp.mean(jnp.sum(p * p, axis=-1))
    hits = jnp.mean((jnp.argmax(logits, axis=-1) == own).astype(jnp.float32))
    return entropy + weight / 4 * lengths, {"accuracy": hits}
