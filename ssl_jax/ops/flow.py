"""Optical flow in bytes, as `data.flow_levels` makes it, on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, UInt8


def random_flow_flip(
    key: Key[Array, ""], flow: UInt8[Array, "b t h w 2"], probability: float = 0.5
) -> UInt8[Array, "b t h w 2"]:
    """Swaps left and right, by the draws of `augment.random_flip`; u is negated with them."""
    chosen = jax.random.bernoulli(key, probability, (len(flow),))[:, None, None, None, None]
    mirrored = flow[..., ::-1, :]
    mirrored = mirrored.at[..., 0].set(opposite(mirrored[..., 0]))
    return jnp.where(chosen, mirrored, flow)


def reversed_flow(
    flow: UInt8[Array, "b t h w 2"], chosen: Bool[Array, "b"]
) -> UInt8[Array, "b t h w 2"]:
    """Where chosen, the fields in reverse order and negated.

    About the flow of the video played backwards, which begins at other frames.
    """
    backwards = opposite(flow[:, ::-1])
    return jnp.where(chosen[:, None, None, None, None], backwards, flow)


def opposite(levels: UInt8[Array, "*s"]) -> UInt8[Array, "*s"]:
    """The bytes of motion the other way: 256 less each."""
    return -levels  # modulo 256


def flow_channels(flow: Float[Array, "b t h w 2"], centred: bool = True) -> Float[Array, "b h w d"]:
    """A trunk's input from bytes scaled to 0..1: u and v of the first field, of the second, ...

    In levels of a byte, -127..127: each is bound / 127.5 pixels.

    Args:
      centred: less the mean of each channel over the image, which is how the camera moves (Sayed et
        al. 2018).
    """
    levels = jnp.moveaxis(255.0 * flow - 128.0, 1, 3)
    levels = levels.reshape(*levels.shape[:3], -1)
    return levels - levels.mean((1, 2), keepdims=True) if centred else levels
