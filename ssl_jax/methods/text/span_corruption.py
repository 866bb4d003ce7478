"""T5 (Raffel, Shazeer, Roberts, Lee, Narang, Matena, Zhou, Li and Liu, "Exploring the Limits of
Transfer Learning with a Unified Text-to-Text Transformer", 2020): what stood in the gaps?"""

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Record
from ssl_jax.data.text_clips import caption_times, caption_tokens
from ssl_jax.data.tokenizers import Bytes, Tokenizer
from ssl_jax.data.tokens import need_tokens
from ssl_jax.knobs import above, at_least
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.heads import last
from ssl_jax.models.text_encoder import TextEncoder
from ssl_jax.models.transformer import Transformer
from ssl_jax.objectives.tokens import TokenLosses, token_logits, token_losses, weighted_mean
from ssl_jax.ops.token_masks import collapsed, noise_counts, noise_spans


class SpanCorruptionNet(nn.Module):
    """A trunk that reads the text with gaps, and a decoder that writes what stood in them."""

    text: TextEncoder
    decoder: Transformer
    tied: bool
    start: int

    def setup(self):
        width = self.text.width
        self.writer = self.decoder.clone(dtype=self.text.dtype)
        if not self.tied:
            init = nn.initializers.normal(1 / math.sqrt(width))
            self.head = self.param("head", init, (self.text.vocabulary, width))

    def __call__(self, batch: Batch, train: bool) -> TokenLosses:
        """The losses of the target (b m), each token of it after the true ones before it."""
        before = jnp.pad(batch["target"], ((0, 0), (1, 0)), constant_values=self.start)[:, :-1]
        states = self.states(batch, before, train)
        return token_losses(states, self._table, batch["target"])

    def logits(self, batch: Batch, written: Int[Array, "b m"]) -> Float[Array, "b m k"]:
        """Of every token to come after each of those written, the first of which is the start."""
        return token_logits(self.states(batch, written, False), self._table)

    def states(self, batch: Batch, written: Int[Array, "b m"], train: bool) -> Array:
        """The decoder's last layer (b m d); where vectors are shared, divided by the root of d."""
        layers = self.text(batch, train)
        top = layers[f"block{self.text.transformer.blocks}"] if "norm" not in layers else None
        memory = layers["norm"] if top is None else top
        there = batch["there"] if "there" in batch else None
        written = self.text.embed(written, train)
        states = last(self.writer(written, train, memory=memory, memory_there=there))
        return states / math.sqrt(self.text.width) if self.tied else states

    @property
    def _table(self) -> Array:
        return self.text.table if self.tied else self.head


@dataclasses.dataclass(frozen=True)
class SpanCorruption(Method):
    """Writes the spans that were taken out of a text, each after the sentinel that marks its gap.

    Of `length` tokens 15 % are noise, in spans of 3 on average. The encoder reads the text with a
    sentinel in place of each span, the decoder writes sentinel, span, sentinel, span, ..., end.
    Counts are exact, so that every text gives as many tokens: 568 become 512 and 114.

    Shortcuts: sentinels come in order, so that they and their loss tell little: 'words_loss' and
    'words_accuracy' are without them. A decoder alone is a language model of short spans; what the
    encoder adds is the difference to the control, whose targets are of other texts.

    The stream 'text' reads a caption with the encoder: 'mean' is the mean of its last layer.

    Differs from the paper: Adam in place of Adafactor (in the configs); no dropout inside of the
    feed-forward network and after the last norm; blocks may hold parts of several documents.

    Batch: views {"text": int32 (length)}; augment {"text": int32 (b n), with gaps, "target": int32
    (b m)}. A batch made by hand may have "there": bool (b n), of padding.
    Control: control=('target',).

    Attributes:
      text: the encoder, a trunk; its vocabulary is that of the tokenizer and the sentinels.
      decoder: a causal transformer as wide as the encoder.
      tokenizer: that of the source, `TokenBlocks`, too. Its pad begins what is written.
      length: of a text before spans are taken out.
      share: of the tokens that are noise.
      mean: length of spans.
      sentinels: how many ids stand after those of the tokenizer; the last one is the first gap's.
      vocabulary: vectors that there are, some maybe of no token; 0: no more than that. T5 has
        32,128 for 32,100 tokens.
      tied: the vectors of the tokens are those of the output too; not in version 1.1.
    """

    text: TextEncoder
    decoder: Transformer
    tokenizer: Tokenizer = Bytes()
    length: int = 568
    share: float = 0.15
    mean: float = 3.0
    sentinels: int = 100
    vocabulary: int = 0
    tied: bool = True

    trunks: ClassVar[tuple[str, ...]] = ("text",)

    def __post_init__(self):
        at_least(self, 2, "length")
        above(self, 0, "share")
        at_least(self, 1, "mean", "sentinels")
        at_least(self, 0, "vocabulary")
        if self.text.transformer.causal or not self.decoder.causal:
            raise ConfigError("the decoder is causal=True, text.transformer causal=False")
        if self._counts[1] > self.sentinels:
            raise ConfigError(f"sentinels={self.sentinels}: {self._counts[1]} spans need as many")
        if 0 < self.vocabulary < self.tokenizer.size + self.sentinels:
            least = self.tokenizer.size + self.sentinels
            raise ConfigError(f"vocabulary={self.vocabulary} must be 0 or at least {least}")

    @property
    def _counts(self) -> tuple[int, int]:
        return noise_counts(self.length, self.share, self.mean)

    @property
    def first_sentinel(self) -> int:
        """The id of the first gap's; that of each next one is a number less."""
        return self.tokenizer.size + self.sentinels - 1

    @property
    def net(self) -> nn.Module:
        vocabulary = self.vocabulary or self.tokenizer.size + self.sentinels
        text = self.text.clone(vocabulary=vocabulary)
        return SpanCorruptionNet(text, self.decoder, self.tied, self.tokenizer.pad)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        del rng
        return {"text": need_tokens(record, self.length)[:-1]}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        text, (noise, spans) = batch["text"], self._counts
        hidden = noise_spans(key, len(text), self.length, noise, spans)

        def shortened(hidden: jax.Array, count: int) -> jax.Array:
            found = collapsed(text, hidden, self.first_sentinel, count + spans)
            return jnp.pad(found, ((0, 0), (0, 1)), constant_values=self.tokenizer.eos)

        shorter = {
            "text": shortened(hidden, self.length - noise),
            "target": shortened(~hidden, noise),
        }
        return {**batch, **shorter}

    def objective(self, outputs: TokenLosses, batch: Batch):
        target = batch["target"]
        words = (target < self.tokenizer.size) & (target != self.tokenizer.eos)
        words = words.astype(jnp.float32)
        return outputs.loss.mean(), {
            "accuracy": outputs.correct.mean(),
            "words_loss": weighted_mean(outputs.loss, words, 1e-5),
            "words_accuracy": weighted_mean(outputs.correct, words, 1e-5),
        }

    def written_logits(self, variables: dict, batch: Batch, written: jax.Array) -> jax.Array:
        """Logits (b m k) of the token after each of those written (b m), which begin with pad."""
        return self.net.apply(variables, batch, written, method="logits")

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return caption_times(record, count)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        end = (self.tokenizer.eos,)
        tokens, there = caption_tokens(record, times, self.tokenizer, self.length, after=end)
        return {"text": tokens, "there": there}

    def words(self, batch: Batch) -> dict[str, list[str]]:
        return {
            name: [self._decoded(row) for row in np.asarray(batch[name])]
            for name in ("text", "target")
        }

    def _decoded(self, ids: Int[np.ndarray, "l"]) -> str:
        """A text, its sentinels as <0>, <1>, ..."""
        at = np.flatnonzero(ids >= self.tokenizer.size)
        first, *others = np.split(ids, at)
        marked = (
            f"<{self.first_sentinel - part[0]}>{self.tokenizer.decode(part[1:])}" for part in others
        )
        return self.tokenizer.decode(first) + "".join(marked)
