"""Colour as classes: the 313 bins of Zhang, Isola and Efros (ECCV 2016), and losses on them.

A pixel's colour (a, b) is one of the colours that a screen can show, cut into squares of side 10.
Predicting a distribution over them, instead of one colour, lets a net say "red or green" without
answering brown.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.objectives.classification import classification
from ssl_jax.ops.colour import resize_corners, unit_rgb_to_lab

COLOURS = 313  # `ab_bins` of the papers' step
LIGHTNESS_BINS = 50  # of width 2, for predicting L (split-brain autoencoders)


@functools.cache
def ab_bins(step: int = 10) -> Float[np.ndarray, "k 2"]:
    """Centres of the bins of (a, b), ordered by a, then by b: 313 for the paper's step of 10.

    They are the points of the grid that lie no further than one step, along both axes, from the
    convex hull of all sRGB colours in the ab plane. The paper gives its bins as a file; this rule
    yields exactly these.
    """
    from scipy.spatial import ConvexHull

    # The faces of the RGB cube; what lies inside of it is less saturated.
    levels = np.linspace(0.0, 1.0, 52)
    u, v = (g.ravel() for g in np.meshgrid(levels, levels))
    faces = [
        np.insert(np.stack([u, v], axis=1), axis, side, axis=1)
        for axis in range(3)
        for side in (0.0, 1.0)
    ]
    colours = unit_rgb_to_lab(np.concatenate(faces), np)[:, 1:]
    hull = ConvexHull(colours)
    # A hull widened by a square has the hull's edges, each moved outwards, and the square's.
    normals, offsets = hull.equations[:, :2], hull.equations[:, 2]
    axes = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    normals = np.concatenate([normals, axes])
    offsets = np.concatenate([offsets, -(colours @ axes.T).max(axis=0)])
    reach = offsets - step * np.abs(normals).sum(axis=1)
    ticks = np.arange(-(200 // step), 200 // step + 1) * step
    grid = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    inside = (grid @ normals.T + reach <= 0).all(axis=1)
    return grid[inside].astype(np.float32)


def nearest_bin(ab: Float[Array, "*n 2"]) -> Int[Array, "*n"]:
    """The bin whose centre is nearest to each colour; the lowest number of equals."""
    return jnp.argmin(_squared_distances(ab), axis=-1)


def soft_bins(
    ab: Float[Array, "*n 2"], neighbours: int = 5, sigma: float = 5.0
) -> Float[Array, "*n k"]:
    """Each colour as a distribution over the bins, of which its nearest ones have a share.

    The share of a bin at distance d is proportional to exp(-d^2 / (2 sigma^2)); shares sum to 1. Of
    bins at equal distance those of lowest number are taken. The paper takes 5 neighbours, the
    released code 10.
    """
    distances = _squared_distances(ab)
    bins = jnp.arange(distances.shape[-1])
    near = jnp.zeros(distances.shape, bool)
    for _ in range(neighbours):  # on CPU ten times as fast as sorting all of them
        best = jnp.argmin(jnp.where(near, jnp.inf, distances), axis=-1)
        near = near | (bins == best[..., None])
    return jax.nn.softmax(-distances / (2 * sigma**2), axis=-1, where=near)


def rebalancing(prior: Float[Array, "k"], uniform: float = 0.5) -> Float[Array, "k"]:
    """Weights that make rare colours count: w ~ 1 / ((1 - uniform) prior + uniform / k).

    Scaled so that the mean weight under the prior is 1. `uniform` = 1 weighs all alike. A colour
    that the prior has never seen gets the largest weight, which is finite.

    Raises:
      ConfigError: `uniform` outside of (0, 1].
    """
    if not 0 < uniform <= 1:
        raise ConfigError(f"rebalancing: uniform={uniform} must be above 0 and at most 1")
    weights = 1 / ((1 - uniform) * prior + uniform / len(prior))
    return weights / jnp.sum(prior * weights)


def colour_cross_entropy(
    logits: Float[Array, "b h w k"],
    ab: Float[Array, "b h w 2"],
    weights: Float[Array, "k"],
    neighbours: int = 5,
    sigma: float = 5.0,
    least_colour: float = 5.0,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Mean over pixels of w * cross-entropy against the soft-encoded colour, in nats.

    w is the weight of the pixel's nearest bin, and 0 in images without colour, those in which no
    |a| or |b| exceeds `least_colour`: they would teach that everything may be grey. Chance is
    log 313 = 5.746, as weights have a mean of 1.

    Returns:
      The loss, and {'accuracy': fraction of pixels whose largest logit is the nearest bin's}.
    """
    target = soft_bins(ab, neighbours, sigma)
    entropies = -jnp.sum(target * jax.nn.log_softmax(logits.astype(jnp.float32)), axis=-1)
    nearest = jnp.argmax(target, axis=-1)
    coloured = jnp.any(jnp.abs(ab) > least_colour, axis=(1, 2, 3))
    weight = weights[nearest] * coloured[:, None, None]
    hits = jnp.argmax(logits, axis=-1) == nearest
    return jnp.mean(weight * entropies), {"accuracy": jnp.mean(hits.astype(jnp.float32))}


def annealed_mean(logits: Float[Array, "*n k"], temperature: float = 0.38) -> Float[Array, "*n 2"]:
    """The colour (a, b) of a predicted distribution: the bins' mean under softmax(logits / T).

    T = 1 is the mean, pale where several colours are likely; T -> 0 is the likeliest bin, vivid
    and spotty. The paper takes 0.38 (the released net 1 / 2.606).
    """
    likely = jax.nn.softmax(logits.astype(jnp.float32) / temperature, axis=-1)
    return jnp.matmul(likely, jnp.asarray(ab_bins()), precision=lax.Precision.HIGHEST)


def lightness_bin(lightness: Float[Array, "*n"]) -> Int[Array, "*n"]:
    """L of 0..100 as one of 50 classes of width 2; L = 100 belongs to the last."""
    numbers = jnp.floor(lightness * (LIGHTNESS_BINS / 100)).astype(jnp.int32)
    return jnp.clip(numbers, 0, LIGHTNESS_BINS - 1)


def channel_classification(logits: Float[Array, "b h w k"], target: Float[Array, "b h w c"]):
    """Cross-entropy of the nearest bin of ab (2 channels), or of the bin of L (1 channel).

    Split-brain autoencoders (Zhang, Isola and Efros 2017): one-hot targets, all weighed alike.

    Returns:
      The loss, and {'accuracy'}, as `classification`. Chance is log 313 = 5.746, log 50 = 3.912.
    """
    labels = nearest_bin(target) if target.shape[-1] == 2 else lightness_bin(target[..., 0])
    return classification(logits, labels)


def channel_regression(
    outputs: Float[Array, "b h w c"], target: Float[Array, "b h w c"], unit: float = 50.0
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Squared error of Lab channels, summed over channels, mean over pixels.

    Args:
      outputs: predictions, in multiples of `unit`, so that a net's outputs are near 1.
      target: channels in Lab units; L is taken less 50, so that it is centred as a and b are.

    Returns:
      The loss, in units of `unit` squared, and {'error': its root in Lab units}.
    """
    centred = target - 50.0 if target.shape[-1] == 1 else target
    loss = jnp.mean(jnp.sum((outputs.astype(jnp.float32) - centred / unit) ** 2, axis=-1))
    return loss, {"error": unit * jnp.sqrt(loss)}


def fit_map(outputs: Float[Array, "b h w k"], target: Float[Array, "b h2 w2 c"]):
    """The predicted map (float32) at the size of the target's, corner on corner."""
    if outputs.shape[1:3] == target.shape[1:3]:
        return outputs.astype(jnp.float32)
    return resize_corners(outputs, *target.shape[1:3])


def _squared_distances(ab: Float[Array, "*n 2"]) -> Float[Array, "*n k"]:
    """From every colour to every bin. No matrix product, whose rounding would swap neighbours."""
    away = ab.astype(jnp.float32)[..., None, :] - jnp.asarray(ab_bins())
    return jnp.sum(away**2, axis=-1)
