"""GRU: a recurrent network over time."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_jax.knobs import at_least


class GRU(nn.Module):
    """A gated recurrent unit (Cho et al. 2014) that begins with a state of zeros.

        r = sigmoid(A_r x + a_r + B_r h + b_r),  z = sigmoid(A_z x + a_z + B_z h + b_z)
        n = tanh(A_n x + a_n + r (B_n h + b_n)),  h' = (1 - z) n + z h

    Called with inputs (b t c), returns the state after each of them (b t d). There are two biases,
    a and b, as in cuDNN, so that parameters are as many as others count.

    Attributes:
      width: of the state.
    """

    width: int = 256

    def __post_init__(self):
        at_least(self, 1, "width")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t d"]:
        # Of all steps at once, outside of the loop.
        inputs = nn.Dense(3 * self.width, name="input")(x)
        shape = (self.width, 3 * self.width)
        kernel = self.param("recurrent_kernel", nn.initializers.orthogonal(), shape)
        bias = self.param("recurrent_bias", nn.initializers.zeros, shape[1:])

        def step(h, own):
            (xr, xz, xn), (hr, hz, hn) = (jnp.split(g, 3, -1) for g in (own, h @ kernel + bias))
            update = jax.nn.sigmoid(xz + hz)
            new = jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn)
            h = (1 - update) * new + update * h
            return h, h

        start = jnp.zeros((len(x), self.width), inputs.dtype)
        return jax.lax.scan(step, start, inputs.swapaxes(0, 1))[1].swapaxes(0, 1)
