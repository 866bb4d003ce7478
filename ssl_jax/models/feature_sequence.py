"""A trunk of features that were computed before, a row for each step of a clip."""

import flax.linen as nn
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least, one_of
from ssl_jax.models.feature_groups import FeatureGroups
from ssl_jax.models.layers import DTYPES
from ssl_jax.models.sequence_pool import SequencePool


class FeatureSequence(nn.Module):
    """The features of every step, each network's divided by their length, and what is over them.

    Attributes:
      pool: over the steps; its layers are those of the trunk.
      widths: of the features of each network, see `FeatureGroups`.
      dtype: of the computation.
    """

    pool: SequencePool
    widths: tuple[int, ...] = ()
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "widths")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    def setup(self):
        self.groups = FeatureGroups(self.widths, self.dtype)
        self.steps = self.pool.clone(dtype=self.dtype)

    def __call__(self, x: dict[str, Array], train: bool) -> dict[str, Float[Array, "b ..."]]:
        """Layers of a dict with 'vision', (b t d), and 'seen', bool (b t): which steps there are.

        ConfigError for features of another width.
        """
        rows, seen = x["vision"], x["seen"]
        features = self.groups(rows.reshape(-1, rows.shape[-1]), train)["pool"]
        return self.steps(features.reshape(rows.shape), seen, train)
