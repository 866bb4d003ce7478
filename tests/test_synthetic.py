"""Synthetic videos: exact by index, and sound that fits the picture."""

import pickle

import numpy as np
import pytest

from ssl_jax.data.sources.synthetic import SHAPES, SyntheticSource


def test_a_record_is_a_pure_function_of_its_number_and_the_seed():
    one, other = SyntheticSource()[5], pickle.loads(pickle.dumps(SyntheticSource()))[5]
    assert np.array_equal(one.frames([0, 7]), other.frames([0, 7]))
    assert np.array_equal(one.frames([7])[0], one.frames([0, 7])[1])
    assert np.array_equal(one.audio(0.25, 0.75), other.audio(0.25, 0.75))
    assert not np.array_equal(one.frames([0]), SyntheticSource(seed=1)[5].frames([0]))
    assert not np.array_equal(one.frames([0]), SyntheticSource()[6].frames([0]))


def test_sound_is_the_same_wherever_it_is_cut():
    record = SyntheticSource()[3]
    whole = record.audio(0.0, record.duration)
    assert whole.dtype == np.float32
    assert len(whole) == record.duration * record.sample_rate
    np.testing.assert_allclose(record.audio(0.5, 1.0), whole[4000:8000], atol=1e-6)
    assert np.all(record.audio(-0.5, 0.0) == 0)


def test_the_lower_the_shape_the_louder_its_sound():
    record = SyntheticSource()[0]
    heights, loudness = [], []
    for frame in range(record.num_frames - 1):
        rows = np.flatnonzero(record.extra["mask"](frame).any(axis=1))
        heights.append(rows.mean())
        window = record.audio(frame / record.fps, (frame + 1) / record.fps)
        loudness.append(np.sqrt(np.mean(window**2)))
    assert np.corrcoef(heights, loudness)[0, 1] > 0.9


def test_the_pitch_is_the_shapes():
    source = SyntheticSource()
    peaks = {}
    for index in range(40):
        record = source[index]
        spectrum = np.abs(np.fft.rfft(record.audio(0.0, 1.0)))
        peaks.setdefault(record.label, set()).add(int(spectrum.argmax()))
    assert len(peaks) == len(SHAPES)
    assert all(max(p) - min(p) <= 2 for p in peaks.values())
    assert len(set.union(*peaks.values())) >= len(SHAPES)


def test_captions_and_masks_fit_the_picture():
    record = SyntheticSource()[2]
    mask, picture = record.extra["mask"](4), record.frames([4])[0]
    assert SHAPES[record.label] in record.captions[0].text
    assert len(np.unique(picture[mask], axis=0)) == 1
    assert mask.sum() > 30


def test_beyond_the_last_record_is_an_index_error():
    with pytest.raises(IndexError):
        SyntheticSource(size=3)[3]
