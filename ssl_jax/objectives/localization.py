"""Where in an image is what is heard: matches by the best of all places."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

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
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """AVOL-Net's loss (Arandjelovic, Zisserman 2018): a match is as likely as its likeliest place.

    A sigmoid makes a probability of each place's logit. One place of a matching pair must answer,
    and none of the other pair.

    Returns:
      The mean cross-entropy over the b matching and the b other pairs, and {'accuracy' over them,
      'own' and 'other': the mean probability over all places; if the maps collapse to a constant,
      these are equal}.
    """
    own_map, other_map = (place_logits(places, x, scale, bias) for x in (own, other))
    best, worst = own_map.max((1, 2)), other_map.max((1, 2))
    loss = (jnp.mean(jax.nn.softplus(-best)) + jnp.mean(jax.nn.softplus(worst))) / 2
    hits = (jnp.mean((best > 0) * 1.0) + jnp.mean((worst <= 0) * 1.0)) / 2
    means = {"own": own_map, "other": other_map}
    return loss, {"accuracy": hits, **{k: jnp.mean(jax.nn.sigmoid(v)) for k, v in means.items()}}
