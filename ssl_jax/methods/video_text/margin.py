"""HowTo100M's embedding (Miech, Zhukov, Alayrac, Tapaswi, Laptev and Sivic, "HowTo100M: Learning a
Text-Video Embedding by Watching Hundred Million Narrated Video Clips", ICCV 2019): which clip does
this sentence belong to?"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.narration import narration
from ssl_jax.data.record import Record, Source
from ssl_jax.data.sampling import caption_window, even_times, merged_captions
from ssl_jax.data.squares import clip_squares_at
from ssl_jax.data.stored_features import cut_times, feature_seconds, strongest_features
from ssl_jax.data.text_clips import caption_times, caption_tokens, token_rows
from ssl_jax.data.tokenizers import Tokenizer
from ssl_jax.knobs import above, at_least, one_of, within
from ssl_jax.method import Batch, Example, Method, Refreshed
from ssl_jax.methods.word_tables import filled_table, written_captions
from ssl_jax.models.gated_unit import GatedUnit
from ssl_jax.models.word_pool import WordPool
from ssl_jax.models.word_table import WordTable
from ssl_jax.objectives.max_margin import intra_video_nce, max_margin


class MarginNet(nn.Module):
    """Clips and texts through their trunks, and a gated unit on each."""

    vision: nn.Module
    table: WordTable
    text: WordPool
    embedding: int
    pad: int

    def setup(self):
        self.vision_head = GatedUnit(self.embedding)
        self.text_head = GatedUnit(self.embedding)

    def __call__(self, batch: Batch, train: bool) -> tuple[jax.Array, jax.Array]:
        """Embeddings of clips and of texts, both (b k d)."""
        return tuple(
            self.embed(name, batch[name].reshape(-1, *batch[name].shape[2:]), train)[
                "embedding"
            ].reshape(*batch[name].shape[:2], -1)
            for name in ("vision", "text")
        )

    def embed(self, stream: str, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """The trunk's layers, and 'embedding' (b d), of length 1."""
        if stream == "vision":
            layers, head = self.vision(x, train), self.vision_head
        else:
            layers = self.text(self.table(x, train)["words"], x != self.pad, train)
            head = self.text_head
        return {**layers, "embedding": head(layers["pool"])}


@dataclasses.dataclass(frozen=True)
class Margin(Method):
    """Ranks a sentence's own clip above others, and a clip's own sentence, by a margin.

    Of every video there are `pairs` clips with what is said in them, so that some of the others are
    of the same video: alike in everything but what is done just then. They have together half of
    the weight. Captions that are too short are joined to the next; those that begin after the video
    or its features are skipped.

    Shortcut: without pairs of the same video it is enough to know a video by its kitchen or its
    speaker's words; `intra_video` is what blocks it (paper: R@10 on YouCook2 24.8 with, 18.1
    without them; on MSR-VTT 29.6 and 30.1).

    The streams 'vision' and 'text' share the layer 'embedding'; both are of length 1.

    Differs from the released code: padding takes no part in the maximum over words; windows of
    frames begin anywhere in a caption's time. As there, pairs are drawn with replacement: a pair
    that is drawn twice is its own negative.

    Batch: views {"vision": uint8 (k t size size 3), with `features` float32 (k d); "text": int32
    (k words)}; augment changes nothing. Control: control=('text',), which gives a video another's
    captions.

    Attributes:
      vision: trunk of clips, or with `features` of rows of numbers, `FeatureGroups`; its layer
        'pool' feeds the embedding.
      tokenizer: of words; `Words(path)`, or `CountedWords(source)`. Leave stop words out of it.
      table: of the words' vectors; its size comes from the tokenizer.
      text: trunk of texts, on the words' vectors.
      vectors: file of word2vec that fills the table before the first step, see
        `video_text.multiple_instance.MultipleInstance`.
      features: name of `record.extra` for features that were computed before, (t d) of every
        record; their maximum over a clip's time is what the network takes. '': frames.
      frames: of a clip, where there are no features.
      rate: frames, or rows of features, per second.
      size: of frames, in pixels.
      pairs: of a video (k).
      length: words of a caption in training; further ones are cut.
      test_length: the same for evaluation.
      least: seconds; captions are joined until they last as long.
      language: of the captions that are taken; '' for any.
      embedding: width of the common space.
      criterion: 'margin', or 'nce', InfoNCE both ways over the same pairs.
      margin: between the own similarity and others.
      temperature: of 'nce'.
      intra_video: share of the weight on pairs of the same video; for 'nce' they take part unless
        it is 0.
    """

    vision: nn.Module
    tokenizer: Tokenizer
    table: WordTable
    text: WordPool
    vectors: str = ""
    features: str = ""
    frames: int = 16
    rate: float = 5.0
    size: int = 224
    pairs: int = 64
    length: int = 20
    test_length: int = 30
    least: float = 5.0
    language: str = "en"
    embedding: int = 4096
    criterion: str = "margin"
    margin: float = 0.1
    temperature: float = 0.05
    intra_video: float = 0.5

    trunks: ClassVar[tuple[str, ...]] = ("vision", "text", "table")

    def __post_init__(self):
        at_least(self, 1, "frames", "size", "pairs", "length", "test_length", "embedding")
        at_least(self, 0, "least", "margin")
        above(self, 0, "rate", "temperature")
        within(self, 0, 1, "intra_video")
        one_of(self, "criterion", ("margin", "nce"))
        if self.pairs == 1 and self.criterion == "margin" and self.intra_video == 1:
            raise ConfigError("pairs=1, intra_video=1: there are no pairs of the same video")

    @property
    def net(self) -> nn.Module:
        table = self.table.clone(size=self.tokenizer.size)
        return MarginNet(self.vision, table, self.text, self.embedding, self.tokenizer.pad)

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return {name: (name,) for name in ("vision", "text")}

    @property
    def _seconds(self) -> float:
        """Of a clip of frames."""
        return self.frames / self.rate

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        end = self._length(record)
        spoken = merged_captions(narration(record, self.language, end), self.least)
        chosen = [spoken[k] for k in rng.integers(len(spoken), size=self.pairs).tolist()]
        if self.features:
            spans = [(caption.start, caption.end) for caption in chosen]
            clips = self._stored(record, spans)
        else:
            starts = [
                caption_window(one, record.duration, rng, self._seconds, self.least)
                for one in chosen
            ]
            clips = clip_squares_at(record, self.size, starts, self.frames, self.rate)
        texts = [caption.text for caption in chosen]
        ids = [self.tokenizer.encode(text) for text in texts]
        tokens, _ = token_rows(ids, self.tokenizer.pad, self.length)
        return {"vision": clips, "text": tokens}

    def _stored(self, record: Record, spans: Sequence[tuple[float, float]]) -> np.ndarray:
        """float32 (n d), the features of spans of seconds."""
        length = self._length(record)
        return np.stack(
            [
                strongest_features(record, self.features, self.rate, start, min(end, length))
                for start, end in spans
            ]
        )

    def _length(self, record: Record) -> float:
        """Seconds of the video; of stored features those that they are of."""
        if not self.features:
            return record.duration
        return feature_seconds(record, self.features, self.rate)

    def objective(self, outputs, batch: Batch):
        if self.criterion == "nce":
            return intra_video_nce(*outputs, self.temperature, self.intra_video > 0)
        return max_margin(*outputs, self.margin, self.intra_video)

    def refresh(self, frozen, source: Source, key: jax.Array) -> Refreshed:
        """The table of words as the file has it, once before the first step."""
        return filled_table(self.vectors, self.tokenizer, frozen)

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """The captions of every row."""
        return {"": written_captions(np.asarray(batch["text"]), self.tokenizer)}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        """Of a video of stored features all of it is one clip, or it is cut into `count`."""
        if stream == "text":
            return caption_times(record, count)
        if self.features:
            return cut_times(self._length(record), count)
        return even_times(record.duration, min(self._seconds, record.duration), count)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """The captions, or the clips that begin at these seconds."""
        if stream == "text":
            return {"text": caption_tokens(record, times, self.tokenizer, self.test_length)[0]}
        if self.features:
            seconds = self._length(record) / len(times)
            return {"vision": self._stored(record, [(t, t + seconds) for t in times])}
        return {"vision": clip_squares_at(record, self.size, times, self.frames, self.rate)}

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        x = self.inputs(inputs)[stream]
        return self.net.apply(variables, stream, x, False, method=MarginNet.embed)
