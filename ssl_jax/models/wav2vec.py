"""wav2vec 2.0 (Baevski, Zhou, Mohamed and Auli 2020): convolutions, then a transformer."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.knobs import at_least, one_of, within
from ssl_jax.models.layers import DTYPES
from ssl_jax.models.transformer import Transformer
from ssl_jax.models.wav2vec_names import from_hugging_face
from ssl_jax.models.wave_encoder import WaveEncoder
from ssl_jax.ops.gradient import scaled_gradient
from ssl_jax.ops.grouped_conv import grouped_conv
from ssl_jax.ops.masked_mean import masked_mean


class ConvPositions(nn.Module):
    """A long grouped convolution whose output tells places where they are.

    Its kernel is stored as a direction (k i d) and, for each of its k taps, a length, `scale`
    (weight normalisation, Salimans and Kingma 2016). Of an even number of taps one output too many
    is dropped at the end.

    Attributes:
      taps: k.
      groups: of channels.
      dtype: of the computation.
    """

    taps: int = 128
    groups: int = 16
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        width = x.shape[-1]
        if width % self.groups:
            raise ConfigError(f"position_groups={self.groups} must divide width={width}")
        init = nn.initializers.normal((4 / (self.taps * width)) ** 0.5)
        direction = self.param("kernel", init, (self.taps, width // self.groups, width))
        length = jnp.sqrt(jnp.square(direction).sum((1, 2), keepdims=True))
        scale = self.param("scale", lambda _: length[:, 0, 0])
        bias = self.param("bias", nn.initializers.zeros, (width,))
        kernel = (scale[:, None, None] * direction / length).astype(self.dtype)
        found = grouped_conv(x.astype(self.dtype), kernel, self.taps // 2)
        return jax.nn.gelu(found[:, : x.shape[1]] + bias.astype(self.dtype), approximate=False)


class Wav2Vec(nn.Module):
    """The trunk of wav2vec 2.0: Base, which is the default, has 94 M parameters, both Large 315 M.

    Called with waves (b s), or with a dict that has an entry 'audio' and any of these:

    * 'samples', int (b): so many of the wave's samples are there, the others are padding. They
      have no effect: a row's steps are those that it has without the padding.
    * 'masked', bool (b t): steps whose features are replaced by one learned vector.
    * 'masked_channels', bool (b d): channels that are set to 0 for all steps, as in fine-tuning.

    Returns the layers (b t d) conv1, ... of the encoder, 'features', which are the last of them
    normalised, and those of the transformer. 16 kHz give 49 steps in the first second and about 50
    in each further one.

    There are two Large. That of LibriSpeech's 960 hours is a larger Base (and has layer_drop=0.2):
    transformer=Transformer(blocks=24, heads=16, hidden=4096), width=1024. That of LV-60k has also
    encoder=WaveEncoder(norm="layer", use_bias=True), norm_first=True in its transformer,
    standardise=True and encoder_gradient=1.0.

    Attributes:
      encoder: of the wave; its own dtype is not used.
      transformer: over the steps; its own dtype is not used.
      width: d.
      position_taps, position_groups: of the `ConvPositions`.
      encoder_gradient: the encoder's gradient is multiplied by it.
      dropout: rate, on what goes into the transformer, before and after positions are added.
      standardise: the wave is shifted and scaled to mean 0 and variance 1 over its length. Only
        LV-60k's Large needs it: the others' first norm undoes both.
      dtype: of the computation.
    """

    encoder: WaveEncoder = WaveEncoder()
    transformer: Transformer = Transformer(dropout=0.1, attention_dropout=0.1, layer_drop=0.05)
    width: int = 768
    position_taps: int = 128
    position_groups: int = 16
    encoder_gradient: float = 0.1
    dropout: float = 0.1
    standardise: bool = False
    dtype: str = "float32"

    def __post_init__(self):
        at_least(self, 1, "width", "position_taps", "position_groups")
        within(self, 0, 1, "encoder_gradient", "dropout")
        one_of(self, "dtype", DTYPES)
        super().__post_init__()

    def setup(self):
        own = {"dtype": self.dtype}
        self.convolutions = self.encoder.clone(**own)
        self.blocks = self.transformer.clone(**own)
        self.features_norm = nn.LayerNorm(epsilon=1e-5, **own)
        self.projection = nn.Dense(self.width, **own)
        self.mask = self.param("mask", nn.initializers.uniform(1.0), (self.width,))
        self.positions = ConvPositions(self.position_taps, self.position_groups, **own)
        if not self.transformer.norm_first:
            self.positions_norm = nn.LayerNorm(epsilon=1e-5, **own)
        self.drop = nn.Dropout(self.dropout)

    @nn.nowrap
    def steps(self, samples: int | np.ndarray | Array) -> int | np.ndarray | Array:
        """How many steps so many samples give."""
        return self.encoder.steps(samples)

    @nn.nowrap
    def imported(self, arrays: Mapping[str, np.ndarray]) -> dict:
        """The parameters from a file of Hugging Face; see `wav2vec_names`."""
        return from_hugging_face(arrays, self.transformer.norm_first)

    def __call__(
        self, x: Float[Array, "b s"] | Mapping[str, Array], train: bool
    ) -> dict[str, Array]:
        inputs = x if isinstance(x, Mapping) else {"audio": x}
        wave = inputs["audio"]
        samples = inputs["samples"] if "samples" in inputs else None
        if self.standardise:
            wave = standardised(wave, samples)
        layers = self.convolutions(wave, train, samples)
        top = next(reversed(layers))
        layers[top] = scaled_gradient(layers[top], self.encoder_gradient)
        x = layers["features"] = self.features_norm(layers[top])
        x = self.drop(self.projection(x), deterministic=not train)
        if "masked" in inputs:
            x = jnp.where(inputs["masked"][..., None], self.mask.astype(x.dtype), x)
        if "masked_channels" in inputs:
            x = jnp.where(inputs["masked_channels"][:, None], 0, x)
        there = None
        if samples is not None:
            there = jnp.arange(x.shape[1]) < self.steps(samples)[:, None]
            x = jnp.where(there[..., None], x, 0)
        x = x + self.positions(x)
        if not self.transformer.norm_first:
            x = self.positions_norm(x)
        x = self.drop(x, deterministic=not train)
        return {**layers, **self.blocks(x, train, there)}


def standardised(
    wave: Float[Array, "b s"], samples: Int[Array, "b"] | None = None
) -> Float[Array, "b s"]:
    """Waves of mean 0 and variance 1 over their first so many samples; behind them zeros."""
    count = jnp.full(len(wave), wave.shape[1]) if samples is None else samples
    there = jnp.arange(wave.shape[1]) < count[:, None]
    count = jnp.maximum(count, 1)[:, None]
    mean = jnp.where(there, wave, 0).sum(1, keepdims=True) / count
    centred = jnp.where(there, wave - mean, 0)
    variance = jnp.square(centred).sum(1, keepdims=True) / count
    return centred * jax.lax.rsqrt(variance + 1e-7)


def means(
    layers: Mapping[str, Float[Array, "b _ _"]], counts: Int[Array, "b"] | None
) -> dict[str, Float[Array, "b d"]]:
    """Means over the first so many steps of each row, of all layers that have as many as the last.

    Over all steps without `counts`.
    """
    steps = layers[next(reversed(layers))].shape[1]
    found = {name: x for name, x in layers.items() if x.shape[1] == steps}
    if counts is None:
        return {name: x.mean(1) for name, x in found.items()}
    there = jnp.arange(steps) < counts[:, None]
    return {name: masked_mean(x, there) for name, x in found.items()}
