"""What Deep InfoMax is made of: its encoders, its score networks, and the critic of its prior."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ssl_jax.config import ConfigError
from ssl_jax.knobs import at_least, given
from ssl_jax.models.layers import check_trunk
from ssl_jax.ops.pooling import max_pool


class InfomaxEncoder(nn.Module):
    """Convolutions and dense layers with BN and ReLU, then one linear layer (Hjelm et al. 2019).

    The networks of the authors' code:

        CIFAR  the defaults
        STL    channels=(96, 192, 384, 384, 192), kernel=3, stride=1, pooled=(1, 2, 5),
               fc=(4096, 4096)
        MNIST  channels=(64, 128), kernel=5, padding=2, of one channel

    Called with maps (b h w c), returns their layers: conv1, conv2, ... and where there is pooling
    pool1, ... (b h w c), then fc1, fc2, ... and embedding (b d). The side is fixed by the first
    call.

    Attributes:
      channels: of the convolutions.
      kernel, stride, padding: of all of them, in pixels.
      pooled: numbers of the convolutions, from 1, after which comes 3x3 max pooling of stride 2.
      fc: widths of the dense layers.
      embedding: width of the last, linear layer.
      bn_momentum: fraction of the past in the running statistics.
      width: multiplies all widths but the embedding's.
      dtype: of the computation.
    """

    channels: tuple[int, ...] = (64, 128, 256)
    kernel: int = 4
    stride: int = 2
    padding: int = 1
    pooled: tuple[int, ...] = ()
    fc: tuple[int, ...] = (1024,)
    embedding: int = 64
    bn_momentum: float = 0.9
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        check_trunk(self)
        at_least(self, 1, "channels", "kernel", "stride", "pooled", "fc", "embedding")
        at_least(self, 0, "padding")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> dict[str, Array]:
        layers = {}
        for number, channels in enumerate(self.channels, start=1):
            x = nn.Conv(
                self._wide(channels),
                (self.kernel, self.kernel),
                self.stride,
                padding=self.padding,
                use_bias=False,
                dtype=self.dtype,
                name=f"conv{number}",
            )(x)
            x = layers[f"conv{number}"] = self._norm(x, f"conv{number}_bn", train)
            if number in self.pooled:
                x = layers[f"pool{number}"] = max_pool(x, 3, 2)
        x = x.reshape(len(x), -1)
        for number, features in enumerate(self.fc, start=1):
            dense = nn.Dense(
                self._wide(features), use_bias=False, dtype=self.dtype, name=f"fc{number}"
            )
            x = layers[f"fc{number}"] = self._norm(dense(x), f"fc{number}_bn", train)
        layers["embedding"] = nn.Dense(self.embedding, dtype=self.dtype, name="embedding")(x)
        return layers

    def _wide(self, features: int) -> int:
        return max(1, round(features * self.width))

    def _norm(self, x: Array, name: str, train: bool) -> Array:
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.bn_momentum,
            epsilon=1e-5,
            dtype=self.dtype,
            name=name,
        )
        return jax.nn.relu(norm(x))


def upper_part(encoder: InfomaxEncoder, layer: str, embedding: int, name: str) -> InfomaxEncoder:
    """A network of the shape that the encoder has above a map, its last layer `embedding` wide.

    Raises ConfigError unless `layer` is the map that a convolution, or its pooling, hands on.
    """
    numbers = range(1, len(encoder.channels) + 1)
    maps = [f"pool{n}" if n in encoder.pooled else f"conv{n}" for n in numbers]
    if layer not in maps:
        raise ConfigError(f"layer={layer} must be one of {', '.join(maps)}")
    done = maps.index(layer) + 1
    pooled = tuple(n - done for n in encoder.pooled if n > done)
    channels = encoder.channels[done:]
    return encoder.copy(channels=channels, pooled=pooled, embedding=embedding, name=name)


class ScoreBlock(nn.Module):
    """Features of either kind, brought to the space in which scalar products score them.

    At every place a dense layer with BN and ReLU and another one, plus a linear shortcut that
    starts near the identity, then LayerNorm, which bounds the scores. 128 to 2048 features take
    4,728,832 parameters.

    Attributes:
      units: width of the space.
      bn_momentum: fraction of the past in the running statistics.
    """

    units: int = 2048
    bn_momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "b *l c"], train: bool) -> Float[Array, "b *l d"]:
        norm = nn.BatchNorm(
            use_running_average=not train, momentum=self.bn_momentum, epsilon=1e-5, name="bn1"
        )
        y = jax.nn.relu(norm(nn.Dense(self.units, use_bias=False, name="dense1")(x)))
        y = nn.Dense(self.units, name="dense2")(y)
        shortcut = nn.Dense(self.units, use_bias=False, kernel_init=near_identity, name="shortcut")
        return nn.LayerNorm(epsilon=1e-5, name="norm")(y + shortcut(x))


def near_identity(key: Key[Array, ""], shape: tuple[int, int], dtype="float32"):
    """The identity, cut or filled up to the shape, plus uniform numbers in -0.01..0.01."""
    return jnp.eye(*shape, dtype=dtype) + jax.random.uniform(key, shape, dtype, -0.01, 0.01)


class DotScorer(nn.Module):
    """Codes and parts, each through a `ScoreBlock` of its own; a score is their scalar product.

    Called with codes (b c) and parts (b l c2), returns {"codes": (b d), "parts": (b l d)}.
    """

    units: int = 2048

    @nn.compact
    def __call__(
        self, codes: Float[Array, "b c"], parts: Float[Array, "b l c2"], train: bool
    ) -> dict[str, Array]:
        return {
            "codes": ScoreBlock(self.units, name="codes")(codes, train),
            "parts": ScoreBlock(self.units, name="parts")(parts, train),
        }


class ConcatScorer(nn.Module):
    """A code and a part, side by side, through two hidden layers with ReLU to one number.

    Called with codes (b c) and parts (b l c2). Since any code may meet any part of the batch, the
    layers behind the first are not applied here: returns what either side adds to the first layer,
    {"codes": (b d), "parts": (b l d)}, and the weights of the others, {"kernel": (d d), "bias":
    (d), "out": (d), "offset": ()}. See `objectives.mutual_information.concat_scores`.
    """

    units: int = 512

    @nn.compact
    def __call__(
        self, codes: Float[Array, "b c"], parts: Float[Array, "b l c2"], train: bool
    ) -> dict[str, Array]:
        normal, zeros = nn.initializers.he_normal(), nn.initializers.zeros
        d = self.units
        return {
            "codes": nn.Dense(d, use_bias=False, kernel_init=normal, name="codes")(codes),
            "parts": nn.Dense(d, kernel_init=normal, name="parts")(parts),
            "kernel": self.param("kernel", normal, (d, d)),
            "bias": self.param("bias", zeros, (d,)),
            "out": self.param("out", nn.initializers.normal(d**-0.5), (d,)),
            "offset": self.param("offset", zeros, ()),
        }


class DenseCritic(nn.Module):
    """Dense layers with ReLU to one logit a row.

    Attributes:
      hidden: widths; with 64 inputs the defaults take 265,401 parameters.
    """

    hidden: tuple[int, ...] = (1000, 200)

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b"]:
        for number, features in enumerate(self.hidden, start=1):
            x = jax.nn.relu(nn.Dense(features, name=f"dense{number}")(x))
        return nn.Dense(1, name="logit")(x)[:, 0]


class PriorCritic(nn.Module):
    """A critic that tells draws from a prior (b d) from codes (b d), in one backward pass.

    Returns by name, each (b): `real`, logits of the draws; `fake`, of the codes, whose gradient
    stops at the codes (it trains the critic alone); `fooled`, the same, whose gradient stops at the
    critic's weights (it trains the encoder alone); and `penalty`, the squared lengths of the
    logit's gradient by a draw and by a code, added.

    Attributes:
      hidden: widths of the critic's hidden layers.
    """

    hidden: tuple[int, ...] = (1000, 200)

    def __post_init__(self):
        given(self, "hidden")
        at_least(self, 1, "hidden")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, prior: Float[Array, "b d"], codes: Float[Array, "b d"]
    ) -> dict[str, Float[Array, "b"]]:
        critic, still = DenseCritic(self.hidden, name="critic"), jax.lax.stop_gradient(codes)
        real, fake = critic(prior), critic(still)
        weights = critic.variables

        def ask(weights: dict, x: jax.Array) -> jax.Array:
            return DenseCritic(self.hidden, parent=None).apply(weights, x)

        slopes = jax.grad(lambda x: ask(weights, x).sum())
        return {
            "real": real,
            "fake": fake,
            "fooled": ask(jax.lax.stop_gradient(weights), codes),
            "penalty": jnp.sum(slopes(prior) ** 2, axis=1) + jnp.sum(slopes(still) ** 2, axis=1),
        }
