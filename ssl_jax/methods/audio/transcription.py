"""Fine-tuning for speech recognition: a trunk of audio is trained on with a head of letters.

Connectionist temporal classification: Graves, Fernandez, Gomez and Schmidhuber, ICML 2006; the
recipe: Baevski et al., "wav2vec 2.0", NeurIPS 2020."""

import dataclasses
from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.alphabet import Alphabet
from ssl_jax.data.audio import fit_length
from ssl_jax.data.matched_audio import audio_at
from ssl_jax.data.record import MediaError, Record
from ssl_jax.knobs import above, at_least, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.transcription import TranscriptionNet
from ssl_jax.models.wav2vec import Wav2Vec
from ssl_jax.objectives.ctc import ctc
from ssl_jax.ops.masking import span_masks


@dataclasses.dataclass(frozen=True)
class Transcription(Method):
    """Trains a trunk and a new linear head to spell what is said, by CTC.

    A record is one utterance, and its first caption what is said. A record that lasts longer than
    `seconds`, whose text is longer than `letters` or holds a character that is no letter of the
    alphabet, is left out and counted as one that cannot be read ('input/failed' in the log).
    `evals.transcripts.Transcripts` reads the layer 'path' of the stream 'text', the likeliest
    class of each step.

    Trunks: any module of waves (b s) that has a layer of steps (b t d), at least as many as there
    are letters. `Wav2Vec` and `WaveEncoder` are given each row's true length, so that padding
    changes nothing; of any other trunk a row has its share of the steps, and what it hears of the
    silence behind the end depends on the trunk. CPC is fine-tuned on what its GRU makes of the
    latents: `gru=call(GRU, width=256)` with `init_from=runs/cpc`, which fills both.

    Control: `control=("target",)`, texts of other records. What is then learnt is how often letters
    occur.

    Only `Wav2Vec` can be masked: in training spans of its steps are replaced by the vector that it
    learned for masks, and spans of its channels by zeros, drawn for each row of each batch.

    Differs from the paper: the mean is over utterances of whatever length.

    Batch: views {"audio": float32 (s), "samples": int32, the true length, "target": int32
    (letters), zeros behind the text}; augment the same with a leading b and, with masks, "masked":
    bool (b t) and "masked_channels": bool (b d).

    Attributes:
      audio: the trunk, best by the name that it has in the run that `init_from` names.
      gru: of `models.gru`, between trunk and head; None: the head stands on the trunk.
      alphabet: the head's classes.
      layer: of the trunk, on which the head stands; '': the last.
      seconds: longest utterance; all are padded to it.
      test_seconds: the same when it is evaluated, 0 for as long as in training: a few long ones
        would make every step of training slow, but must not be missing in a test.
      letters: most letters of a text, boundaries of words included.
      sample_rate: in Hz; audio of another rate is resampled.
      head_only: steps in which only the head is trained. (What shall never be trained goes into
        `optimizer.freeze`, as wav2vec's convolutions.)
      dropout: rate, at the head's input.
      time_mask, time_span: probability that a span of masked steps begins at a step, and how long
        it is. Of each row there are two spans or more, unless it is 0.
      channel_mask, channel_span: likewise of channels; there may be none.
    """

    audio: nn.Module
    gru: nn.Module | None = None
    alphabet: Alphabet = Alphabet()
    layer: str = ""
    seconds: float = 16.0
    test_seconds: float = 0.0
    letters: int = 300
    sample_rate: int = 16000
    head_only: int = 0
    dropout: float = 0.0
    time_mask: float = 0.0
    time_span: int = 10
    channel_mask: float = 0.0
    channel_span: int = 64

    def __post_init__(self):
        above(self, 0, "seconds")
        at_least(self, 1, "letters", "sample_rate", "time_span", "channel_span")
        at_least(self, 0, "head_only", "test_seconds")
        within(self, 0, 1, "dropout", "time_mask", "channel_mask")
        if (self.time_mask or self.channel_mask) and not isinstance(self.audio, Wav2Vec):
            raise ConfigError(
                f"time_mask={self.time_mask} and channel_mask={self.channel_mask} must be 0: "
                f"audio is no Wav2Vec but {type(self.audio).__name__}, which has no masks"
            )

    @property
    def trunks(self) -> tuple[str, ...]:
        return ("audio",) if self.gru is None else ("audio", "gru")

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return {"audio": ("audio",), "text": ("audio",)}

    @property
    def net(self) -> nn.Module:
        knobs = self.layer, self.dropout, self.head_only
        return TranscriptionNet(self.audio, self.gru, self.alphabet.size, *knobs)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        return {**self._heard(record, self.seconds), "target": self.target(record)}

    def target(self, record: Record) -> np.ndarray:
        """int32 (letters): the classes of the text, then zeros; MediaError if it has no place."""
        text = record.need_captions()[0].text
        unknown = self.alphabet.unknown(text)
        if unknown:
            raise MediaError(
                f"{record.name}: its text holds {unknown!r}, no letters of method.alphabet"
            )
        found = self.alphabet.encode(text)
        if len(found) > self.letters:
            raise MediaError(
                f"{record.name}: its text has {len(found)} letters, letters={self.letters}"
            )
        return np.pad(found, (0, self.letters - len(found)))

    def _heard(self, record: Record, longest: float) -> Example:
        """The whole utterance, padded, and its true length."""
        record.need_audio()
        begin, end = record.audible
        if end - begin > longest:
            raise MediaError(
                f"{record.name}: lasts {end - begin:.2f} s, the longest that is taken {longest:g} s"
            )
        wave = audio_at(record, begin, end - begin, self.sample_rate)
        padded = fit_length(wave, round(longest * self.sample_rate))
        return {"audio": padded, "samples": np.int32(min(len(wave), len(padded)))}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        keys, masks = jax.random.split(key), {}
        if self.time_mask:
            lengths = self.audio.steps(batch["samples"])
            steps = self.audio.steps(batch["audio"].shape[1])
            share = self.time_mask * self.time_span
            masks["masked"] = span_masks(keys[0], lengths, steps, share, self.time_span)
        if self.channel_mask:
            width, share = self.audio.width, self.channel_mask * self.channel_span
            widths = jnp.full(len(batch["audio"]), width)
            spans = span_masks(keys[1], widths, width, share, self.channel_span, least=0)
            masks["masked_channels"] = spans
        return {**batch, **masks}

    def objective(self, outputs: tuple[jax.Array, jax.Array], batch: Batch):
        logits, steps = outputs
        return ctc(logits, steps.astype(jnp.int32), batch["target"])

    def pictures(self, batch: Batch) -> Batch:
        return {"audio": batch["audio"]}

    def words(self, batch: Batch) -> dict[str, list[str]]:
        return {"target": [self.alphabet.decode(row) for row in np.asarray(batch["target"])]}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        """Of the whole utterance, whatever the count."""
        return [record.audible[0]] * count

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        heard = self._heard(record, self.test_seconds or self.seconds)
        return {name: np.stack([x] * len(times)) for name, x in heard.items()}

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        """Of 'text' the layer 'path' alone: all layers of long utterances would fill the memory.

        Of 'audio' the layers of the trunks, and 'head'.
        """
        layers = self.net.apply(variables, self.inputs(inputs), train=False, method="layers")
        path, _ = layers.pop("path"), layers.pop("steps")
        return {"path": path} if stream == "text" else layers
