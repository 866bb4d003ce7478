"""A task's own choice of units of a trunk that it shares with other tasks."""

import flax.linen as nn
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.knobs import given, one_of, within
from ssl_jax.models.layers import DTYPES


class Lasso(nn.Module):
    """A trunk, and on it a learnt weighted sum of some of its layers (Doersch & Zisserman 2017).

        combined = sum_m  unit_weights_m * BN(layer_m)

    BN has no scale or offset: otherwise a layer that grows could have a small weight for nothing.
    An L1 penalty on the weights (`Optimizer.l1`, with l1_on=('unit_weights',)) leaves each task
    with the few layers that it needs. In a `Multitask` the trunk is shared, while weights and
    statistics of the sum are each task's own.

    Called with what the trunk takes, returns the trunk's layers and, last, combined (b h w c).
    Parameters: `inner`, the trunk's, and `unit_weights` (m), all 1 / m at first.

    Attributes:
      trunk: with a field `dtype`, as all trunks of this package.
      units: names of layers of one shape, such as the residual units of a stage.
      bn_momentum: fraction of the past in the running statistics.
      dtype: of the computation, the trunk's too.

    Raises:
      ConfigError: layers that the trunk does not have, or of different shapes.
    """

    trunk: nn.Module
    units: tuple[str, ...]
    bn_momentum: float = 0.9
    dtype: str = "float32"

    def __post_init__(self):
        given(self, "units")
        within(self, 0, 1, "bn_momentum")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    def setup(self):
        count = len(self.units)
        self.inner = self.trunk.clone(dtype=self.dtype)
        self.norms = [
            nn.BatchNorm(
                momentum=self.bn_momentum,
                epsilon=1e-5,
                use_scale=False,
                use_bias=False,
                dtype=self.dtype,
            )
            for _ in self.units
        ]
        self.unit_weights = self.param("unit_weights", nn.initializers.constant(1 / count), count)

    def __call__(self, x: Float[Array, "b ..."], train: bool) -> dict[str, Array]:
        layers = self.inner(x, train)
        missing = [name for name in self.units if name not in layers]
        if missing or len({layers[name].shape for name in self.units}) > 1:
            there = ", ".join(f"{name} {layer.shape[1:]}" for name, layer in layers.items())
            raise ConfigError(f"Lasso: units must be layers of one shape; the trunk has {there}")
        weights = self.unit_weights.astype(self.dtype)
        units = [
            norm(layers[name], use_running_average=not train)
            for norm, name in zip(self.norms, self.units, strict=True)
        ]
        combined = sum(weight * unit for weight, unit in zip(weights, units, strict=True))
        return {**layers, "combined": combined}


def shared_part(trunk: nn.Module, tree: dict) -> dict:
    """What tasks that share this trunk share of its variables (of one collection): all of them.

    Of a `Lasso` only what is inside; the choice of units is each task's own.
    """
    if not isinstance(trunk, Lasso):
        return tree
    return tree["inner"] if "inner" in tree else {}


def own_part(trunk: nn.Module, tree: dict) -> dict:
    """The rest, each task's own."""
    if not isinstance(trunk, Lasso):
        return {}
    return {name: value for name, value in tree.items() if name != "inner"}


def whole(trunk: nn.Module, shared: dict, own: dict) -> dict:
    """The trunk's variables, put together again."""
    if not isinstance(trunk, Lasso):
        return shared
    return {**({"inner": shared} if shared else {}), **own}
