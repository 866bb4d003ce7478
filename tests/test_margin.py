"""HowTo100M's embedding: losses, gated units, features that were computed before."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.compile import with_data
from ssl_jax.config import ConfigError, build, call, load
from ssl_jax.data.record import Caption, MediaError, Record
from ssl_jax.data.sources.feature_folder import FeatureFolder
from ssl_jax.data.sources.random_features import RandomFeatures
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.data.stored_features import strongest_features
from ssl_jax.data.tokenizers import Words
from ssl_jax.methods.video_text.margin import Margin
from ssl_jax.models.feature_groups import FeatureGroups
from ssl_jax.models.gated_unit import GatedUnit
from ssl_jax.models.resnet3d import ResNet3D
from ssl_jax.models.word_pool import WordPool
from ssl_jax.models.word_table import WordTable
from ssl_jax.objectives.max_margin import intra_video_nce, max_margin, pair_weights

TABLE = np.array([[0.8, 0.75, 0.1], [0.2, 0.6, 0.65], [0.3, 0.1, 0.5]])


def with_products(table, pairs=1):
    """(clips, texts) whose products text . clip are the table's entries."""
    count = len(table)
    texts = jnp.asarray(table, jnp.float32).reshape(count // pairs, pairs, count)
    return jnp.eye(count).reshape(count // pairs, pairs, count), texts


def test_margin_on_hand_sized_numbers():
    loss, metrics = max_margin(*with_products(TABLE))
    assert float(loss) == pytest.approx(0.144444, abs=1e-6)
    # Without the diagonal, each of whose entries adds twice the margin: .7 in all.
    assert float(loss) * 9 - 3 * 2 * 0.1 == pytest.approx(0.7, abs=1e-5)
    assert float(metrics["accuracy"]) == pytest.approx(2 / 3)


def test_nce_on_hand_sized_numbers():
    loss, _ = intra_video_nce(*with_products(TABLE))
    assert float(loss) == pytest.approx(1.290390, abs=1e-6)


def test_weights_of_pairs_of_the_same_video():
    weights = np.asarray(pair_weights(4, 2, 0.5))
    same = np.kron(np.eye(4), np.ones((2, 2))) > 0
    np.testing.assert_allclose(weights[same], 2.0)
    np.testing.assert_allclose(weights[~same], 0.666667, atol=1e-6)
    assert weights.mean() == pytest.approx(1)
    assert np.asarray(pair_weights(4, 2, 0.25)).mean() == pytest.approx(1)
    assert not np.asarray(pair_weights(4, 2, 0.0))[same].any()
    for videos, pairs in ((1, 5), (5, 1)):
        np.testing.assert_array_equal(pair_weights(videos, pairs, 0.5), np.ones((5, 5)))


@pytest.mark.parametrize("intra_video", [0.5, 0.0])
def test_both_losses_count_every_pair(intra_video):
    table = np.random.default_rng(0).uniform(-1, 1, (6, 6))
    video = np.arange(6) // 2
    margin = nce = 0.0
    for i in range(6):
        rivals = [j for j in range(6) if intra_video or video[j] != video[i] or j == i]
        for s in (table[i], table[:, i]):
            nce += (np.log(np.exp(s[rivals] / 0.05).sum()) - s[i] / 0.05) / 12
            for j in range(6):
                weight = 3 * intra_video if video[i] == video[j] else 1.5 * (1 - intra_video)
                margin += weight * max(0, 0.1 + s[j] - s[i]) / 36
    found, _ = max_margin(*with_products(table, 2), intra_video=intra_video)
    assert float(found) == pytest.approx(margin, rel=1e-5)
    found, _ = intra_video_nce(*with_products(table, 2), intra_video=intra_video > 0)
    assert float(found) == pytest.approx(nce, rel=1e-5)


def test_gated_units_have_the_papers_number_of_weights():
    shapes = jax.eval_shape(
        lambda: [
            GatedUnit(4096).init(jax.random.key(0), jnp.zeros((1, 4096))) for _ in ("video", "text")
        ]
    )
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 67_125_248
    text = jax.eval_shape(
        lambda: WordPool(4096).init(
            jax.random.key(0), jnp.zeros((1, 2, 300)), jnp.ones((1, 2), bool), False
        )
    )
    assert sum(x.size for x in jax.tree.leaves(text)) == 1_232_896


def test_a_gated_unit_by_hand():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 4)).astype(np.float32)
    unit = GatedUnit(5)
    variables = unit.init(jax.random.key(1), jnp.asarray(x))
    fc, gate = (jax.tree.map(np.asarray, variables["params"][name]) for name in ("fc", "gate"))
    y = x @ fc["kernel"] + fc["bias"]
    y = y / (1 + np.exp(-(y @ gate["kernel"] + gate["bias"])))
    expected = y / np.linalg.norm(y, axis=1, keepdims=True)
    np.testing.assert_allclose(unit.apply(variables, jnp.asarray(x)), expected, rtol=1e-5)


def test_groups_of_features_are_each_of_length_one():
    x = jnp.asarray(np.random.default_rng(2).normal(size=(3, 7)) * 9, jnp.float32)
    pool = np.asarray(FeatureGroups(widths=(3, 4)).apply({}, x, train=False)["pool"])
    np.testing.assert_allclose(np.linalg.norm(pool[:, :3], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(pool[:, 3:], axis=1), 1, rtol=1e-5)
    with pytest.raises(ConfigError, match=r"widths=\(3,\): the features have 7 numbers"):
        FeatureGroups(widths=(3,)).apply({}, x, train=False)


def stored(**knobs):
    captions = (Caption("red", 0.0, 2.0), Caption("disc", 2.0, 4.5), Caption("knead", 9.0, 10.0))
    rows = np.arange(20, dtype=np.float16)[:, None] * [1, -1]
    extra = {"features": rows}
    return Record("a video", 0, 0, 2.0, duration=10.0, captions=captions, extra=extra, **knobs)


def test_the_strongest_features_of_some_seconds():
    record = stored()
    expected = {
        (0.0, 2.0): [3, 0],
        (2.0, 4.4): [8, -4],
        (9.9, 30.0): [19, -19],
        (3.0, 3.0): [6, -6],
    }
    for span, strongest in expected.items():
        assert strongest_features(record, "features", 2.0, *span).tolist() == strongest
    with pytest.raises(MediaError, match=r"'features' end at 10\.00 s, 50\.00 s was asked for"):
        strongest_features(record, "features", 2.0, 50.0, 60.0)
    with pytest.raises(MediaError, match=r"a video: has no features extra\['f'\]"):
        strongest_features(record, "f", 2.0, 0.0, 1.0)


@pytest.fixture
def words(tmp_path):
    (tmp_path / "words.txt").write_text("red 5\ndisc 4\nknead 1\n")
    return Words(str(tmp_path / "words.txt"))


def test_pairs_of_stored_features_and_joined_captions(words):
    method = Margin(
        vision=FeatureGroups(),
        tokenizer=words,
        table=WordTable(width=3),
        text=WordPool(width=4),
        features="features",
        rate=2.0,
        pairs=8,
        length=2,
        embedding=4,
        least=4.0,
    )
    example = method.views(stored(), np.random.default_rng(0))
    # 'red' and 'disc' are joined to 4.5 s, rows 0 to 8; 'knead' stays, rows 18 and 19.
    kinds = {(1, 2): [8, 0], (3, 0): [19, -18]}
    pairs = list(zip(map(tuple, example["text"].tolist()), example["vision"].tolist(), strict=True))
    assert len(pairs) == 8
    assert {text for text, _ in pairs} == set(kinds)
    assert all(kinds[text] == clip for text, clip in pairs)
    batch = {name: jnp.asarray(np.stack([x, x])) for name, x in example.items()}
    variables = method.init(jax.random.key(0), batch, 2)
    params = variables.pop("params")
    for criterion in ("margin", "nce"):
        own = dataclasses.replace(method, criterion=criterion)
        loss, _ = own.loss(params, variables, batch, jax.random.key(0))
        assert np.isfinite(loss)
    clips = method.clips(stored(), "vision", method.times(stored(), "vision", 2))["vision"]
    assert clips.tolist() == [[9, 0], [19, -10]]
    layers = method.encode({"params": params}, "vision", {"vision": jnp.asarray(clips)})
    np.testing.assert_allclose(np.linalg.norm(layers["embedding"], axis=1), 1, rtol=1e-5)


def test_captions_after_the_features_are_in_no_pair(words):
    method = Margin(
        vision=FeatureGroups(),
        tokenizer=words,
        table=WordTable(width=3),
        text=WordPool(width=4),
        features="features",
        rate=2.0,
        pairs=16,
        length=2,
        embedding=4,
        least=0.0,
    )
    # Eight seconds of features of a video of ten: 'knead' begins at the ninth.
    record = dataclasses.replace(stored(), extra={"features": stored().extra["features"][:16]})
    texts = method.views(record, np.random.default_rng(0))["text"]
    assert set(texts[:, 0].tolist()) == {1, 2}
    late = dataclasses.replace(record, captions=record.captions[2:])
    with pytest.raises(MediaError, match=r"all of its captions begin after 8\.00 s"):
        method.views(late, np.random.default_rng(0))
    # All clips of evaluation are of the features, too.
    clips = method.clips(record, "vision", method.times(record, "vision", 4))["vision"]
    assert clips[:, 0].tolist() == [3, 7, 11, 15]


def test_a_folder_of_features_with_the_lists_of_its_set(tmp_path):
    rows = np.random.default_rng(3).normal(size=(10, 4)).astype(np.float16)
    (tmp_path / "lists").mkdir()
    (tmp_path / "npy" / "a").mkdir(parents=True)
    np.save(tmp_path / "npy" / "a" / "abc.npy", rows)
    (tmp_path / "npy" / "a" / "abc.json").write_text("{}")  # about the features: is none of them
    (tmp_path / "npy" / "broken.npy").write_text("no array")
    annotations = [{"segment": [1, 3], "id": 0, "sentence": "x"}]
    entry = {"subset": "training", "recipe_type": "1", "annotations": annotations}
    database = {"database": {"abc": entry, "broken": entry, "gone": entry}}
    (tmp_path / "lists" / "youcookii_annotations_trainval.json").write_text(json.dumps(database))
    known = {"path": str(tmp_path / "npy"), "lists": "../lists", "rate": 2.0}
    source = FeatureFolder(**known)
    assert len(source) == 2
    assert (source[0].duration, source[0].captions) == (5.0, (Caption("x", 1.0, 3.0),))
    np.testing.assert_array_equal(source[0].extra["features"], rows)
    part = FeatureFolder(**known, segments=True)[0]
    assert (part.duration, part.captions) == (2.0, (Caption("x"),))
    np.testing.assert_array_equal(part.extra["features"], rows[2:6])
    with pytest.raises(MediaError, match=r"broken\.npy: cannot be read as an array"):
        source[1]
    with pytest.raises(ConfigError, match=r"no split 'test', there is \['training'\]"):
        len(FeatureFolder(**known, split="test"))


def test_random_features_stand_in_for_those_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, lines = with_data(load("video_text/margin_howto100m.py"), vocabulary=50)
    assert lines == [
        "the words of PythonDocs stand in for the tokenizer data/howto100m/words.txt",
        "RandomFeatures stands in for the config's data: source: there is no folder "
        "'data/howto100m/features'; give that of your features",
    ]
    experiment = build(config)
    example = experiment.method.views(experiment.source[0], np.random.default_rng(0))
    assert example["vision"].shape == (64, 4096)
    assert example["text"].shape == (64, 20)
    config, _ = with_data(load("video_text/multiple_instance_howto100m.py"), vocabulary=50)
    experiment = build(config)
    example = experiment.method.views(experiment.source[0], np.random.default_rng(0))
    shapes = {name: value.shape for name, value in example.items()}
    assert shapes == {"vision": (32, 224, 224, 3), "text": (5, 20)}


@pytest.mark.parametrize("trunk", [call(FeatureGroups), call(ResNet3D, layers=(1, 1, 1, 1))])
def test_a_width_that_only_the_features_say_is_asked_for(tmp_path, monkeypatch, trunk):
    monkeypatch.chdir(tmp_path)
    config = load("video_text/margin_howto100m.py")
    config.method.vision = trunk
    with pytest.raises(ConfigError, match=r"say --config\.method\.vision\.widths of FeatureGroups"):
        with_data(config, vocabulary=50)


def test_random_features_are_a_row_for_each_moment():
    videos = SyntheticSource(size=2, frames=12, fps=8.0, height=16, width=16)
    record = RandomFeatures(videos, width=5, rate=2.0)[1]
    rows = record.extra["features"]
    assert rows.shape == (3, 5)
    np.testing.assert_array_equal(
        rows, RandomFeatures(videos, width=5, rate=2.0)[1].extra["features"]
    )
    assert len(np.unique(rows[:, 0])) == 3
    assert record.captions == videos[1].captions
