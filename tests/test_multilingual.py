"""MMP: the contrasts, languages joined by time and drawn by the seed, clips, what is hidden."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.compile import with_data
from ssl_jax.config import ConfigError, build, load
from ssl_jax.data.pipeline import train_dataset
from ssl_jax.data.record import Caption, MediaError, Record
from ssl_jax.data.sources.invented_languages import InventedLanguages, said_in
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.data.tokenizers import Bytes
from ssl_jax.data.translations import translations
from ssl_jax.devices.sharding import Sharding, by_rows
from ssl_jax.methods.video_text.multilingual import Multilingual
from ssl_jax.models.feature_groups import FeatureGroups
from ssl_jax.models.sequence_pool import SequencePool
from ssl_jax.models.text_encoder import TextEncoder
from ssl_jax.models.transformer import Transformer
from ssl_jax.objectives.contrastive import info_nce
from ssl_jax.objectives.multilingual import Embedded, multilingual_nce, present_nce

SIMILARITIES = np.array([[2.0, 1, 0], [0, 3, 1], [1, -1, 1]])
SCALE = 0.1  # cosines are so much of them
SUM = 0.916203  # of InfoNCE of these, both ways

SMALL = Transformer(blocks=1, heads=2, hidden=8, norm_first=True)
KEY = jax.random.key(0)

nce = jax.jit(multilingual_nce, static_argnames=("temperature", "weights", "chunk"))


class MeanColour(nn.Module):
    """A trunk of frames that compiles at once."""

    @nn.compact
    def __call__(self, x, train: bool):
        return {"pool": nn.Dense(6)(x.mean((1, 2, 3)))}


def method(**knobs):
    known = {
        "vision": FeatureGroups(),
        "text": TextEncoder(SMALL, width=8, length=16),
        "vision_pool": SequencePool(SMALL, width=8),
        "text_pool": SequencePool(SMALL, width=8),
        "features": "features",
        "rate": 2.0,
        "windows": 3,
        "least": 0.0,
        "length": 16,
        "languages": ("de", "fr", "vi"),
        "embedding": 8,
    }
    return Multilingual(**{**known, **knobs})


def hand_sized() -> Embedded:
    """Every contrast is of the same similarities, or of their transpose."""
    rest = np.sqrt(1 - (SIMILARITIES**2).sum(1, keepdims=True) * SCALE**2)
    queries = jnp.asarray(np.concatenate([SIMILARITIES * SCALE, rest], axis=1), jnp.float32)
    keys = jnp.eye(3, 4)
    return Embedded(keys, queries, queries, keys, queries, queries, keys)


def drawn(rows: int, seed: int = 0) -> Embedded:
    rng = np.random.default_rng(seed)
    return Embedded(*jnp.asarray(rng.normal(size=(7, rows, 4)), jnp.float32))


def slow_nce(queries, keys, there, temperature):
    """Counted one by one, among the rows that are there."""
    queries, keys = (np.float64(x)[np.flatnonzero(there)] for x in (queries, keys))
    queries, keys = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, keys))
    total = 0.0
    for a, b in ((queries, keys), (keys, queries)):
        for own, row in zip(b, a, strict=True):
            total += np.log(sum(np.exp(row @ other / temperature) for other in b))
            total -= row @ own / temperature
    return total / len(queries)


def slow_parts(found, translated, temperature):
    every = np.ones(len(translated), bool)

    def slow(a, b, there=every):
        return slow_nce(a, b, there, temperature)

    return {
        "inter": slow(found.texts, found.clips) + slow(found.others, found.clips, translated),
        "intra": slow(found.texts, found.noised_texts) + slow(found.clips, found.noised_clips),
        "conditional": slow(found.texts_seen, found.others_seen, translated),
    }


def test_the_contrasts_on_hand_sized_numbers():
    found = hand_sized()
    loss, metrics = nce(found, temperature=SCALE)
    assert float(loss) == pytest.approx(4.581013, abs=2e-6)
    parts = [float(metrics[name]) for name in ("inter", "intra", "conditional")]
    assert parts == pytest.approx([2 * SUM, 2 * SUM, SUM], abs=2e-6)
    assert float(metrics["accuracy"]) == pytest.approx(2 / 3)
    weighed, _ = nce(found, temperature=SCALE, weights=(0.5, 2.0, 3.0))
    assert float(weighed) == pytest.approx(8 * SUM, abs=1e-5)
    # Without another language: the text with its clip, and both with their copies.
    alone = found._replace(others=None, texts_seen=None, others_seen=None)
    loss, metrics = nce(alone, temperature=SCALE)
    assert float(loss) == pytest.approx(3 * SUM, abs=2e-6)
    assert set(metrics) == {"inter", "intra", "accuracy"}


@pytest.mark.parametrize("chunk", [0, 3])
def test_the_contrasts_count_every_pair_of_rows_that_are_there(chunk):
    found, translated = drawn(6), np.array([True, False, True, True, False, True])
    loss, metrics = nce(found, jnp.asarray(translated), 0.2, chunk=chunk)
    expected = slow_parts(found, translated, 0.2)
    assert {name: float(metrics[name]) for name in expected} == pytest.approx(expected, rel=1e-5)
    assert float(metrics["translated"]) == pytest.approx(4 / 6)
    assert float(loss) == pytest.approx(sum(expected.values()), rel=1e-5)
    # What stands in rows that are not there is seen by nothing.
    other = found.others.at[1].set(found.others[0])
    same, metrics = nce(found._replace(others=other), jnp.asarray(translated), 0.2, chunk=chunk)
    assert float(same) == float(loss)


def test_with_all_rows_it_is_twice_the_symmetric_info_nce():
    found = drawn(5)
    loss, accuracy = present_nce(found.texts, found.clips, jnp.ones(5, bool), 0.07)
    expected, metrics = info_nce(found.texts, found.clips, 0.07)
    assert float(loss) == pytest.approx(2 * float(expected), rel=1e-6)
    assert float(accuracy) == float(metrics["accuracy"])


def test_order_of_rows_and_of_languages_does_not_count():
    found, translated = drawn(6), jnp.arange(6) < 4
    loss, _ = nce(found, translated)
    order = jnp.array([3, 5, 0, 1, 4, 2])
    moved, _ = nce(jax.tree.map(lambda x: x[order], found), translated[order])
    assert float(moved) == pytest.approx(float(loss), rel=1e-6)
    # The copy with hidden words is of the first language, so its part is left out here.
    swapped = found._replace(
        texts=found.others,
        others=found.texts,
        texts_seen=found.others_seen,
        others_seen=found.texts_seen,
    )
    pair = (nce(x, weights=(1.0, 0.0, 1.0))[0] for x in (found, swapped))
    assert float(next(pair)) == pytest.approx(float(next(pair)), rel=1e-6)


@pytest.mark.parametrize("chunk", [0, 2])
def test_a_batch_in_one_language_alone_has_a_loss_and_gradients(chunk):
    found = drawn(4)._replace(others=jnp.zeros((4, 4)), others_seen=jnp.zeros((4, 4)))

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(found, there):
        return nce(found, there, chunk=chunk)

    for count in (1, 0):
        (value, metrics), slopes = loss(found, jnp.arange(4) < count)
        assert np.isfinite(value)
        assert all(np.isfinite(x).all() for x in slopes)
    absent = ("conditional", "other_accuracy", "language_accuracy", "translated")
    assert [float(metrics[name]) for name in absent] == [0, 0, 0, 0]


def said(language: str, *spans: tuple[str, float, float]) -> list[Caption]:
    return [Caption(text, float(start), float(end), language) for text, start, end in spans]


def test_languages_are_joined_by_time():
    inf = float("inf")
    captions = [
        *said("en", ("knead the dough", 2, 6), ("let it rest", 6, 9)),
        *said("de", ("knete", 2, 4), ("den Teig", 4, 6), ("lass ihn ruhen", 6, 9)),
        *said("fr", ("laisse reposer", 6, 9)),
        *said("vi", ("một", 0, inf), ("hai", 0, inf)),
        *said("sw", ("kanda", 2, 6)),
    ]
    languages = ("de", "fr", "vi")
    first = translations(captions, captions[0], languages)
    assert first == {"de": ("knete den Teig",), "vi": ("một", "hai")}
    second = translations(captions, captions[1], languages)
    assert second == {"de": ("lass ihn ruhen",), "fr": ("laisse reposer",), "vi": ("một", "hai")}


def a_record(*languages: str, **knobs) -> Record:
    """Ten seconds, two rows of features a second, of which row k is (k, -1 - k)."""
    captions = [
        Caption(f"{code} {k}", float(k), k + 1.0, code) for code in languages for k in range(10)
    ]
    rows = np.arange(20, dtype=np.float16)[:, None] * [1, -1] - [0, 1]
    known = {"duration": 10.0, "captions": tuple(captions), "extra": {"features": rows}}
    return Record("a video", 0, 0, 2.0, **{**known, **knobs})


@dataclasses.dataclass(frozen=True)
class Videos:
    record: Record

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dataclasses.replace(self.record, index=index)


def texts_of(example) -> list[list[str]]:
    rows = np.asarray(example["text"]).reshape(-1, *np.shape(example["text"])[-2:])
    return [[Bytes().decode(text) for text in row] for row in rows]


def test_languages_are_drawn_by_the_seed_and_all_of_them():
    source, own = Videos(a_record("en", "de", "fr", "vi", "sw")), method()
    batches = [train_dataset(source, own.views, 8, seed=3)[k] for k in range(12)]
    again = train_dataset(source, own.views, 8, seed=3)[5]
    assert all(np.array_equal(again[name], batches[5][name]) for name in again)
    other = train_dataset(source, own.views, 8, seed=4)[5]
    assert not np.array_equal(other["text"], again["text"])
    pairs = [pair for batch in batches for pair in texts_of(batch)]
    codes = [y.split()[0] for _, y in pairs]
    counts = [codes.count(code) for code in ("de", "fr", "vi")]
    assert sum(counts) == len(pairs) == 96
    assert min(counts) > 20
    # x is always English, and y is of the same second.
    assert all(x.split() == ["en", y.split()[1]] for x, y in pairs)
    assert {x for x, _ in pairs} == {f"en {k}" for k in range(10)}


def test_languages_that_are_not_drawn_change_nothing():
    own, seeds = method(), range(20)
    plain = a_record("en", "de", "fr", "vi")

    def changed(code):
        captions = (
            dataclasses.replace(c, text="another") if c.language == code else c
            for c in plain.captions
        )
        return dataclasses.replace(plain, captions=tuple(captions))

    more = dataclasses.replace(plain, captions=a_record("en", "de", "fr", "vi", "sw").captions)
    for seed in seeds:
        example = own.views(plain, np.random.default_rng(seed))
        code = texts_of(example)[0][1].split()[0]
        for record in (more, *(changed(other) for other in ("de", "fr", "vi") if other != code)):
            found = own.views(record, np.random.default_rng(seed))
            assert all(np.array_equal(found[name], example[name]) for name in example)


def test_a_record_without_a_language():
    rng = np.random.default_rng(0)
    with pytest.raises(MediaError, match="a video: has no captions in en"):
        method().views(a_record("de", "fr"), rng)
    example = method().views(a_record("en", "sw"), rng)
    assert example["there"].any(1).tolist() == [True, False]
    assert (example["text"][1] == Bytes.pad).all()
    alone = method(languages=()).views(a_record("en", "de"), rng)
    assert alone["text"].shape == (1, 16)
    metrics = {"translated": 0.0}
    assert method().worry(metrics) == (
        "no caption has any beside it in languages=('de', 'fr', 'vi'): is it their codes?"
    )
    assert method().worry({"translated": 0.1}) == method(languages=()).worry({}) == ""


@pytest.mark.parametrize(
    "knobs", [{"languages": ("de", "de")}, {"languages": ("de", "en")}, {"language": ""}]
)
def test_a_language_twice_is_refused(knobs):
    with pytest.raises(ConfigError, match="needs one of x, and others of y, each once"):
        method(**knobs)


def test_windows_are_spread_over_the_seconds_of_a_caption():
    captions = (Caption("x", 1.0, 5.0), Caption("late", 9.9, 20.0))
    record, own = a_record("en", captions=captions), method(languages=())
    rows = {}
    for seed in range(8):
        example = own.views(record, np.random.default_rng(seed))
        rows[texts_of(example)[0][0]] = example["vision"][:, 0].tolist()
    # From 1 s to 5 s, rows 2 to 9; of the last half second there is one row.
    assert rows == {"x": [2, 5, 9], "late": [19, 19, 19]}
    times = own.times(record, "vision", 2)
    assert own.clips(record, "vision", times)["vision"][..., 1].tolist() == [
        [-1, -5, -10],
        [-11, -15, -20],
    ]
    # A video that ends before its captions: what comes after it is not said.
    short = dataclasses.replace(record, extra={"features": record.extra["features"][:12]})
    assert texts_of(own.views(short, np.random.default_rng(0))) == [["x"]]


def test_windows_of_frames():
    source = SyntheticSource(size=1, frames=16, fps=8.0, height=12, width=12)
    knobs = {"vision": MeanColour(), "features": "", "frames": 2, "rate": 4.0, "size": 12}
    own = method(languages=(), **knobs)
    record = source[0]
    example = own.views(record, np.random.default_rng(0))
    frames = record.frames(range(16))
    # Half a second each, in the middle of whose quarters a frame is seen.
    expected = frames[np.array([[1, 3], [7, 9], [13, 15]])]
    np.testing.assert_array_equal(example["vision"], expected)
    clips = own.clips(record, "vision", own.times(record, "vision", 1))
    np.testing.assert_array_equal(clips["vision"], expected[None])

    def layers(inputs):
        batch = {name: jnp.asarray(value[None]) for name, value in example.items()}
        return own.encode(own.init(KEY, batch, 1), "vision", inputs)

    shapes = {name: x.shape for name, x in jax.eval_shape(layers, clips).items()}
    assert shapes == {
        "windows": (1, 3, 6),
        "tokens": (1, 3, 8),
        "mean": (1, 8),
        "embedding": (1, 8),
    }


@pytest.fixture(scope="module")
def started():
    """The method, a batch and its variables."""
    own = method()
    source = Videos(a_record("en", "de", "fr", "vi"))
    batch = jax.tree.map(jnp.asarray, train_dataset(source, own.views, 8, seed=0)[0])
    batch["there"] = batch["there"].at[2, 1].set(False)
    return own, batch, jax.jit(own.init, static_argnums=2)(KEY, batch, 8)


def test_what_is_hidden(started):
    own, batch, _ = started
    others = ({"dropped": 1.0}, {"windows": 2000})

    @jax.jit
    def puzzles(batch):
        methods = own, *(dataclasses.replace(own, **knobs) for knobs in others)
        return [one.augment(batch, {}, KEY) for one in methods]

    puzzle, every, some = puzzles(batch)
    text, noised = (np.asarray(x) for x in (batch["text"][:, 0], puzzle["noised"]))
    changed = text != noised
    # 'en 3' with [CLS] and [SEP]: round(0.15 * 6) = 1 of its four letters, if another is drawn.
    assert changed.sum(1).max() == 1
    assert not changed[:, [0, 5]].any()
    assert not changed[:, 6:].any()
    assert (np.asarray(puzzle["kept"]).sum(1) >= 1).all()
    np.testing.assert_array_equal(every["kept"].sum(1), np.ones(8))
    assert float(some["kept"].mean()) == pytest.approx(0.85, abs=0.02)


def test_texts_are_read_whatever_their_padding(started):
    own, _, variables = started
    read = jax.jit(lambda inputs: own.encode(variables, "text", inputs)["embedding"])
    long, short = (
        read(dataclasses.replace(own, length=length).clips(a_record("en"), "text", [3.0]))
        for length in (16, 9)
    )
    np.testing.assert_allclose(long, short, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(long, axis=1), 1, rtol=1e-5)
    assert set(variables["params"]) == {*own.trunks, "seen_text"} - {"vision"}


def test_texts_are_matched_across_languages_though_all_see_the_same_clip():
    own, translated = method(weights=(0.0, 0.0, 1.0)), np.arange(8) != 2
    # Of each second once, so that no two rows say the same.
    examples = [own.views(a_record("en", "de"), np.random.default_rng(k)) for k in range(60)]
    examples = list({texts_of(one)[0][0]: one for one in examples}.values())[:8]
    batch = {k: jnp.asarray(np.stack([one[k] for one in examples])) for k in examples[0]}
    batch["vision"] = jnp.broadcast_to(batch["vision"][:1], batch["vision"].shape)
    batch["there"] = batch["there"].at[2, 1].set(False)

    @jax.jit
    def step(params):
        def loss(params):
            return own.forward(params, {}, batch, KEY)

        (value, passed), slopes = jax.value_and_grad(loss, has_aux=True)(params)
        new = jax.tree.map(lambda p, slope: p - 0.02 * jnp.sign(slope), params, slopes)
        return new, value, passed

    params = jax.jit(own.init, static_argnums=2)(KEY, batch, 8)["params"]
    params, first, passed = step(params)
    expected = slow_parts(passed.outputs, translated, own.temperature)
    found = {name: float(passed.metrics[name]) for name in expected}
    assert found == pytest.approx(expected, rel=1e-5)
    assert float(first) == pytest.approx(expected["conditional"], rel=1e-5)
    for _ in range(30):
        params, last, _ = step(params)
    assert float(last) < float(first) / 2


@pytest.mark.parametrize("chunk", [0, 4])
def test_the_same_loss_and_gradients_whatever_the_mesh(chunk):
    found, translated = drawn(8), jnp.arange(8) % 3 != 1

    @jax.jit
    @jax.value_and_grad
    def loss(found, there):
        return nce(found, there, chunk=chunk)[0]

    results = []
    for devices in (1, 2, 4):
        mesh = Sharding(devices=devices).mesh()
        results.append(loss(*jax.device_put((found, translated), by_rows(mesh))))
    for value, slopes in results[1:]:
        assert float(value) == pytest.approx(float(results[0][0]), rel=1e-6)
        for mine, theirs in zip(slopes, results[0][1], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_invented_languages():
    plain = SyntheticSource(size=3, frames=2, height=8, width=8)
    source = InventedLanguages(plain, languages=("qaa", "qab"))
    for number in range(3):
        en, one, other = source[number].captions
        assert en == plain[number].captions[0]
        assert (one.language, other.language) == ("qaa", "qab")
        assert (one.start, one.end) == (en.start, en.end)
        assert len({one.text, other.text, en.text}) == 3
        assert one.text == " ".join(said_in("qaa", word) for word in en.text.split())
    words = ["a", "red", "green", "blue", "disc", "square", "cross", "ring", "bounces"]
    assert len({said_in(code, word) for code in ("qaa", "qab") for word in words}) == 18


def test_the_papers_run_takes_features_and_texts_of_a_tokenizer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, lines = with_data(load("video_text/multilingual_howto100m.py"), vocabulary=50)
    assert lines[0] == "50 ids stand in for the tokenizer data/mbert/vocab.txt"
    assert "RandomFeatures stands in for the config's data" in lines[1]
    experiment = build(config)
    example = experiment.method.views(experiment.source[0], np.random.default_rng(0))
    assert {name: x.shape for name, x in example.items()} == {
        "vision": (30, 1024),
        "text": (2, 40),
        "there": (2, 40),
    }
    translated = load("video_text/multilingual_howto100m.py:vtt_translated").method
    alone = load("video_text/multilingual_howto100m.py:vtt").method
    assert (len(translated.languages), alone.languages) == (8, ())
