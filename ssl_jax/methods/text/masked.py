"""BERT (Devlin, Chang, Lee and Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers
for Language Understanding", 2019): which words are hidden, and does one text follow the other?"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Record
from ssl_jax.data.text_clips import caption_times, caption_tokens
from ssl_jax.data.tokenizers import Bytes, Tokenizer
from ssl_jax.data.tokens import masked_text, need_tokens
from ssl_jax.knobs import at_least, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.text_encoder import TextEncoder
from ssl_jax.models.transformer import ACTIVATIONS
from ssl_jax.objectives.tokens import token_logits, token_losses, weighted_mean
from ssl_jax.ops.token_masks import masked_counts, masked_words

EPS = 1e-5  # added to the sum of weights


class MaskedWordsNet(nn.Module):
    """A trunk, and its predictions: a dense layer, and the vectors of the tokens again."""

    text: TextEncoder
    next_sentence: bool

    def setup(self):
        init, dtype = nn.initializers.normal(0.02), self.text.dtype
        self.dense = nn.Dense(self.text.width, kernel_init=init, dtype=dtype)
        self.norm = nn.LayerNorm(epsilon=self.text.transformer.norm_eps, dtype=dtype)
        self.bias = self.param("bias", nn.initializers.zeros, (self.text.vocabulary,))
        if self.next_sentence:
            self.pooler = nn.Dense(self.text.width, kernel_init=init, dtype=dtype)
            self.follows = nn.Dense(2, kernel_init=init)

    def __call__(self, batch: Batch, train: bool) -> dict[str, Array]:
        """'loss' and 'correct' (b m) of the predicted positions, and 'follows' (b 2), logits."""
        layers = self.text(batch, train)
        own = jnp.take_along_axis(layers[self.text.top], batch["places"][..., None], axis=1)
        words = token_losses(self._said(own), self.text.table, batch["target"], self.bias)
        if not self.next_sentence:
            return words._asdict()
        return {**words._asdict(), "follows": self._follows(layers)}

    def logits(self, batch: Batch, train: bool) -> Float[Array, "b l k"]:
        """Of every token at every position."""
        said = self._said(self.text(batch, train)[self.text.top])
        return token_logits(said, self.text.table, self.bias)

    def _said(self, states: Array) -> Array:
        return self.norm(ACTIVATIONS[self.text.transformer.activation](self.dense(states)))

    def _follows(self, layers: dict[str, Array]) -> Float[Array, "b 2"]:
        return self.follows(jnp.tanh(self.pooler(layers["first"])).astype(jnp.float32))


@dataclasses.dataclass(frozen=True)
class MaskedWords(Method):
    """Predicts hidden tokens of a text from those on both sides.

    Of a text of n tokens, [CLS] and [SEP] among them, min(most, max(1, round(0.15 n))) are
    predicted; most of these are replaced by [MASK], some by any token, some stay, so that the
    network has to represent every token. With `next_sentence` the text is of two halves, and the
    network also tells whether the second comes from another place (label 1).

    Shortcut: a network that sees the token itself has nothing to predict; it may copy, which one in
    ten allows. `accuracy` is of all predicted positions.

    The stream 'text' reads a caption: 'mean' is the mean of the last layer, 'first' the last layer
    at [CLS].

    Differs from the paper: new masks are drawn every step, in place of ten times for each text
    beforehand; a text is a block of the joined documents, so that it may hold parts of several, and
    none is shorter; both halves are equally long, and a second half from elsewhere is another row's
    of the batch, which in rare cases is of the same document. Adam has its bias correction.

    Batch: views {"text": int32 (n), "segments": int32 (n)}; augment {"text": the same, hidden,
    "segments", "places": int32 (b m), "target": int32 (b m), "weight": float32 (b m)}, with
    `next_sentence` also "random": int32 (b), 1 for halves that do not belong together. A batch made
    by hand may have "there": bool (b n), of padding. Control: control=('target',).

    Attributes:
      text: the trunk, of two segments; its vocabulary comes from the tokenizer.
      tokenizer: that of the source, `TokenBlocks`, too, whose blocks have length - 2 tokens (with
        `next_sentence` length - 3).
      length: n.
      share: of the tokens that are predicted.
      most: predicted tokens of a text, at most: in the paper 20 of 128, 77 of 512.
      next_sentence: see above.
    """

    text: TextEncoder
    tokenizer: Tokenizer = Bytes()
    length: int = 512
    share: float = 0.15
    most: int = 77
    next_sentence: bool = False

    trunks: ClassVar[tuple[str, ...]] = ("text",)

    def __post_init__(self):
        at_least(self, 5, "length")
        within(self, 0, 1, "share")
        at_least(self, 1, "most")
        if self.text.transformer.causal or self.text.transformer.norm_first:
            raise ConfigError("text.transformer: causal and norm_first must be False")

    @property
    def net(self) -> nn.Module:
        return MaskedWordsNet(self.text.clone(vocabulary=self.tokenizer.size), self.next_sentence)

    @property
    def _half(self) -> int:
        """Where the second half begins."""
        return 2 + (self.length - 3) // 2

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        del rng
        start, end = np.int32([self.tokenizer.cls]), np.int32([self.tokenizer.sep])
        second = np.arange(self.length) >= self._half
        if not self.next_sentence:
            tokens = need_tokens(record, self.length - 2)[:-1]
            return {"text": np.concatenate([start, tokens, end]), "segments": 0 * np.int32(second)}
        tokens = need_tokens(record, self.length - 3)[:-1]
        halves = np.split(tokens, [self._half - 2])
        text = np.concatenate([start, halves[0], end, halves[1], end])
        return {"text": text, "segments": np.int32(second)}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_next, key_words = jax.random.split(key)
        text, more = batch["text"], {}
        if self.next_sentence:
            if len(text) < 2:
                raise ConfigError("next_sentence=True needs batches of at least 2 texts")
            random = jax.random.bernoulli(key_next, 0.5, (len(text),))
            elsewhere = random[:, None] & (jnp.arange(self.length) >= self._half)
            text = jnp.where(elsewhere, jnp.roll(text, 1, axis=0), text)
            more = {"random": random.astype(jnp.int32)}
        there = batch["there"] if "there" in batch else jnp.ones(text.shape, bool)
        specials = jnp.array([self.tokenizer.cls, self.tokenizer.sep, self.tokenizer.pad])
        counts = masked_counts(self.length, self.share, self.most)
        special = (text[..., None] == specials).any(2)
        tokenizer = self.tokenizer
        masked = masked_words(
            key_words, text, there, special, counts, tokenizer.mask, tokenizer.size
        )
        return {**batch, **more, **masked._asdict()}

    def objective(self, outputs: dict[str, jax.Array], batch: Batch):
        weight = batch["weight"]
        loss = weighted_mean(outputs["loss"], weight, EPS)
        metrics = {"words_loss": loss, "accuracy": weighted_mean(outputs["correct"], weight, EPS)}
        if self.next_sentence:
            logits = jax.nn.log_softmax(outputs["follows"])
            own = jnp.take_along_axis(logits, batch["random"][:, None], axis=1)
            loss = loss - own.mean()
            metrics["next_accuracy"] = (logits.argmax(1) == batch["random"]).mean()
        return loss, metrics

    def word_logits(self, variables: dict, batch: Batch) -> jax.Array:
        """Logits (b l k) of the token at each position, for `ssl_jax.apply text`."""
        return self.net.apply(variables, batch, False, method="logits")

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return caption_times(record, count)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        around = (self.tokenizer.cls,), (self.tokenizer.sep,)
        tokens, there = caption_tokens(record, times, self.tokenizer, self.length, *around)
        return {"text": tokens, "there": there}

    def words(self, batch: Batch) -> dict[str, list[str]]:
        return {
            name: [masked_text(self.tokenizer, row) for row in np.asarray(batch[name])]
            for name in ("text", "target")
        }
