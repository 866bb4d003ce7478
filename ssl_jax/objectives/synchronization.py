"""Whether what is heard is what is seen at the same time (Chung, Zisserman 2016)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ssl_jax.objectives.classification import classification
from ssl_jax.ops.unit import unit

Metrics = dict[str, Float[Array, ""]]
HIGHEST = jax.lax.Precision.HIGHEST  # an accelerator's default would round products to bfloat16


def margin_pairs(
    distance: Float[Array, "*n"], same: Int[Array, "*n"], margin: float
) -> Float[Array, ""]:
    """SyncNet's loss of pairs: mean of (same d^2 + (1 - same) max(margin - d, 0)^2) / 2.

    Args:
      distance: d, Euclidean, of embeddings of any length; the released margin, 20, is for such.
      same: 1 where both are of the same time.
    """
    distance, same = distance.astype(jnp.float32), same.astype(jnp.float32)
    apart = jnp.maximum(margin - distance, 0.0)
    return jnp.mean(same * distance**2 + (1.0 - same) * apart**2) / 2


def matches_within(
    distance: Float[Array, "b"], match: Int[Array, "b"], hard: Int[Array, "b"], margin: float
) -> tuple[Float[Array, ""], Metrics]:
    """AVTS' loss (Korbar et al. 2018): mean of match d^2 + (1 - match) max(margin - d, 0)^2.

    Args:
      distance: d, Euclidean.
      match: 1 where both are of the same moment.
      hard: 1 where they are of different moments of the same video.

    Returns the loss and {'accuracy': how often d is on the right side of half the margin, where a
    network without a clue puts an even chance; 'match', 'easy' and 'hard': the mean distances of
    matches, of different videos and of one, 0 where there are none}.
    """
    near = distance < margin / 2
    kinds = {"match": match, "easy": (1 - match) * (1 - hard), "hard": hard}
    means = {
        name: jnp.sum(distance * chosen) / jnp.maximum(jnp.sum(chosen), 1)
        for name, chosen in kinds.items()
    }
    accuracy = jnp.mean((near == (match == 1)).astype(jnp.float32))
    return 2 * margin_pairs(distance, match, margin), {"accuracy": accuracy, **means}


def aligned_or_shifted(
    aligned: Float[Array, "b"], shifted: Float[Array, "b"]
) -> tuple[Float[Array, ""], Metrics]:
    """Cross-entropy of logits that should be above 0 for aligned audio and below for shifted.

    Owens and Efros 2018. Returns the mean over all, and {'accuracy': the mean of that of the
    aligned and of the shifted, 'pairs': how often the aligned audio of a video has the larger logit
    of the two, 'below_ln2': by how many nats the loss is below ln 2, that of chance}.
    """
    loss = (jnp.mean(jax.nn.softplus(-aligned)) + jnp.mean(jax.nn.softplus(shifted))) / 2
    accuracy = (jnp.mean((aligned > 0) * 1.0) + jnp.mean((shifted <= 0) * 1.0)) / 2
    pairs = jnp.mean((jnp.sign(aligned - shifted) + 1) / 2)  # a tie is half right
    return loss, {"accuracy": accuracy, "pairs": pairs, "below_ln2": jnp.log(2.0) - loss}


def euclidean(a: Float[Array, "*n d"], b: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    """Distances in float32, with a slope at 0."""
    return jnp.sqrt(jnp.sum((a.astype(jnp.float32) - b.astype(jnp.float32)) ** 2, -1) + 1e-12)


def which_window(
    video: Float[Array, "b n d"],
    audio: Float[Array, "b n d"],
    scale: Float[Array, ""],
    bias: Float[Array, ""],
) -> tuple[Float[Array, ""], Metrics]:
    """For each window of a video, which of the same video's n windows of audio is its own?

    The multi-way form (Chung, Chung, Kang 2019): the softmax over scale * cosine + bias. Chance is
    1 / n.

    Returns the mean cross-entropy and {'accuracy'}.
    """
    v, a = unit(video), unit(audio)
    logits = scale * jnp.einsum("bnd,bmd->bnm", v, a, precision=HIGHEST) + bias
    own = jnp.broadcast_to(jnp.arange(video.shape[1]), video.shape[:2])
    return classification(logits, own)
