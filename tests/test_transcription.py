"""Fine-tuning by CTC: what is heard and left out, padding, the head alone, masks, the evaluator."""

import csv
import dataclasses
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError, call
from ssl_jax.data.alphabet import Alphabet
from ssl_jax.data.record import Caption, MediaError
from ssl_jax.data.sources.spelled_tones import SpelledTones
from ssl_jax.evals.transcripts import Transcripts
from ssl_jax.experiment import Experiment
from ssl_jax.features import Features
from ssl_jax.method import run_collection
from ssl_jax.methods.audio.transcription import Transcription
from ssl_jax.models.gru import GRU
from ssl_jax.models.transcription import steps_of
from ssl_jax.models.transformer import Transformer
from ssl_jax.models.wav2vec import Wav2Vec
from ssl_jax.models.wave_encoder import WaveEncoder
from ssl_jax.optim import Optimizer
from ssl_jax.train import fit
from ssl_jax.training.trained import load

RATE = 4000
TONES = SpelledTones(8, "abc", words=(1, 2), sample_rate=RATE)
SMALL = {"channels": (8, 8), "kernels": (16, 4), "strides": (16, 4), "padding": (0, 0)}
ENCODER = WaveEncoder(**SMALL)
KNOBS = {"alphabet": Alphabet("abc"), "seconds": 2.0, "letters": 8, "sample_rate": RATE}
RNG = np.random.default_rng(0)


def wav2vec(**knobs):
    blocks = Transformer(blocks=1, heads=2, hidden=16)
    sizes = {"width": 8, "position_taps": 4, "position_groups": 2}
    return Wav2Vec(ENCODER, blocks, **sizes, **{"dropout": 0.0, **knobs})


def batch_of(method, source=TONES):
    rows = [method.views(source[i], RNG) for i in range(len(source))]
    return {name: jnp.asarray(np.stack([row[name] for row in rows])) for name in rows[0]}


def test_views_are_the_whole_utterance_its_length_and_its_text():
    method, record = Transcription(ENCODER, **KNOBS), TONES[1]
    example = method.views(record, RNG)
    wave = record.audio(0.0, record.duration)
    assert example["samples"] == len(wave) < 2 * RATE
    np.testing.assert_array_equal(example["audio"][: len(wave)], wave)
    assert not example["audio"][len(wave) :].any()
    assert example["audio"].shape == (2 * RATE,)
    assert method.alphabet.decode(example["target"]) == record.captions[0].text
    halved = dataclasses.replace(method, sample_rate=RATE // 2).views(record, RNG)
    assert halved["samples"] == round(len(wave) / 2)
    clips = dataclasses.replace(method, test_seconds=3.0).clips(record, "audio", [0.0, 0.0])
    assert clips["audio"].shape == (2, 3 * RATE)
    assert clips["samples"].tolist() == [len(wave)] * 2


@pytest.mark.parametrize(
    ("knobs", "change", "message"),
    [
        ({"seconds": 0.1}, {}, r"spelled tones 1: lasts .* the longest that is taken 0.1 s"),
        ({"letters": 1}, {}, r"spelled tones 1: its text has \d+ letters, letters=1"),
        ({}, {"captions": (Caption("a9 ü!"),)}, r"its text holds '9ü', no letters"),
        ({}, {"captions": ()}, "has no captions"),
        ({}, {"audio": None}, "has no audio"),
    ],
)
def test_records_of_no_use_are_refused_in_one_line(knobs, change, message):
    record = dataclasses.replace(TONES[1], **change)
    with pytest.raises(MediaError, match=message) as caught:
        Transcription(ENCODER, **{**KNOBS, **knobs}).views(record, RNG)
    assert "\n" not in str(caught.value)


def random_like(shapes):
    """Compiles nothing, other than an initialisation."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.3, x.shape), x.dtype), shapes)


class Plain(nn.Module):
    """A trunk that is told no lengths: a step each 100 samples."""

    @nn.compact
    def __call__(self, x, train: bool):
        return {"pool": nn.Dense(4)(x.reshape(len(x), -1, 100))}


@pytest.mark.parametrize(("trunk", "gru"), [(ENCODER, None), (wav2vec(), None), (Plain(), GRU(6))])
def test_a_longer_batch_gives_the_same_answers(trunk, gru):
    method = Transcription(trunk, gru, **KNOBS)
    longer = dataclasses.replace(method, seconds=2.8)
    batch, other = batch_of(method), batch_of(longer)

    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: method.init(key, batch, 8))
    variables = {"params": random_like(shapes["params"])}
    answers = jax.jit(lambda batch: method.net.apply(variables, batch, False, method="layers"))
    short, long = answers(batch), answers(other)
    np.testing.assert_array_equal(short["steps"], long["steps"])
    hop = 100 if trunk == Plain() else 64
    expected = -(-batch["samples"] // 100) if hop == 100 else batch["samples"] // hop
    np.testing.assert_array_equal(short["steps"], expected)
    there = np.arange(short["path"].shape[1]) < expected[:, None]
    np.testing.assert_array_equal(np.asarray(short["path"]) >= 0, there)
    np.testing.assert_array_equal(short["path"], long["path"][:, : there.shape[1]])
    head = np.asarray(long["head"])[:, : there.shape[1]][there]
    np.testing.assert_allclose(np.asarray(short["head"])[there], head, rtol=2e-4, atol=2e-5)
    losses = [
        float(method.objective((one["head"], one["steps"]), rows)[0])
        for one, rows in ((short, batch), (long, other))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_what_streams_give_and_waves_alone_are_whole():
    method = Transcription(ENCODER, **KNOBS)
    batch = batch_of(method)
    shapes = jax.eval_shape(lambda: method.init(jax.random.key(0), batch, 8))
    variables = {"params": random_like(shapes["params"])}
    encode = jax.jit(lambda x: method.encode(variables, "text", x)["path"])
    whole = jnp.full(len(TONES), 2 * RATE)
    expected = encode({"audio": batch["audio"], "samples": whole})
    np.testing.assert_array_equal(encode({"audio": batch["audio"]}), expected)
    layers = jax.eval_shape(lambda x: method.encode(variables, "audio", x), batch)
    assert [*layers] == ["conv1", "conv2", "head"]


@pytest.mark.parametrize(
    ("longest", "steps"), [(640_000, 4000), (640_001, 3999), (576_000, 3600), (7, 3)]
)
def test_a_trunk_that_tells_no_lengths_has_a_share_of_the_steps(longest, steps):
    samples = sorted({0, 1, 2, 160, 161, longest // 2, longest - 1, longest})
    samples = [count for count in samples if count <= longest]
    expected = [-(-count * steps // longest) for count in samples]
    found = steps_of(Plain(), jnp.array(samples, jnp.int32), longest, steps)
    assert found.tolist() == expected


def test_at_first_the_head_alone_learns():
    method = Transcription(ENCODER, GRU(6), head_only=3, **KNOBS)
    batch = batch_of(method)
    key = jax.random.key(0)
    params = random_like(jax.eval_shape(lambda: method.init(key, batch, 8))["params"])

    @jax.jit
    def gradient(step):
        def total(params):
            variables = {"params": params, **run_collection(step, 9)}
            return jnp.sum(method.net.apply(variables, batch, train=True)[0] ** 2)

        return jax.grad(total)(params)

    for step, learns in [(0, False), (2, False), (3, True)]:
        found = gradient(jnp.int32(step))
        assert all(np.any(leaf) for leaf in jax.tree.leaves(found["head"]))
        for part in ("audio", "gru"):
            assert any(np.any(leaf) for leaf in jax.tree.leaves(found[part])) == learns


def test_masks_are_drawn_for_wav2vec_alone():
    trunk = wav2vec()
    masks = {"time_mask": 0.1, "time_span": 2, "channel_mask": 0.1, "channel_span": 2}
    method = Transcription(trunk, **masks, **KNOBS)
    batch = batch_of(method)
    augment = jax.jit(lambda key: method.augment(batch, {}, key))
    made = augment(jax.random.key(0))
    steps = np.asarray(trunk.steps(batch["samples"]))
    masked = np.asarray(made["masked"])
    assert masked.shape == (8, trunk.steps(2 * RATE))
    assert not masked[np.arange(masked.shape[1]) >= steps[:, None]].any()
    assert (masked.sum(1) >= 3).all()  # two spans of two, which may overlap
    assert made["masked_channels"].shape == (8, 8)
    other = augment(jax.random.key(1))
    assert (np.asarray(other["masked"]) != masked).any()
    assert method.clips(TONES[0], "audio", [0.0]).keys() == {"audio", "samples"}
    with pytest.raises(ConfigError, match="audio is no Wav2Vec but WaveEncoder"):
        Transcription(ENCODER, time_mask=0.1)


def test_masks_reach_the_trunk():
    trunk = wav2vec()
    method = Transcription(trunk, **KNOBS)
    batch = batch_of(method)
    shapes = jax.eval_shape(lambda: method.init(jax.random.key(0), batch, 8))
    params = random_like(shapes["params"])
    head = jax.jit(lambda params, x: method.net.apply({"params": params}, x, False)[0])
    steps = trunk.steps(2 * RATE)
    nothing = {
        "masked": jnp.zeros((8, steps), bool),
        "masked_channels": jnp.zeros((8, 8), bool),
    }
    # Without a weight or a bias for them channels are zeros, too.
    gone = jnp.arange(8) % 3 == 1
    fewer = {**params["audio"]}
    fewer["projection"] = jax.tree.map(lambda x: jnp.where(gone, 0, x), fewer["projection"])
    some = {**batch, **nothing, "masked_channels": jnp.tile(gone, (8, 1)).at[0].set(False)}
    found, plain = head(params, some), head(params, {**batch, **nothing})
    expected = head({**params, "audio": fewer}, {**batch, **nothing})
    np.testing.assert_array_equal(found[0], plain[0])
    np.testing.assert_allclose(found[1:], expected[1:], rtol=1e-5, atol=1e-6)
    assert np.abs(found[1:] - plain[1:]).max() > 1e-2
    # Where all steps are masked nothing of the wave is heard.
    deaf = {**batch, **nothing, "masked": jnp.ones((8, steps), bool)}
    other = head(params, {**deaf, "audio": batch["audio"][::-1]})
    np.testing.assert_array_equal(head(params, deaf), other)


def test_a_layer_must_be_there_and_have_steps():
    method = Transcription(ENCODER, layer="conv9", **KNOBS)
    batch = batch_of(method)
    with pytest.raises(ConfigError, match=r"no layer 'conv9' in the trunk; it has conv1, conv2"):
        jax.eval_shape(lambda: method.init(jax.random.key(0), batch, 8))


def answered(method, texts, heard):
    """A Frozen that answers so; a letter takes two steps, with a blank behind it."""
    longest = max(map(len, heard))
    paths = np.full((len(texts), 3 * longest + 1), -1.0, np.float32)
    for row, text in zip(paths, heard, strict=True):
        classes = method.alphabet.encode(text) if text.strip() else []
        for place, k in enumerate(classes):
            row[3 * place : 3 * place + 3] = k, k, 0
    records = [dataclasses.replace(TONES[0], name=t, captions=(Caption(t),)) for t in texts]

    def features(source, stream, layers, clips, pool, facts):
        assert (stream, layers, clips, pool) == ("text", ("path",), 1, "whole")
        found = [facts(record) for record in records]
        facts = {name: np.stack([one[name] for one in found]) for name in found[0]}
        zeros = np.zeros(len(texts), np.int64)
        return Features({"path": paths}, zeros, np.arange(len(texts)), zeros, facts)

    return types.SimpleNamespace(method=method, features=features, variables=run_collection(3, 9))


def test_error_rates_of_answers(tmp_path):
    method = Transcription(ENCODER, **KNOBS)
    texts, heard = ["Aa b.", "c", "BA"], ["aa b", "b", ""]
    frozen = answered(method, texts, heard)
    evaluator = Transcripts(TONES, file=str(tmp_path / "answers.csv"))
    evaluator.check(frozen)
    found = dict(evaluator.run(frozen))
    # Of four words two are wrong, of seven characters three.
    assert found["normalised/wer"] == 0.5
    assert found["normalised/cer"] == pytest.approx(3 / 7)
    # 'b' for 'aa b', nothing for 'c', 'aa b' for 'ba'.
    assert found["chance/wer"] == pytest.approx((1 + 1 + 2) / 4)
    assert found["chance/cer"] == pytest.approx((3 + 1 + 3) / 7)
    assert found["left_out"] == len(TONES) - 3
    assert found["examples"].dtype == np.uint8
    with open(tmp_path / "answers.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"name": "Aa b.", "said": "aa b", "heard": "aa b"}
    assert [row["heard"] for row in rows] == heard
    with pytest.raises(ConfigError, match="cannot be written"):
        list(dataclasses.replace(evaluator, file=str(tmp_path / "no" / "a.csv")).run(frozen))


def test_an_evaluator_of_another_method_says_so():
    frozen = types.SimpleNamespace(method=types.SimpleNamespace())
    with pytest.raises(ConfigError, match="is for Transcription, this run is of SimpleNamespace"):
        Transcripts(TONES).check(frozen)


def test_spelled_tones_are_a_function_of_their_number():
    for index in range(len(TONES)):
        record = TONES[index]
        wave = record.audio(0.0, record.duration)
        np.testing.assert_array_equal(wave, TONES[index].audio(0.0, record.duration))
        assert set(record.captions[0].text) <= set("abc ")
        assert record.extra["speaker"] == str(record.label)
    # The first letter's pitch is that of the strongest frequency at the beginning.
    one = SpelledTones(4, "abc", words=(1, 1), length=(1, 1), sample_rate=RATE)
    for index in range(4):
        record = one[index]
        spectrum = np.abs(np.fft.rfft(record.audio(0.0, 0.05)))
        pitch = spectrum.argmax() * RATE / (0.05 * RATE)
        expected = 300 * 1.5 ** "abc".index(record.captions[0].text) * (1 + 0.04 * record.label)
        assert abs(pitch - expected) <= 20
    with pytest.raises(ConfigError, match="letters='abcdefghi'"):
        SpelledTones(4, "abcdefghi", sample_rate=RATE)


@pytest.fixture
def optimised():
    """Here running takes longer than compiling."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("control", [(), ("target",)])
def test_tones_are_spelled(tmp_path, control):
    """On new records; with the texts of other records nothing but chance is learnt."""
    tones = {"letters": "abc", "words": (1, 1), "sample_rate": RATE}
    sizes = {"channels": (24, 32, 32, 32), "kernels": (10, 8, 4, 4), "strides": (5, 4, 2, 2)}
    trunk = call(WaveEncoder, **sizes, padding=(0,) * 4, norm="layer", activation="relu")
    knobs = {**KNOBS, "alphabet": call(Alphabet, letters="abc"), "seconds": 0.8, "letters": 3}
    config = call(
        Experiment,
        source=call(SpelledTones, size=256, **tones),
        method=call(Transcription, audio=trunk, **knobs),
        optimizer=call(Optimizer, name="adam", learning_rate=3e-3, clip_norm=1.0),
        steps=300,
        batch_size=16,
        eval_batch_size=16,
        evaluators={},
        control=control,
    )
    config.sharding.devices = 1
    fit(config, tmp_path)
    held_out = Transcripts(SpelledTones(64, "abc", (1, 1), sample_rate=RATE, seed=1))
    found = dict(held_out.run(load(tmp_path)))
    if control:
        assert found["normalised/cer"] > 0.5
    else:
        assert found["normalised/cer"] < 0.1
        assert found["normalised/wer"] < 0.2
    assert found["chance/cer"] > 0.5
