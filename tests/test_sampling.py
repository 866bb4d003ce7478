"""Index arithmetic, by property and against the papers' numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.data import sampling
from ssl_jax.data.record import Record

quick = settings(deadline=None, max_examples=60)

seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def draws(function, count):
    rng = np.random.default_rng(0)
    return [function(rng) for _ in range(count)]


@quick
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 50), seeds)
def test_random_clip_stays_inside_at_its_stride(length, stride, spare, rng):
    span = (length - 1) * stride + 1
    clip = sampling.random_clip(span + spare, length, rng, stride)
    assert clip.shape == (length,)
    assert (np.diff(clip) == stride).all()
    assert clip[0] >= 0
    assert clip[-1] < span + spare


def test_random_clip_reaches_every_start_and_names_the_way_out():
    assert set(draws(lambda rng: int(sampling.random_clip(8, 3, rng, 2)[0]), 100)) == {0, 1, 2, 3}
    with pytest.raises(ValueError, match=r"12 frames at stride 4: 45 frames needed, 44 there"):
        sampling.random_clip(44, 12, np.random.default_rng(0), 4)


@pytest.mark.parametrize(
    ("frames", "starts"),
    [
        (100, [0, 9, 18, 28, 37, 46, 56, 65, 74, 84]),
        (29, [0, 1, 2, 4, 5, 7, 8, 10, 11, 13]),
        (16, [0] * 10),
    ],
)
def test_even_clips_are_those_of_vcop(frames, starts):
    clips = sampling.even_clips(frames, 10, 16)
    assert clips[:, 0].tolist() == starts
    assert (np.diff(clips, axis=1) == 1).all()
    halves = np.linspace(8, frames - 8, 10)
    assert starts == [int(half - 8) for half in halves]


@quick
@given(st.integers(1, 300), st.integers(1, 30), st.integers(1, 20), st.integers(1, 4))
def test_even_clips_leave_no_film_out(frames, count, length, stride):
    clips = sampling.even_clips(frames, count, length, stride)
    assert clips.shape == (count, length)
    assert clips.min() >= 0
    assert clips.max() < frames
    assert (np.diff(clips[:, 0]) >= 0).all()
    if count > 1:
        assert clips[0, 0] == 0
        assert clips[-1, -1] == min(frames - 1, max((length - 1) * stride, frames - 1))


def test_even_frames_and_a_single_one():
    # Cross and Learn's 25 test frames of a film of 100.
    assert sampling.even_frames(100, 25).tolist() == np.linspace(0, 99, 25).astype(int).tolist()
    assert sampling.even_frames(9, 1).tolist() == [4]
    assert sampling.even_frames(1, 3).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="no frames"):
        sampling.even_frames(0, 3)
    with pytest.raises(ValueError, match="at least 1"):
        sampling.even_frames(5, 0)


def test_random_frame_takes_any():
    assert set(draws(lambda rng: sampling.random_frame(3, rng), 60)) == {0, 1, 2}


@quick
@given(
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(0, 5),
    st.integers(1, 3),
    st.integers(0, 9),
    seeds,
)
def test_spaced_clips_keep_their_gaps(count, length, gap, stride, spare, rng):
    span = (count * length + (count - 1) * gap - 1) * stride + 1
    clips = sampling.spaced_clips(span + spare, count, length, gap, rng, stride)
    assert clips.shape == (count, length)
    assert (np.diff(clips, axis=1) == stride).all()
    assert (clips[1:, 0] - clips[:-1, -1] == (gap + 1) * stride).all()
    assert clips.min() >= 0
    assert clips.max() < span + spare


def test_vcop_spans_64_frames():
    clips = sampling.spaced_clips(64, 3, 16, 8, np.random.default_rng(0))
    assert clips[:, 0].tolist() == [0, 24, 48]
    assert clips[-1, -1] == 63
    with pytest.raises(ValueError, match=r"64 frames needed, 63 there; lower the number of clips"):
        sampling.spaced_clips(63, 3, 16, 8, np.random.default_rng(0))


@quick
@given(st.lists(st.floats(0, 10), min_size=4, max_size=12), st.integers(1, 4), seeds)
def test_ordered_tuples_are_in_order_and_prefer_motion(magnitudes, count, rng):
    magnitudes = np.array(magnitudes)
    chosen = sampling.ordered_tuple(magnitudes, count, rng)
    assert len(chosen) == count
    assert (np.diff(chosen) > 0).all()
    assert chosen.min() >= 0
    assert chosen.max() < len(magnitudes)


def test_ordered_tuple_draws_in_proportion_and_resting_frames_last():
    one = draws(lambda rng: int(sampling.ordered_tuple(np.array([1.0, 3.0, 0.0]), 1, rng)[0]), 4000)
    assert np.bincount(one, minlength=3) / 4000 == pytest.approx([0.25, 0.75, 0], abs=0.03)
    moving = np.array([0, 0.01, 0, 5.0, 0, 0.2])
    assert all(
        {1, 3, 5} == set(t) for t in draws(lambda r: sampling.ordered_tuple(moving, 3, r), 50)
    )
    resting = draws(lambda rng: tuple(sampling.ordered_tuple(np.zeros(4), 2, rng)), 300)
    assert len(set(resting)) == 6
    with pytest.raises(ValueError, match="tuple of 4: 4 frames needed, 3 there"):
        sampling.ordered_tuple(np.ones(3), 4, np.random.default_rng(0))


def test_windows_are_drawn_by_their_motion():
    magnitudes = np.arange(1.0, 6.0)
    starts = draws(lambda rng: sampling.window_by_motion(magnitudes, 3, rng), 9000)
    assert np.bincount(starts) / 9000 == pytest.approx([2 / 9, 3 / 9, 4 / 9], abs=0.02)
    resting = draws(lambda rng: sampling.window_by_motion(np.zeros(4), 3, rng), 100)
    assert set(resting) == {0, 1}
    with pytest.raises(ValueError, match="a window of 6 does not fit 5 magnitudes"):
        sampling.window_by_motion(magnitudes, 6, np.random.default_rng(0))


def test_frame_motion_is_the_log_of_the_mean_grey_difference():
    frames = np.zeros((4, 10, 13, 3), np.uint8)
    frames[1] = 51  # 0.2 brighter everywhere
    frames[2] = 51
    frames[3, :8, :4] = 51  # all but a 4 x 4 block column of the 8 x 12 pixels that count falls
    motion = sampling.frame_motion(frames)
    fell = 0.2 * (1 - (2 * 1) / (2 * 3))
    expected = [math.log(201), 0.0, math.log(1000 * fell + 1)]
    assert motion == pytest.approx(expected, rel=1e-4)
    assert sampling.frame_motion(frames[:1]).shape == (0,)


def test_frame_motion_against_a_slow_loop():
    frames = np.random.default_rng(0).integers(0, 256, (3, 9, 14, 3), dtype=np.uint8)
    grey = frames @ np.array([0.299, 0.587, 0.114]) / 255
    small = np.zeros((3, 2, 3))
    for y in range(2):
        for x in range(3):
            small[:, y, x] = grey[:, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean((1, 2))
    expected = [np.log(1000 * np.abs(small[k + 1] - small[k]).mean() + 1) for k in (0, 1)]
    assert sampling.frame_motion(frames) == pytest.approx(expected, rel=1e-4)


@quick
@given(st.integers(1, 6), st.integers(1, 4), seeds)
def test_high_motion_patch_against_trying_all(size, frames, rng):
    film = rng.integers(0, 256, (frames, 7, 9, 3), dtype=np.uint8)
    change = np.abs(np.diff(film.astype(int), axis=0)).sum((0, 3))
    y, x = sampling.high_motion_patch(film, size)
    found = change[y : y + size, x : x + size]
    assert found.shape == (size, size)
    sums = [
        change[i : i + size, j : j + size].sum() for i in range(8 - size) for j in range(10 - size)
    ]
    assert found.sum() == max(sums)


def test_high_motion_patch_of_a_resting_film_is_the_middle():
    assert sampling.high_motion_patch(np.full((3, 10, 20, 3), 9, np.uint8), 4) == (3, 8)
    with pytest.raises(ValueError, match="window of 11 pixels does not fit frames of 10x20"):
        sampling.high_motion_patch(np.zeros((2, 10, 20, 3), np.uint8), 11)


@quick
@given(st.floats(1, 20), st.floats(0.1, 1), st.sampled_from([None, 0.0, 0.04, 0.25]), seeds)
def test_audio_windows_fit_and_start_on_the_grid(duration, seconds, grid, rng):
    start = sampling.audio_window(duration, seconds, rng, grid)
    assert 0 <= start <= duration - seconds + 1e-5
    if grid:
        assert start / grid == pytest.approx(round(start / grid), abs=1e-6)


@quick
@given(st.floats(0, 9), st.floats(0.5, 2), st.sampled_from([None, 0.04]), seeds)
def test_audio_windows_keep_away_from_another(other, distance, grid, rng):
    start = sampling.audio_window(10.0, 1.0, rng, grid, (other, distance))
    assert 0 <= start <= 9.00001
    assert abs(start - other) >= distance - 1e-5


def test_audio_windows_reach_every_place():
    grid = draws(lambda rng: round(sampling.audio_window(1.2, 1.0, rng, 0.04) / 0.04), 300)
    assert set(grid) == {0, 1, 2, 3, 4, 5}
    away = draws(lambda rng: sampling.audio_window(5.0, 1.0, rng, None, (1.5, 1.0)), 3000)
    before = np.mean(np.array(away) <= 0.5)
    assert before == pytest.approx(0.25, abs=0.03)  # 0..0.5 and 2.5..4
    only = draws(lambda rng: sampling.audio_window(3.0, 1.0, rng, 0.5, (1.0, 1.0)), 60)
    assert set(only) == {0.0, 2.0}
    assert sampling.audio_window(1.0, 1.0, np.random.default_rng(0), 0.04) == 0.0


def test_a_film_too_short_for_the_sound_is_named_so():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"sound of 2 s does not fit a film of 1.5 s; lower sec"):
        sampling.audio_window(1.5, 2.0, rng)
    with pytest.raises(ValueError, match=r"1 s away from another does not fit .* or the distance"):
        sampling.audio_window(2.0, 1.0, rng, 0.04, (0.5, 1.0))
    with pytest.raises(ValueError, match="does not fit"):
        sampling.even_times(1.5, 2.0, 3)


def test_even_times_spread_from_the_first_to_the_last():
    assert sampling.even_times(10.0, 1.0, 4) == pytest.approx([0, 3, 6, 9])
    assert sampling.even_times(10.0, 1.0, 1) == [4.5]
    assert sampling.even_times(2.1, 1.0, 3, 0.04) == pytest.approx([0, 0.52, 1.08])
    assert sampling.even_times(3.0, 1.0, 3, 0.04) == pytest.approx([0, 1.0, 2.0])


@quick
@given(st.integers(0, 5000), st.sampled_from([1.0, 10.0, 23.976, 25.0, 29.97, 60.0]))
def test_the_frame_at_its_own_time_is_itself(k, fps):
    film = Record("film", 0, 5001, fps)
    assert film.frame_at(k / fps) == film.frame_at((k + 0.9) / fps) == k


def test_frame_at_stays_inside():
    film = Record("film", 0, 10, 25.0)
    assert (film.frame_at(-0.1), film.frame_at(99.0)) == (0, 9)


def test_uneven_times_are_looked_up():
    film = Record("film", 0, 4, 2.0, times=np.array([0.0, 0.1, 1.0, 1.5]))
    assert [film.frame_at(t) for t in (0.05, 0.1, 0.9, 1.2, 9.0)] == [0, 1, 1, 2, 3]


def test_the_same_seed_gives_the_same_numbers():
    def everything(rng):
        return [
            sampling.random_clip(50, 4, rng, 3).tolist(),
            sampling.spaced_clips(90, 3, 4, 2, rng).tolist(),
            sampling.ordered_tuple(np.arange(9.0), 4, rng).tolist(),
            sampling.window_by_motion(np.arange(9.0), 4, rng),
            sampling.audio_window(9.0, 1.0, rng),
        ]

    first, again, other = (everything(np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first == again
    assert first != other
