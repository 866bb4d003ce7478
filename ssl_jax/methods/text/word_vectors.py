"""CBOW and skip-gram with negative sampling (Mikolov, Sutskever, Chen, Corrado and Dean,
"Distributed Representations of Words and Phrases and their Compositionality", NIPS 2013; word2vec):
which word stands between these, and which beside this one?"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Record, Source
from ssl_jax.data.sampling.words import sampling_tables
from ssl_jax.data.tokenizers import Words
from ssl_jax.data.tokens import need_tokens
from ssl_jax.data.words import CountedWords
from ssl_jax.knobs import above, at_least, one_of, within
from ssl_jax.method import Batch, Example, Method, Refreshed, State
from ssl_jax.models.word_table import WordTable
from ssl_jax.objectives.word_vectors import (
    Groups,
    context_mean,
    negative_sampling,
    scale_gradient,
    scores,
)
from ssl_jax.ops.word_windows import (
    alias_draws,
    contexts,
    kept_words,
    offsets,
    predictions,
    rates,
)

KINDS = ("cbow", "skipgram")


class WordVectorsNet(nn.Module):
    """Scores of the true words (b g q) and of the noise words (b g q k).

    The rows' predictions, `t` of CBOW and `t n` of skip-gram, stand in g groups of q, each group
    with the same noise words.
    """

    text: WordTable
    kind: str
    undivided: bool

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        own = self.text(batch["text"], train)["words"].astype(jnp.float32)
        own = scale_gradient(own, batch["text_rate"])
        shape = (self.text.size, self.text.width)
        table = self.param("output", nn.initializers.zeros_init(), shape)
        context = batch["context"]
        there = predictions(context, batch["target"], self.kind == "cbow")
        places = jnp.arange(there.shape[1])[:, None]
        if self.kind == "cbow":
            own = context_mean(own, context, self.undivided)
        else:
            near = jnp.array(offsets(context.shape[2] // 2))
            places = jnp.clip(places + near, 0, there.shape[1] - 1)
        each = (places, batch["target"][..., None], batch["target_rate"][..., None])
        shape = (*batch["noise"].shape[:2], -1)
        places, target, rate = (jnp.broadcast_to(x, there.shape).reshape(shape) for x in each)
        counted = there.reshape(shape).any(-1)
        groups = Groups(places, target, batch["noise"], rate, batch["noise_rate"], counted)
        positive, negative = scores(own, table, groups)
        return {"positive": positive, "negative": negative}


@dataclasses.dataclass(frozen=True)
class WordVectors(Method):
    """Learns vectors of words by telling true neighbours from noise.

    CBOW tells from the mean of the context words' vectors which word stands between them. Skip-gram
    predicts the centre from each context word, as the released code does (the paper has it the
    other way round; over a text it is the same pairs). Both tell the true word from `negatives`
    words that are drawn by count ** .75.

    All details are word2vec.c's: how far the context reaches is drawn uniformly from 1..window for
    each centre; frequent words are dropped at random before the context is looked at; word 0 is the
    end of a document, which no context reaches across, and never noise; noise that happens to be
    the true word is skipped; each context word of CBOW receives the undivided gradient of the mean.
    The loss is the sum over all predictions, so that the optimizer's learning rate is word2vec's
    alpha (plain SGD, momentum 0: .05 of CBOW, .025 of skip-gram, falling along a line to 1e-4 of
    it).

    Differs from word2vec.c: a step takes a batch of rows of text, whose gradients all belong to the
    same weights, where the code updates after each centre. Words that are frequent in a batch would
    move too far; `most` holds them. A row of `length` words before sub-sampling is a sentence (the
    code's are lines, or 1000 words after it). Rates fall by steps, not by words seen.

    Control: `control=('target',)` gives each row the true words of another one: the loss stays at
    that of frequencies alone, the metric `unigram`.

    Metrics: `per_word`, the loss of a prediction; `unigram`, that of the best scores that know
    nothing but how frequent words are, on the same words and noise; `kept`, the share of words that
    sub-sampling left; `dropped`, the share of these for which there was no `room`.

    Batch: views {"text": int32 (length,)}; augment {"text": int32 (b t), what sub-sampling left,
    "target": int32 (b t), "context": bool (b t 2*window), "noise": int32 (b g negatives), and
    "text_rate", "target_rate", "noise_rate", "unigram" and "unigram_noise", float, of these shapes,
    "kept" and "dropped", float (b)}.

    Attributes:
      text: the table of the words' vectors, which are the result.
      tokenizer: whose ids the source's records have.
      kind: 'cbow' or 'skipgram'.
      window: words to either side.
      negatives: noise words of a prediction.
      shared: how many neighbouring centres, with all their context words, share their noise
        words, which is faster; 0: every prediction has its own, as in word2vec.c.
      sample: words that are more than about this share of the text are sub-sampled; 0: none.
      length: words of a row, before sub-sampling.
      room: the share of a row's words for which there is room after sub-sampling, so that steps do
        not compute what is not there; watch the metrics `kept` and `dropped`.
      clip: the logistic function is 0 or 1 beyond ± this, as in word2vec.c; 0: never.
      undivided: see above; False: the true gradient of the mean.
      most: a word that occurs more often than this in a batch, as context, as true word or as
        noise, gets so much of its gradient's sum as if it had occurred this often; 0: all of it.

    Raises ConfigError for a knob out of range.
    """

    text: WordTable
    tokenizer: Words | CountedWords
    kind: str = "cbow"
    window: int = 5
    negatives: int = 5
    shared: int = 0
    sample: float = 1e-3
    length: int = 1000
    room: float = 1.0
    clip: float = 6.0
    undivided: bool = True
    most: int = 0

    trunks = ("text",)

    def __post_init__(self):
        one_of(self, "kind", KINDS)
        at_least(self, 1, "window", "negatives")
        at_least(self, 2, "length")
        at_least(self, 0, "shared", "sample", "clip", "most")
        above(self, 0, "room")
        within(self, 0, 1, "room")
        room = max(1, round(self.length * self.room))
        if self.shared > room:
            raise ConfigError(f"shared={self.shared} must be at most length * room={room}")

    @property
    def places(self) -> int:
        """For so many words of a row there is room; a multiple of `shared`."""
        part = max(1, self.shared)
        return max(1, round(self.length * self.room) // part) * part

    @property
    def net(self) -> nn.Module:
        table = self.text.clone(size=self.tokenizer.size)
        return WordVectorsNet(table, self.kind, self.undivided)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        del rng  # all that is drawn is drawn on the device
        return {"text": self._ids(record)}

    def init(self, key: jax.Array, batch: Batch, records: int) -> dict:
        # Until `refresh` counts: all words kept, noise uniform.
        size = self.tokenizer.size
        even = np.arange(size) > 0
        state = {"sampling": self.sampling(even.astype(np.int64), sample=0.0)}
        key_augment, key_net = jax.random.split(key)
        puzzle = self.augment(batch, state, key_augment)
        return {**self.init_net(key_net, puzzle), **state}

    def refresh(self, frozen, source: Source, key: jax.Array) -> Refreshed:
        """Counts the words of the training text."""
        del frozen, key
        counts = np.zeros(self.tokenizer.size, np.int64)
        for number in range(len(source)):
            ids = self._ids(source[number])
            counts += np.bincount(ids, minlength=len(counts))
        counts[0] = 0
        return Refreshed(state={"sampling": self.sampling(counts, self.sample)})

    def sampling(self, counts: Int[np.ndarray, "k"], sample: float) -> State:
        """What `augment` draws by; see `sampling_tables`."""
        return jax.tree.map(jnp.asarray, sampling_tables(counts, sample, self.negatives))

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        tables = jax.tree.map(jnp.asarray, state["sampling"])
        keys = jax.random.split(key, 3)
        words, sentence, kept, dropped = kept_words(
            keys[0], batch["text"], tables["keep"], self.places
        )
        reach = jax.random.randint(keys[1], words.shape, 1, self.window + 1)
        context = contexts(words, sentence, reach, self.window)
        each = 2 * self.window if self.kind == "skipgram" else 1
        groups = self.places // self.shared if self.shared else self.places * each
        shape = (len(words), groups, self.negatives)
        noise = alias_draws(keys[2], shape, tables["accept"], tables["alias"])
        made = {"text": words, "target": words, "context": context, "noise": noise}
        passed = jnp.ones(words.shape), jnp.ones(words.shape), jnp.ones(noise.shape)
        if self.most:
            there = predictions(context, words, self.kind == "cbow")
            passed = rates(**made, there=there, size=self.tokenizer.size, most=self.most)
        made |= dict(zip(("text_rate", "target_rate", "noise_rate"), passed, strict=True))
        made |= {"unigram": tables["unigram"][words], "unigram_noise": tables["unigram"][noise]}
        return {**made, "kept": kept, "dropped": dropped}

    def objective(self, outputs: dict[str, jax.Array], batch: Batch):
        positive, negative = outputs["positive"], outputs["negative"]
        there = predictions(batch["context"], batch["target"], self.kind == "cbow")
        each = (there, batch["target"][..., None], batch["unigram"][..., None])
        counted, target, unigram = (
            jnp.broadcast_to(x, there.shape).reshape(positive.shape) for x in each
        )
        wrong = batch["noise"][:, :, None] != target[..., None]
        total = negative_sampling(positive, negative, counted, wrong, self.clip).sum()
        noise = jnp.broadcast_to(batch["unigram_noise"][:, :, None], negative.shape)
        frequencies = negative_sampling(unigram, noise, counted, wrong, 0.0).sum()
        count = jnp.maximum(counted.sum(), 1)
        return total, {
            "per_word": total / count,
            "unigram": frequencies / count,
            "kept": batch["kept"].mean(),
            "dropped": batch["dropped"].mean(),
        }

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        """Text has no times; all inputs are the whole record."""
        del record, stream
        return [0.0] * count

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        del stream
        return {"text": np.repeat(self._ids(record)[None], len(times), axis=0)}

    def _ids(self, record: Record) -> Int[np.ndarray, "l"]:
        return need_tokens(record, self.length)[: self.length]

    def word_vectors(self, variables: dict) -> Float[np.ndarray, "k d"]:
        """The words' vectors, by their ids; row 0 is of no word."""
        return np.asarray(jax.device_get(variables["params"]["text"]["embedding"]))
