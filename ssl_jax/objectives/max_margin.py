"""Texts and clips of several videos: ranking by a margin, and by InfoNCE, with hard negatives.

Row (i, k) is pair k of video i. Other pairs of the same video are hard negatives: the same kitchen,
the same words. All compute in float32, on global arrays, and hold the similarities of all n pairs
with all n.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.objectives.log_sums import MASKED, products

Result = tuple[Float[Array, ""], dict[str, Float[Array, ""]]]


def pair_weights(videos: int, pairs: int, intra_video: float) -> Float[Array, "n n"]:
    """How much each entry of a matrix of all pairs with all pairs counts; its mean is 1.

    Entries within a video have together the share `intra_video` of all weight, those between videos
    the rest. With one pair a video, or one video, all count alike.
    """
    if videos == 1 or pairs == 1:
        return jnp.ones((videos * pairs, videos * pairs))
    between = (1 - intra_video) * videos / (videos - 1)
    same = jnp.eye(videos)
    return jnp.kron(same * videos * intra_video + (1 - same) * between, jnp.ones((pairs, pairs)))


def max_margin(
    clips: Float[Array, "b k d"],
    texts: Float[Array, "b k d"],
    margin: float = 0.1,
    intra_video: float = 0.5,
) -> Result:
    """HowTo100M's loss (Miech et al. 2019, released code).

        s_ij = text_i . clip_j
        loss = mean over i, j of w_ij ([margin + s_ij - s_ii]+ + [margin + s_ji - s_ii]+)

    The mean includes i = j, which adds a constant that no gradient sees: 2 margin / n where all
    weigh 1.

    Args:
      clips, texts: of length 1; row (i, k) of both belongs together.
      intra_video: share of the weight on pairs of the same video, see `pair_weights`; 0: none, and
        1: all of it.

    Returns:
      The loss, and {'accuracy': fraction of texts whose own clip is the most similar of all}.
    """
    similarities, accuracy = _similarities(clips, texts)
    own = jnp.diagonal(similarities)
    hinges = jax.nn.relu(margin + similarities - own[:, None])
    hinges += jax.nn.relu(margin + similarities - own[None])
    weights = pair_weights(*clips.shape[:2], intra_video)
    return jnp.mean(weights * hinges), {"accuracy": accuracy}


def intra_video_nce(
    clips: Float[Array, "b k d"],
    texts: Float[Array, "b k d"],
    temperature: float = 0.05,
    intra_video: bool = True,
) -> Result:
    """Symmetric InfoNCE over the same matrix: which clip does a text belong to, and the reverse?

    loss = mean_i [log sum_j exp(s_ij / t) + log sum_j exp(s_ji / t)] / 2 - s_ii / t

    Args:
      clips, texts: as for `max_margin`.
      temperature: t.
      intra_video: whether other pairs of the same video are in the sums.

    Returns:
      The loss, and {'accuracy': as above}.
    """
    similarities, accuracy = _similarities(clips, texts)
    logits = similarities / temperature
    own = jnp.diagonal(logits)
    if not intra_video:
        videos, pairs = clips.shape[:2]
        same = jnp.kron(jnp.eye(videos), jnp.ones((pairs, pairs))) - jnp.eye(videos * pairs)
        logits = jnp.where(same > 0, MASKED, logits)
    sums = jax.nn.logsumexp(logits, axis=1) + jax.nn.logsumexp(logits, axis=0)
    return jnp.mean(sums / 2 - own), {"accuracy": accuracy}


def _similarities(clips: Array, texts: Array) -> tuple[Float[Array, "n n"], Float[Array, ""]]:
    flat = (x.reshape(-1, x.shape[-1]) for x in (texts, clips))
    similarities = products(*flat)
    found = jnp.argmax(similarities, axis=1) == jnp.arange(len(similarities))
    return similarities, jnp.mean(found.astype(jnp.float32))
