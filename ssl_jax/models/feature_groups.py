"""A trunk without weights, for features that were computed before."""

import itertools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.knobs import at_least, one_of
from ssl_jax.models.layers import DTYPES
from ssl_jax.ops.unit import unit


class FeatureGroups(nn.Module):
    """Features of several networks side by side, those of each divided by their length.

    The layer is 'pool' (b d).

    Attributes:
      widths: of each network's features, such as (2048, 2048); (): all are of one.
      dtype: of what is put out.
    """

    widths: tuple[int, ...] = ()
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "widths")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    def __call__(self, x: Float[Array, "b d"], train: bool) -> dict[str, Float[Array, "b d"]]:
        """ConfigError for features of another width."""
        del train
        widths = self.widths or (x.shape[-1],)
        if sum(widths) != x.shape[-1]:
            raise ConfigError(f"widths={widths}: the features have {x.shape[-1]} numbers")
        edges = [sum(widths[:k]) for k in range(len(widths) + 1)]
        parts = [x[:, a:b] for a, b in itertools.pairwise(edges)]
        joined = jnp.concatenate([unit(part) for part in parts], axis=-1)
        return {"pool": joined.astype(self.dtype)}
