"""CBOW and skip-gram: the released update by hand, draws by their statistics, topics that part."""

import collections
import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.record import Caption, Record
from ssl_jax.data.sampling.words import alias_table, keep_probabilities, noise_distribution
from ssl_jax.data.sources.token_blocks import TokenBlocks
from ssl_jax.data.tokenizers import Words
from ssl_jax.data.words import CountedWords
from ssl_jax.devices.collectives import collectives
from ssl_jax.devices.sharding import Sharding, by_rows, replicated
from ssl_jax.methods.text.word_vectors import WordVectors
from ssl_jax.models.word_table import WordTable
from ssl_jax.objectives.word_vectors import (
    BLOCK,
    Groups,
    clipped_softplus,
    context_mean,
    negative_sampling,
    scores,
)
from ssl_jax.optim import Optimizer
from ssl_jax.solvers.probe import unit

ROOT = pathlib.Path(__file__).parents[1]
KEY = jax.random.key(0)


@dataclasses.dataclass(frozen=True)
class Texts:
    """Records of the given texts."""

    texts: tuple[str, ...]

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, index):
        caption = (Caption(self.texts[index]),)
        return Record(f"text {index}", index, 0, 1.0, captions=caption)


def letters(counts: dict[str, int]) -> CountedWords:
    """A vocabulary of words that are in a text so often."""
    return CountedWords(Texts(tuple(f"{word} " * n for word, n in counts.items())), min_count=1)


SIX = letters({"a": 60, "b": 50, "c": 40, "d": 30, "e": 20, "f": 10})


def method_of(**knobs) -> WordVectors:
    return WordVectors(WordTable(width=4), **{"tokenizer": SIX, "sample": 0.0, **knobs})


def augmented(method: WordVectors, text: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    state = {"sampling": method.sampling(SIX.counts, method.sample)}
    batch = method.augment({"text": jnp.asarray(text)}, state, jax.random.key(seed))
    return jax.device_get(batch)


# Maths


def test_the_golden_losses_and_the_undivided_gradient():
    words = jnp.array([[0.5, 0.5], [-0.2, 0.3], [0.4, -1.0]])

    def loss(contexts, undivided):
        centre = jnp.array([[[False] * 2, [True] * 2, [False] * 2]])
        x = jnp.stack([contexts[0], jnp.zeros(2), contexts[1]])[None]
        scores = words @ context_mean(x, centre, undivided)[0, 1]
        there, wrong = jnp.ones((1, 1, 1), bool), jnp.ones((1, 1, 1, 2), bool)
        positive, negative = scores[:1].reshape(1, 1, 1), scores[1:].reshape(1, 1, 1, 2)
        return negative_sampling(positive, negative, there, wrong, 6.0).sum()

    same = jnp.array([[1.0, 0.0], [1.0, 0.0]])
    assert loss(same, True) == pytest.approx(1.985231, abs=1e-6)
    value, gradient = jax.value_and_grad(loss)(jnp.eye(2), True)
    assert value == pytest.approx(1.746892, abs=1e-6)
    np.testing.assert_allclose(gradient, [[-0.121047, -0.460579]] * 2, atol=1e-6)
    np.testing.assert_allclose(jax.grad(loss)(jnp.eye(2), False), gradient / 2, rtol=1e-5)


def test_the_golden_probabilities():
    counts = np.array([1, 99])
    assert keep_probabilities(counts, 1e-3)[0] == pytest.approx(0.416228, abs=1e-6)
    below, above = np.array([2617, 10**6 - 2617]), np.array([2620, 10**6 - 2620])
    assert keep_probabilities(below, 1e-3)[0] == 1
    assert keep_probabilities(above, 1e-3)[0] < 1
    noise = noise_distribution(np.array([0, 100, 10, 1]))
    np.testing.assert_allclose(noise, [0, 0.826822, 0.147032, 0.026146], atol=1e-6)


def test_the_slope_is_0_or_1_beyond_the_clip():
    x = jnp.array([-7.0, -2.0, 2.0, 7.0])
    slope = jax.vmap(jax.grad(lambda x: clipped_softplus(x, 6.0)))(x)
    logistic = 1 / (1 + np.exp([2.0, -2.0]))
    np.testing.assert_allclose(slope, [0, *logistic, 1], rtol=1e-6)
    np.testing.assert_allclose(clipped_softplus(x, 0.0), np.log1p(np.exp(x)), rtol=1e-5)
    middle = x[1:3]
    np.testing.assert_allclose(clipped_softplus(middle, 6.0), jax.nn.softplus(middle))


def released_update(method: WordVectors, batch: dict, inner: np.ndarray, outer: np.ndarray):
    """What word2vec.c adds to both tables at a rate of 1, all of it from the weights as given."""
    of_inner, of_outer = np.zeros_like(inner), np.zeros_like(outer)
    window, skipgram = method.window, method.kind == "skipgram"
    steps = [*range(-window, 0), *range(1, window + 1)]
    rows, places = batch["text"].shape
    for row in range(rows):
        for place in range(places):
            word, text = batch["target"][row, place], batch["text"][row]
            near = [n for n in range(2 * window) if batch["context"][row, place, n]]
            for part in [[n] for n in near] if skipgram else [near] * bool(near):
                if method.shared:
                    noise = batch["noise"][row, place // method.shared]
                else:
                    group = place * 2 * window + part[0] if skipgram else place
                    noise = batch["noise"][row, group]
                last = [text[place + steps[n]] for n in part]
                hidden, change = inner[last].mean(0), 0.0
                for target, label in [(word, 1), *((n, 0) for n in noise if n != word)]:
                    f = hidden @ outer[target]
                    logistic = np.clip(np.sign(f), 0, 1) if abs(f) > 6 else 1 / (1 + np.exp(-f))
                    g = label - logistic
                    change = change + g * outer[target]
                    of_outer[target] += g * hidden
                for context in last:
                    of_inner[context] += change
    return of_inner, of_outer


@pytest.mark.parametrize("shared", [0, 3])
@pytest.mark.parametrize("kind", ["cbow", "skipgram"])
def test_a_step_is_the_released_update(kind, shared):
    method = method_of(kind=kind, shared=shared, window=2, negatives=3, length=9)
    rng = np.random.default_rng(1)
    text = rng.integers(0, 7, (2, 9)).astype(np.int32)
    inner, outer = (rng.normal(scale=2.0, size=(7, 4)).astype(np.float32) for _ in range(2))
    params = {"text": {"embedding": inner}, "output": outer}
    state = {"sampling": method.sampling(SIX.counts, 0.0)}

    def loss(params):
        return method.loss(params, state, {"text": jnp.asarray(text)}, KEY)[0]

    gradient = jax.jit(jax.grad(loss))(params)
    batch = method.augment({"text": jnp.asarray(text)}, state, jax.random.split(KEY)[0])
    exact = [x.astype(np.float64) for x in (inner, outer)]
    batch = jax.device_get(batch)
    of_inner, of_outer = released_update(method, batch, *exact)
    assert np.abs(of_inner).max() > 1
    np.testing.assert_allclose(-gradient["text"]["embedding"], of_inner, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(-gradient["output"], of_outer, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shared", [0, 3])
@pytest.mark.parametrize("kind", ["cbow", "skipgram"])
def test_a_frequent_word_moves_as_if_it_occurred_less(kind, shared):
    knobs = {"kind": kind, "shared": shared, "window": 2, "length": 9, "negatives": 2}
    most = {"cbow": 5, "skipgram": 10}[kind]
    method = method_of(most=most, **knobs)
    text = np.array([[1, 2, 1, 3, 0, 1, 4, 1, 5], [1, 1, 6, 1, 2, 1, 1, 3, 2]], np.int32)
    rng = np.random.default_rng(0)
    inner, outer = (rng.normal(size=(7, 4)).astype(np.float32) for _ in range(2))
    params = {"text": {"embedding": inner}, "output": outer}
    state = {"sampling": method.sampling(SIX.counts, 0.0)}

    def loss(params):
        return method.loss(params, state, {"text": jnp.asarray(text)}, KEY)[0]

    gradient = jax.jit(jax.grad(loss))(params)
    batch = method.augment({"text": jnp.asarray(text)}, state, jax.random.split(KEY)[0])
    batch = jax.device_get(batch)
    whole = released_update(method, batch, *(x.astype(np.float64) for x in (inner, outer)))
    as_context, asked = occurrences(method, batch)
    for found, expected, counts in (
        (gradient["text"]["embedding"], whole[0], as_context),
        (gradient["output"], whole[1], asked),
    ):
        assert max(counts.values()) > most > min(counts.values())
        for word, count in counts.items():
            held = expected[word] * min(1, most / count)
            np.testing.assert_allclose(-found[word], held, rtol=1e-4, atol=1e-5)


def occurrences(method: WordVectors, batch: dict) -> tuple[collections.Counter, ...]:
    """How often each word is a context word, and how often the true word or noise, as defined."""
    as_context, asked = collections.Counter(), collections.Counter()
    steps = [*range(-method.window, 0), *range(1, method.window + 1)]
    for row, position in np.ndindex(*batch["text"].shape):
        near = np.flatnonzero(batch["context"][row, position]).tolist()
        for part in [[n] for n in near] if method.kind == "skipgram" else [near] * bool(near):
            as_context.update(int(batch["text"][row, position + steps[n]]) for n in part)
            if method.shared:
                group = position // method.shared
            else:
                group = position * len(steps) + part[0] if method.kind == "skipgram" else position
            asked.update(
                [int(batch["target"][row, position]), *batch["noise"][row, group].tolist()]
            )
    return as_context, asked


def groups_of(rng, rows: int, count: int, size: int, words: int) -> Groups:
    """Groups of `size` predictions from 9 vectors, in the first row most counted, in others few."""
    shape, noise = (rows, count, size), (rows, count, 4)
    counted = rng.random((rows, count)) < np.where(np.arange(rows) == 0, 0.95, 0.1)[:, None]
    return Groups(
        rng.integers(0, 9, shape),
        rng.integers(0, words, shape),
        rng.integers(0, words, noise),
        rng.random(shape, np.float32),
        rng.random(noise, np.float32),
        counted,
    )


@pytest.mark.parametrize(("count", "size"), [(70, 1), (25, 3)])
def test_scores_of_more_groups_than_a_block_has(count, size):
    rng = np.random.default_rng(count)
    groups = groups_of(rng, 4, count, size, words=11)
    counted = groups.counted
    assert counted[0].sum() > BLOCK // size
    assert not counted[0].all()
    hidden, table = (rng.normal(size=s).astype(np.float32) for s in ((4, 9, 5), (11, 5)))
    slopes = rng.normal(size=(4, count, size)), rng.normal(size=(4, count, size, 4))
    slopes = tuple(x.astype(np.float32) for x in slopes)

    ours = hidden[np.arange(4)[:, None, None], groups.places]
    true, noise = table[groups.target], table[groups.noise]
    expected = (ours * true).sum(-1), np.einsum("bgqd,bgkd->bgqk", ours, noise)
    of_hidden, of_table = np.zeros(hidden.shape), np.zeros(table.shape)
    for row, group, one in np.argwhere(np.broadcast_to(counted[..., None], true.shape[:3])):
        at, mine = (row, group, one), ours[row, group, one]
        place, asked, others = groups.places[at], groups.target[at], groups.noise[row, group]
        of_hidden[row, place] += slopes[0][at] * true[at] + slopes[1][at] @ noise[row, group]
        of_table[asked] += slopes[0][at] * groups.target_rate[at] * mine
        rated = slopes[1][at] * groups.noise_rate[row, group]
        np.add.at(of_table, others, rated[:, None] * mine)

    @jax.jit
    def both(hidden, table, groups):
        found, back = jax.vjp(lambda hidden, table: scores(hidden, table, groups), hidden, table)
        return found, back(slopes)

    found, gradient = both(hidden, table, jax.tree.map(jnp.asarray, groups))
    for one, other in zip(found, expected, strict=True):
        there = counted.reshape(4, count, *(1,) * (one.ndim - 2))
        np.testing.assert_allclose(one, np.where(there, other, 0.0), rtol=1e-5, atol=1e-5)
    for one, other in zip(gradient, (of_hidden, of_table), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_devices_sum_their_gradients_once_and_not_after_each_block():
    mesh, vocabulary, width = Sharding(devices=4).mesh(), 300, 5
    rows, whole = by_rows(mesh), replicated(mesh)
    groups = groups_of(np.random.default_rng(0), 8, 2 * BLOCK, 1, vocabulary)
    hidden, table = jnp.ones((8, 9, width)), jnp.ones((vocabulary, width))

    def loss(hidden, table, groups):
        positive, negative = scores(hidden, table, groups)
        return jnp.sin(positive).sum() + jnp.cos(negative).sum()

    step = jax.jit(jax.grad(loss, argnums=(0, 1)), out_shardings=(rows, whole))
    given = jax.device_put(hidden, rows), jax.device_put(table, whole), jax.device_put(groups, rows)
    found = collectives(step.lower(*given).compile().as_text())
    assert not [one for one in found if "while" in one.source]
    shapes = [shape for one in found for _, shape in one.arrays]
    assert shapes.count((vocabulary, width)) == 1
    assert {shape for shape in shapes if np.prod(shape) > 1} == {(vocabulary, width)}


@pytest.mark.parametrize("kind", ["cbow", "skipgram"])
def test_no_product_is_rounded_on_an_accelerator(kind):
    method = method_of(kind=kind, window=2, negatives=3, length=9)
    params = {"text": {"embedding": jnp.ones((7, 4))}, "output": jnp.ones((7, 4))}
    state = {"sampling": method.sampling(SIX.counts, 0.0)}
    batch = {"text": jnp.ones((2, 9), jnp.int32)}
    made = jax.make_jaxpr(jax.grad(lambda p: method.loss(p, state, batch, KEY)[0]))(params)
    products = str(made).count("dot_general[")
    assert products == str(made).count("Precision.HIGHEST") // 2 > 0


# Draws


def test_noise_is_drawn_by_count_to_the_three_quarters():
    method = method_of(length=1000, negatives=20)
    batch = augmented(method, np.ones((4, 1000), np.int32))
    drawn = np.bincount(batch["noise"].ravel(), minlength=7)
    assert drawn[0] == 0
    expected = noise_distribution(SIX.counts)[1:] * batch["noise"].size
    assert stats.chisquare(drawn[1:], expected).pvalue > 1e-3


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_an_alias_table_keeps_the_probabilities(size):
    weights = np.random.default_rng(size).random(size) ** 8
    weights /= weights.sum()
    accept, alias = alias_table(weights)
    whole = accept / size + np.bincount(alias, (1 - accept) / size, size)
    np.testing.assert_allclose(whole, weights, atol=1e-12)


def test_windows_shrink_evenly_and_words_are_kept_by_their_frequency():
    text = np.tile(np.arange(1, 7), (4, 500)).astype(np.int32)
    batch = augmented(method_of(length=3000, window=4), text)
    sizes = np.bincount(batch["context"][:, 4:-4].sum(-1).ravel(), minlength=9)
    assert not sizes[[0, 1, 3, 5, 7]].any()  # two of each distance
    assert stats.chisquare(sizes[2::2]).pvalue > 1e-3

    batch = augmented(method_of(length=3000, sample=0.05), text)
    keep, seen = keep_probabilities(SIX.counts, 0.05), 4 * 500
    left = np.bincount(batch["text"].ravel(), minlength=7)[1:]
    spread = np.sqrt(seen * keep * (1 - keep))[1:]
    assert (np.abs(left - seen * keep[1:]) <= 4.5 * spread).all()
    assert left[0] < left[5] == seen  # the rarest is always kept


def test_contexts_are_of_what_is_left_of_a_document():
    method = method_of(length=8, window=8, sample=0.0)
    text = np.array([[1, 2, 0, 3, 4, 5, 0, 6]], np.int32)
    batch = augmented(method, text)
    np.testing.assert_array_equal(batch["text"], [[1, 2, 3, 4, 5, 6, 0, 0]])
    document = np.array([0, 0, 1, 1, 1, 2])
    steps = np.array([*range(-8, 0), *range(1, 9)])
    for place in range(8):
        near = place + steps[batch["context"][0, place]]
        if place >= 6:
            assert not len(near)
            continue
        reach = np.abs(near - place).max(initial=1)
        same = [n for n in range(6) if n != place and document[n] == document[place]]
        assert set(near) == {n for n in same if abs(n - place) <= reach}


def test_words_beyond_the_room_are_dropped_and_counted():
    batch = augmented(method_of(length=8, room=0.5), np.array([[1, 2, 0, 3, 4, 5, 0, 6]]))
    np.testing.assert_array_equal(batch["text"], [[1, 2, 3, 4]])
    assert batch["kept"] == 1
    assert batch["dropped"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"kind": "glove"}, "kind"),
        ({"window": 0}, "window"),
        ({"room": 0.0}, "room"),
        ({"shared": 11, "length": 10}, "shared=11 must be at most length"),
    ],
)
def test_knobs_that_cannot_work_are_named(knobs, message):
    with pytest.raises(ConfigError, match=message):
        method_of(**knobs)


def test_the_config_of_text8_has_the_steps_that_it_names():
    config = configs.load("text/word_vectors_text8.py")
    page = (ROOT / "configs/text/word_vectors_text8.py").read_text().partition('"""\n')[0]
    # 15 times the words of the vocabulary in the text.
    assert config.steps == int(15 * 16_718_844 / (config.batch_size * config.method.length))
    assert f"Cost: {config.steps:,} steps" in page


# Vocabulary


def test_a_vocabulary_is_counted_as_words_reads_it(tmp_path):
    texts = Texts(("The cat, the dog; THE don't.", "a cat a dog a 猫 na\u00efve"))
    counted = CountedWords(texts, min_count=2)
    assert counted.words == ("", "a", "the", "cat", "dog")
    assert counted.counts.tolist() == [0, 3, 3, 2, 2]
    assert counted.encode("A naive dog").tolist() == [1, 4]
    assert counted.decode([0, 1, 4]) == "a dog"
    assert CountedWords(texts, min_count=1, limit=2).words == ("", "a", "the")
    assert counted.fingerprint != CountedWords(texts, min_count=1).fingerprint
    file = tmp_path / "words.txt"
    file.write_text(
        "".join(f"{w} {n}\n" for w, n in zip(counted.words, counted.counts, strict=True))[3:]
    )
    same = Words(str(file))
    assert same.words == counted.words
    assert same.encode("dog the cat").tolist() == counted.encode("dog the cat").tolist()
    with pytest.raises(ConfigError, match="9 times"):
        _ = CountedWords(texts, min_count=9).size


# Learning


TOPICS = [[f"{topic}{n}" for n in range(12)] for topic in "xy"]


def text_of_two_topics(shuffled: bool) -> Texts:
    """Sentences of words of one topic each, and two words of both; or the words of all shuffled."""
    rng = np.random.default_rng(0)
    sentences = [
        [*rng.choice(TOPICS[number % 2], 18), "and", "so"][i] for number in range(120)
        for i in rng.permutation(20)
    ]  # fmt: skip
    if shuffled:
        rng.shuffle(sentences)
    return Texts(tuple(" ".join(sentences[k : k + 20]) for k in range(0, len(sentences), 20)))


def share_of_own_topic(method: WordVectors, vectors: np.ndarray) -> float:
    """How often the nearest word is of the same topic (chance 11 of 23)."""
    words = [w for topic in TOPICS for w in topic]
    rows = unit(vectors[[method.tokenizer.words.index(w) for w in words]])
    assert np.isfinite(rows).all()
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    return float(np.mean([words[n][0] == words[k][0] for k, n in enumerate(cosines.argmax(1))]))


@pytest.mark.parametrize("kind", ["cbow", "skipgram"])
def test_words_of_a_topic_come_together_and_of_shuffled_text_they_do_not(kind):
    tokenizer = CountedWords(text_of_two_topics(False), min_count=1)
    method = method_of(tokenizer=tokenizer, kind=kind, length=100, window=3, most=8)
    steps = 150
    optimizer = Optimizer(learning_rate=0.1, momentum=0.0).build(steps)

    @jax.jit
    def trained(params, state, text):
        def step(number, carry):
            params, moments = carry
            key = jax.random.fold_in(KEY, number)
            gradient = jax.grad(lambda p: method.loss(p, state, {"text": text}, key)[0])(params)
            updates, moments = optimizer.update(gradient, moments, params, value=0.0)
            return optax.apply_updates(params, updates), moments

        return jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params)))[0]

    found = []
    for shuffled in (False, True):
        blocks = TokenBlocks(text_of_two_topics(shuffled), tokenizer, length=100)
        rng = np.random.default_rng(0)
        text = np.stack([method.views(blocks[k], rng)["text"] for k in range(16)])
        # As `init` makes them, which would take longer to compile than to write down.
        inner = rng.uniform(-0.125, 0.125, (tokenizer.size, 4))
        start = {"text": {"embedding": inner.astype(np.float32)}}
        start["output"] = np.zeros((tokenizer.size, 4), np.float32)
        params = trained(start, method.refresh(None, blocks, KEY).state, text)
        found.append(share_of_own_topic(method, method.word_vectors({"params": params})))
    assert found[0] > 0.9
    assert found[1] < 0.8
