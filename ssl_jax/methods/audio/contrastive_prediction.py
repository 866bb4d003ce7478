"""Contrastive Predictive Coding: which of these audio features comes next?

Van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import speaker_of
from ssl_jax.data.matched_audio import audio_at
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import audio_window, even_times
from ssl_jax.knobs import at_least, one_of
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.gru import GRU
from ssl_jax.models.heads import last
from ssl_jax.models.wave_encoder import WaveEncoder
from ssl_jax.objectives.contrastive_prediction import NEGATIVES, contrastive_prediction

SCORES = ("sum", "mean")


class Predictors(nn.Module):
    """A linear map without bias for each step ahead."""

    ahead: int

    @nn.compact
    def __call__(self, context: jax.Array, width: int) -> jax.Array:
        """(b t d) -> (b t n width)."""
        maps = nn.Dense(self.ahead * width, use_bias=False, name="maps")
        return maps(context).reshape(*context.shape[:2], self.ahead, width)


class ContrastivePredictionNet(nn.Module):
    """Latents of the wave, what a GRU makes of those so far, and predictions of the next ones."""

    audio: nn.Module
    width: int
    ahead: int

    def setup(self):
        self.gru = GRU(self.width)
        self.predict = Predictors(self.ahead)

    def __call__(self, batch: Batch, train: bool) -> tuple[jax.Array, jax.Array]:
        """Predictions (b t n d), where n latents follow, and all latents (b s d), s = t + n."""
        latents = last(self.audio(batch["audio"], train)).astype(jnp.float32)
        if latents.shape[1] <= self.ahead:
            raise ConfigError(
                f"{latents.shape[1]} latents, of which ahead={self.ahead} are to be predicted: "
                "raise samples or lower ahead"
            )
        context = self.gru(latents)[:, : -self.ahead]
        return self.predict(context, latents.shape[-1]), latents

    def context(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """The GRU's state after each latent, 'context' (b t d), and its mean, 'context_mean'."""
        state = self.gru(last(self.audio(batch["audio"], train)).astype(jnp.float32))
        return {"context": state, "context_mean": state.mean(1)}


@dataclasses.dataclass(frozen=True)
class ContrastivePrediction(Method):
    """Predicts the latents of the next steps of audio, from what was heard so far, by picking them
    among latents of other times and sequences.

    The negatives decide what is learnt. Those of other sequences can be rejected by voice and
    microphone alone, which stay the same over a sequence; those of the own sequence only by what is
    said. In the paper phones are recognised best with negatives of the own sequence or speaker, and
    much worse if the own sequence is left out of a mixed batch (57.3 against 64.6 %).

    Shortcuts: BatchNorm would carry what comes into what was heard, so the encoder offers none.
    Padding makes the last steps of a window look different from all others, which tells a few
    predictions where they fall: a control with shuffled targets learns a little then, and nothing
    with an encoder without padding.

    The stream 'audio' reads the encoder, 'context' the GRU: its layer 'context' has a state for
    each step, for `evals.frame_labels.FrameLabels`, and 'context_mean' is the mean of them.

    Differs from the paper: a batch is drawn from all speakers. With negatives='speaker' rows of the
    same speaker are found in it, so it has to be large or the speakers few. Drawn negatives
    (`draws`) are drawn for each of the predictions apart.

    Batch: views {"audio": float32 (s)}, and with negatives='speaker' {"speaker": int32}; augment
    {"audio": float32 (b s), "target": int32 (b), whose latents each row has to pick, its own; with
    draws {"seed": uint32 (b)}}. A control with control=('target',) predicts another row's latents.

    Attributes:
      audio: the encoder of waves, such as `models.wave_encoder.WaveEncoder`.
      width: of the GRU.
      ahead: steps that are predicted.
      samples: of a window.
      sample_rate: in Hz; audio of another rate is resampled.
      negatives: 'own', 'others', 'batch' (the paper's) or 'speaker' (extra['speaker']); see
        `objectives.contrastive_prediction`.
      local: sequences meet within groups of so many, the paper's 8; 0: of the whole batch.
      draws: negatives of each prediction, drawn at random: 128 in the code of CPC_audio (Riviere et
        al. 2020); 0: all.
      score: 'sum' over the channels of the product of prediction and latent, as in the paper, or
        'mean' as in CPC_audio, whose loss begins at chance.
    """

    audio: nn.Module
    width: int = 256
    ahead: int = 12
    samples: int = 20480
    sample_rate: int = 16000
    negatives: str = "batch"
    local: int = 0
    draws: int = 0
    score: str = "sum"

    trunks: ClassVar[tuple[str, ...]] = ("audio",)

    def __post_init__(self):
        at_least(self, 1, "width", "ahead", "samples", "sample_rate")
        at_least(self, 0, "local", "draws")
        one_of(self, "negatives", NEGATIVES)
        one_of(self, "score", SCORES)

    @property
    def net(self) -> nn.Module:
        return ContrastivePredictionNet(self.audio, self.width, self.ahead)

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return {"audio": ("audio",), "context": ("audio",)}

    @property
    def _seconds(self) -> float:
        """Of a window."""
        return self.samples / self.sample_rate

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        record.need_audio(self._seconds)
        begin, end = record.audible
        start = audio_window(end, self._seconds, rng, begin=begin)
        example = {"audio": audio_at(record, start, self._seconds, self.sample_rate)}
        if self.negatives == "speaker":
            example["speaker"] = np.int32(speaker_of(record))
        return example

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        rows = len(batch["audio"])
        batch = {**batch, "target": jnp.arange(rows, dtype=jnp.int32)}
        return {**batch, "seed": jax.random.bits(key, (rows,))} if self.draws else batch

    def objective(self, outputs: tuple[jax.Array, jax.Array], batch: Batch):
        predicted, latents = outputs
        target = batch["target"]
        return contrastive_prediction(
            predicted,
            latents[target],
            self.negatives,
            self.score == "mean",
            self.local,
            batch["speaker"][target] if self.negatives == "speaker" else None,
            self.draws,
            batch["seed"] if self.draws else None,
        )

    def step_times(self, stream: str) -> tuple[float, ...]:
        """Seconds from a window's start to the middle of what each of its steps hears."""
        del stream
        if not isinstance(self.audio, WaveEncoder):
            raise ConfigError("times of steps are known of a WaveEncoder only")
        return tuple((self.audio.middles(self.samples) / self.sample_rate).tolist())

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        record.need_audio(self._seconds)
        begin, end = record.audible
        return even_times(end, self._seconds, count, begin=begin)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        waves = [audio_at(record, time, self._seconds, self.sample_rate) for time in times]
        return {"audio": np.stack(waves)}
