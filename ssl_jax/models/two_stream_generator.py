"""A generator of videos in two streams: what moves, over what rests (VGAN)."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least, given, one_of, within
from ssl_jax.models.layers import DTYPES
from ssl_jax.ops.conv3d_transpose import conv3d_transpose

WEIGHTS = nn.initializers.normal(0.01)


def around_one(key: jax.Array, shape: Sequence[int], dtype=jnp.float32) -> jax.Array:
    """Initial scales of BN: N(1, 0.02)."""
    return 1 + nn.initializers.normal(0.02)(key, shape, dtype)


class TwoStreamGenerator(nn.Module):
    """Videos from latent vectors (Vondrick, Pirsiavash and Torralba 2016).

    A mask m in 0..1 says for every pixel of every frame whether it shows the foreground f or the
    background b, an image: video = m f + (1 - m) b. Each stream unfolds the latent vector to 4x4
    (the foreground: to two such frames) and doubles all sides by 4x4 (4x4x4) transposed
    convolutions of stride 2 with BN and ReLU. The last ones give colours by tanh, and the mask,
    which shares all layers but its last with the foreground, by a sigmoid.

    Called with latents (b z), returns {'video', 'foreground': (b t h w 3), 'mask': (b t h w 1),
    'background': (b h w 3)}, colours in -1..1, float32. With the default channels 32 frames of 64
    pixels; with a latent vector of 100 numbers 16,245,383 parameters.

    Attributes:
      channels: of the unfolded maps and of all transposed convolutions but the last.
      bn_momentum: fraction of the past in the running statistics.
      dtype: of the computation.
    """

    channels: tuple[int, ...] = (512, 256, 128, 64)
    bn_momentum: float = 0.9
    dtype: str = "float32"

    def __post_init__(self):
        given(self, "channels")
        at_least(self, 1, "channels")
        within(self, 0, 1, "bn_momentum")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @property
    def side(self) -> int:
        """Of the frames, in pixels: 4, doubled once for every entry of `channels`."""
        return 4 * 2 ** len(self.channels)

    @property
    def frames(self) -> int:
        return self.side // 2

    @nn.compact
    def __call__(self, latents: Float[Array, "b z"], train: bool) -> dict[str, Array]:
        background = jnp.tanh(self._stream(latents, "background", train)["image"])
        made = self._stream(latents, "foreground", train)
        foreground, mask = jnp.tanh(made["image"]), jax.nn.sigmoid(made["mask"])
        video = layered(mask, foreground, background)
        return {"video": video, "foreground": foreground, "mask": mask, "background": background}

    def _stream(self, latents: Array, name: str, train: bool) -> dict[str, Array]:
        """The outputs of a stream before tanh and sigmoid."""
        moves = name == "foreground"
        up, size = (UpConv3D, (2, 4, 4)) if moves else (UpConv, (4, 4))
        x = Unfold(self.channels[0], size, self.dtype, name=f"{name}_unfold")(latents)
        x = self._norm(x, f"{name}_bn1", train)
        for number, channels in enumerate(self.channels[1:], start=2):
            x = up(channels, self.dtype, name=f"{name}_deconv{number}")(x)
            x = self._norm(x, f"{name}_bn{number}", train)
        heads = {"image": 3, "mask": 1} if moves else {"image": 3}
        return {
            head: up(channels, self.dtype, name=f"{name}_{head}")(x).astype(jnp.float32)
            for head, channels in heads.items()
        }

    def _norm(self, x: Array, name: str, train: bool) -> Array:
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.bn_momentum,
            epsilon=1e-5,
            scale_init=around_one,
            dtype=self.dtype,
            name=name,
        )
        return jax.nn.relu(norm(x))


def layered(
    mask: Float[Array, "b t h w 1"],
    foreground: Float[Array, "b t h w c"],
    background: Float[Array, "b h w c"],
) -> Float[Array, "b t h w c"]:
    """mask * foreground + (1 - mask) * background, which is the same in all frames."""
    return mask * foreground + (1 - mask) * background[:, None]


class Unfold(nn.Module):
    """Maps from a vector: a transposed convolution whose kernel is as large as its output."""

    features: int
    size: tuple[int, ...]
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b *space o"]:
        kernel = self.param("kernel", WEIGHTS, (x.shape[-1], *self.size, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        out = x.astype(self.dtype) @ kernel.astype(self.dtype).reshape(x.shape[-1], -1)
        return out.reshape(-1, *self.size, self.features) + bias.astype(self.dtype)


class UpConv(nn.Module):
    """A 4x4 transposed convolution of stride 2, with a bias: sides are doubled."""

    features: int
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w o"]:
        options = {"kernel_init": WEIGHTS, "dtype": self.dtype, "name": "deconv"}
        return nn.ConvTranspose(self.features, (4, 4), (2, 2), **options)(x)


class UpConv3D(nn.Module):
    """The same over time too: 4x4x4."""

    features: int
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b 2*t 2*h 2*w o"]:
        kernel = self.param("kernel", WEIGHTS, (4, 4, 4, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        out = conv3d_transpose(x.astype(self.dtype), kernel.astype(self.dtype))
        return out + bias.astype(self.dtype)
