"""Where in an image is what is heard: matches by the best of all places."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ssl_jax.ops.pooling import largest

HIGHEST = lax.Precision.HIGHEST  # an accelerator's default would round products to bfloat16


def place_logits(
    places: Float[Array, "b h w d"],
    sounds: Float[Array, "b d"],
    scale: Float[Array, ""],
    bias: Float[Array, ""],
) -> Float[Array, "b h w"]:
    """Of every place, whether it makes this sound: scale * <place, sound> + bias, in float32."""
    places, sounds = places.astype(jnp.float32), sounds.astype(jnp.float32)
    return scale * jnp.einsum("bhwd,bd->bhw", places, sounds, precision=HIGHEST) + bias


def match_at_best_place(
    places: Float[Array, "b h w d"],
    own: Float[Array, "b d"],
    other: Float[Array, "b d"],
    scale: Float[Array, ""],
    bias: Float[Array, ""],
    soft: bool = False,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """AVOL-Net's loss (Arandjelovic, Zisserman 2018): a match is as likely as its likeliest place.

    A sigmoid makes a probability of each place's logit. One place of a matching pair must answer,
    and none of the other pair.

    Args:
      soft: the pair's logit is the logarithm of the mean of all places' exponentials in place of
        the largest logit. With logits near 0 it is their mean, and the largest ones count more the
        farther they are from it (Pinheiro, Collobert 2015). A place that is never the best learns
        nothing from the maximum.

    Returns:
      The mean cross-entropy over the b matching and the b other pairs, and {'accuracy' over them,
      'own' and 'other': the mean probability over all places; if the maps collapse to a constant,
      these are equal}.
    """
    own_map, other_map = (place_logits(places, x, scale, bias) for x in (own, other))
    return _cross_entropy(own_map, other_map, jnp.ones(len(own)), soft)


def match_in_batch(
    places: Float[Array, "b h w d"],
    sounds: Float[Array, "b d"],
    scale: Float[Array, ""],
    bias: Float[Array, ""],
    soft: bool = False,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The same with every other row's audio as one that does not match; holds b * b maps.

    Matching pairs still make half of the loss. Returns as `match_at_best_place`.
    """
    places, sounds = places.astype(jnp.float32), sounds.astype(jnp.float32)
    maps = jnp.einsum("bhwd,nd->bnhw", places, sounds, precision=HIGHEST)
    own_map = place_logits(places, sounds, scale, bias)
    return _cross_entropy(own_map, scale * maps + bias, 1.0 - jnp.eye(len(sounds)), soft)


def _cross_entropy(
    own: Float[Array, "b h w"],
    other: Float[Array, "*n h w"],
    counted: Float[Array, "*n"],
    soft: bool,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Of the maps of matching pairs, and of those others that count."""
    best, worst = (_of_all_places(maps, soft) for maps in (own, other))

    def mean(values: Float[Array, "*n"]) -> Float[Array, ""]:
        return jnp.sum(values * counted) / jnp.sum(counted)

    loss = (jnp.mean(jax.nn.softplus(-best)) + mean(jax.nn.softplus(worst))) / 2
    hits = (jnp.mean((best > 0) * 1.0) + mean((worst <= 0) * 1.0)) / 2
    answers = {
        "own": jnp.mean(jax.nn.sigmoid(own)),
        "other": mean(jax.nn.sigmoid(other).mean((-2, -1))),
    }
    return loss, {"accuracy": hits, **answers}


def _of_all_places(maps: Float[Array, "*n h w"], soft: bool) -> Float[Array, "*n"]:
    flat = maps.reshape(*maps.shape[:-2], -1)
    if soft:
        return jax.nn.logsumexp(flat, axis=-1) - jnp.log(flat.shape[-1])
    return largest(flat, -1)
