"""A stack of strided convolutions that reads raw waves: the first part of CPC and wav2vec 2.0."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.knobs import above, at_least, given, one_of
from ssl_jax.models.layers import DTYPES
from ssl_jax.models.transformer import ACTIVATIONS

NORMS = ("none", "group_first", "layer")


class WaveEncoder(nn.Module):
    """Convolutions over time, each followed by a norm and an activation.

    Called with waves (b s), returns their layers conv1, conv2, ... (b t c). The defaults are
    wav2vec 2.0's Base (Baevski et al. 2020): a step each 320 samples that sees 400. CPC (van den
    Oord et al. 2018) has kernels 10, 8, 4, 4, 4, strides 5, 4, 2, 2, 2 and ReLU.

    With `lengths`, the samples that each row really has, a row's steps are those of the same wave
    without the padding behind it: neither norms nor kernels see any of it. Steps behind the end
    are zeros.

    Attributes:
      channels, kernels, strides: of each convolution.
      padding: zeros before and behind each convolution's input.
      norm: 'group_first': each channel over time, in the first layer alone (GroupNorm with a group
        per channel); 'layer': each step over its channels, in every layer (LayerNorm; what
        CPC_audio calls ChannelNorm, but for its division of the variance by channels - 1);
        'none'.
      activation: 'gelu', 'gelu_tanh' or 'relu'.
      use_bias: of the convolutions.
      dtype: of the computation.

    Raises ConfigError if the four tuples differ in length.
    """

    channels: tuple[int, ...] = (512,) * 7
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    padding: tuple[int, ...] = (0,) * 7
    norm: str = "group_first"
    activation: str = "gelu"
    use_bias: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        given(self, "channels")
        at_least(self, 1, "channels", "kernels", "strides")
        above(self, -1, "padding")
        one_of(self, "norm", NORMS)
        one_of(self, "activation", ACTIVATIONS)
        one_of(self, "dtype", DTYPES)
        for name in ("kernels", "strides", "padding"):
            if len(getattr(self, name)) != len(self.channels):
                raise ConfigError(
                    f"{name}={getattr(self, name)} must have an entry for each of the "
                    f"{len(self.channels)} channels"
                )
        super().__post_init__()

    @nn.nowrap
    def steps(self, samples: int | np.ndarray | Array) -> int | np.ndarray | Array:
        """How many steps a wave of so many samples gives; 0 if it is too short for one."""
        for steps in self._steps(samples):
            last = steps
        return last

    @nn.nowrap
    def _steps(self, samples):
        """The steps behind each convolution."""
        for kernel, stride, pad in zip(self.kernels, self.strides, self.padding, strict=True):
            # Nothing stays nothing, whatever is padded.
            samples = ((samples + 2 * pad - kernel) // stride + 1) * (samples > 0)
            samples = samples * (samples > 0)
            yield samples

    @nn.nowrap
    def middles(self, samples: int) -> Float[np.ndarray, "t"]:
        """Number of the sample in the middle of those that each step of a wave hears."""
        begin, reach, hop = 0, 0, 1
        for kernel, stride, pad in zip(self.kernels, self.strides, self.padding, strict=True):
            begin, reach = begin - pad * hop, reach + (kernel - 1) * hop
            hop *= stride
        return begin + reach / 2 + hop * np.arange(self.steps(samples))

    @nn.compact
    def __call__(
        self, x: Float[Array, "b s"], train: bool, lengths: Int[Array, "b"] | None = None
    ) -> dict[str, Array]:
        del train
        if self.steps(x.shape[1]) < 1:
            raise ConfigError(f"WaveEncoder: {x.shape[1]} samples are too few for a step")
        x, layers = x[..., None].astype(self.dtype), {}
        counts = self._steps(x.shape[1] if lengths is None else lengths)
        if lengths is not None:
            x = jnp.where(_there(x, lengths), x, 0)
        for number, steps in enumerate(counts, start=1):
            index, name = number - 1, f"conv{number}"
            x = nn.Conv(
                self.channels[index],
                (self.kernels[index],),
                self.strides[index],
                padding=self.padding[index],
                use_bias=self.use_bias,
                kernel_init=nn.initializers.he_normal(),
                dtype=self.dtype,
                name=name,
            )(x)
            there = None if lengths is None else _there(x, steps)
            x = ACTIVATIONS[self.activation](self._norm(x, there, number))
            x = layers[name] = x if there is None else jnp.where(there, x, 0)
        return layers

    def _norm(self, x: Array, there: Array | None, number: int) -> Array:
        options = {"epsilon": 1e-5, "dtype": self.dtype, "name": f"conv{number}_norm"}
        if self.norm == "layer":
            return nn.LayerNorm(**options)(x)
        if self.norm == "group_first" and number == 1:
            if there is not None:
                # Of a row without any step the mean would be 0 / 0.
                there = jnp.broadcast_to(there | ~there.any(1, keepdims=True), x.shape)
            return nn.GroupNorm(x.shape[-1], use_fast_variance=False, **options)(x, mask=there)
        return x


def _there(x: Float[Array, "b t c"], counts: Int[Array, "b"]) -> Bool[Array, "b t 1"]:
    """Which steps of each row are among its first so many."""
    return (jnp.arange(x.shape[1]) < counts[:, None])[..., None]
