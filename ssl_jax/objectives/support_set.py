"""Support sets: a caption is written from clips of other videos, and ranked above its rivals.

Patrick, Huang, Asano et al. 2021. All compute in float32, on global arrays, and hold the products
of all captions with all clips.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.objectives.log_sums import MASKED, products

MODES = ("identity", "full", "cross", "hybrid")
NOBODY = -1  # the video of an empty place


def support_weights(
    queries: Float[Array, "b d"],
    keys: Float[Array, "m d"],
    videos: Int[Array, "m"],
    mode: str = "cross",
    temperature: float = 0.1,
) -> Float[Array, "b m"]:
    """How much of each clip of the support set a caption is written from.

        identity_ij = 1 if j = i, 0 otherwise
        full_ij     = softmax_j (query_i . key_j / t)
        cross_ij    = the same, over the clips of other videos alone
        hybrid_ij   = (identity_ij + full_ij) / 2

    Clips that are left out are so before the softmax: they have no weight and get no gradient. A
    row sums to 1; of 'cross' it is 0 where no clip is of another video.

    Args:
      queries: embeddings of the captions.
      keys: of the clips, first those of the captions in their order, then others.
      videos: which video each clip is of; `NOBODY`: the place is empty.
      temperature: t.

    Raises ConfigError for an unknown mode, and for 'cross' of a single clip.
    """
    if mode not in MODES:
        raise ConfigError(f"support set: mode is one of {', '.join(MODES)}, not {mode!r}")
    if mode == "cross" and len(keys) == 1:
        raise ConfigError("support set: batch_size=1 leaves mode='cross' no other video; raise it")
    identity = jnp.eye(len(queries), len(keys))
    if mode == "identity":
        return identity
    own = videos[: len(queries), None]
    left = videos != NOBODY
    left = left & (videos != own) if mode == "cross" else jnp.broadcast_to(left, identity.shape)
    logits = jnp.where(left, products(queries, keys) / temperature, MASKED)
    weights = jnp.where(left, jax.nn.softmax(logits, axis=1), 0.0)
    return (identity + weights) / 2 if mode == "hybrid" else weights


def support(
    queries: Float[Array, "b d"],
    clips: dict[str, Array],
    mode: str = "cross",
    temperature: float = 0.1,
) -> Float[Array, "b w"]:
    """What every caption is written from: the clips' values, weighed by `support_weights`.

    Args:
      clips: 'keys' (m d) and 'videos' (m), as there, and 'values' (m w).
    """
    weights = support_weights(queries, clips["keys"], clips["videos"], mode, temperature)
    return products(weights, clips["values"].T)


def empty_bank(places: int, width: int, value_width: int) -> dict[str, Array]:
    """Clips of a support set of which there are none yet."""
    return {
        "keys": jnp.zeros((places, width)),
        "values": jnp.zeros((places, value_width)),
        "videos": jnp.full(places, NOBODY, jnp.int32),
    }


def joined(clips: dict[str, Array], bank: dict[str, Array]) -> dict[str, Array]:
    """The clips of a batch, and after them those of earlier ones, the latest first."""
    return jax.tree.map(lambda new, old: jnp.concatenate([new, old]), clips, bank)


def hardest_margin(
    clips: Float[Array, "b d"],
    texts: Float[Array, "b d"],
    alike: Bool[Array, "b b"],
    margin: float = 0.2,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The margin to the hardest rival of the batch, both ways (Faghri et al. 2018, VSE++).

        s_ij = text_i . clip_j
        loss = mean_i [margin + max_j s_ij - s_ii]+ + [margin + max_j s_ji - s_ii]+

    Args:
      clips, texts: row i of both belongs together.
      alike: pairs that are no rivals, such as clips of one video; nothing is its own rival.

    Returns:
      The loss, and {'accuracy': fraction of texts that are nearer to their own clip than to every
      rival}.
    """
    similarities = products(texts, clips)
    own = jnp.diagonal(similarities)
    alike = alike | jnp.eye(len(texts), dtype=bool)
    rivals = jnp.where(alike, MASKED, similarities)
    clip, text = (_hardest(x) for x in (rivals, rivals.T))
    hinges = jax.nn.relu(margin + clip - own) + jax.nn.relu(margin + text - own)
    return jnp.mean(hinges), {"accuracy": jnp.mean((own > clip).astype(jnp.float32))}


def _hardest(rivals: Float[Array, "b b"]) -> Float[Array, "b"]:
    # By its place: the gradient of a maximum compares it with values that XLA may have computed
    # again and a rounding apart.
    place = jnp.argmax(rivals, axis=1)[:, None]
    return jnp.take_along_axis(rivals, place, axis=1)[:, 0]
