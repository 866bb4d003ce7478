"""GPT-2, BERT and T5 against recorded outputs of another library, and against what has to hold."""

import json
import pathlib
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.methods.text.autoregressive import Autoregressive
from ssl_jax.methods.text.masked import MaskedWords
from ssl_jax.methods.text.span_corruption import SpanCorruption
from ssl_jax.models.language_weights import bert, gpt2, loader, t5
from ssl_jax.models.text_encoder import TextEncoder
from ssl_jax.models.transformer import Transformer
from ssl_jax.objectives.tokens import TokenLosses, token_losses
from ssl_jax.ops.attention import attend, relative_buckets

FOLDER = pathlib.Path(__file__).parent / "recorded"
ARRAY = runpy.run_path(str(FOLDER / "weights.py"))["array"]
GPT = {"norm_first": True, "causal": True, "activation": "gelu_tanh", "initial": "residual"}
T5 = {
    "norm_first": True,
    "norm": "rms",
    "norm_eps": 1e-6,
    "biases": False,
    "scaled": False,
    "initial": "fan_in",
}


class FiftyTokens:
    """A tokenizer in name: nothing is read."""

    size = 50
    pad, bos, eos, mask, cls, sep = range(6)
    fingerprint = "fifty"

    def encode(self, text):
        return np.asarray([int(word) for word in text.split()], np.int32)

    def decode(self, ids):
        return " ".join(str(int(i)) for i in ids)


def recorded(model):
    """The weights of a recorded model by their names, and its inputs and outputs."""
    with np.load(FOLDER / "language_models.npz") as file:
        own = {key.partition("/")[2]: file[key] for key in file if key.startswith(f"{model}/")}
    if "names" not in own:
        return {}, own
    names = json.loads(str(own.pop("names")))
    return {name: np.float32(ARRAY(name, tuple(shape))) for name, shape in names.items()}, own


def ids(x):
    return jnp.asarray(x, jnp.int32)


def fits(method, params, batch):
    """Whether loaded parameters have the names and shapes of the method's."""
    made = jax.eval_shape(lambda: method.net.init(jax.random.key(0), batch, False))["params"]
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda x: x.shape, made)


def test_gpt2_is_that_of_the_other_library():
    arrays, own = recorded("gpt2")
    transformer = Transformer(2, 3, 48, **GPT)
    method = Autoregressive(TextEncoder(transformer, 12, 12), FiftyTokens(), 9)
    params, batch = gpt2(arrays), {"text": ids(own["text"])}
    fits(method, params, {**batch, "target": batch["text"]})
    logits = jax.jit(method.next_logits)({"params": params}, batch)
    np.testing.assert_allclose(logits, own["logits"], atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, method.text.imported(arrays), params["text"])
    # Without the prefix, as GPT2Model has them.
    bare = gpt2({name.removeprefix("transformer."): x for name, x in arrays.items()})
    jax.tree.map(np.testing.assert_array_equal, bare, params)


def test_bert_is_that_of_the_other_library_also_where_it_is_padded():
    arrays, own = recorded("bert")
    transformer = Transformer(2, 3, 20, norm_eps=1e-12)
    text = TextEncoder(transformer, 12, 12, segments=2, normed=True)
    method = MaskedWords(text, FiftyTokens(), 9, next_sentence=True)
    params = bert(arrays)
    batch = {
        "text": ids(own["text"]),
        "segments": ids(own["segments"]),
        "there": jnp.asarray(own["there"] > 0),
    }
    places = jnp.tile(jnp.arange(9), (2, 1))
    puzzle = {**batch, "places": places, "target": batch["text"]}
    fits(method, params, puzzle)
    logits = jax.jit(method.word_logits)({"params": params}, batch)
    np.testing.assert_allclose(logits[0], own["logits"][0], atol=1e-4)
    np.testing.assert_allclose(logits[1, :6], own["logits"][1, :6], atol=1e-4)
    found = jax.jit(lambda params: method.net.apply({"params": params}, puzzle, False))(params)
    np.testing.assert_allclose(found["follows"], own["follows"], atol=1e-4)
    old = {k.replace("Norm.weight", "Norm.gamma"): x for k, x in arrays.items()}
    jax.tree.map(np.testing.assert_array_equal, bert(old), params)


@pytest.mark.parametrize("version", ["t5", "t5_1_1"])
def test_t5_is_that_of_the_other_library(version):
    arrays, own = recorded(version)
    new = {"activation": "gelu_tanh", "gated": True} if version == "t5_1_1" else {}
    knobs = {"activation": "relu", **new, **T5, "head_width": 5}
    knobs = {**knobs, "position_buckets": 8, "farthest": 6}
    encoder = Transformer(2, 3, 20, **knobs)
    decoder = encoder.clone(causal=True)
    method = SpanCorruption(
        TextEncoder(encoder, 12, 0, vocabulary=50), decoder, FiftyTokens(), 9, tied=not new
    )
    params = t5(arrays)
    net = method.net.clone(text=method.text)  # 50 with the sentinels
    batch = {"text": ids(own["text"]), "there": jnp.asarray(own["there"] > 0)}
    written = ids(own["written"])

    def logits(params):
        return net.apply({"params": params}, batch, written, method="logits")

    np.testing.assert_allclose(jax.jit(logits)(params), own["logits"], atol=1e-4)
    made = jax.eval_shape(lambda: net.init(jax.random.key(0), batch, written, method="logits"))[
        "params"
    ]
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda x: x.shape, made)
    assert loader(arrays) is t5


def test_a_file_of_other_weights_is_one_line():
    with pytest.raises(ConfigError, match="no weights of GPT-2, BERT or T5: it has conv1"):
        loader({"conv1": np.zeros(1)})
    with pytest.raises(ConfigError, match=r"the weights have no 'ln_f.weight'"):
        gpt2({"wte.weight": np.zeros(1)})


def test_buckets_of_relative_positions_are_those_of_the_other_library():
    _, own = recorded("buckets")
    for name, causal in (("both", False), ("causal", True)):
        found = relative_buckets(301, 301, 32, 128, causal)
        np.testing.assert_array_equal(found[-1], own[name][:301])  # keys up to the query
        np.testing.assert_array_equal(found[0], own[name][300:])


@pytest.mark.parametrize(("causal", "least"), [(False, 4), (True, 2)])
def test_too_few_buckets_are_refused(causal, least):
    for buckets in range(1, least):
        with pytest.raises(ConfigError, match=f"position_buckets={buckets} must be at least"):
            Transformer(causal=causal, position_buckets=buckets)
    Transformer(causal=causal, position_buckets=least)
    found = relative_buckets(9, 9, least, 8, causal)
    assert (found.min(), found.max()) == (0, least - 1)


def test_one_text_has_no_other_to_take_a_second_half_from():
    text = TextEncoder(Transformer(1, 1, 1), 4, 32, segments=2)
    method = MaskedWords(text, FiftyTokens(), 13, next_sentence=True)
    batch = {"text": ids(np.full((1, 13), 7)), "segments": ids(np.zeros((1, 13)))}
    with pytest.raises(ConfigError, match="next_sentence=True needs batches of at least 2 texts"):
        method.augment(batch, {}, jax.random.key(0))


def test_published_sizes():
    # GPT-2 small, BERT-base with its pooler, T5 small and T5 1.1 small: their numbers of weights.
    row = ids(np.zeros((1, 4)))

    def of_blocks(blocks, make):
        """From one and two blocks, as all blocks are alike."""
        one, two = (make(count) for count in (1, 2))
        return one + (blocks - 1) * (two - one)

    def gpt_size(blocks):
        return weights(TextEncoder(Transformer(blocks, **GPT), vocabulary=50_257), row)

    def bert_size(blocks):
        knobs = {"length": 512, "segments": 2, "normed": True, "vocabulary": 30_522}
        return weights(TextEncoder(Transformer(blocks), **knobs), row)

    def t5_size(blocks, heads=8, hidden=2048, **knobs):
        knobs = {"head_width": 64, "position_buckets": 32, "activation": "relu", **T5, **knobs}
        encoder = Transformer(blocks, heads, hidden, **knobs)
        sizes = {"vocabulary": 32_128, "tied": not encoder.gated}
        decoder = encoder.clone(causal=True)
        net = SpanCorruption(TextEncoder(encoder, 512, 0), decoder, FiftyTokens(), **sizes).net
        return weights(net, {"text": row, "target": row})

    assert of_blocks(12, gpt_size) == 124_439_808
    assert of_blocks(12, bert_size) + 768 * 769 == 109_482_240
    assert of_blocks(6, t5_size) == 60_506_624
    assert of_blocks(8, lambda n: t5_size(n, 6, 1024, gated=True)) == 76_961_152


def weights(model, x):
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, False))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


@pytest.fixture(scope="module")
def small():
    """A small GPT-2, its logits compiled, and its variables."""
    transformer = Transformer(2, 2, 16, **GPT)
    method = Autoregressive(TextEncoder(transformer, 8, 12), FiftyTokens(), 8)
    row = ids(np.zeros((1, 8)))
    variables = jax.jit(
        lambda: method.net.init(jax.random.key(0), {"text": row, "target": row}, False)
    )()
    # Larger than at the start, so that places differ.
    variables = jax.tree.map(lambda x: x * 10 if x.ndim > 1 else x, variables)
    return method, variables, jax.jit(method.next_logits)


def text(rows=1, length=8, seed=0):
    return ids(np.random.default_rng(seed).integers(6, 50, (rows, length)))


def test_no_token_is_seen_by_those_before_it(small):
    _, variables, logits = small
    row = text()
    before = np.asarray(logits(variables, {"text": row}))
    for place in (0, 3, 7):
        other = row.at[0, place].add(-3)
        after = np.asarray(logits(variables, {"text": other}))
        np.testing.assert_array_equal(after[0, :place], before[0, :place])
        assert not np.allclose(after[0, place], before[0, place], atol=1e-3)


def test_documents_do_not_see_one_another_unless_they_may(small):
    _, variables, logits = small
    row, documents = text(), ids([[4, 4, 4, 7, 7, 7, 7, 7]])
    other = row.at[0, :3].add(-3)
    own, changed = (
        np.asarray(logits(variables, {"text": x, "documents": documents})) for x in (row, other)
    )
    np.testing.assert_array_equal(own[0, 3:], changed[0, 3:])
    assert not np.allclose(own[0, :3], changed[0, :3], atol=1e-3)
    assert not np.allclose(own[0, 3:], logits(variables, {"text": row})[0, 3:], atol=1e-3)


def test_padding_on_either_side_changes_neither_logits_nor_loss(small):
    method, variables, logits = small
    plain = text(length=5)
    rows = [np.pad(np.asarray(plain)[0], (left, 3 - left)) for left in (0, 1, 3)]
    there = [np.pad(np.ones(5, bool), (left, 3 - left)) for left in (0, 1, 3)]
    batch = {"text": ids(np.stack(rows)), "there": jnp.asarray(np.stack(there))}
    found = np.asarray(logits(variables, batch))
    # Alone, without anything that could be padding: causal, so that what follows is not seen.
    expected = np.asarray(logits(variables, {"text": ids(rows[0][None])}))[0, :5]
    for row, left in enumerate((0, 1, 3)):
        np.testing.assert_allclose(found[row, left : left + 5], expected, atol=1e-5)

    @jax.jit
    def loss(loss):
        padded = {**batch, "target": batch["text"], "bytes": jnp.full(3, 5.0)}
        value, metrics = method.objective(TokenLosses(loss, loss), padded)
        return {"loss": value, **metrics}

    losses = np.where(there, np.arange(8), 99.0)
    of_the_words = np.mean(losses[np.stack(there)])
    expected = {
        "loss": of_the_words,
        "accuracy": of_the_words,
        "perplexity": np.exp(of_the_words),
        "bits_per_byte": of_the_words / np.log(2),  # as many bytes as tokens
    }
    assert loss(jnp.float32(losses)) == pytest.approx(expected, rel=1e-5)


def test_a_batch_twice_has_the_same_loss_and_gradient(small):
    method, variables, _ = small
    rows = text(2, 9, 1)
    batch = {"text": rows[:, :-1], "target": rows[:, 1:], "bytes": jnp.array([8.0, 8.0])}

    def loss(params, batch):
        return method.loss(params, {}, batch, jax.random.key(0))[0]

    gradient = jax.jit(jax.value_and_grad(loss))
    once = gradient(variables["params"], batch)
    twice = gradient(variables["params"], {k: jnp.concatenate([x, x]) for k, x in batch.items()})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), once, twice)


def test_the_first_loss_is_that_of_tokens_that_are_all_as_likely():
    transformer = Transformer(2, 2, 64, **GPT)
    rows = text(4, 33)
    method = Autoregressive(TextEncoder(transformer, 32, 32), FiftyTokens(), 32)
    batch = {"text": rows[:, :-1], "target": rows[:, 1:], "bytes": jnp.full(4, 32.0)}

    def first():
        variables = method.init(jax.random.key(0), batch, 4)
        return method.loss(variables["params"], {}, batch, jax.random.key(0))

    value, (_, metrics) = jax.jit(first)()
    assert value == pytest.approx(np.log(50), abs=0.1)
    assert metrics["bits_per_byte"] == pytest.approx(np.log2(50), abs=0.15)


def test_losses_some_places_at_a_time_are_those_of_all_at_once():
    rng = np.random.default_rng(0)
    states, table, bias = (jnp.float32(rng.normal(size=s)) for s in ((2, 6, 4), (7, 4), (7,)))
    targets = ids(rng.integers(0, 7, (2, 6)))

    def mean(states, table, at_once):
        return token_losses(states, table, targets, bias, at_once).loss.mean()

    gradient = jax.jit(jax.value_and_grad(mean, (0, 1)), static_argnums=2)
    whole, parts = gradient(states, table, 0), gradient(states, table, 2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), whole, parts)
    exact = np.float64(np.asarray(states) @ np.asarray(table).T + np.asarray(bias))
    own = np.take_along_axis(exact, np.asarray(targets)[..., None], 2)[..., 0]
    expected = np.mean(np.log(np.exp(exact).sum(2)) - own)
    np.testing.assert_allclose(whole[0], expected, rtol=1e-5)


def test_dropout_of_attention_keeps_its_mean_and_its_mask():
    rng = np.random.default_rng(0)
    query, key, value = (jnp.float32(rng.normal(size=(1, 5, 2, 4))) for _ in range(3))
    mask = jnp.array([True, True, False, True, True])[None, None, None]
    plain = attend(query, key, value, mask, causal=True)

    @jax.jit
    @jax.vmap
    def dropped(rng):
        return attend(query, key, value, mask, causal=True, dropout=0.3, rng=rng)

    many = dropped(jax.random.split(jax.random.key(0), 4000))
    np.testing.assert_allclose(many.mean(0), plain, atol=0.06)
    assert np.asarray(many[:, 0, 0, 0]).std() > 0.1
    # Whether a token is the first's own: all of its weight, or none.
    own = np.unique(np.round(np.asarray(many[:, 0, 0, 0, 0] / value[0, 0, 0, 0]), 4))
    np.testing.assert_allclose(own, [0, 1 / 0.7], atol=1e-3)


def test_layer_drop_leaves_whole_blocks_out_in_training_alone():
    model = Transformer(2, 2, 8, layer_drop=0.5)
    x = jnp.float32(np.random.default_rng(0).normal(size=(1, 3, 4)))
    variables = jax.jit(lambda: model.init(jax.random.key(0), x, False))()

    @jax.jit
    def layers(keys):
        drop = jax.vmap(lambda key: model.apply(variables, x, True, rngs={"dropout": key}))
        return drop(keys), model.apply(variables, x, False)

    found, plain = layers(jax.random.split(jax.random.key(1), 40))
    kinds = set()
    for one, two in zip(found["block1"], found["block2"], strict=True):
        kinds.add((np.array_equal(one, x), np.array_equal(two, one)))
        if not np.array_equal(one, x):
            np.testing.assert_allclose(one, plain["block1"], atol=1e-5)
    assert kinds == {(a, b) for a in (True, False) for b in (True, False)}
