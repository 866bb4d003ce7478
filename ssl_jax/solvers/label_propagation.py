"""Labels of a video's first frame carried on to the next ones, by similarity of features.

Vondrick et al. 2018 (Tracking Emerges by Colorizing Videos), Jabri et al. 2020 (CRW), Caron et al.
2021 (DINO). Each position of a frame takes the labels of the positions in earlier frames that
resemble it most, averaged with weights exp(cosine / temperature).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from ssl_jax.config import ConfigError


def propagate(
    features: Float[np.ndarray, "t h w c"],
    first: Float[np.ndarray, "h w k"],
    context: int = 7,
    radius: int = 12,
    top: int = 5,
    temperature: float = 0.1,
    first_everywhere: bool = False,
    cosine: bool = True,
) -> Float[np.ndarray, "t h w k"]:
    """Soft labels of every frame; those of the first are given.

    Labels found stay soft as they are handed on. Positions whose features are zero resemble all.

    Args:
      context: so many frames before the present one are looked at, and the first one always.
      radius: positions farther than so many cells, up, down or aside, are not looked at.
      top: of all positions in all these frames so many count; more where the last of them has
        equals.
      temperature: of the weights.
      first_everywhere: the radius does not hold for the first frame (as in CRW).
      cosine: False: weights are exp(scalar product / temperature), for features whose length was
        learnt too (tracking by colorizing).

    Raises:
      ConfigError: knobs below what makes sense.
      FloatingPointError: features that are not finite.
    """
    if not np.isfinite(features).all():
        raise FloatingPointError("features are NaN or infinite; has training diverged?")
    if min(context, radius) < 0 or top < 1 or not temperature > 0:
        raise ConfigError(
            f"context={context} and radius={radius} must be at least 0, top={top} at least 1, "
            f"temperature={temperature} above 0"
        )
    lengths = np.linalg.norm(features, axis=-1, keepdims=True) if cosine else np.ones(1)
    units = jnp.asarray(features / np.where(lengths > 0, lengths, 1), jnp.float32)
    labels = [jnp.asarray(first, jnp.float32)]
    for number in range(1, len(features)):
        # The same number of slots for all frames, so that it compiles once; empty ones hold the
        # first frame and do not count.
        slots = [0, *range(number - context, number)]
        exists = np.array([slot > 0 or place == 0 for place, slot in enumerate(slots)])
        slots = [max(slot, 0) for slot in slots]
        labels.append(
            _step(
                units[number],
                units[np.array(slots)],
                jnp.stack([labels[slot] for slot in slots]),
                exists,
                temperature,
                radius,
                top,
                first_everywhere,
            )
        )
    return np.asarray(jnp.stack(labels))


@functools.partial(jax.jit, static_argnames=("radius", "top", "first_everywhere"))
def _step(
    target: Float[Array, "h w c"],
    context: Float[Array, "s h w c"],
    labels: Float[Array, "s h w k"],
    exists: Bool[Array, "s"],
    temperature: Float[Array, ""],
    radius: int,
    top: int,
    first_everywhere: bool,
) -> Float[Array, "h w k"]:
    """Labels of one frame from those of its context, one row of positions after another."""
    _, h, w, _ = context.shape
    reach = min(radius, h - 1)
    near = jnp.abs(jnp.arange(w)[:, None] - jnp.arange(w)) <= radius  # target column, column
    # Rows beyond the image, so that the same number of rows is looked at everywhere.
    pad = ((0, 0), (reach, reach), (0, 0), (0, 0))
    context, labels = jnp.pad(context, pad), jnp.pad(labels, pad)

    def candidates(y):
        """Frames and rows of `context` to look at, their labels, and which positions count."""
        rows = lax.dynamic_slice_in_dim(context, y, 2 * reach + 1, axis=1)
        marks = lax.dynamic_slice_in_dim(labels, y, 2 * reach + 1, axis=1)
        inside = jnp.abs(jnp.arange(2 * reach + 1) + y - reach - (h - 1) / 2) <= (h - 1) / 2
        allowed = exists[:, None] & inside[None]
        if first_everywhere:
            allowed = allowed.at[0].set(False)
        allowed = allowed[None, :, :, None] & near[:, None, None, :]
        return rows.reshape(-1, context.shape[-1]), marks.reshape(-1, labels.shape[-1]), allowed

    def row(y):
        rows, marks, allowed = candidates(y)
        allowed = allowed.reshape(w, -1)
        if first_everywhere:
            begin = context[0, reach : reach + h].reshape(h * w, -1)
            rows = jnp.concatenate([begin, rows])
            marks = jnp.concatenate([labels[0, reach : reach + h].reshape(h * w, -1), marks])
            allowed = jnp.concatenate([jnp.ones((w, h * w), bool), allowed], axis=1)
        cosine = jnp.matmul(target[y], rows.T, precision="highest")
        cosine = jnp.where(allowed, cosine, -jnp.inf)
        best = lax.top_k(cosine, min(top, cosine.shape[1]))[0]
        # Minimum and maximum, not the last and first of them: XLA's CPU backend would merge those
        # slices with the one that top_k is, and sort everything, a hundred times slower.
        last, largest = best.min(axis=1, keepdims=True), best.max(axis=1, keepdims=True)
        # Fewer positions than `top` may count: then -inf is the last, and all that count do.
        chosen = allowed & (cosine >= last)
        weights = jnp.where(chosen, jnp.exp((cosine - largest) / temperature), 0.0)
        weights = weights / weights.sum(axis=1, keepdims=True)
        return jnp.matmul(weights, marks, precision="highest")

    return lax.map(row, jnp.arange(h))
