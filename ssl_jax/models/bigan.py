"""The three networks of a bidirectional GAN (Donahue et al. 2017), and who learns from what."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.models.heads import last

GAMES = ("pairs", "images")
Pair = tuple[Float[Array, "b h w c"], Float[Array, "b z"] | None]  # an image and a latent vector


class BiGAN(nn.Module):
    """Encoder (trunk and linear code), generator and discriminator.

    Returns logits of real and of generated pairs, once for each side of the game: 'judged',
    'fooled'. With game='images' also 'code', the encoder's logits of generated images.
    """

    vision: nn.Module
    generator: nn.Module
    discriminator: nn.Module
    size: int  # of the encoder's images
    latent: int
    game: str
    joint: float
    black: float

    def setup(self):
        # The regressor starts at log 2, the encoder of pairs with codes that differ.
        init = nn.initializers.normal(0.02 if self.game == "pairs" else 0.0)
        self.code = nn.Dense(self.latent, use_bias=False, kernel_init=init)

    def __call__(self, batch: dict[str, Array], train: bool) -> dict[str, tuple | Array]:
        images, latents = batch["vision"], batch["latent"]
        made, codes, found = self.draw(latents, train), None, {}
        if self.game == "pairs":
            codes = self.encode(images, train)
        else:
            latents, still = None, jax.lax.stop_gradient(made)
            found["code"] = self.logits(still + self.joint * (made - still), train)
        real = judge(self.discriminator, (self.seen(images), codes), "real", train)
        generated = judge(self.discriminator, (made, latents), "generated", train)
        judged, fooled = zip(real, generated, strict=True)
        return {**found, "judged": judged, "fooled": fooled}

    def logits(self, images: Array, train: bool) -> Array:
        features = last(self.vision(images, train)).astype(jnp.float32)
        return self.code(features.reshape(len(features), -1))

    def encode(self, images: Array, train: bool) -> Array:
        """E(x), in -1..1."""
        return latent_of(self.logits(images, train))

    def draw(self, latents: Array, train: bool) -> Array:
        """G(z), in the range of the networks' inputs."""
        return self.black + (1 - self.black) * self.generator(latents, train)

    def seen(self, images: Array) -> Array:
        """Images as the discriminator sees them: of the generator's size."""
        return resized(images, self.generator.image_shape[0])

    def reconstruction(self, batch: dict[str, Array], train: bool) -> dict[str, Array]:
        """Images and G(E(x)), in 0..1 and of the generator's size."""
        images = batch["vision"]
        back = self.draw(self.encode(images, train), train)
        return {"target": self.pixels(self.seen(images)), "image": self.pixels(back)}

    def generated(self, batch: dict[str, Array], train: bool) -> dict[str, Array]:
        """G(z), rounded to bytes as an image is, and G(E(G(z))), in 0..1."""
        made = jnp.round(255 * self.pixels(self.draw(batch["latent"], train))) / 255
        images = resized(self.black + (1 - self.black) * made, self.size)
        back = self.draw(self.encode(images, train), train)
        return {"target": made, "image": self.pixels(back)}

    def pixels(self, images: Array) -> Array:
        return (images - self.black) / (1 - self.black)


def judge(
    discriminator: nn.Module, pair: Pair, kind: str, train: bool
) -> tuple[Float[Array, "b"], Float[Array, "b"]]:
    """A pair's logits twice over, for the two sides of the game.

    Of the first the gradient stops at the pair, so that it trains the discriminator alone; of the
    second at the discriminator's weights, so that it trains what made the pair. The numbers are the
    same, and BN's running statistics move once.

    Args:
      discriminator: bound to its variables.
    """
    images, latents = pair
    stop = jax.lax.stop_gradient
    judged = discriminator(stop(images), stop(latents), kind, train)
    still, apart = stop(discriminator.variables), discriminator.clone(parent=None, name=None)
    fooled = apart.apply(still, images, latents, kind, train, mutable=["batch_stats"])[0]
    return judged, fooled


def latent_of(logits: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Latents in -1..1: 2 sigmoid(logits) - 1, which is tanh(logits / 2)."""
    return jnp.tanh(logits / 2)


def resized(images: jax.Array, side: int) -> jax.Array:
    """Images (b h w c) as squares of `side` pixels; themselves if they are."""
    shape = (len(images), side, side, images.shape[-1])
    return images if images.shape == shape else jax.image.resize(images, shape, "linear")
