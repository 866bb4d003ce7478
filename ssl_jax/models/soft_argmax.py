"""The network of time-contrastive networks: where on the image every channel is strongest."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least, one_of, within
from ssl_jax.models.inception import InceptionV3, conv_offset
from ssl_jax.models.layers import check_trunk


class SoftArgmaxTrunk(nn.Module):
    """Convolutions, the place of every channel, two dense layers (Sermanet et al. 2018).

    Called with images (b h w c), returns their layers: those of the base, conv1, conv2, ... (b h w
    c), places (b 2c), hidden (b d) and embedding (b d). The defaults are the paper's, with
    5,852,192 parameters on top of the base, which it takes from a network trained on ImageNet and
    leaves as it is. base='convs', convs=(), hidden=128 is a small network of our own, its base of
    58,016 parameters.

    Attributes:
      base: 'inception' (`InceptionV3`), or 'convs': 5x5 stride 2, 3x3 stride 2 and 3x3, with BN.
      still: the base stays as it came: no gradient, and the statistics of BN do not move.
      convs: widths of 3x3 convolutions behind the base.
      hidden: width of the first dense layer; 0: places are the last layer.
      embedding: width of the last.
      dropout: rate, on the base's maps and on the hidden layer.
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths but the last layer's.
      dtype: of the computation.
    """

    base: str = "inception"
    still: bool = False
    convs: tuple[int, ...] = (512, 512)
    hidden: int = 2048
    embedding: int = 32
    dropout: float = 0.2
    bn_momentum: float = 0.99
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        one_of(self, "base", ("inception", "convs"))
        at_least(self, 0, "hidden")
        at_least(self, 1, "convs", "embedding")
        within(self, 0, 1, "dropout")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        kind = InceptionV3 if self.base == "inception" else ThreeConvs
        base = kind(bn_momentum=self.bn_momentum, width=self.width, dtype=self.dtype, name="base")
        layers = base(x, train and not self.still)
        x = layers[next(reversed(layers))]
        x = self._dropped(lax.stop_gradient(x) if self.still else x, train)
        for number, features in enumerate(self.convs, start=1):
            features = self._wide(features)
            momentum, name = self.bn_momentum, f"conv{number}"
            x = conv_offset(x, features, 3, train, name, 1, "SAME", momentum, self.dtype)
            layers[name] = x
        x = layers["places"] = soft_argmax(x)
        if not self.hidden:
            return layers
        x = jax.nn.relu(nn.Dense(self._wide(self.hidden), dtype=self.dtype, name="hidden")(x))
        layers["hidden"] = x
        dense = nn.Dense(self.embedding, dtype=self.dtype, name="embedding")
        layers["embedding"] = dense(self._dropped(x, train))
        return layers

    def _wide(self, features: int) -> int:
        return max(1, round(features * self.width))

    def _dropped(self, x: Array, train: bool) -> Array:
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class ThreeConvs(nn.Module):
    """5x5 stride 2, 3x3 stride 2 and 3x3 without bias, each with BN and ReLU."""

    bn_momentum: float
    width: float
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        layers = {}
        for number, (features, size, stride) in enumerate(((32, 5, 2), (64, 3, 2), (64, 3, 1)), 1):
            features = max(1, round(features * self.width))
            x = nn.Conv(
                features,
                (size, size),
                stride,
                use_bias=False,
                kernel_init=nn.initializers.he_normal(),
                dtype=self.dtype,
                name=f"small{number}",
            )(x)
            norm = nn.BatchNorm(
                use_running_average=not train,
                momentum=self.bn_momentum,
                epsilon=1e-5,
                dtype=self.dtype,
                name=f"bn{number}",
            )
            x = layers[f"small{number}"] = jax.nn.relu(norm(x))
        return layers


def soft_argmax(maps: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
    """The mean place (x, y) of each channel under its softmax over the map, from -1 to 1.

    Returns all x, then all y: d = 2c, in float32: places lie close to one another.
    """
    _, h, w, _ = maps.shape
    share = jax.nn.softmax(maps.astype(jnp.float32), axis=(1, 2))
    x = jnp.sum(share * jnp.linspace(-1, 1, w)[:, None], axis=(1, 2))
    y = jnp.sum(share * jnp.linspace(-1, 1, h)[:, None, None], axis=(1, 2))
    return jnp.concatenate([x, y], axis=-1)
