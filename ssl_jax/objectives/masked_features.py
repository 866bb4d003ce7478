"""The objective of contrastive bidirectional transformers (Sun et al. 2019): masked features."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ssl_jax.objectives.log_sums import MASKED, products
from ssl_jax.ops.unit import unit

Metrics = dict[str, Float[Array, ""]]


def masked_nce(
    predicted: Float[Array, "b m d"],
    features: Float[Array, "b n d"],
    target: Int[Array, "b m"],
    temperature: float = 1.0,
    own_video: bool = False,
) -> tuple[Float[Array, ""], Metrics]:
    """Each prediction for a hidden step picks that step's feature among others.

        s_ik,j = predicted_ik . feature_j / temperature
        loss   = mean_ik [log sum_j exp(s_ik,j) - s_ik,(i, target_ik)]

    j runs over the n steps of all b videos, or with `own_video` over those of video i. Plain
    products: lengths do not divide them. All-equal products give log(b n), or log n.

    Returns:
      The loss, and {'accuracy': of picking among the n steps of one's own video (what happens
      when); where several are hidden 'hidden_accuracy': among those, since a network that sees the
      others can rule them out (chance: 1 / m); 'video_accuracy': among one's own feature and all of
      other videos (which video)}.
    """
    b, n, d = features.shape
    scores = products(predicted.reshape(-1, d), features.reshape(-1, d)) / temperature
    scores = scores.reshape(b, -1, b, n)
    own = jnp.diagonal(scores, axis1=0, axis2=2)  # (m n b)
    own = jnp.moveaxis(own, -1, 0)  # (b m n)
    right = jnp.take_along_axis(own, target[..., None], axis=2)[..., 0]  # (b m)
    rivals = own if own_video else scores.reshape(b, -1, b * n)
    loss = jnp.mean(jax.nn.logsumexp(rivals, axis=2) - right)
    hidden = (jnp.arange(n) == target[..., None]).any(1)  # (b n)
    itself = jnp.eye(b, dtype=bool)[:, None, :, None]
    others = jnp.where(itself, MASKED, scores).max((2, 3))  # the best of other videos
    metrics = {
        "accuracy": _rate(own.argmax(2) == target),
        "video_accuracy": _rate(right > others),
    }
    if target.shape[1] > 1:
        among = jnp.where(hidden[:, None], own, MASKED)
        metrics["hidden_accuracy"] = _rate(among.argmax(2) == target)
    return loss, metrics


def neighbours(features: Float[Array, "b n d"], target: Int[Array, "b m"]) -> Metrics:
    """How often hidden steps are found by the mean of what was seen next to them, by cosine.

    Of each hidden step these are the nearest steps before and after it that are not hidden; at an
    end there is one. A baseline: a network that only interpolates reaches it. All steps are rivals,
    as in `masked_nce`, those that the mean is made of, too: they are hard to tell from it.

    Returns:
      {'neighbours_accuracy', and where several are hidden 'hidden_neighbours_accuracy'}: what
      'accuracy' and 'hidden_accuracy' of `masked_nce` have to be held against.
    """
    x, n = unit(features), features.shape[1]
    steps, wanted = jnp.arange(n), target[..., None]
    hidden = (steps == wanted).any(1)  # (b n)
    seen = ~hidden[:, None]
    before = jnp.where(seen & (steps < wanted), steps, -1).max(2)
    after = jnp.where(seen & (steps > wanted), steps, n).min(2)
    places = jnp.stack([before, after], axis=-1)  # (b m 2)
    there = (places >= 0) & (places < n)
    near = jax.vmap(lambda rows, numbers: rows[numbers])(x, places.clip(0, n - 1))
    mean = (near * there[..., None]).sum(2)
    scores = jnp.einsum("bmd,bnd->bmn", mean, x, precision=jax.lax.Precision.HIGHEST)
    metrics = {"neighbours_accuracy": _rate(scores.argmax(2) == target)}
    if target.shape[1] > 1:
        among = jnp.where(hidden[:, None], scores, MASKED)
        metrics["hidden_neighbours_accuracy"] = _rate(among.argmax(2) == target)
    return metrics


def _rate(hits: Bool[Array, "b m"]) -> Float[Array, ""]:
    return jnp.mean(hits.astype(jnp.float32))
