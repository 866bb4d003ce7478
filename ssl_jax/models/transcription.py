"""A trunk of audio with a head that writes down what it hears."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ssl_jax.config import ConfigError
from ssl_jax.models.heads import last
from ssl_jax.models.wav2vec import Wav2Vec
from ssl_jax.models.wave_encoder import WaveEncoder

BEHIND = -1  # the class of steps behind the end


class TranscriptionNet(nn.Module):
    """The fields are as those of `Transcription`; `classes` counts those of the head."""

    audio: nn.Module
    gru: nn.Module | None
    classes: int
    layer: str
    dropout: float
    head_only: int

    def __call__(self, batch: dict[str, jax.Array], train: bool) -> tuple[jax.Array, jax.Array]:
        """Logits (b t k), and how many steps each row has (b), as float32."""
        layers = self.layers(batch, train)
        # Micro-batches take the derivative by all outputs, which whole numbers have none of.
        return layers["head"], layers["steps"].astype(jnp.float32)

    @nn.compact
    def layers(self, batch: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
        """The trunk's layers, 'head', 'steps' and 'path'. Without 'samples' waves are whole.

        'head' are the logits (b t k), 0 behind the end, 'steps' (b) says where that is, and 'path'
        is the likeliest class of each step (b t), -1 behind the end.
        """
        waves = batch["audio"]
        if "samples" not in batch:
            batch = {**batch, "samples": jnp.full(len(waves), waves.shape[1])}
        layers = self._heard(batch, train)
        if self.layer and self.layer not in layers:
            raise ConfigError(
                f"transcription: no layer '{self.layer}' in the trunk; it has {', '.join(layers)}"
            )
        x = layers[self.layer] if self.layer else last(layers)
        if x.ndim != 3:
            raise ConfigError(
                f"transcription: layer has {x.shape}, not a step each few milliseconds; set layer"
            )
        steps = steps_of(self.audio, batch["samples"], waves.shape[1], x.shape[1])
        x = x.astype(jnp.float32)
        if self.gru is not None:
            x = layers["gru"] = self.gru(x)
        if train and self.head_only:
            learns = self.get_variable("run", "step") >= self.head_only
            x = jnp.where(learns, x, jax.lax.stop_gradient(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        there = jnp.arange(x.shape[1]) < steps[:, None]
        # Behind the end a norm makes large numbers of rounding errors.
        logits = jnp.where(there[..., None], nn.Dense(self.classes, name="head")(x), 0.0)
        path = jnp.where(there, logits.argmax(-1), BEHIND)
        return {**layers, "head": logits, "steps": steps, "path": path}

    def _heard(self, batch: dict[str, jax.Array], train: bool) -> dict[str, jax.Array]:
        if isinstance(self.audio, Wav2Vec):
            entries = ("audio", "samples", "masked", "masked_channels")
            return self.audio({name: batch[name] for name in entries if name in batch}, train)
        if isinstance(self.audio, WaveEncoder):
            return self.audio(batch["audio"], train, batch["samples"])
        return self.audio(batch["audio"], train)


def steps_of(
    trunk: nn.Module, samples: Int[Array, "b"], longest: int, steps: int
) -> Int[Array, "b"]:
    """How many of a trunk's `steps` for waves of `longest` samples so many samples give.

    Their share, rounded up, of a trunk that does not know it.
    """
    if isinstance(trunk, Wav2Vec | WaveEncoder):
        return jnp.asarray(trunk.steps(samples))
    # The sample before which each step's share begins; their product overflows int32.
    begins = np.arange(steps) * longest // steps
    return (begins.astype(np.int32) < samples[:, None]).sum(1)
