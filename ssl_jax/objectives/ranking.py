"""Ranking of tracked patches: nearer to one's own later patch than to mined patches of others."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ssl_jax.ops.unit import unit


def ranking(
    first: Float[Array, "n d"],
    later: Float[Array, "n d"],
    chosen: Bool[Array, "n m"],
    negatives: int = 4,
    margin: float = 1.0,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Wang and Gupta's loss (2015, released code) on chosen negatives.

        d(a, b) = -cos(a, b)
        loss    = sum over pairs i and their chosen rows j of
                  [max(0, d(first_i, later_i) - d(first_i, row_j) + margin)
                 + max(0, d(first_i, later_i) - d(later_i, row_j) + margin)] / (2 negatives n)

    Args:
      first, later: row i of both are of one track.
      chosen: the negatives of each pair among the m = 2 n rows, those of `first` before those of
        `later`; see `mined`.
      negatives: what the sum is divided by, however many were chosen.

    Returns:
      The loss, and {'accuracy': fraction of pairs whose first patch is nearer to its later one than
      to any row of another pair}.
    """
    pair, from_first, from_later = _distances(first, later)
    hinges = sum(jax.nn.relu(pair[:, None] - d + margin) for d in (from_first, from_later))
    loss = jnp.sum(jnp.where(chosen, hinges, 0.0)) / (2 * negatives * len(first))
    nearest = jnp.min(jnp.where(_others(len(first)), from_first, jnp.inf), axis=1)
    return loss, {"accuracy": jnp.mean((pair < nearest).astype(jnp.float32))}


def mined(
    first: Float[Array, "n d"],
    later: Float[Array, "n d"],
    draws: Float[Array, "n 2 m"],
    hard: Int[Array, ""] | int,
    negatives: int = 4,
    margin: float = 1.0,
) -> Bool[Array, "n m"]:
    """The negatives of each pair among all rows of others, those of `first` before `later`'s.

    Candidates violate the margin as seen from the first patch: d(first_i, later_i) - d(first_i, j)
    + margin > 0. Of the nearest ones, as many as `negatives`, `hard` are drawn; the rest of all
    candidates that are left. Where there are no more candidates than `negatives`, all are taken.
    No gradient passes through.

    Args:
      draws: random numbers in 0..1 that decide.
      hard: how many of the negatives; the authors' code: none at first, then half of them.
    """
    pair, distances, _ = jax.lax.stop_gradient(_distances(first, later))
    candidates = _others(len(first)) & (pair[:, None] - distances + margin > 0)
    nearest = candidates & (_places(jnp.where(candidates, distances, jnp.inf)) < negatives)
    near = nearest & (_places(jnp.where(nearest, draws[:, 0], jnp.inf)) < hard)
    left = candidates & ~near
    return near | (left & (_places(jnp.where(left, draws[:, 1], jnp.inf)) < negatives - hard))


def _places(values: Float[Array, "n m"]) -> Int[Array, "n m"]:
    """The place of each value in the ascending order of its row, from 0."""
    return jnp.argsort(jnp.argsort(values, axis=1), axis=1)


def _others(count: int) -> Bool[Array, "n m"]:
    """Which rows are of another pair."""
    return jnp.arange(count)[:, None] != jnp.tile(jnp.arange(count), 2)


def _distances(
    first: Float[Array, "n d"], later: Float[Array, "n d"]
) -> tuple[Float[Array, "n"], Float[Array, "n m"], Float[Array, "n m"]]:
    """Within each pair, and from its first and its later patch to all rows."""
    first, later = unit(first), unit(later)
    rows = jnp.concatenate([first, later])
    exact = jax.lax.Precision.HIGHEST
    to_rows = (-jnp.matmul(x, rows.T, precision=exact) for x in (first, later))
    return -jnp.sum(first * later, axis=-1), *to_rows
