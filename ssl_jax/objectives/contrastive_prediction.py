"""The objective of Contrastive Predictive Coding: a prediction picks what comes among negatives."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from ssl_jax.config import ConfigError
from ssl_jax.objectives.log_sums import MASKED, products

Metrics = dict[str, Float[Array, ""]]

# Whose latents a prediction is compared with.
NEGATIVES = ("own", "others", "batch", "speaker")


def contrastive_prediction(
    predicted: Float[Array, "b t n d"],
    latents: Float[Array, "b s d"],
    negatives: str = "batch",
    mean: bool = False,
    local: int = 0,
    speakers: Int[Array, "b"] | None = None,
    draws: int = 0,
    seeds: UInt32[Array, "b"] | None = None,
) -> tuple[Float[Array, ""], Metrics]:
    """InfoNCE over time (van den Oord, Li and Vinyals 2018).

    The k-th of n predictions at step t of a sequence is to pick its latent z_{t+k}, by the score
    f = prediction . z, among that and negatives:

        loss = mean_{b,t,k} [log(exp f(z_{t+k}) + sum_j exp f(z_j)) - f(z_{t+k})]

    s = t + n: predictions are made where all n latents are there. Equal scores give the logarithm
    of 1 + the number of negatives.

    Args:
      negatives: latents of the 'own' sequence, of all 'others', of the whole 'batch', or of all
        sequences of the same 'speaker', the own one too. The latent to be picked is none of them.
      mean: the score is the product's mean over the d channels; False: the sum.
      local: sequences meet within groups of so many, as if each group were on a device of its own;
        0: all.
      speakers: a number for who speaks, of each sequence; for 'speaker'.
      draws: so many negatives for each prediction, with replacement: any of the sequences that
        `negatives` allows, and in it any time but t + k. 0: all negatives.
      seeds: of the draws, one for each sequence.

    Returns:
      The loss, and {'accuracy': how often the right latent has the highest score; 'below_k': the
      share of negatives that are scored lower than the right one, of the k-th prediction, an equal
      score being half}.

    Raises:
      ConfigError: local does not divide b, or 'others' of a single sequence.
    """
    b, _, n, d = predicted.shape
    rows = 1 if negatives == "own" else local or b
    if b % rows:
        raise ConfigError(f"local={local} sequences that meet must divide the batch of {b}")
    if negatives == "others" and rows < 2:
        raise ConfigError("negatives='others' needs two sequences or more that meet")
    predicted = predicted.astype(jnp.float32) / (d if mean else 1)

    def grouped(x: Array) -> Array:
        return x.reshape(b // rows, rows, *x.shape[1:])

    who = jnp.zeros(b, jnp.int32) if speakers is None else speakers
    allowed = jax.vmap(lambda own: _allowed(negatives, own))(grouped(who))
    seeds = grouped(jnp.zeros(b, jnp.uint32) if seeds is None else seeds)
    queries, keys = grouped(predicted), grouped(latents.astype(jnp.float32))

    # One prediction after the other, whose scores are made again on the way back: there are
    # (b t) * (b s) of each.
    @jax.checkpoint
    def of_step(k: Array) -> tuple[Array, Array, Array]:
        def of_group(queries, keys, allowed, seeds):
            return _of_group(queries[:, :, k], keys, allowed, seeds, k, draws)

        return jax.vmap(of_group)(queries, keys, allowed, seeds)

    losses, hits, below = jax.lax.map(of_step, jnp.arange(n))
    below = below.mean((1, 2, 3))
    shares = {f"below_{k}": below[k - 1] for k in range(1, n + 1)}
    return losses.mean(), {"accuracy": hits.mean(), **shares}


def _allowed(negatives: str, speakers: Int[Array, "r"]) -> Bool[Array, "r r"]:
    """Whether a sequence (first axis) has negatives in another."""
    same = jnp.eye(len(speakers), dtype=bool)
    if negatives == "others":
        return ~same
    if negatives == "speaker":
        return speakers[:, None] == speakers
    return jnp.ones_like(same)


def _of_group(
    queries: Float[Array, "r t d"],
    keys: Float[Array, "r s d"],
    allowed: Bool[Array, "r r"],
    seeds: UInt32[Array, "r"],
    k: Int[Array, ""],
    draws: int,
) -> tuple[Float[Array, "r t"], Float[Array, "r t"], Float[Array, "r t"]]:
    """Loss, hit and share of negatives below, of the prediction number k, from 0."""
    (r, t, d), s = queries.shape, keys.shape[1]
    scores = products(queries.reshape(-1, d), keys.reshape(-1, d)).reshape(r, t, r * s)
    right = jnp.arange(t) + k + 1  # which step is to be picked
    place = jnp.arange(r)[:, None] * s + right
    own = jnp.take_along_axis(scores, place[..., None], axis=2)
    if draws:
        drawn = _drawn(seeds, allowed, right, s, draws, k)
        rivals = jnp.take_along_axis(scores, drawn, axis=2)
        there = jnp.ones(rivals.shape, bool)
    else:
        rivals = scores
        there = jnp.repeat(allowed, s, axis=1)[:, None] & (jnp.arange(r * s) != place[..., None])
    masked = jnp.where(there, rivals, MASKED)
    loss = jnp.logaddexp(own[..., 0], jax.nn.logsumexp(masked, axis=2)) - own[..., 0]
    hit = (masked < own).all(2).astype(jnp.float32)
    lower = jnp.sum(there * ((rivals < own) + 0.5 * (rivals == own)), axis=2)
    return loss, hit, lower / jnp.maximum(there.sum(2), 1)


def _drawn(seeds, allowed, right, s: int, draws: int, k) -> Int[Array, "r t draws"]:
    """Places of negatives among the r * s latents."""
    t, counts = len(right), allowed.sum(1)
    first = jnp.argsort(~allowed, axis=1)  # those that are allowed come first

    def of_row(seed, rows, count):
        which, when = jax.random.split(jax.random.fold_in(jax.random.key(seed), k))
        row = rows[jax.random.randint(which, (t, draws), 0, count)]
        time = (right[:, None] + jax.random.randint(when, (t, draws), 1, s)) % s
        return row * s + time

    return jax.vmap(of_row)(seeds, first, counts)
