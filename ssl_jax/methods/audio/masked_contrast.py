"""wav2vec 2.0: which of these quantised features belongs to the step that is masked?

Baevski, Zhou, Mohamed and Auli, "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech
Representations", NeurIPS 2020."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.audio import fit_length
from ssl_jax.data.matched_audio import audio_at
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import audio_window, even_times
from ssl_jax.knobs import above, at_least, no_larger, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.gumbel_quantizer import GumbelQuantizer
from ssl_jax.models.heads import last
from ssl_jax.models.wav2vec import Wav2Vec, means
from ssl_jax.objectives.masked_contrast import code_diversity, masked_contrast
from ssl_jax.ops.masking import expected_share, masked_places, others, span_masks


class MaskedContrastNet(nn.Module):
    """The trunk's outputs at masked steps, and their features quantised, as vectors to compare."""

    audio: Wav2Vec
    quantizer: GumbelQuantizer
    dropout: float
    noise: tuple[float, float, float]

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        layers = self.audio({k: batch[k] for k in ("audio", "samples", "masked")}, train)
        features = nn.Dropout(self.dropout, deterministic=not train)(layers["features"])
        targets = _at(features, batch["target"])
        found, logits, codes = self.quantizer(targets, train, self.temperature())
        context = _at(last(layers), batch["hidden"]).astype(jnp.float32)
        waves = layers[f"conv{len(self.audio.encoder.channels)}"].astype(jnp.float32)
        there = jnp.arange(waves.shape[1]) < self.audio.steps(batch["samples"])[:, None]
        return {
            "context": nn.Dense(self.quantizer.out, name="context")(context),
            "targets": nn.Dense(self.quantizer.out, name="targets")(found),
            "logits": logits,
            "codes": codes.astype(jnp.float32),  # of integers there is no gradient to hand on
            "squares": (there * jnp.square(waves).mean(2)).sum(1),
        }

    def temperature(self) -> jax.Array:
        """Of the quantiser's draws at this step."""
        first, least, factor = self.noise
        step = self.get_variable("run", "step").astype(jnp.float32)
        # Not factor**step, whose rounding grows with the steps.
        return jnp.maximum(first * jnp.exp(step * math.log(factor)), least)

    def means(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """Means over time of the layers (b d) that have a step for each of the transformer's.

        Without 'samples' waves are whole.
        """
        steps = self.audio.steps(batch["samples"]) if "samples" in batch else None
        return means(self.audio(batch, train), steps)


def _at(x: jax.Array, places: jax.Array) -> jax.Array:
    """(b t d) at the places (b m) of each row."""
    return jnp.take_along_axis(x, places[..., None], axis=1)


@dataclasses.dataclass(frozen=True)
class MaskedContrast(Method):
    """Masks spans of the steps of audio and picks, for each, its own quantised feature among those
    of other masked steps of the same recording.

    A convolutional encoder makes a step of every 20 ms. A transformer sees the steps with spans
    masked, and its output at a masked step has to be closer, by cosine, to what the encoder made of
    that step than to what it made of others, the distractors. These targets are quantised: entries
    of codebooks that are learnt with all else, so that they are few sounds rather than every
    detail.

    Shortcuts: distractors are of the same recording, so voice and microphone say nothing; and of
    masked steps, as what was seen could be ruled out. Distractors equal to the target are left out.
    Trivial solution: one entry for everything. Then no distractor is left, the loss is 0, the
    metric 'perplexity' falls to the number of codebooks and 'accuracy' to 0, which the log tells in
    one line. A larger batch, a lower learning rate or more `diversity` prevent it; so does
    the penalty on features. Healthy: the contrastive loss begins near log(1 + distractors) and code
    perplexity climbs. Accuracy is no measure of quality.

    The stream 'audio' reads every step, 'means' the mean over the steps that are there.

    Differs from the released code: it unmasks steps until all rows have as many masked as the row
    with fewest. Here every row keeps its spans. The loss uses the same number of masked steps of
    every row, the expected one; shorter rows use all they have. It is divided by their number,
    which there happens to the gradient.

    Batch: views {"audio": float32 (s), zeros behind the end, "samples": int32}; augment {"audio":
    float32 (b s), "samples": int32 (b), "masked": bool (b t), "hidden": int32 (b m), masked steps,
    "target": int32 (b m), whose features are asked for, the same, "others": int32 (b m k), numbers
    of distractors among these m, "counted": bool (b m), which of them are masked steps at all}.

    Control: control=('target',), the steps of other rows' targets. Of recordings of unequal length
    some of these lie behind a shorter row's end, where all features are alike: targets equal to
    each other, which say how long the row is. Crops of one length have none.

    Attributes:
      audio: the trunk.
      samples: of the longest recording, and of the crop of a longer one.
      shortest: recordings of fewer samples are refused.
      sample_rate: in Hz; audio of another rate is resampled.
      share: of the steps that would be masked if spans did not overlap; .65 masks .49 of them.
      span: steps of a span.
      distractors: of each masked step, drawn with repetition.
      temperature: divides cosines.
      groups, entries, out: codebooks, entries of each, and the width of what is compared. Entries
        are of that width together.
      noise: temperature of the Gumbel draws: at first, at least, and its factor at every update.
      diversity: weight of the penalty on uneven use of the codebooks.
      penalty: weight of the mean square of the encoder's last layer; 0 for
        LV-60k.
      dropout: rate, on the features that are quantised.
    """

    audio: Wav2Vec
    samples: int = 250_000
    shortest: int = 32_000
    sample_rate: int = 16_000
    share: float = 0.65
    span: int = 10
    distractors: int = 100
    temperature: float = 0.1
    groups: int = 2
    entries: int = 320
    out: int = 256
    noise: tuple[float, float, float] = (2.0, 0.5, 0.999995)
    diversity: float = 0.1
    penalty: float = 10.0
    dropout: float = 0.1

    trunks: ClassVar[tuple[str, ...]] = ("audio",)

    def __post_init__(self):
        at_least(self, 1, "samples", "shortest", "sample_rate", "span", "distractors", "groups")
        at_least(self, 2, "entries")
        at_least(self, self.groups, "out")
        at_least(self, 0, "diversity", "penalty")
        within(self, 0, 1, "share", "dropout")
        above(self, 0, "share", "temperature", "noise")
        no_larger(self, "shortest", "samples")
        if self.audio.steps(self.shortest) <= self.span + 1:
            raise ConfigError(
                f"shortest={self.shortest} samples are {self.audio.steps(self.shortest)} steps, in "
                f"which a span of {self.span} leaves no choice"
            )

    @property
    def net(self) -> nn.Module:
        quantizer = GumbelQuantizer(self.groups, self.entries, self.out)
        return MaskedContrastNet(self.audio, quantizer, self.dropout, self.noise)

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return {"audio": ("audio",), "means": ("audio",)}

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        record.need_audio(self.shortest / self.sample_rate)
        begin, end = record.audible
        seconds = min(end - begin, self.samples / self.sample_rate)
        return self._read(record, audio_window(end, seconds, rng, begin=begin))

    def _read(self, record: Record, start: float) -> Example:
        seconds = min(record.audible[1] - start, self.samples / self.sample_rate)
        wave = audio_at(record, start, seconds, self.sample_rate)[: self.samples]
        return {"audio": fit_length(wave, self.samples), "samples": np.int32(len(wave))}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        masks, choice, draws = jax.random.split(key, 3)
        steps = self.audio.steps(self.samples)
        masked = span_masks(masks, self.audio.steps(batch["samples"]), steps, self.share, self.span)
        count = max(1, int(steps * expected_share(self.share, self.span)))
        places, counted = masked_places(choice, masked, count)
        drawn = others(draws, counted.sum(1), count, self.distractors)
        puzzle = {"masked": masked, "hidden": places, "target": places, "counted": counted}
        return {**batch, **puzzle, "others": drawn}

    def objective(self, outputs: dict[str, jax.Array], batch: Batch):
        compared = (outputs[name] for name in ("context", "targets", "codes"))
        counted = batch["counted"]
        total, metrics = masked_contrast(*compared, batch["others"], counted, self.temperature)
        contrast = total / jnp.maximum(counted.sum(), 1)
        uneven, used = code_diversity(outputs["logits"], counted)
        steps = jnp.maximum(self.audio.steps(batch["samples"]).sum(), 1)
        squares = outputs["squares"].sum() / steps
        loss = contrast + self.diversity * uneven + self.penalty * squares
        more = {"contrast": contrast, "diversity": uneven, "squares": squares}
        more["masked"] = batch["masked"].sum() / steps
        return loss, {**metrics, **used, **more}

    def worry(self, metrics: Mapping[str, float]) -> str:
        if metrics["perplexity"] > 1.05 * self.groups:
            return ""
        return (
            f"the codebooks have collapsed to one entry each (perplexity near {self.groups}): use "
            "larger batches, a lower learning rate or more diversity"
        )

    def pictures(self, batch: Batch) -> Batch:
        """The audio, and the same with silence for what is masked."""
        hop = int(np.prod(self.audio.encoder.strides))
        hidden = jnp.repeat(batch["masked"], hop, axis=1)[:, : self.samples]
        hidden = jnp.pad(hidden, ((0, 0), (0, self.samples - hidden.shape[1])))
        return {"audio": batch["audio"], "seen": jnp.where(hidden, 0, batch["audio"])}

    def step_times(self, stream: str) -> tuple[float, ...]:
        """Seconds from a window's start to the middle of what each of its steps hears."""
        del stream
        return tuple((self.audio.encoder.middles(self.samples) / self.sample_rate).tolist())

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        record.need_audio(self.shortest / self.sample_rate)
        begin, end = record.audible
        return even_times(
            end, min(end - begin, self.samples / self.sample_rate), count, begin=begin
        )

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        read = [self._read(record, time) for time in times]
        return {name: np.stack([one[name] for one in read]) for name in ("audio", "samples")}
