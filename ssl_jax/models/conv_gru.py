"""ConvGRU: a recurrent network whose state is a map."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.knobs import within


class ConvGRU(nn.Module):
    """One step of a gated recurrent unit, its products being 1x1 convolutions (Ballas et al. 2016).

        r = sigmoid(reset [x, h]),  z = sigmoid(update [x, h]),  n = tanh(candidate [x, r h])
        h' = (1 - z) h + z n

    Called with the state h and the input x, returns the new state. Every place has a state of its
    own. Kernels begin orthogonal, biases at 0, as in DPC (Han, Xie and Zisserman 2019).

    Attributes:
      dropout: rate, on the new state.
    """

    dropout: float = 0.0

    def __post_init__(self):
        within(self, 0, 1, "dropout")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, h: Float[Array, "b h w d"], x: Float[Array, "b h w c"], train: bool
    ) -> Float[Array, "b h w d"]:
        def gate(name: str, state: Array) -> Array:
            conv = nn.Conv(
                h.shape[-1],
                (1, 1),
                kernel_init=nn.initializers.orthogonal(),
                name=name,
            )
            return conv(jnp.concatenate([x, state], axis=-1))

        reset = jax.nn.sigmoid(gate("reset", h))
        update = jax.nn.sigmoid(gate("update", h))
        new = (1 - update) * h + update * jnp.tanh(gate("candidate", reset * h))
        return nn.Dropout(self.dropout, deterministic=not train)(new)
