"""Support sets (Patrick, Huang, Asano, Metze, Hauptmann, Henriques and Vedaldi, "Support-set
Bottlenecks for Video-text Representation Learning", ICLR 2021): what do other videos that fit this
caption say about it?"""

import dataclasses
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ssl_jax.config import ConfigError
from ssl_jax.data.narration import narration
from ssl_jax.data.record import Record
from ssl_jax.data.stored_features import cut_times, feature_seconds, spread_features
from ssl_jax.data.text_clips import caption_times, caption_tokens
from ssl_jax.data.tokenizers import Bytes, Tokenizer
from ssl_jax.knobs import above, at_least, one_of
from ssl_jax.method import Batch, Example, Method, Params, State
from ssl_jax.models.feature_sequence import FeatureSequence
from ssl_jax.models.heads import last
from ssl_jax.models.text_encoder import TextEncoder
from ssl_jax.models.transformer import Transformer
from ssl_jax.objectives.support_set import MODES, empty_bank, hardest_margin, joined, support
from ssl_jax.objectives.tokens import TokenLosses, token_losses, weighted_mean
from ssl_jax.ops.token_masks import up_to_end
from ssl_jax.ops.unit import unit


class SupportSetNet(nn.Module):
    """Clips and captions in one space, and a decoder that writes captions from clips' values."""

    vision: FeatureSequence
    text: TextEncoder
    writer: Transformer | None
    embedding: int
    mode: str
    temperature: float
    bank: int
    tokenizer: Tokenizer

    def setup(self):
        self.vision_head, self.text_head = nn.Dense(self.embedding), nn.Dense(self.embedding)
        if self.writer is None:
            return
        width = self.text.width
        self.value = nn.Dense(width)
        # Attended to beside the support: with nothing else queries and keys had no gradient.
        self.blank = self.param("blank", nn.initializers.zeros, (width,))
        if self.bank:
            self.kept = self.variable("bank", "clips", empty_bank, self.bank, self.embedding, width)

    def __call__(self, batch: Batch, train: bool) -> dict[str, Any]:
        """Embeddings of clips, 'keys', and of 'texts' (b d), and with a writer the clips' 'values'
        (b w) and the losses of 'captions' (b l), each token of it after the true ones before it."""
        vision, text = (self.embed(name, batch, train) for name in ("vision", "text"))
        found = {"keys": vision["embedding"], "texts": text["embedding"]}
        if self.writer is None:
            return found
        found["values"] = self.value(vision["mean"].astype(jnp.float32))
        clips = clips_of(found, batch)
        clips = joined(clips, self.kept.value) if self.bank else clips
        pooled = support(found["texts"], clips, self.mode, self.temperature)
        return {**found, "captions": self.losses(batch["text"], pooled, train)}

    def embed(self, stream: str, batch: Batch, train: bool) -> dict[str, Array]:
        """The trunk's layers, and 'embedding' (b d), of length 1."""
        if stream == "vision":
            layers, head = self.vision(batch, train), self.vision_head
        else:
            tokens = batch["text"]
            layers = self.text(
                {"text": tokens, "there": up_to_end(tokens, self.tokenizer.eos)}, train
            )
            head = self.text_head
        return {**layers, "embedding": unit(head(layers["mean"].astype(jnp.float32)))}

    def losses(self, tokens: Array, pooled: Float[Array, "b w"], train: bool) -> TokenLosses:
        before = jnp.pad(tokens, ((0, 0), (1, 0)), constant_values=self.tokenizer.pad)[:, :-1]
        memory = jnp.stack([pooled, jnp.broadcast_to(self.blank, pooled.shape)], axis=1)
        states = last(self.writer(self.text.embed(before, train), train, memory=memory))
        return token_losses(states / math.sqrt(self.text.width), self.text.table, tokens)


def clips_of(outputs: dict[str, Any], batch: Batch) -> dict[str, Array]:
    """A batch's clips as entries of a support set."""
    return {"keys": outputs["keys"], "values": outputs["values"], "videos": batch["video"]}


@dataclasses.dataclass(frozen=True)
class SupportSet(Method):
    """Ranks a caption's own clip above others, and writes the caption from clips that fit it.

    Ranking treats all other clips as wrong, also those that the caption would describe as well.
    Against that a decoder has to write the caption from a weighted sum of clips, the support: the
    nearer a clip's embedding is to the caption's, the more it weighs, so that like clips come near.
    `mode` says which clips these are: 'identity', the own one; 'full', all of the batch; 'cross',
    the paper's, those of other videos; 'hybrid', the mean of the first two; 'none': no decoder.

    Shortcut: where a caption's own clip is in its support, like clips need not be found; 'cross'
    leaves out all clips of its video, before the softmax. Words that follow from those before them
    need no clip: hold 'caption_loss' against that of 'identity' in its control.

    The streams 'vision' and 'text' share the layer 'embedding', of length 1, without the decoder.

    Differs from the paper as far as we know: its abstract alone could be read, and no code is
    public. So these are ours: all sizes, weights and rates; one token of support, of pooled clips,
    beside a learned one; a gradient through the weights into both trunks; and that clips of one
    video, or of captions of the same words, are no negatives of one another.

    Batch: views {"vision": float32 (steps d), "seen": bool (steps), which steps there are, "text":
    int32 (length), "video": int32 (), of the record's name, so that `CaptionSource` is no source
    for it}; augment changes nothing. Control: control=('text',), which leaves a caption's true clip
    elsewhere in the batch, for 'full', 'cross' and 'hybrid' to find.

    Attributes:
      vision: trunk of clips of features.
      text: trunk of captions. T5's comes by init_from={'text': 'runs/t5:text', 'writer':
        'runs/t5:writer'}, or from a published file, which has no 'writer'.
      decoder: a causal transformer as wide as `text`, with whose vectors of tokens it writes.
      tokenizer: of captions. Its pad begins what is written.
      features: name of `record.extra` for features that were computed before, (t d).
      rate: rows of features per second.
      steps: rows of a clip, see `data.stored_features.spread_features`.
      length: tokens of a caption, its end included; further ones are cut.
      language: of the captions that are taken in training; '' for any.
      embedding: width of the common space.
      mode: see above.
      weight: of writing against ranking.
      temperature: divides similarities before the softmax.
      margin: between the own similarity and that of the hardest negative of the batch.
      bank: clips of earlier batches, without gradient, in the support beside the batch's.
      vocabulary: vectors of tokens that there are, some maybe of none; 0: those of the tokenizer.
    """

    vision: FeatureSequence
    text: TextEncoder
    decoder: Transformer
    tokenizer: Tokenizer = Bytes()
    features: str = "features"
    rate: float = 1.0
    steps: int = 32
    length: int = 32
    language: str = "en"
    embedding: int = 512
    mode: str = "cross"
    weight: float = 1.0
    temperature: float = 0.1
    margin: float = 0.2
    bank: int = 0
    vocabulary: int = 0

    def __post_init__(self):
        at_least(self, 1, "steps", "embedding")
        at_least(self, 2, "length")
        at_least(self, 0, "weight", "margin", "bank", "vocabulary")
        above(self, 0, "rate", "temperature")
        one_of(self, "mode", ("none", *MODES))
        if self.text.transformer.causal or not self.decoder.causal:
            raise ConfigError("the decoder is causal=True, text.transformer causal=False")
        if self.bank and not self.rows_meet:
            raise ConfigError(f"bank={self.bank}: with mode='{self.mode}' no other clips are used")
        if self.vocabulary:
            at_least(self, self.tokenizer.size, "vocabulary")

    @property
    def trunks(self) -> tuple[str, ...]:
        return ("vision", "text") if self.mode == "none" else ("vision", "text", "writer")

    @property
    def rows_meet(self) -> bool:
        return self.mode not in ("none", "identity")

    @property
    def net(self) -> nn.Module:
        text = self.text.clone(vocabulary=self.vocabulary or self.tokenizer.size)
        writer = None if self.mode == "none" else self.decoder
        knobs = self.embedding, self.mode, self.temperature, self.bank
        return SupportSetNet(self.vision, text, writer, *knobs, self.tokenizer)

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return {"vision": ("vision", "seen"), "text": ("text",)}

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        spoken = narration(record, self.language, self._length(record))
        chosen = spoken[int(rng.integers(len(spoken)))]
        alone = dataclasses.replace(record, captions=(chosen,))
        found = self._stored(record, [(chosen.start, chosen.end)])
        found |= self.clips(alone, "text", [chosen.start])
        # Shots have names of their own, but the file of their video.
        number = np.int32(zlib.crc32(record.extra.get("path", record.name).encode()) >> 1)
        return {**{name: x[0] for name, x in found.items()}, "video": number}

    def _stored(self, record: Record, spans: Sequence[tuple[float, float]]) -> Example:
        spans = [(start, min(end, self._length(record))) for start, end in spans]
        found = spread_features(record, self.features, self.rate, spans, self.steps)
        return dict(zip(("vision", "seen"), found, strict=True))

    def _length(self, record: Record) -> float:
        return feature_seconds(record, self.features, self.rate)

    def objective(self, outputs: dict[str, Any], batch: Batch):
        text, video = batch["text"], batch["video"]
        alike = (video[:, None] == video) | (text[:, None] == text).all(2)
        ranking, metrics = hardest_margin(outputs["keys"], outputs["texts"], alike, self.margin)
        if self.mode == "none":
            return ranking, metrics
        there = up_to_end(text, self.tokenizer.eos)
        share = there / there.sum(1, keepdims=True)  # every caption counts the same
        loss, correct = (weighted_mean(x, share) for x in outputs["captions"])
        metrics = {**metrics, "ranking_loss": ranking, "caption_loss": loss}
        return ranking + self.weight * loss, {**metrics, "caption_accuracy": correct}

    def after(self, params: Params, state: State, batch: Batch, outputs: Any) -> State:
        """Puts the batch's clips into the bank, in place of the oldest."""
        if not self.bank:
            return state
        clips = joined(clips_of(outputs, batch), state["bank"]["clips"])
        return {**state, "bank": {"clips": jax.tree.map(lambda x: x[: self.bank], clips)}}

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """The caption of every row."""
        return {"": [self.tokenizer.decode(ids) for ids in np.asarray(batch["text"])]}

    def pictures(self, batch: Batch) -> Batch:
        """Features as maps, a column for each step."""
        return {"vision": jnp.swapaxes(batch["vision"], 1, 2)[..., None]}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        """Of captions; all of a video is one clip, or it is cut into `count`."""
        if stream == "text":
            return caption_times(record, count)
        return cut_times(self._length(record), count)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """The captions, or the clips that begin at these seconds."""
        if stream == "text":
            knobs = self.tokenizer, self.length, (), (self.tokenizer.eos,)
            return {"text": caption_tokens(record, times, *knobs)[0]}
        seconds = self._length(record) / len(times)
        return self._stored(record, [(time, time + seconds) for time in times])

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        return self.net.apply(variables, stream, self.inputs(inputs), False, method="embed")
