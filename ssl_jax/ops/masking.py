"""Which steps of a sequence are hidden: spans, as in wav2vec 2.0 (Baevski et al. 2020)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Shaped


def span_masks(
    random: jax.Array | np.random.Generator,
    lengths: Shaped[Array | np.ndarray, "b"],
    steps: int,
    share: float = 0.65,
    span: int = 10,
    least: int = 2,
) -> Bool[Array | np.ndarray, "b steps"]:
    """Spans of steps, which may overlap: on average .489 of long sequences, in runs of 14.6.

    A sequence of n steps has share * n / span spans, rounded up or down at random so that it is
    right on average, and at least `least`. Their starts are different steps, all equally likely,
    from which a whole span lies within the sequence. Of one that is shorter than a span and a step
    nothing is masked.

    On the host and on the device it is the same function of uniform random numbers.

    Args:
      random: a key: drawn on the device, within jit too; a generator: on the host.
      lengths: steps of each sequence, the others are padding and never masked.
      steps: of the padded sequences.
      share: about how many steps would be masked if spans did not overlap.
      span: steps.
      least: spans.
    """
    if isinstance(random, np.random.Generator):
        xp, ranks, rounding = np, random.random((len(lengths), steps)), random.random(len(lengths))
    else:
        xp, (key_ranks, key_rounding) = jnp, jax.random.split(random)
        ranks = jax.random.uniform(key_ranks, (len(lengths), steps))
        rounding = jax.random.uniform(key_rounding, (len(lengths),))
    count = xp.maximum(xp.floor(share * lengths / span + rounding), least)
    # Starts are the possible steps of the highest ranks.
    ranks = xp.where(xp.arange(steps) < (lengths - span)[:, None], ranks, -1.0)
    places = xp.argsort(xp.argsort(-ranks, axis=1), axis=1)
    starts = (places < count[:, None]) & (ranks >= 0)
    # A step is masked if a span began within the last `span` steps.
    begun = xp.cumsum(starts, axis=1)
    before = xp.pad(begun, ((0, 0), (span, 0)))[:, :steps]
    return begun > before


def expected_share(share: float = 0.65, span: int = 10) -> float:
    """Which part of a long sequence `span_masks` masks: 1 - (1 - share / span)^span."""
    return 1 - (1 - share / span) ** span


def masked_places(
    key: jax.Array, masked: Bool[Array, "b t"], count: int
) -> tuple[Int[Array, "b m"], Bool[Array, "b m"]]:
    """Of each row `count` masked steps in random order, and which of them are masked at all.

    Of a row with more, some are left out at random; where one has fewer, unmasked steps follow,
    which the second array tells.
    """
    ranks = jax.random.uniform(key, masked.shape) + masked
    places = jnp.argsort(-ranks, axis=1)[:, :count]
    return places.astype(jnp.int32), jnp.take_along_axis(masked, places, axis=1)


def others(key: jax.Array, counts: Int[Array, "b"], places: int, draws: int) -> Int[Array, "b m k"]:
    """For each of m places of each row, k others: numbers of the row's first `counts` places.

    Drawn with repetition, equally likely each, and never the place itself, unless there is no
    other.
    """
    drawn = jax.random.uniform(key, (len(counts), places, draws))
    found = jnp.floor(drawn * (counts - 1)[:, None, None]).astype(jnp.int32)
    # Rounding may give the number of others itself.
    found = jnp.clip(found, 0, jnp.maximum(counts - 2, 0)[:, None, None])
    return found + ((found >= jnp.arange(places)[:, None]) & (counts > 1)[:, None, None])
