"""A trunk with a new head, for fine-tuning."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_jax.config import ConfigError
from ssl_jax.models.heads import last
from ssl_jax.ops.pooling import global_avg_pool, global_max_pool


class FinetuneNet(nn.Module):
    """A trunk, one of its layers pooled, and dense layers: the last gives the answer.

    The trunk is one of `vision`, `difference` and `flow`, which are as those of `Finetune`, and so
    are the other fields.
    """

    vision: nn.Module | None
    difference: nn.Module | None
    flow: nn.Module | None
    outputs: int
    layer: str
    pool: str
    hidden: tuple[int, ...]
    dropout: float
    still: bool

    def __call__(self, batch: dict[str, jax.Array], train: bool) -> jax.Array:
        return self.layers(batch, train)["head"]

    @nn.compact
    def layers(self, batch: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
        """The trunk's layers, and 'head', the answers (b k)."""
        trunks = {"vision": self.vision, "difference": self.difference, "flow": self.flow}
        ((stream, trunk),) = ((name, one) for name, one in trunks.items() if one is not None)
        layers = trunk(batch[stream], train and not self.still)
        if self.layer and self.layer not in layers:
            raise ConfigError(
                f"finetune: no layer '{self.layer}' in the trunk; it has {', '.join(layers)}"
            )
        x = layers[self.layer] if self.layer else last(layers)
        if x.ndim > 2 and self.pool != "flat":
            x = global_avg_pool(x) if self.pool == "mean" else global_max_pool(x)
        x = x.reshape(len(x), -1).astype(jnp.float32)
        for number, width in enumerate(self.hidden, start=1):
            x = jax.nn.relu(nn.Dense(width, name=f"hidden{number}")(self._dropped(x, train)))
        return {**layers, "head": nn.Dense(self.outputs, name="head")(self._dropped(x, train))}

    def _dropped(self, x: jax.Array, train: bool) -> jax.Array:
        return nn.Dropout(self.dropout, deterministic=not train)(x)
