"""Records: their times, what is needed of them, and optical flow between their frames."""

import math

import numpy as np
import pytest

from ssl_jax.data import image
from ssl_jax.data.flow import flow_of
from ssl_jax.data.record import Caption, MediaError, Record


def record(**changes):
    return Record(**{"name": "a.mp4", "index": 0, "num_frames": 4, "fps": 2.0, **changes})


def test_time_of_a_frame_is_where_frame_at_finds_it():
    even = record()
    assert [even.time_of(k) for k in range(4)] == [0.0, 0.5, 1.0, 1.5]
    uneven = record(times=np.array([0.0, 0.1, 0.7, 0.9]))
    for one in (even, uneven):
        assert [one.frame_at(one.time_of(k)) for k in range(4)] == [0, 1, 2, 3]
    assert uneven.time_of(2) == 0.7


def test_captions_that_are_needed():
    two = (Caption("a dog"), Caption("runs", 1.0, 2.0))
    assert record(captions=two).need_captions(2) == two
    with pytest.raises(MediaError, match=r"^a\.mp4: has no captions$"):
        record().need_captions()
    with pytest.raises(MediaError, match=r"^a\.mp4: has 2 captions, 3 are needed$"):
        record(captions=two).need_captions(3)


def moving_square(numbers):
    """A textured square that moves 2 pixels to the right and 1 up per frame."""
    coarse = np.random.default_rng(0).integers(60, 256, (1, 6, 6, 3), dtype=np.uint8)
    texture = image.resize(coarse, (24, 24))[0]
    frames = np.zeros((len(numbers), 64, 64, 3), np.uint8)
    for frame, number in zip(frames, numbers, strict=True):
        frame[30 - number : 54 - number, 8 + 2 * number : 32 + 2 * number] = texture
    return frames


def test_flow_of_a_moving_square():
    video = record(num_frames=10, frames=moving_square)
    flow = flow_of(video, [7, 0, 7])
    assert flow.shape == (3, 64, 64, 2)
    assert flow.dtype == np.float32
    assert np.array_equal(flow[0], flow[2])
    for one, number in zip(flow, (7, 0, 7), strict=True):
        inside = one[36 - number : 48 - number, 14 + 2 * number : 26 + 2 * number]
        np.testing.assert_allclose(np.median(inside, axis=(0, 1)), [2, -1], atol=0.25)
        assert math.isclose(np.median(one[:, :4]), 0, abs_tol=0.25)  # where nothing moves
    assert flow_of(video, []).shape == (0, 64, 64, 2)


def test_flow_that_cannot_be_is_one_line():
    with pytest.raises(MediaError, match=r"^a\.mp4: has 10 frames, 11 are needed$"):
        flow_of(record(num_frames=10, frames=moving_square), [3, 9])
    small = record(num_frames=10, frames=lambda numbers: moving_square(numbers)[:, :12])
    with pytest.raises(MediaError, match=r"^a\.mp4: frames of 12x64 pixels are too small"):
        flow_of(small, [3])
    with pytest.raises(MediaError, match="has 0 frames"):
        flow_of(record(num_frames=0), [0])


def test_stored_flow_is_not_computed_again():
    def read(numbers):
        return np.array(numbers, np.float32)[:, None, None, None] * np.ones((8, 8, 2), np.float32)

    stored = record(num_frames=3, frames=lambda numbers: 1 / 0, extra={"flow": read})
    assert flow_of(stored, [1, 0])[:, 4, 4, 1].tolist() == [1, 0]
