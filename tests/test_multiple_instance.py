"""MIL-NCE: captions around a clip, words, what is gathered, and the loss however it is split."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.image import square
from ssl_jax.data.narration import known_vectors, narration
from ssl_jax.data.record import MediaError
from ssl_jax.data.sources.narrated import Narrated
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.data.tokenizers import Bytes, Words
from ssl_jax.data.word_vectors_file import write_word_vectors
from ssl_jax.devices.collectives import collectives
from ssl_jax.devices.sharding import Sharding, by_rows, replicated
from ssl_jax.methods.video_text.multiple_instance import MultipleInstance
from ssl_jax.models.word_pool import WordPool
from ssl_jax.models.word_table import WordTable
from ssl_jax.objectives.contrastive import mil_nce

CONFIG = "video_text/multiple_instance_howto100m.py:tiny"
ROWS, WIDTH, CAPTIONS, DEVICES = 48, 8, 3, 4


class MeanColour(nn.Module):
    """A trunk that compiles at once."""

    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train: bool):
        return {"pool": nn.relu(nn.Dense(6)(x.mean((1, 2, 3))))}


@pytest.fixture
def words(tmp_path):
    (tmp_path / "words.txt").write_text("the 9\nred 5\ndisc 4\nknead 1\n")
    return Words(str(tmp_path / "words.txt"))


@pytest.fixture
def method(words):
    return MultipleInstance(
        vision=MeanColour(),
        tokenizer=words,
        table=WordTable(width=5),
        text=WordPool(width=7),
        frames=2,
        rate=4.0,
        short_side=12,
        crop=10,
        captions=CAPTIONS,
        length=4,
        embedding=WIDTH,
    )


def batch_of(rows, rng):
    return {
        "vision": jnp.asarray(rng.integers(0, 256, (rows, 2, 12, 12, 3), np.uint8)),
        "text": jnp.asarray(rng.integers(0, 5, (rows, CAPTIONS, 4), np.int32)),
    }


def test_a_clip_is_of_the_time_of_one_of_its_captions():
    source = Narrated(SyntheticSource(size=12, frames=8, fps=8.0), parts=6)
    method = configs.build(configs.load(CONFIG)).method
    method = dataclasses.replace(method, captions=3, least=0.0)
    record = source[1]
    texts = [caption.text for caption in record.captions]
    frames = square(record.need_frames()(np.arange(48)), method.short_side)
    seen = set()
    for seed in range(20):
        example = method.views(record, np.random.default_rng(seed))
        rows = [method.tokenizer.decode(row) for row in example["text"].tolist()]
        (place,) = [k for k in range(4) if texts[k : k + 3] == rows]
        first = int((frames == example["vision"][0]).all((1, 2, 3)).argmax())
        np.testing.assert_array_equal(example["vision"], frames[[first, first + 1]])
        assert place <= first // 8 <= place + 2  # scenes of 8 frames
        seen.add(place)
    assert len(seen) > 1


def test_texts_are_words_and_padding_is_seen_by_nothing(method, words):
    batch = batch_of(8, np.random.default_rng(0))
    variables = method.init(jax.random.key(0), batch, 8)

    def embedded(texts):
        rows = np.zeros((len(texts), 6), np.int32)
        for row, text in zip(rows, texts, strict=True):
            ids = words.encode(text)
            row[: len(ids)] = ids
        return method.encode(variables, "text", {"text": jnp.asarray(rows)})

    one, longer, twice, none = (
        np.asarray(embedded([text])["embedding"][0])
        for text in ("red disc", "disc red", "red red disc", "unheard of")
    )
    np.testing.assert_allclose(one, longer, rtol=1e-6)  # no order of words
    np.testing.assert_allclose(one, twice, rtol=1e-6)  # and no count of them
    assert not np.allclose(one, none)
    # By hand: dense, ReLU, maximum over the two words alone, dense.
    params = jax.tree.map(np.asarray, variables["params"])
    vectors = params["table"]["embedding"][[2, 3]]
    hidden = vectors @ params["text"]["dense"]["kernel"] + params["text"]["dense"]["bias"]
    pooled = np.maximum(hidden, 0).max(0)
    expected = pooled @ params["text_head"]["kernel"] + params["text_head"]["bias"]
    np.testing.assert_allclose(one, expected, rtol=1e-5)
    # Of no known word there is nothing but the last bias, whatever the padding's vector.
    np.testing.assert_allclose(none, params["text_head"]["bias"], atol=1e-7)


def test_the_loss_is_that_of_plain_products_whatever_the_mesh(method):
    batch = batch_of(8, np.random.default_rng(1))
    variables = method.init(jax.random.key(1), batch, 8)
    params, key = variables.pop("params"), jax.random.key(2)

    def loss(params, batch, twice):
        own = dataclasses.replace(method, positives_twice=twice)
        return own.loss(params, {**variables}, batch, key)[0]

    puzzle = method.inputs(method.augment(batch, {}, jax.random.split(key)[0]))
    clips, texts = method.outputs(params, variables, puzzle, key)[0]
    products = np.einsum("id,jkd->ijk", np.float64(clips), np.float64(texts))
    for twice in (False, True):
        expected = []
        for i in range(8):
            right = np.exp(products[i, i]).sum()
            others = [j for j in range(8) if j != i]
            wrong = np.exp(products[i, others]).sum() + np.exp(products[others, i]).sum()
            expected.append(-np.log(right / ((1 + twice) * right + wrong)))
        for devices in (1, 4):
            mesh = Sharding(devices=devices).mesh()
            placed = jax.device_put(batch, by_rows(mesh))
            known = jax.device_put(params, replicated(mesh))
            found = jax.jit(loss, static_argnums=2)(known, placed, twice)
            assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("chunk", [0, 12])
def test_only_embeddings_are_gathered(method, chunk):
    method = dataclasses.replace(method, chunk=chunk)
    batch = batch_of(ROWS, np.random.default_rng(0))
    variables = jax.eval_shape(lambda: method.init(jax.random.key(0), batch, ROWS))
    params, key = variables.pop("params"), jax.random.key(0)
    mesh = Sharding(devices=DEVICES).mesh()

    def shaped(tree, sharding):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    step = jax.jit(
        jax.value_and_grad(lambda params, batch: method.loss(params, {}, batch, key)[0]),
        out_shardings=replicated(mesh),
    )
    lowered = step.lower(shaped(params, replicated(mesh)), shaped(batch, by_rows(mesh)))
    found = collectives(lowered.compile().as_text())
    assert {one.kind for one in found} <= {"all-gather", "all-reduce"}
    gathered = [s for one in found if one.kind == "all-gather" for _, s in one.arrays]
    large = [shape for shape in gathered if len([n for n in shape if n > 1]) > 1]
    # Captions' embeddings, or a chunk of them; no clip, no product of all with all.
    assert large
    assert {shape[-1] if shape[-1] == WIDTH else shape[0] for shape in large} == {WIDTH}
    assert max(np.prod(shape) for shape in large) <= ROWS * CAPTIONS * WIDTH
    if chunk:
        assert max(np.prod(shape) for shape in large) <= 2 * chunk * CAPTIONS * WIDTH


def test_memory_grows_with_the_batch_not_with_its_square():
    def held(rows):
        clips = jax.ShapeDtypeStruct((rows, 16), jnp.float32)
        texts = jax.ShapeDtypeStruct((rows, 4, 16), jnp.float32)
        both = jax.grad(lambda a, b: mil_nce(a, b, chunk=64)[0], argnums=(0, 1))
        return jax.jit(both).lower(clips, texts).compile().memory_analysis().temp_size_in_bytes

    assert held(4096) < 2.5 * held(2048)


def test_vectors_of_a_file_fill_the_table(tmp_path, words):
    rng = np.random.default_rng(3)
    theirs = rng.normal(size=(3, 5)).astype(np.float32)
    path = str(tmp_path / "vectors.bin")
    write_word_vectors(path, ("disc", "Red", "the"), theirs)
    own = rng.normal(size=(5, 5)).astype(np.float32)
    table = known_vectors(path, words, own)
    np.testing.assert_array_equal(table[[1, 3]], theirs[[2, 0]])
    np.testing.assert_array_equal(table[[0, 2, 4]], own[[0, 2, 4]])
    with pytest.raises(ConfigError, match=r"vectors of 5 numbers where table\.width is 4"):
        known_vectors(path, words, own[:, :4])
    with pytest.raises(ConfigError, match="Bytes has no words; use Words"):
        known_vectors(path, Bytes(), own)
    write_word_vectors(path, ("bread",), theirs[:1])
    with pytest.raises(ConfigError, match="has none of the 4 words"):
        known_vectors(path, words, own)


def test_narrated_videos():
    plain = SyntheticSource(size=7, frames=4, fps=8.0, height=10, width=10)
    source = Narrated(plain, parts=3, jitter=0.4)
    assert len(source) == 2
    record = source[1]
    assert (record.num_frames, record.duration, record.fps) == (12, 1.5, 8.0)
    np.testing.assert_allclose(record.times, np.arange(12) / 8)
    numbers = [11, 0, 4, 5, 0]
    expected = [plain[3 + n // 4].frames([n % 4])[0] for n in numbers]
    np.testing.assert_array_equal(record.frames(numbers), expected)
    still = {c.text: c.start for c in Narrated(plain, parts=3)[1].captions}
    texts = [plain[n].captions[0].text for n in (3, 4, 5)]
    assert sorted(c.text for c in record.captions) == sorted(texts)
    moves = [abs(c.start - still[c.text]) for c in record.captions if texts.count(c.text) == 1]
    assert 0 < max(moves) <= 0.4
    assert all(0 <= c.start < c.end <= 1.5 for c in record.captions)
    assert source[1].captions == record.captions
    # A caption that begins after the video describes none of it.
    late = dataclasses.replace(record.captions[-1], start=1.5, end=2.5)
    longer = dataclasses.replace(record, captions=(*record.captions, late))
    assert narration(longer) == record.captions
    with pytest.raises(MediaError, match="has no captions in de"):
        narration(record, "de")
