"""Support sets: whose clips a caption is written from, ranking, and the bank of earlier clips."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.record import Caption, MediaError, Record
from ssl_jax.data.sources.random_features import RandomFeatures
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.data.stored_features import spread_features
from ssl_jax.devices.sharding import Sharding, by_rows, replicated
from ssl_jax.experiment import Experiment
from ssl_jax.method import run_collection
from ssl_jax.methods.text.span_corruption import SpanCorruption
from ssl_jax.methods.video_text.support_set import SupportSet
from ssl_jax.models.feature_sequence import FeatureSequence
from ssl_jax.models.sequence_pool import SequencePool
from ssl_jax.models.text_encoder import TextEncoder
from ssl_jax.models.transformer import Transformer
from ssl_jax.objectives.support_set import (
    MODES,
    NOBODY,
    empty_bank,
    hardest_margin,
    joined,
    support,
    support_weights,
)
from ssl_jax.optim import Optimizer
from ssl_jax.training import start
from ssl_jax.training.checkpoint import TrainState
from ssl_jax.training.micro_batches import loss_and_gradients

KEYS = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
QUERIES = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
VIDEOS = jnp.arange(3)
TABLE = np.array([[0.8, 0.75, 0.1], [0.2, 0.6, 0.65], [0.3, 0.1, 0.5]])
ROWS, STEPS, FEATURES, LENGTH = 4, 3, 5, 6
KEY = jax.random.key(0)


def weights(mode, videos=VIDEOS, temperature=1.0):
    return np.asarray(support_weights(QUERIES, KEYS, videos, mode, temperature))


def pooled(mode):
    return np.asarray(support(QUERIES, {"keys": KEYS, "values": KEYS, "videos": VIDEOS}, mode, 1.0))


def test_weights_and_supports_of_hand_sized_numbers():
    np.testing.assert_allclose(weights("full")[0], [0.490629, 0.180492, 0.328879], atol=1e-6)
    cross = [[0, 0.354344, 0.645656], [0.310026, 0, 0.689974], [0.731059, 0.268941, 0]]
    np.testing.assert_allclose(weights("cross"), cross, atol=1e-6)
    supports = [[0.387394, 0.870869], [0.724010, 0.551980], [0.731059, 0.268941]]
    np.testing.assert_allclose(pooled("cross"), supports, atol=1e-6)
    np.testing.assert_allclose(pooled("hybrid")[0], [0.843978, 0.221798], atol=1e-6)
    np.testing.assert_array_equal(pooled("identity"), KEYS)


def test_every_clip_of_the_own_video_is_left_out_and_empty_places_are():
    # The first and the last caption are of one video, which has a third clip among earlier ones.
    videos = jnp.array([4, 5, 4, 4, 6, NOBODY])
    rng = np.random.default_rng(0)
    keys, queries = rng.normal(size=(6, 4)), rng.normal(size=(3, 4))
    for mode in ("cross", "full"):
        found = np.asarray(
            support_weights(jnp.asarray(queries), jnp.asarray(keys), videos, mode, 0.5)
        )
        for i in range(3):
            others = [j for j in range(5) if mode == "full" or int(videos[j]) != int(videos[i])]
            expected = np.zeros(6)
            expected[others] = np.exp(2 * queries[i] @ keys[others].T)
            np.testing.assert_allclose(found[i], expected / expected.sum(), rtol=1e-5)
    # Where all clips are of the own video nothing is left, and no NaN either.
    np.testing.assert_array_equal(weights("cross", jnp.zeros(3, jnp.int32)), np.zeros((3, 3)))


def test_a_batch_of_one_has_no_other_video():
    one = KEYS[:1]
    with pytest.raises(ConfigError, match="batch_size=1 leaves mode='cross' no other video"):
        support_weights(one, one, VIDEOS[:1], "cross")
    np.testing.assert_array_equal(support_weights(one, one, VIDEOS[:1], "full"), [[1.0]])
    with pytest.raises(ConfigError, match=r"mode is one of identity, .*, not 'crossed'"):
        support_weights(KEYS, KEYS, VIDEOS, "crossed")


def test_the_margin_to_the_hardest_rival():
    texts, alike = jnp.asarray(TABLE, jnp.float32), jnp.zeros((3, 3), bool)
    loss, metrics = hardest_margin(jnp.eye(3), texts, alike, 0.1)
    assert float(loss) == pytest.approx(0.233333, abs=1e-6)
    assert float(metrics["accuracy"]) == pytest.approx(2 / 3)
    # The second text's hardest clip is of its own video: .05 is left of its two hinges, no .15.
    alike = alike.at[1, 2].set(True)
    loss, metrics = hardest_margin(jnp.eye(3), texts, alike, 0.1)
    assert float(loss) == pytest.approx((0.05 + 0 + 0 + 0 + 0.25 + 0) / 3, abs=1e-6)
    assert float(metrics["accuracy"]) == 1
    assert float(hardest_margin(jnp.eye(3), texts, jnp.ones((3, 3), bool), 0.1)[0]) == 0


def method_of(**knobs):
    def transformer(**more):
        return Transformer(blocks=1, heads=2, hidden=8, norm_first=True, **more)

    known = {
        "vision": FeatureSequence(SequencePool(transformer(), width=4, length=STEPS)),
        "text": TextEncoder(transformer(), width=4, length=0),
        "decoder": transformer(causal=True),
        "steps": STEPS,
        "length": LENGTH,
        "embedding": 4,
    }
    return SupportSet(**{**known, **knobs})


def batch_of(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    text = rng.integers(6, 20, (rows, LENGTH), np.int32)
    text[:, -2:] = 2, 0  # end and pad
    return {
        "vision": jnp.asarray(rng.normal(size=(rows, STEPS, FEATURES)), jnp.float32),
        "seen": jnp.asarray(np.arange(STEPS) < rng.integers(1, STEPS + 1, rows)[:, None]),
        "text": jnp.asarray(text),
        "video": jnp.arange(rows, dtype=jnp.int32),
    }


@pytest.fixture(scope="module")
def drawn():
    """A method, and weights of it as large as trained ones."""
    method = method_of()
    shapes = jax.eval_shape(lambda: method.init(KEY, batch_of(), 2))
    rng = np.random.default_rng(1)
    weights = [
        jnp.asarray(rng.normal(size=leaf.shape) / np.sqrt(leaf.shape[0]), jnp.float32)
        for leaf in jax.tree.leaves(shapes["params"])
    ]
    return method, jax.tree.unflatten(jax.tree.structure(shapes["params"]), weights)


@pytest.fixture(scope="module")
def losses(drawn):
    """A batch's loss, its metrics, and the losses of its captions by themselves."""
    method, params = drawn

    def found(params, batch):
        outputs, _ = method.outputs(params, {}, batch, KEY, train=False)
        return *method.objective(outputs, batch), outputs["captions"].loss[:, :-1].sum(1)

    jitted = jax.jit(found)
    return lambda batch, params=params: jitted(params, batch)


def test_a_caption_is_written_without_its_own_video(losses):
    batch = batch_of()
    batch["video"] = jnp.array([0, 1, 2, 2])  # of the last two captions there is one video
    before = np.asarray(losses(batch)[2])
    changed = []
    for clip in range(ROWS):
        other = batch["vision"].at[clip].multiply(-1.0)
        changed.append(np.asarray(losses({**batch, "vision": other})[2]) != before)
    # changed[j][i]: whether clip j has anything to do with caption i.
    others = [[0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    np.testing.assert_array_equal(changed, np.array(others, bool))


def test_clips_that_are_left_out_get_no_gradient():
    def written(clips, mode):
        return support(QUERIES, {**clips, "videos": jnp.array([0, 1, 0])}, mode, 1.0).sum(1)

    clips = {"keys": KEYS, "values": KEYS[::-1]}
    slopes = jax.jacrev(written)(clips, "cross")
    for slope in slopes.values():
        touched = np.abs(np.asarray(slope)).max(2) > 0
        assert not (touched & [[1, 0, 1], [0, 1, 0], [1, 0, 1]]).any()
    assert (np.asarray(slopes["values"]) > 0).any()
    assert (np.abs(np.asarray(jax.jacrev(written)(clips, "full")["values"])).max(2) > 0).all()


def test_order_of_the_batch_and_mesh_change_no_loss(drawn, losses):
    batch = batch_of()
    batch["video"] = batch["video"].at[3].set(1)  # two captions of one video
    loss, metrics, each = losses(batch)
    order = np.array([2, 0, 3, 1])
    permuted, _, moved = losses(jax.tree.map(lambda x: x[order], batch))
    assert float(permuted) == pytest.approx(float(loss), rel=1e-5)
    np.testing.assert_allclose(moved, each[order], rtol=1e-5)
    parts = float(metrics["ranking_loss"]), float(metrics["caption_loss"])
    assert float(loss) == pytest.approx(sum(parts), rel=1e-6)
    # Each caption's mean over its own tokens, then over captions.
    lengths = LENGTH - 1
    assert parts[1] == pytest.approx(float(each.mean()) / lengths, rel=1e-5)
    for devices in (2, 4):
        mesh = Sharding(devices=devices).mesh()
        placed = jax.device_put(batch, by_rows(mesh))
        split, *_ = losses(placed, jax.device_put(drawn[1], replicated(mesh)))
        assert float(split) == pytest.approx(float(loss), rel=1e-5)


def test_padding_is_neither_seen_nor_written(losses):
    batch, noise = batch_of(), np.random.default_rng(3)
    # The last step of all clips is padding, as is the last token of all captions.
    batch["seen"] = batch["seen"].at[:, -1].set(False)
    clips = jnp.asarray(noise.normal(size=(ROWS, FEATURES)), jnp.float32)
    other = {
        **batch,
        "text": batch["text"].at[:, -1].set(noise.integers(6, 20, ROWS)),
        "vision": batch["vision"].at[:, -1].set(clips),
    }
    assert float(losses(other)[0]) == pytest.approx(float(losses(batch)[0]), rel=1e-6)


def test_captions_of_the_same_words_are_no_rivals(drawn):
    method, _ = drawn
    batch = batch_of()
    same = jnp.broadcast_to(batch["text"][:1], batch["text"].shape)
    embeddings = {"keys": jnp.eye(ROWS), "texts": jnp.ones((ROWS, ROWS)) / 2}
    ranked = dataclasses.replace(method, mode="none")
    assert float(ranked.objective(embeddings, batch)[0]) == pytest.approx(2 * method.margin)
    assert float(ranked.objective(embeddings, {**batch, "text": same})[0]) == 0


def test_the_bank_keeps_the_latest_clips(drawn, losses):
    method, params = drawn
    method = dataclasses.replace(method, bank=6)
    state = {"bank": {"clips": empty_bank(6, 4, 4)}}
    made = jax.eval_shape(lambda: method.init(KEY, batch_of(), 2))
    assert jax.tree.structure(state["bank"]) == jax.tree.structure(made["bank"])
    first, second = batch_of(), batch_of(seed=4)
    second["video"] = jnp.array([9, 0, 1, 8])  # two of them again

    @jax.jit
    def passed(state, batch):
        state = {**state, **run_collection(0, 4)}
        outputs, kept = method.outputs(params, state, batch, KEY)
        return outputs, method.after(params, kept, batch, outputs)

    before, filled = passed(state, first)
    # Empty places take no part.
    each = before["captions"].loss[:, :-1].sum(1)
    np.testing.assert_allclose(each, losses(first)[2], rtol=1e-5)
    bank = filled["bank"]["clips"]
    assert bank["videos"].tolist() == [0, 1, 2, 3, NOBODY, NOBODY]
    np.testing.assert_array_equal(bank["keys"][:4], before["keys"])
    np.testing.assert_array_equal(bank["values"][:4], before["values"])
    outputs, later = passed(filled, second)
    assert later["bank"]["clips"]["videos"].tolist() == [9, 0, 1, 8, 0, 1]
    np.testing.assert_array_equal(later["bank"]["clips"]["keys"][4:], before["keys"][:2])
    # By hand: the clips of both batches but for those of the own video, the earlier ones too.
    known = {"keys": outputs["keys"], "values": outputs["values"], "videos": second["video"]}
    keys, values, videos = (np.asarray(x) for x in joined(known, bank).values())
    left = (videos != NOBODY) & (videos != np.asarray(second["video"])[:, None])
    assert left.sum(1).tolist() == [7, 6, 6, 7]
    powers = np.exp(np.asarray(outputs["texts"]) @ keys.T / method.temperature) * left
    expected = powers / powers.sum(1, keepdims=True) @ values
    found = support(outputs["texts"], joined(known, bank), "cross", method.temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    # It is what the captions are written from.
    without, _ = passed(state, second)
    assert (np.asarray(without["captions"].loss) != np.asarray(outputs["captions"].loss)).any()


def test_modes_have_the_weights_that_they_need():
    names = {}
    for mode in ("none", *MODES):
        method = method_of(mode=mode)
        shapes = jax.eval_shape(lambda method=method: method.init(KEY, batch_of(), 2))
        names[mode] = set(shapes["params"])
        assert set(shapes) == {"params"}
    assert names["none"] == {"vision", "text", "vision_head", "text_head"}
    assert names["cross"] == names["identity"] == {*names["none"], "writer", "value", "blank"}
    with pytest.raises(ConfigError, match="bank=4: with mode='identity' no other clips are used"):
        method_of(mode="identity", bank=4)
    with pytest.raises(ConfigError, match="the decoder is causal=True"):
        method_of(decoder=Transformer(blocks=1, heads=2, hidden=8))


def test_micro_batches_are_refused_where_captions_see_other_clips(drawn):
    method, params = drawn
    for mode in ("full", "cross", "hybrid"):
        own = dataclasses.replace(method, mode=mode)
        with pytest.raises(ConfigError, match="in SupportSet's net the rows of a batch see one"):
            jax.eval_shape(gradients_of(own), params)
    for mode in ("none", "identity"):
        own = method_of(mode=mode)
        shapes = jax.eval_shape(lambda own=own: own.init(KEY, batch_of(), 2))["params"]
        given = jax.eval_shape(gradients_of(own), shapes)
        assert jax.tree.structure(given) == jax.tree.structure(shapes)


def gradients_of(method):
    """Of the weights, in two micro-batches."""
    return lambda params: loss_and_gradients(method, params, {}, batch_of(), KEY, 2)[1]


def record(name="a video", **knobs):
    captions = (Caption("red", 0.0, 2.0), Caption("disc", 2.0, 4.5))
    rows = np.arange(10, dtype=np.float16)[:, None] * [1, -1]
    known = {"duration": 5.0, "captions": captions, "extra": {"features": rows}, **knobs}
    return Record(name, 0, 0, 2.0, **known)


def test_features_of_some_seconds_are_spread_or_padded():
    rows, there = spread_features(record(), "features", 2.0, [(0.0, 5.0), (4.0, 4.6)], 3)
    assert rows[..., 0].tolist() == [[0, 4, 9], [8, 9, 0]]
    assert there.tolist() == [[True] * 3, [True, True, False]]
    with pytest.raises(MediaError, match=r"'features' end at 5\.00 s, 6\.00 s was asked for"):
        spread_features(record(), "features", 2.0, [(6.0, 7.0)], 3)


def test_features_by_filters_are_their_largest_answers():
    videos = SyntheticSource(size=2, frames=4, fps=4.0, height=12, width=16)
    found = RandomFeatures(videos, width=3, rate=2.0, filters=5)[1].extra["features"]
    frames = videos[1].frames([1, 3])[:, :, 2:14] / 255 - 0.5  # their middle squares
    filters = np.random.default_rng(0).normal(size=(5, 5, 3, 3)) / np.sqrt(75)
    for frame, row in zip(frames, found, strict=True):
        places = [(y, x) for y in range(0, 8, 2) for x in range(0, 8, 2)]
        patches = [frame[y : y + 5, x : x + 5] for y, x in places]
        answers = [[(patch * filters[..., k]).sum() for k in range(3)] for patch in patches]
        np.testing.assert_allclose(row, np.max(answers, axis=0), rtol=1e-5)
    with pytest.raises(ConfigError, match="filters=13: the frames have 12 pixels"):
        RandomFeatures(videos, filters=13)[0]


def test_a_clip_is_of_its_captions_seconds():
    method = method_of(rate=2.0)
    kinds = {"red": [0, 2, 3], "disc": [4, 6, 8]}
    seen = set()
    for seed in range(8):
        example = method.views(record(), np.random.default_rng(seed))
        text = method.tokenizer.decode(example["text"])
        assert example["vision"][:, 0].tolist() == kinds[text]
        assert example["text"].tolist()[len(text)] == method.tokenizer.eos
        seen.add(text)
    assert seen == set(kinds)
    # The second half of the features, with what comes after it not seen.
    clips = method.clips(record(), "vision", method.times(record(), "vision", 5))
    assert clips["vision"][-1, :, 0].tolist() == [8, 9, 0]
    # Parts of a video, records of one name, are of one video.
    names = ("a video", "a video", "another")
    found = [int(method.views(record(name), np.random.default_rng(0))["video"]) for name in names]
    assert found[0] == found[1] != found[2]
    assert min(found) > NOBODY


def test_t5s_encoder_and_decoder_are_taken_of_its_run(monkeypatch):
    own = method_of()
    t5 = SpanCorruption(own.text, own.decoder, length=32, sentinels=8)
    run = jax.eval_shape(lambda: t5.init(KEY, {"text": jnp.zeros((2, 32), jnp.int32)}, 2))["params"]
    # There are vectors of sentinels too.
    own = method_of(vocabulary=own.tokenizer.size + 8)
    ours = jax.eval_shape(lambda: own.init(KEY, batch_of(), 2))["params"]
    ones = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), run)
    trunks = {name: {"params": tree} for name, tree in ones.items()}
    monkeypatch.setattr(start, "trunks_of", lambda where, method: trunks)
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), ours)
    state = TrainState(jnp.zeros((), jnp.int32), KEY, zeros, {}, ())
    source, optimizer = SyntheticSource(size=1), Optimizer(name="sgd", learning_rate=0.1)
    experiment = Experiment(source, own, optimizer, 1, ROWS, init_from="runs/t5")
    found = start.with_trunks(state, experiment).params
    assert all(x.all() for x in jax.tree.leaves([found["text"], found["writer"]]))
    assert not any(x.any() for x in jax.tree.leaves([found["vision"], found["value"]]))


def test_shots_of_one_file_are_of_one_video():
    source = RandomFeatures(SyntheticSource(size=3, frames=8, height=8, width=8), width=5, rate=8.0)
    method = method_of(rate=8.0)

    def number(record, **extra):
        record = dataclasses.replace(record, extra={**record.extra, **extra})
        return method.views(record, np.random.default_rng(0))["video"]

    shots = [number(source[k], path="a/long.mp4") for k in (0, 1)]
    assert shots[0] == shots[1] != number(source[2], path="a/other.mp4")
    assert number(source[0]) != number(source[1])
