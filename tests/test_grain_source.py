"""GrainSource: dicts of grain become records, mistakes are one line, grain's own mix trains."""

import grain
import numpy as np
import pytest
import tiny

from ssl_jax import train
from ssl_jax.config import ConfigError, call
from ssl_jax.data.pipeline import Loading, train_batches, train_dataset
from ssl_jax.data.record import Caption, MediaError
from ssl_jax.data.sources.grain import GrainSource
from ssl_jax.data.sources.synthetic import SyntheticSource


def image(value, channels=3):
    return np.full((32, 32, channels), value, np.uint8)


def only(element):
    return GrainSource(grain.MapDataset.source([element]))[0]


def test_an_image_and_its_label_and_what_else_there_is():
    record = only({"image": image(7, 1), "label": np.int64(3), "caption": b"a dog", "split": "x"})
    assert (record.name, record.index, record.num_frames, record.fps) == (
        *("grain element 0", 0, 1, 1.0),
    )
    assert record.frames([0, 0]).tolist() == np.full((2, 32, 32, 3), 7).tolist()
    assert (record.label, record.duration) == (3, 1.0)
    assert record.captions == (Caption("a dog"),)
    assert record.extra == {"split": "x"}
    with pytest.raises(MediaError, match="grain element 0: frame 1 was asked for, it has 1"):
        record.frames([1])


@pytest.mark.parametrize("key", ["frames", "video"])
def test_a_video_with_audio(key):
    frames = np.stack([image(value) for value in range(6)])
    wave = np.linspace(-1, 1, 800)
    texts = ["one", Caption("two", 1.0, 2.0)]
    element = {key: frames, "fps": 3, "wave": wave, "sample_rate": 400, "captions": texts}
    record = only(element)
    assert record.frames([5, 1])[:, 0, 0, 0].tolist() == [5, 1]
    assert (record.fps, record.duration, record.sample_rate) == (3.0, 2.0, 400)
    np.testing.assert_array_equal(record.need_audio(2.0)(0.5, 1.0), wave[200:400].astype("f4"))
    assert record.audio(-0.5, 0.0).tolist() == [0] * 200
    assert record.captions == (Caption("one"), Caption("two", 1.0, 2.0))
    assert only({key: frames}).fps == 25.0


def test_audio_alone_and_text_alone():
    record = only({"wave": np.zeros(800, np.float32), "sample_rate": 400})
    assert (record.num_frames, record.duration, record.frames) == (0, 2.0, None)
    assert only({"caption": "a dog"}).need_captions()[0].text == "a dog"


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ("text", "grain element 1: is a str; a dict is needed"),
        ({"picture": image(0)}, "none of image, .* keys are .'picture'.: rename them"),
        ({"image": image(0) / 255.0}, "element 1: 'image' is float64.*multiply 0..1 by 255"),
        ({"image": image(0).astype(np.int64)}, "'image' is int64, uint8"),
        ({"image": image(0)[..., 0]}, r"'image' has shape \(32, 32\).*x\[..., None\]"),
        ({"image": image(0)[None]}, r"'image' has shape \(1, 32, 32, 3\), \(h, w, 3\)"),
        ({"video": image(0)}, r"'video' has shape \(32, 32, 3\), \(t, h, w, 3\)"),
        ({"video": image(0)[None], "fps": 0}, "'fps' is 0, one positive number"),
        ({"image": image(0), "frames": image(0)[None]}, "has both 'image' and 'frames'"),
        ({"wave": np.zeros(8)}, "has a 'wave' but no 'sample_rate'"),
        ({"wave": np.zeros(8), "sample_rate": -1}, "'sample_rate' is -1"),
        ({"wave": np.zeros(8, np.int16), "sample_rate": 8}, "'wave' is int16.*divide"),
        ({"wave": np.zeros((8, 2)), "sample_rate": 8}, r"'wave' has shape \(8, 2\)"),
        ({"image": image(0), "label": 0.5}, "'label' is float64 of shape"),
        ({"image": image(0), "label": np.zeros(3, int)}, r"'label' is int64 of shape \(3,\)"),
        ({"caption": 3}, "'caption' holds a int"),
        ({"captions": "a dog"}, "'captions' is one text; call it 'caption'"),
        ({"caption": "a", "captions": ["b"]}, "has both 'caption' and 'captions'"),
    ],
)
def test_mistakes_are_one_line_with_the_element_and_the_key(element, message):
    source = GrainSource(grain.MapDataset.source([{"image": image(0)}, element]))
    with pytest.raises(ConfigError, match=message) as caught:
        source[1]
    assert str(caught.value).startswith("grain element 1: ")
    assert "\n" not in str(caught.value)
    dataset = train_dataset(source, lambda record, rng: {"n": np.int64(record.index)}, 2, seed=0)
    with pytest.raises(ConfigError):  # the same mistake in every element is no file to skip
        dataset[0]


def test_datasets_that_cannot_be_a_source():
    numbers = grain.MapDataset.source([{"image": image(0)}])
    for wrong in (numbers.to_iter_dataset(), None):
        with pytest.raises(ConfigError, match="no length or no elements by number"):
            GrainSource(wrong)
    with pytest.raises(ConfigError, match=r"leave out \.repeat\(\)"):
        GrainSource(numbers.repeat())
    with pytest.raises(IndexError):
        GrainSource(numbers)[1]


def test_what_a_filter_leaves_out_is_replaced():
    images = grain.MapDataset.source([{"image": image(k)} for k in range(12)])
    source = GrainSource(images.filter(lambda element: element["image"].max() % 3 > 0))
    dataset = train_dataset(source, lambda record, rng: {"n": np.int64(record.index)}, 12, seed=0)
    assert not (dataset[0]["n"] % 3 == 0).any()


def numbered(first, count):
    """A data set of `count` images of one colour each, in a class of its own."""
    elements = [{"image": image(first + k), "label": first} for k in range(count)]
    return grain.MapDataset.source(elements).map(lambda element: {**element, "seen": True})


def mixed(weights):
    return grain.MapDataset.mix([numbered(0, 30), numbered(100, 10)], weights=list(weights))


class Colour:
    """Views that pickle."""

    def __call__(self, record, rng):
        return {"colour": record.need_frames()([0])[0, 0, 0], "draw": np.float64(rng.random())}


def test_grains_own_mix_by_weight_read_by_threads_and_by_workers_alike():
    source = GrainSource(mixed((3, 1)))
    assert len(source) == 40
    labels = [source[k].label for k in range(40)]
    assert labels.count(0) == 30
    for first in range(0, 40, 4):
        assert sorted(labels[first : first + 4]) == [0, 0, 0, 100]
    dataset = train_dataset(source, Colour(), 8, seed=0)
    workers = train_batches(dataset, Loading(workers=2, prefetch=2))
    try:
        for number, batch in zip(range(4), workers, strict=False):
            assert np.array_equal(batch["colour"], dataset[number]["colour"])
            assert np.array_equal(batch["draw"], dataset[number]["draw"])
    finally:
        workers.close()


def test_records_of_other_sources_pass_through_a_pipeline():
    synthetic = SyntheticSource(size=6)
    source = GrainSource(grain.MapDataset.source(synthetic)[::2])
    assert [record.name for record in (source[0], source[2])] == [
        synthetic[0].name,
        synthetic[4].name,
    ]
    assert source[2].index == 2


def test_a_run_trains_on_it(tmp_path):
    source = call(GrainSource, dataset=call(mixed, weights=(1, 1)))
    state = train.fit(tiny.experiment(source=source, steps=2, batch_size=8), tmp_path / "run")
    assert int(state.step) == 2
