"""Copying by pointing: what stands at a place of one frame, taken from similar places of others."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

Metrics = dict[str, Float[Array, ""]]


def copied(
    references: Float[Array, "b r h w d"],
    target: Float[Array, "b h w d"],
    colours: Int[Array, "b r h w"],
    classes: int,
    radius: int = 0,
    temperature: float = 1.0,
) -> Float[Array, "b h w k"]:
    """The colours of a frame, copied from its references (Vondrick et al. 2018).

        A_ij    = softmax over places i of all references of f_i . f_j / temperature
        c_hat_j = sum_i A_ij onehot(c_i),   a distribution over the k colours

    Features are compared as they are, not at unit length: their length acts as a confidence.
    Everything is computed in float32; memory grows with r (h w)^2.

    Args:
      colours: of the places of the references, from 0 to classes - 1.
      radius: places farther than so many cells, up, down or aside, are not looked at, as in
        CorrFlow (Lai and Xie 2019); 0: all are.
    """
    b, r, h, w, d = references.shape
    f_i = references.reshape(b, r * h * w, d).astype(jnp.float32)
    f_j = target.reshape(b, h * w, d).astype(jnp.float32)
    similar = jnp.einsum("bjd,bid->bji", f_j, f_i, precision=lax.Precision.HIGHEST) / temperature
    if radius:
        similar = jnp.where(jnp.tile(_near(h, w, radius), (1, r)), similar, -jnp.inf)
    marks = jax.nn.one_hot(colours.reshape(b, -1), classes)
    share = jax.nn.softmax(similar, axis=-1)
    found = jnp.matmul(share, marks, precision=lax.Precision.HIGHEST)
    return found.reshape(b, h, w, classes)


def pointing(
    probabilities: Float[Array, "b h w k"],
    colours: Int[Array, "b h w"],
    before: Int[Array, "b h w"],
    eps: float = 1e-6,
) -> tuple[Float[Array, ""], Metrics]:
    """Mean of -log(c_hat_j[c_j] + eps): the probability that the true colour was copied.

    c_hat is a distribution already. Taken for logits, as a public port does, the loss of a perfect
    copy of 16 colours would be 1.87 and not 0.

    Args:
      probabilities: c_hat of `copied`.
      colours: the true ones.
      before: the colours of the last reference; to copy from the same place is the answer of a
        network that follows nothing.

    Returns:
      The loss, and {'accuracy': share of places whose likeliest colour is the true one,
      'same_place': that of copying from the same place, 'moved': the accuracy where that is wrong}.
    """
    true = jnp.take_along_axis(probabilities, colours[..., None], axis=-1)[..., 0]
    hits = (jnp.argmax(probabilities, axis=-1) == colours).astype(jnp.float32)
    changed = (before != colours).astype(jnp.float32)
    moved = jnp.sum(hits * changed) / jnp.maximum(jnp.sum(changed), 1)
    metrics = {"accuracy": jnp.mean(hits), "same_place": 1 - jnp.mean(changed), "moved": moved}
    return -jnp.mean(jnp.log(true + eps)), metrics


def _near(h: int, w: int, radius: int) -> Bool[Array, "n n"]:
    """Which cells of an (h w) map lie within the radius of which."""
    y, x = (v.ravel() for v in jnp.mgrid[:h, :w])
    far = jnp.maximum(jnp.abs(y[:, None] - y), jnp.abs(x[:, None] - x))
    return far <= radius
