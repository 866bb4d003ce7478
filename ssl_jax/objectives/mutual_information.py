"""Mutual information of a code and the parts of an image, estimated from scores of pairs.

Deep InfoMax (Hjelm et al. 2019). scores[i, j, l] says how well the code of image i goes with part l
of image j: pairs with i = j are positive, all others negative. Every estimator is a loss: the less,
the more information. Scores that are all 0 give `jsd` and `dv` 0, and `nce` about log(1 + (n-1) l).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.objectives.log_sums import products

Scores = Float[Array, "n n l"]


def dot_scores(codes: Float[Array, "n d"], parts: Float[Array, "n l d"]) -> Scores:
    """Scalar products of all codes with all parts."""
    n, places, size = parts.shape
    return products(codes, parts.reshape(-1, size)).reshape(n, n, places)


def concat_scores(
    codes: Float[Array, "n d"],
    parts: Float[Array, "n l d"],
    kernel: Float[Array, "d d"],
    bias: Float[Array, "d"],
    out: Float[Array, "d"],
    offset: Float[Array, ""],
) -> Scores:
    """Scores of a network of two hidden layers that takes a code and a part side by side.

        relu(relu(code + part) kernel + bias) out + offset

    Args:
      codes, parts: what each adds to the first hidden layer, its bias included.

    One place after the other, and again on the way back: n^2 l pairs at once would fill a device.
    """

    @jax.checkpoint
    def at_a_place(own: Float[Array, "n d"]) -> Float[Array, "n n"]:
        first = jax.nn.relu(codes[:, None] + own)
        return jax.nn.relu(first @ kernel + bias) @ out + offset

    return jnp.moveaxis(jax.lax.map(at_a_place, jnp.moveaxis(parts, 1, 0)), 0, 2)


def jsd(scores: Scores) -> Float[Array, ""]:
    """Of the Jensen-Shannon divergence: negatives' softplus(u) + positives' softplus(-u) - 2 log 2.

    Means over pairs. It falls towards -2 log 2 = -1.386 as the two kinds become separable.
    """
    positive = jnp.mean(jax.nn.softplus(-_own(scores)))
    return _over_negatives(jax.nn.softplus(scores)) + positive - 2 * jnp.log(2.0)


def nce(scores: Scores, own: float = -10.0) -> Float[Array, ""]:
    """InfoNCE: each part of an image against all parts of all other images, for its code.

    Mean over i and l of -log softmax of u[i, i, l] among itself and u[i, j, :] for all j.

    Args:
      own: the scores put in place of those with j = i there; the authors' -10 still counts a
        little, -inf would not.
    """
    n, _, places = scores.shape
    negatives = jnp.where(_diagonal(n), own, scores).reshape(n, n * places)
    rest = jax.nn.logsumexp(negatives, axis=1, keepdims=True)
    positives = _own(scores)
    return jnp.mean(jnp.logaddexp(positives, rest) - positives)


def dv(scores: Scores) -> Float[Array, ""]:
    """Of the Donsker-Varadhan bound: log of the negatives' mean exp(u) - mean of the positives' u.

    Its negative is a lower bound of the information in nats, with a large variance.
    """
    n, _, places = scores.shape
    negatives = jnp.where(_diagonal(n), -jnp.inf, scores)
    count = n * (n - 1) * places
    return jax.nn.logsumexp(negatives) - jnp.log(float(count)) - jnp.mean(_own(scores))


ESTIMATORS = {"jsd": jsd, "nce": nce, "dv": dv}


def found_share(scores: Scores) -> Float[Array, ""]:
    """How often a code scores its own image's parts, on average, highest of all images'."""
    means = jnp.mean(scores, axis=2)
    return jnp.mean((jnp.argmax(means, axis=1) == jnp.arange(len(means))).astype(jnp.float32))


def _own(scores: Scores) -> Float[Array, "n l"]:
    """Of the positive pairs."""
    if len(scores) < 2:
        raise ConfigError("mutual information: a batch of one image has no negative pairs")
    return jnp.diagonal(scores).T


def _over_negatives(values: Scores) -> Float[Array, ""]:
    n, _, places = values.shape
    return jnp.sum(jnp.where(_diagonal(n), 0.0, values)) / (n * (n - 1) * places)


def _diagonal(n: int) -> Array:
    return jnp.eye(n, dtype=bool)[:, :, None]
