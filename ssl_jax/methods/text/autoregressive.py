"""GPT-2 (Radford, Wu, Child, Luan, Amodei and Sutskever, "Language Models are Unsupervised
Multitask Learners", 2019): what is the next token?"""

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
from ssl_jax.data.tokens import need_tokens
from ssl_jax.knobs import at_least
from ssl_jax.method import Batch, Example, Method
from ssl_jax.models.text_encoder import TextEncoder
from ssl_jax.objectives.tokens import (
    TokenLosses,
    bits_per_byte,
    perplexity,
    token_logits,
    token_losses,
    weighted_mean,
)


class AutoregressiveNet(nn.Module):
    """A trunk of causal attention; the vectors of its tokens are those of the output too."""

    text: TextEncoder
    at_once: int

    def __call__(self, batch: Batch, train: bool) -> TokenLosses:
        states = self.states(batch, train)
        return token_losses(states, self.text.table, batch["target"], None, self.at_once)

    def states(self, batch: Batch, train: bool) -> Float[Array, "b l d"]:
        """The last layer at every position."""
        return self.text(batch, train)[self.text.top]

    def logits(self, batch: Batch, train: bool) -> Float[Array, "b l k"]:
        """Of every token to be the next one."""
        return token_logits(self.states(batch, train), self.text.table)


@dataclasses.dataclass(frozen=True)
class Autoregressive(Method):
    """Predicts every token of a text from those before it.

    Documents are joined, an end-of-text token between them, and cut into blocks, so that nothing
    is padded. The only shortcut is to see the target: attention is causal, and a target is never
    the input at its own position.

    The stream 'text' reads a caption: 'mean' is the mean of the last layer, 'last' the last
    layer at the last token.

    Differs from the paper: nothing that is known. The paper gives only the data; the rest
    follows common practice: AdamW, with weight decay on all matrices, embeddings and positions too.

    Batch: views {"text": int32 (n), "target": int32 (n), the tokens one further, "bytes": float32,
    that the targets stand for}, with `separate` also "documents": int32 (n). A batch made by hand
    may have "there": bool (b n), of padding on either side, which is neither seen nor counted.
    Control: control=('target',).

    Attributes:
      text: the trunk; its transformer is causal, its vocabulary comes from the tokenizer.
      tokenizer: that of the source, `TokenBlocks`, too.
      length: n, of the blocks.
      separate: positions attend to those of their own document alone. In GPT-2 to all before them.
      at_once: logits of so many positions of a block are in memory at once; it must divide
        `length`. 0: of all.
    """

    text: TextEncoder
    tokenizer: Tokenizer = Bytes()
    length: int = 1024
    separate: bool = False
    at_once: int = 0

    trunks: ClassVar[tuple[str, ...]] = ("text",)

    def __post_init__(self):
        at_least(self, 1, "length")
        at_least(self, 0, "at_once")
        if self.at_once and self.length % self.at_once:
            raise ConfigError(f"at_once={self.at_once} must divide length={self.length}")
        if not self.text.transformer.causal:
            raise ConfigError("text.transformer.causal=False: it would see what it predicts")

    @property
    def net(self) -> nn.Module:
        return AutoregressiveNet(self.text.clone(vocabulary=self.tokenizer.size), self.at_once)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        del rng
        tokens = need_tokens(record, self.length)
        own = {
            "text": tokens[:-1],
            "target": tokens[1:],
            "bytes": np.float32(record.extra["bytes"]),
        }
        return {**own, "documents": record.extra["documents"][:-1]} if self.separate else own

    def objective(self, outputs: TokenLosses, batch: Batch):
        counted = batch["there"] if "there" in batch else jnp.ones(batch["target"].shape)
        counted = counted.astype(jnp.float32)
        loss = weighted_mean(outputs.loss, counted)
        return loss, {
            "accuracy": weighted_mean(outputs.correct, counted),
            "perplexity": perplexity(loss),
            "bits_per_byte": bits_per_byte(loss, counted.sum(), batch["bytes"].sum()),
        }

    def next_logits(self, variables: dict, batch: Batch) -> jax.Array:
        """Logits (b l k) of the token after each position, for `ssl_jax.apply text`."""
        return self.net.apply(variables, batch, False, method="logits")

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        return caption_times(record, count)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        tokens, there = caption_tokens(record, times, self.tokenizer, self.length)
        return {"text": tokens, "there": there}

    def words(self, batch: Batch) -> dict[str, list[str]]:
        return {
            name: [self.tokenizer.decode(row) for row in np.asarray(batch[name])]
            for name in ("text", "target")
        }
