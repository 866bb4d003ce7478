"""Heads that stand on a trunk's features while it is trained."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.knobs import at_least, one_of, within
from ssl_jax.models.conv_bn_relu import conv_bn_relu
from ssl_jax.models.layers import DTYPES


class MLPHead(nn.Module):
    """Projection head: dense layers with BN and ReLU between; the defaults are SimCLR's.

    Chen et al. 2020, as in their code: no biases, BN after every layer, the last without offset.
    `hidden=(2048,)` is the head of the paper, `hidden=(2048, 2048)` that of the second version.

    Attributes:
      hidden: widths of the hidden layers.
      out: width of the output.
      norm_hidden: BN in the hidden layers; without it they have a bias.
      norm_out: BN, without offset, on the output; without it the last layer has a bias.
      init_std: deviation of the initial weights; 0: LeCun's rule, better without BN.
      bn_momentum: fraction of the past in the running statistics.
      dtype: of the computation.
    """

    hidden: tuple[int, ...] = (2048,)
    out: int = 128
    norm_hidden: bool = True
    norm_out: bool = True
    init_std: float = 0.01
    bn_momentum: float = 0.9
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "hidden", "out")
        at_least(self, 0, "init_std")
        within(self, 0, 1, "bn_momentum")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], train: bool) -> Float[Array, "b out"]:
        normal, lecun = nn.initializers.normal(self.init_std), nn.initializers.lecun_normal()
        for index, features in enumerate((*self.hidden, self.out)):
            last = index == len(self.hidden)
            norm = self.norm_out if last else self.norm_hidden
            x = nn.Dense(
                features,
                use_bias=not norm,
                kernel_init=normal if self.init_std else lecun,
                dtype=self.dtype,
                name=f"dense{index + 1}",
            )(x)
            if norm:
                x = nn.BatchNorm(
                    use_running_average=not train,
                    momentum=self.bn_momentum,
                    epsilon=1e-5,
                    use_bias=not last,
                    dtype=self.dtype,
                    name=f"bn{index + 1}",
                )(x)
            if not last:
                x = jax.nn.relu(x)
        return x


def mlp_layers(head: MLPHead, variables: dict, x: Float[Array, "b d"]) -> dict[str, Array]:
    """What every layer of a trained head gives: head1, head2, ... (b d), hidden ones after ReLU.

    Of a head with BN in all layers. In the type of x.
    """
    # A head returns its last layer alone; what its norms return is what stands before the ReLUs.
    _, seen = head.apply(
        variables,
        x,
        train=False,
        capture_intermediates=lambda module, _: isinstance(module, nn.BatchNorm),
        mutable=["intermediates"],
    )
    normed = [
        seen["intermediates"][f"bn{i + 1}"]["__call__"][0] for i in range(len(head.hidden) + 1)
    ]
    layers = [*map(jax.nn.relu, normed[:-1]), normed[-1]]
    return {f"head{i}": layer.astype(x.dtype) for i, layer in enumerate(layers, start=1)}


def last(layers: dict[str, Array]) -> Array:
    """A trunk's last layer: its dict runs from the input up."""
    return layers[next(reversed(layers))]


def pooled(layers: dict[str, Array]) -> Float[Array, "b d"]:
    """A trunk's last layer, averaged over space (and time) if it is a map."""
    x = last(layers)
    return x.mean(range(1, x.ndim - 1)) if x.ndim > 2 else x


class PairwiseOrderHead(nn.Module):
    """Classifies the order of n items from all pairs of their features.

    Every pair's two feature vectors go side by side through one shared layer; the results of all
    pairs together are classified. OPN (Lee et al. 2017): pair_order='distance', norm=True; VCOP
    (Xu et al. 2019): the defaults.

    Attributes:
      classes: number of orders.
      hidden: width of a pair's features.
      pair_order: how pairs are lined up: 'lexicographic' (01 02 12), or 'distance', neighbours
        first (01 12 23 02 13 03).
      norm: BN of a pair's features, with statistics, scale and offset of its own for every pair.
      dropout: rate, on the pairs' features.
      bn_momentum: fraction of the past in the running statistics.
      dtype: of the computation.

    Raises:
      ConfigError: an unknown `pair_order`, or fewer than two items.
    """

    classes: int
    hidden: int = 512
    pair_order: str = "lexicographic"
    norm: bool = False
    dropout: float = 0.5
    bn_momentum: float = 0.9
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "classes", "hidden")
        one_of(self, "pair_order", ("lexicographic", "distance"))
        within(self, 0, 1, "dropout", "bn_momentum")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], train: bool) -> Float[Array, "b k"]:
        if x.shape[1] < 2:
            raise ConfigError(f"PairwiseOrderHead: needs at least 2 items, not {x.shape[1]}")
        first, second = zip(*ordered_pairs(x.shape[1], self.pair_order), strict=True)
        x = jnp.concatenate([x[:, first, :], x[:, second, :]], axis=-1)
        x = nn.Dense(self.hidden, dtype=self.dtype, name="pair")(x)
        if self.norm:
            x = nn.BatchNorm(
                use_running_average=not train,
                axis=(1, 2),  # only the batch is averaged over: the pairs share nothing
                momentum=self.bn_momentum,
                epsilon=1e-5,
                dtype=self.dtype,
                name="pair_bn",
            )(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(jax.nn.relu(x))
        return nn.Dense(self.classes, dtype=self.dtype, name="order")(x.reshape(x.shape[0], -1))


def ordered_pairs(count: int, order: str) -> list[tuple[int, int]]:
    """All pairs i < j of `count` items, in 'lexicographic' order or by 'distance' j - i.

    Raises:
      ConfigError: another order.
    """
    pairs = list(itertools.combinations(range(count), 2))
    if order == "lexicographic":
        return pairs
    if order == "distance":
        return sorted(pairs, key=lambda pair: pair[1] - pair[0])
    raise ConfigError(f"pair_order is 'lexicographic' or 'distance', not {order!r}")


class Classifier(nn.Module):
    """One linear layer on the features of an example, all of them in one row.

    Features of several items (b n d) are classified together, as in Shuffle & Learn.

    Attributes:
      classes: number of classes.
      dropout: rate, on the features.
      dtype: of the computation.
    """

    classes: int
    dropout: float = 0.0
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "classes")
        within(self, 0, 1, "dropout")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."], train: bool) -> Float[Array, "b k"]:
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.classes, dtype=self.dtype, name="linear")(x)


class TrunkClassifier(nn.Module):
    """A trunk and one linear layer on its last: the net of methods that classify images.

    Called with {'vision': what the trunk takes}, returns logits (b k).

    Attributes:
      vision: the trunk.
      classes: number of classes, or width of an embedding.
      pooled: the last layer is averaged over space first; otherwise all of it is taken.
    """

    vision: nn.Module
    classes: int
    pooled: bool = False

    def __post_init__(self):
        at_least(self, 1, "classes")
        super().__post_init__()

    @nn.compact
    def __call__(self, batch: dict[str, Array], train: bool) -> Float[Array, "b k"]:
        layers = self.vision(batch["vision"], train)
        x = pooled(layers) if self.pooled else last(layers)
        return Classifier(self.classes, name="head")(x, train)


class ConvHead(nn.Module):
    """A block of three convolutions on a map, averaged over space, and a linear layer.

    The non-linear classifier of Gidaris, Singh and Komodakis 2018 (RotNet): a 3x3 convolution and
    two of 1x1, each with BN and ReLU, as a block of their network in network.

    Attributes:
      classes: number of classes.
      features: width of the convolutions.
      bn_momentum: fraction of the past in the running statistics.
      dtype: of the computation.
    """

    classes: int
    features: int = 192
    bn_momentum: float = 0.9
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "classes", "features")
        within(self, 0, 1, "bn_momentum")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b k"]:
        for number, size in enumerate((3, 1, 1), start=1):
            names = f"conv{number}", f"bn{number}"
            x = conv_bn_relu(x, self.features, size, train, names, self.bn_momentum, self.dtype)
        return nn.Dense(self.classes, dtype=self.dtype, name="linear")(x.mean((1, 2)))
