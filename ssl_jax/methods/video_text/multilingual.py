"""Multilingual multimodal pre-training (Huang, Patrick, Hu, Neubig, Metze and Hauptmann,
"Multilingual Multimodal Pre-training for Zero-Shot Cross-Lingual Transfer of Vision-Language
Models", NAACL 2021): which clip, and which sentence of another language, belongs to this one?"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.narration import narration
from ssl_jax.data.record import Record
from ssl_jax.data.sampling import even_times, merged_captions
from ssl_jax.data.squares import clip_squares_at
from ssl_jax.data.stored_features import cut_times, feature_seconds, strongest_features
from ssl_jax.data.text_clips import caption_times, caption_tokens, token_rows
from ssl_jax.data.tokenizers import Bytes, Tokenizer
from ssl_jax.data.tokens import masked_text
from ssl_jax.data.translations import translations
from ssl_jax.knobs import above, at_least, within
from ssl_jax.method import Batch, Example, Method, State
from ssl_jax.models.gated_unit import GatedUnit
from ssl_jax.models.seen_text import SeenText
from ssl_jax.models.sequence_pool import SequencePool
from ssl_jax.models.text_encoder import TextEncoder
from ssl_jax.objectives.multilingual import Embedded, multilingual_nce
from ssl_jax.ops.fold import fold, unfold
from ssl_jax.ops.token_masks import masked_counts, masked_words


class MultilingualNet(nn.Module):
    """Clips and texts through their trunks, a pooling transformer and a gated unit on each."""

    vision: nn.Module
    text: TextEncoder
    vision_pool: SequencePool
    text_pool: SequencePool
    vision_head: GatedUnit
    text_head: GatedUnit
    seen_text: SeenText | None

    def __call__(self, batch: Batch, train: bool) -> Embedded:
        windows = self._windows(batch["vision"], train)
        clips, noised_clips = (self._clips(windows, x, train) for x in (None, batch["kept"]))
        # The texts as they are, and the first once more, with hidden words.
        tokens = jnp.concatenate([batch["text"], batch["noised"][:, None]], axis=1)
        there = jnp.concatenate([batch["there"], batch["there"][:, :1]], axis=1)
        layers = self._texts(fold(tokens), fold(there), train)
        texts, read = (unfold(layers[name], tokens.shape[1]) for name in ("embedding", "tokens"))
        found = Embedded(clips["embedding"], noised_clips["embedding"], texts[:, 0], texts[:, -1])
        if self.seen_text is None:
            return found
        both = fold(read[:, :2]), fold(there[:, :2]), jnp.repeat(clips["tokens"], 2, axis=0)
        seen = unfold(self.seen_text(*both, train), 2)
        return found._replace(others=texts[:, 1], texts_seen=seen[:, 0], others_seen=seen[:, 1])

    def embed(self, stream: str, x: Batch, train: bool) -> dict[str, jax.Array]:
        """What the trunk and the pooling transformer make of it, and 'embedding' (b d)."""
        if stream == "text":
            return self._texts(x["text"], x["there"], train)
        return self._clips(self._windows(x["vision"], train), None, train)

    def _windows(self, x: jax.Array, train: bool) -> jax.Array:
        """The trunk's features of every window of a clip (b k d)."""
        return unfold(self.vision(fold(x), train)["pool"], x.shape[1])

    def _clips(self, windows, kept, train: bool) -> dict[str, jax.Array]:
        kept = jnp.ones(windows.shape[:2], bool) if kept is None else kept
        layers = self.vision_pool(windows, kept, train)
        return {"windows": windows, **layers, "embedding": self.vision_head(layers["mean"])}

    def _texts(self, tokens: jax.Array, there: jax.Array, train: bool) -> dict[str, jax.Array]:
        read = self.text({"text": tokens, "there": there}, train)
        layers = self.text_pool(read[self.text.top], there, train)
        return {"first": read["first"], **layers, "embedding": self.text_head(layers["mean"])}


@dataclasses.dataclass(frozen=True)
class Multilingual(Method):
    """Brings a clip, what is said in it and the same in another language together.

    Of a video a caption is drawn at random, x, and with the same odds one of the other languages
    that have something in its seconds, y. One trunk reads all languages. The clip is matched with x
    and with y, x and the clip with copies of which parts are hidden, and x with y where both are
    read together with the clip; see `ssl_jax.objectives.multilingual.multilingual_nce`.

    A video without captions in `language` is left out. Where none in `languages` is in the seconds
    of x, only x and the clip are compared; the log warns if that is so everywhere.

    Shortcut: x and y, each read together with the clip, can be matched by the clip alone. Nothing
    blocks it, as in the paper: 'language_accuracy' may be high while texts alone are far apart;
    'other_accuracy' does not profit. Names and numbers match x and y without their meaning.

    The streams 'vision' and 'text' share the layer 'embedding'; both are of length 1.

    Differs from the paper, of which only abstract and figure 1 were at hand; there is no code. The
    three kinds of contrast are its own. Temperature, sum of both directions, windows and gated
    units are those of C2KD (Rouditchenko et al. 2023), on the same test data. What is hidden (words
    as in BERT), and that a decoder's block reads a text with the clip, are ours.

    Batch: views {"vision": uint8 (k t size size 3), with `features` float32 (k d); "text": int32
    (s l), s 2, or 1 without `languages`; "there": bool (s l), False of padding}; augment adds
    "noised": int32 (b l), "kept": bool (b k). Control: control=('vision',), which gives both texts
    another's video.

    Attributes:
      vision: trunk of a window, frames or with `features` a row of numbers; gives a layer 'pool'.
      text: trunk of texts; its vocabulary comes from the tokenizer.
      vision_pool, text_pool: make one vector of a clip's windows, of a text's tokens.
      tokenizer: of all languages; not `Words`.
      features: name of `record.extra` for stored features, (t d) of every record. '': frames.
      windows: of a clip (k), evenly spread over its seconds; too few rows of features are repeated.
      rate: frames, or rows of features, per second.
      frames: of a window, where there are no features.
      size: of frames, in pixels.
      least: seconds; captions are joined until they last as long.
      length: tokens of a text (l) with [CLS] and [SEP]; further ones are cut.
      language: of x.
      languages: of y; (): there is no y.
      masked: share of the tokens of x that are hidden in its copy, at least one.
      dropped: share of the windows that are left out of the copy of a clip, never all.
      embedding, temperature: width of the common space; of all contrasts.
      weights: of clip with texts, of copies with what they are of, of texts read with the clip.
      chunk: rows compared with at once; 0: all. It saves memory with batches of thousands.
    """

    vision: nn.Module
    text: TextEncoder
    vision_pool: SequencePool
    text_pool: SequencePool
    tokenizer: Tokenizer = Bytes()
    features: str = ""
    windows: int = 30
    frames: int = 16
    rate: float = 5.0
    size: int = 224
    least: float = 5.0
    length: int = 40
    language: str = "en"
    languages: tuple[str, ...] = ()
    masked: float = 0.15
    dropped: float = 0.15
    embedding: int = 512
    temperature: float = 0.05
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    chunk: int = 0

    trunks: ClassVar[tuple[str, ...]] = (  # all that `encode` takes, so that runs begin with it
        *("vision", "text", "vision_pool", "text_pool", "vision_head", "text_head"),
    )

    def __post_init__(self):
        at_least(self, 1, "windows", "frames", "size", "embedding")
        at_least(self, 3, "length")
        at_least(self, 0, "least", "weights", "chunk")
        above(self, 0, "rate", "temperature")
        within(self, 0, 1, "masked", "dropped")
        if not self.language or len({self.language, *self.languages}) <= len(self.languages):
            given = f"language={self.language!r}, languages={self.languages}"
            raise ConfigError(f"{given}: needs one of x, and others of y, each once")
        if self.text.transformer.causal or self.text_pool.transformer.causal:
            raise ConfigError("text and text_pool: their transformers must not be causal")

    @property
    def net(self) -> nn.Module:
        text, pool = self.text.clone(vocabulary=self.tokenizer.size), self.text_pool
        heads = GatedUnit(self.embedding), GatedUnit(self.embedding)
        decoder = pool.transformer.clone(blocks=1)
        seen = SeenText(decoder, self.embedding, pool.dtype) if self.languages else None
        return MultilingualNet(self.vision, text, self.vision_pool, pool, *heads, seen)

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return {name: (name,) for name in ("vision", "text")}

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        end = self._length(record)
        spoken = merged_captions(narration(record, self.language, end), self.least)
        x = spoken[int(rng.integers(len(spoken)))]
        others = list(translations(record.captions, x, self.languages).values())
        said = others[int(rng.integers(len(others)))] if others else (None,)
        texts = [x.text, said[int(rng.integers(len(said)))]][: 2 if self.languages else 1]
        ids = [None if text is None else self.tokenizer.encode(text) for text in texts]
        around = (self.tokenizer.cls,), (self.tokenizer.sep,)
        tokens, there = token_rows(ids, self.tokenizer.pad, self.length, *around)
        clip = self._clip(record, x.start, min(x.end, end))
        return {"vision": clip, "text": tokens, "there": there}

    def _clip(self, record: Record, start: float, end: float) -> np.ndarray:
        """The windows of these seconds, of at least one window's."""
        seconds = 1 / self.rate if self.features else self.frames / self.rate
        start = max(0.0, min(start, self._length(record) - seconds))
        times = even_times(max(end, start + seconds), seconds, self.windows, begin=start)
        if not self.features:
            return clip_squares_at(record, self.size, times, self.frames, self.rate)
        return np.stack([strongest_features(record, self.features, self.rate, t, t) for t in times])

    def _length(self, record: Record) -> float:
        """Seconds of the video; of stored features those that they are of."""
        if not self.features:
            return record.duration
        return feature_seconds(record, self.features, self.rate)

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_words, key_windows = jax.random.split(key)
        text, there, known = batch["text"][:, 0], batch["there"][:, 0], self.tokenizer
        special = (text[..., None] == jnp.array([known.cls, known.sep, known.pad])).any(2)
        counts = masked_counts(self.length, self.masked, self.length)
        noised = masked_words(key_words, text, there, special, counts, known.mask, known.size)
        draws = jax.random.uniform(key_windows, (len(text), self.windows))
        kept = (draws >= self.dropped) | (draws == draws.max(axis=1, keepdims=True))
        return {**batch, "noised": noised.text, "kept": kept}

    def objective(self, outputs: Embedded, batch: Batch):
        translated = batch["there"].any(2)[:, -1]
        return multilingual_nce(outputs, translated, self.temperature, self.weights, self.chunk)

    def worry(self, metrics: Mapping[str, float]) -> str:
        if self.languages and metrics["translated"] == 0:
            return f"no caption has any beside it in languages={self.languages}: is it their codes?"
        return ""

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """The texts of every row, and the first with its hidden words."""
        texts = dict(zip("xy", np.swapaxes(batch["text"], 0, 1), strict=False))
        rows = {**texts, "hidden": batch["noised"]}
        return {k: [masked_text(self.tokenizer, r) for r in np.asarray(x)] for k, x in rows.items()}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        """A video is one clip, or it is cut into `count`."""
        if stream == "text":
            return caption_times(record, count)
        return cut_times(self._length(record), count)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """The captions, or the clips that begin at these seconds."""
        if stream == "text":
            around = (self.tokenizer.cls,), (self.tokenizer.sep,)
            tokens, there = caption_tokens(record, times, self.tokenizer, self.length, *around)
            return {"text": tokens, "there": there}
        seconds = self._length(record) / len(times)
        return {"vision": np.stack([self._clip(record, t, t + seconds) for t in times])}

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        return self.net.apply(variables, stream, self.inputs(inputs), False, method="embed")
