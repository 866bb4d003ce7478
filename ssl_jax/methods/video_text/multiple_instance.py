"""MIL-NCE (Miech, Alayrac, Smaira, Laptev, Sivic and Zisserman, "End-to-End Learning of Visual
Representations from Uncurated Instructional Videos", CVPR 2020): which of the sentences spoken
around a moment says what is seen?"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.narration import narration
from ssl_jax.data.record import Record, Source
from ssl_jax.data.sampling import caption_window, even_times, nearest_captions
from ssl_jax.data.squares import clip_squares_at
from ssl_jax.data.text_clips import caption_times, caption_tokens, token_rows
from ssl_jax.data.tokenizers import Tokenizer
from ssl_jax.knobs import above, at_least, no_larger
from ssl_jax.method import Batch, Example, Method, Refreshed, State
from ssl_jax.methods.word_tables import filled_table, written_captions
from ssl_jax.models.word_pool import WordPool
from ssl_jax.models.word_table import WordTable
from ssl_jax.objectives.contrastive import mil_nce
from ssl_jax.ops.augment import random_crop, random_flip


class MultipleInstanceNet(nn.Module):
    """A trunk of clips, a table of words with a trunk of texts, and a dense layer on each."""

    vision: nn.Module
    table: WordTable
    text: WordPool
    embedding: int
    pad: int

    def setup(self):
        self.vision_head = nn.Dense(self.embedding)
        self.text_head = nn.Dense(self.embedding)

    def __call__(self, batch: Batch, train: bool) -> tuple[jax.Array, jax.Array]:
        """Embeddings of clips (b d) and of their captions (b k d)."""
        tokens = batch["text"]
        clips = self.embed("vision", batch["vision"], train)["embedding"]
        texts = self.embed("text", tokens.reshape(-1, tokens.shape[-1]), train)["embedding"]
        return clips, texts.reshape(*tokens.shape[:2], -1)

    def embed(self, stream: str, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """The trunk's layers, and 'embedding' (b d)."""
        if stream == "vision":
            layers, head = self.vision(x, train), self.vision_head
        else:
            layers = self.text(self.table(x, train)["words"], x != self.pad, train)
            head = self.text_head
        return {**layers, "embedding": head(layers["pool"].astype(jnp.float32))}


@dataclasses.dataclass(frozen=True)
class MultipleInstance(Method):
    """Brings a clip and the captions around it together, of which any may be the right one.

    A narrator often speaks of what was or will be seen. So a clip, around a caption that is drawn
    at random, has `captions` neighbouring ones as positives, and it is enough that one of them is
    near. All captions of other clips of the batch are negatives, and other clips to its captions.
    Embeddings are compared by their plain product, without a temperature.

    Shortcut: what all captions of a video share, a speaker's words or a kitchen, tells the clip
    from those of other videos without a look at what is done; nothing blocks it, as in the paper.

    The streams 'vision' and 'text' share the layer 'embedding', which `TextVideoRetrieval` compares
    by similarity='dot'.

    Differs from the released code: padding takes no part in the maximum over words; words are in
    small letters; a clip starts at any moment, not at whole seconds; a video's captions are
    repeated only where it has too few; the table of words is trained unless `optimizer.freeze`
    names 'table'. BatchNorm's statistics are those of all devices, as in the paper; the released
    code's are of each.

    Batch: views {"vision": uint8 (t short_side short_side 3), "text": int32 (k words)}; augment
    {"vision": uint8 (b t crop crop 3), "text": the same}. Control: control=('text',).

    Attributes:
      vision: trunk of clips; its layer 'pool' feeds the embedding.
      tokenizer: of words; `Words(path)`, or `CountedWords(source)`.
      table: of the words' vectors; its size comes from the tokenizer.
      text: trunk of texts, on the words' vectors.
      vectors: file of word2vec, text or binary, that fills the table before the first step; words
        that it lacks, and all without a file, start at random. Another run's table comes by
        init_from={'table': 'runs/vectors:text'}.
      frames: of a clip.
      rate: frames per second.
      short_side: to which frames are resized (their centre square is taken).
      crop: side of the square that the network sees, cut at random.
      captions: positives of a clip (k).
      length: words of a caption in training; further ones are cut.
      test_length: the same for evaluation.
      least: seconds to which the time of a caption is widened before a clip is drawn from it.
      language: of the captions that are taken; '' for any.
      embedding: width of the common space.
      positives_twice: the released code's loss; see `ssl_jax.objectives.contrastive.mil_nce`.
      chunk: captions compared with at once; 0: all. With batches of thousands it saves memory.
    """

    vision: nn.Module
    tokenizer: Tokenizer
    table: WordTable
    text: WordPool
    vectors: str = ""
    frames: int = 32
    rate: float = 10.0
    short_side: int = 224
    crop: int = 200
    captions: int = 5
    length: int = 20
    test_length: int = 30
    least: float = 5.0
    language: str = "en"
    embedding: int = 512
    positives_twice: bool = False
    chunk: int = 0

    trunks: ClassVar[tuple[str, ...]] = ("vision", "text", "table")

    def __post_init__(self):
        at_least(self, 1, "frames", "short_side", "crop", "captions", "embedding")
        at_least(self, 1, "length", "test_length")
        at_least(self, 0, "least", "chunk")
        above(self, 0, "rate")
        no_larger(self, "crop", "short_side")

    @property
    def net(self) -> nn.Module:
        table = self.table.clone(size=self.tokenizer.size)
        pad = self.tokenizer.pad
        return MultipleInstanceNet(self.vision, table, self.text, self.embedding, pad)

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return {name: (name,) for name in ("vision", "text")}

    @property
    def _seconds(self) -> float:
        return self.frames / self.rate

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        spoken = narration(record, self.language)
        chosen = int(rng.integers(len(spoken)))
        start = caption_window(spoken[chosen], record.duration, rng, self._seconds, self.least)
        around = nearest_captions(spoken, chosen, self.captions).tolist()
        texts = [spoken[number].text for number in around]
        clip = clip_squares_at(record, self.short_side, [start], self.frames, self.rate)[0]
        ids = [self.tokenizer.encode(text) for text in texts]
        tokens, _ = token_rows(ids, self.tokenizer.pad, self.length)
        return {"vision": clip, "text": tokens}

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        crop, flip = jax.random.split(key)
        return {**batch, "vision": random_flip(flip, random_crop(crop, batch["vision"], self.crop))}

    def objective(self, outputs, batch: Batch):
        clips, texts = outputs
        return mil_nce(clips, texts, positives_twice=self.positives_twice, chunk=self.chunk)

    def refresh(self, frozen, source: Source, key: jax.Array) -> Refreshed:
        """The table of words as the file has it, once before the first step."""
        return filled_table(self.vectors, self.tokenizer, frozen)

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """The captions of every row."""
        return {"": written_captions(np.asarray(batch["text"]), self.tokenizer)}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        if stream == "text":
            return caption_times(record, count)
        return even_times(record.duration, min(self._seconds, record.duration), count)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """The captions, or the clips that begin at these seconds."""
        if stream == "text":
            return {"text": caption_tokens(record, times, self.tokenizer, self.test_length)[0]}
        clips = clip_squares_at(record, self.crop, times, self.frames, self.rate)
        return {"vision": clips}

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        x = self.inputs(inputs)[stream]
        return self.net.apply(variables, stream, x, False, method=MultipleInstanceNet.embed)
