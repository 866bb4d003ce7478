"""Index arithmetic, by property and against the papers' numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.data import sampling
from ssl_jax.data.record import Caption, Record

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
def test_even_clips_leave_no_video_out(frames, count, length, stride):
    clips = sampling.even_clips(frames, count, length, stride)
    assert clips.shape == (count, length)
    assert clips.min() >= 0
    assert clips.max() < frames
    assert (np.diff(clips[:, 0]) >= 0).all()
    if count > 1:
        assert clips[0, 0] == 0
        assert clips[-1, -1] == min(frames - 1, max((length - 1) * stride, frames - 1))


def test_even_frames_and_a_single_one():
    # Cross and Learn's 25 test frames of a video of 100.
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
    video = rng.integers(0, 256, (frames, 7, 9, 3), dtype=np.uint8)
    change = np.abs(np.diff(video.astype(int), axis=0)).sum((0, 3))
    y, x = sampling.high_motion_patch(video, size)
    found = change[y : y + size, x : x + size]
    assert found.shape == (size, size)
    sums = [
        change[i : i + size, j : j + size].sum() for i in range(8 - size) for j in range(10 - size)
    ]
    assert found.sum() == max(sums)


def test_high_motion_patch_of_a_resting_video_is_the_middle():
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


def test_a_video_too_short_for_the_sound_is_named_so():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"sound of 2 s does not fit a video of 1.5 s; lower sec"):
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
    video = Record("video", 0, 5001, fps)
    assert video.frame_at(k / fps) == video.frame_at((k + 0.9) / fps) == k


def test_frame_at_stays_inside():
    video = Record("video", 0, 10, 25.0)
    assert (video.frame_at(-0.1), video.frame_at(99.0)) == (0, 9)


def test_uneven_times_are_looked_up():
    video = Record("video", 0, 4, 2.0, times=np.array([0.0, 0.1, 1.0, 1.5]))
    assert [video.frame_at(t) for t in (0.05, 0.1, 0.9, 1.2, 9.0)] == [0, 1, 1, 2, 3]


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


# Sets of clips


@quick
@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 20), seeds, st.data())
def test_clips_in_cells_stay_in_their_own(cells, cell, spare, rng, data):
    length = data.draw(st.integers(1, cell))
    gap, stride = data.draw(st.integers(0, cell - length)), data.draw(st.integers(1, 3))
    num_frames = (cells * cell - 1) * stride + 1 + spare
    clips = sampling.clips_in_cells(num_frames, rng, cells, cell, length, gap, stride)
    assert clips.shape == (cells, length)
    assert (np.diff(clips, axis=1) == stride).all()
    assert 0 <= clips.min() <= clips.max() < num_frames
    begin = clips[:, 0] - stride * cell * np.arange(cells)
    assert np.ptp(begin) <= stride * (cell - gap - length)
    # No two overlap, and between them are the frames of the gap.
    assert (clips[1:, 0] - clips[:-1, -1] >= stride * (gap + 1)).all()


def test_the_space_time_puzzle_spans_128_frames():
    assert sampling.clips_in_cells(128, np.random.default_rng(0)).shape == (4, 16)
    with pytest.raises(ValueError, match="4 cells of 32 frames: 128 frames needed, 127 there"):
        sampling.clips_in_cells(127, np.random.default_rng(0))
    with pytest.raises(ValueError, match="33 frames does not fit a cell of 32"):
        sampling.clips_in_cells(500, np.random.default_rng(0), length=33)
    with pytest.raises(ValueError, match="16 frames and a gap of 17 does not fit a cell of 32"):
        sampling.clips_in_cells(500, np.random.default_rng(0), gap=17)


@quick
@given(st.integers(2, 7), st.integers(3, 7), st.integers(0, 5), st.integers(0, 9), seeds)
def test_only_the_odd_clip_is_out_of_order(count, length, slack, spare, rng):
    window = length + slack
    clips, odd = sampling.odd_one_out(window + spare, rng, count, length, window)
    assert clips.shape == (count, length)
    assert 0 <= clips.min() <= clips.max() < window + spare
    assert (np.ptp(clips, axis=1) < window).all()
    for number, clip in enumerate(clips):
        steps = np.diff(clip)
        assert (number == odd) == (not (steps > 0).all())
        assert len(set(clip.tolist())) == length
    assert not (np.diff(clips[odd]) < 0).all()  # nor is it the others backwards


def test_odd_ones_are_in_any_slot_and_every_order_comes_up():
    slots = draws(lambda rng: sampling.odd_one_out(30, rng)[1], 600)
    assert np.bincount(slots, minlength=6) / 600 == pytest.approx([1 / 6] * 6, abs=0.06)
    orders = set(draws(lambda rng: tuple(sampling.odd_order(4, rng).tolist()), 1000))
    assert len(orders) == 22
    assert not {(0, 1, 2, 3), (3, 2, 1, 0)} & orders
    moved = set(draws(lambda rng: tuple(sampling.odd_order(4, rng, True).tolist()), 1000))
    assert moved == {o for o in orders if {o[0], o[-1]} != {0, 3}}
    whole, _ = sampling.odd_one_out(500, np.random.default_rng(0), window=0)
    assert np.ptp(whole, axis=1).min() > 9
    in_a_row, _ = sampling.odd_one_out(50, np.random.default_rng(0), window=6)
    assert (np.sort(in_a_row, axis=1) == in_a_row.min(1)[:, None] + np.arange(6)).all()
    for wrong in (2, 12):
        with pytest.raises(ValueError, match="3 frames or more"):
            sampling.odd_one_out(50, np.random.default_rng(0), length=wrong)
    with pytest.raises(ValueError, match="window of 9 frames: 9 frames needed, 8 there"):
        sampling.odd_one_out(8, np.random.default_rng(0))


def test_a_higher_rate_keeps_a_subset():
    uniforms = np.array([0.05, 0.1, 0.4, 0.6, 0.2, 0.9, 0.47, 0.3, 0.75, 0.52, 0.01, 0.66])
    assert sampling.frames_kept(uniforms, 1.1).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 11]
    assert sampling.frames_kept(uniforms, 2.0).tolist() == [3, 5, 8, 9, 11]
    assert sampling.frames_kept(uniforms, 1.0).tolist() == list(range(12))


@quick
@given(st.integers(1, 12), st.integers(1, 3), st.integers(0, 9), seeds)
def test_both_speeds_show_one_stretch_and_no_frame_twice(length, stride, spare, rng):
    num_frames = (3 * length - 1) * stride + 1 + spare
    slow, quick = sampling.two_speeds(num_frames, length, rng, stride=stride)
    for frames in (slow, quick):
        assert len(frames) == length
        assert (np.diff(frames) >= stride).all()
        assert 0 <= frames[0] <= frames[-1] < num_frames
        assert (frames - slow[0]).max() < 3 * length * stride
    assert len({number % stride for number in (*slow, *quick)}) == 1
    within = quick[quick <= slow[-1]]  # so far the fast clip shows frames of the other
    assert set(within.tolist()) <= set(slow.tolist())


def test_clips_play_at_their_rates():
    pairs = draws(lambda rng: sampling.two_speeds(200, 64, rng), 60)
    for number, mean in ((0, 1.1), (1, 1.95)):
        steps = np.mean([np.diff(pair[number]).mean() for pair in pairs])
        assert steps == pytest.approx(mean, abs=0.06)
    # 48 frames at 2.2 keep fewer than 16 in 3 of 100 draws: then it draws again.
    short = draws(lambda rng: sampling.two_speeds(48, 16, rng, fast=(2.2, 2.2))[1], 300)
    assert {len(frames) for frames in short} == {16}
    with pytest.raises(ValueError, match="rates of 2 to 4 must be from 1 to 3"):
        sampling.two_speeds(300, 64, np.random.default_rng(0), fast=(2.0, 4.0))
    with pytest.raises(ValueError, match="192 frames needed, 191 there"):
        sampling.two_speeds(191, 64, np.random.default_rng(0))


@quick
@given(st.booleans(), st.integers(0, 40), seeds)
def test_the_narrow_view_lies_in_the_broad_one(aligned, spare, rng):
    narrow, broad = sampling.narrow_and_broad(253 + spare, rng, aligned=aligned)
    assert (len(narrow), len(broad)) == (16, 64)
    assert set(np.diff(narrow)) == {2}
    assert set(np.diff(broad)) == {4}
    assert broad[0] <= narrow[0] <= narrow[-1] <= broad[-1] < 253 + spare
    assert not aligned or narrow[0] == broad[0]


@quick
@given(st.floats(0.2, 30), st.integers(1, 12), st.sampled_from([5.0, 6.0, 29.97]), seeds)
def test_clips_by_time_keep_their_rate_and_end_with_the_video(duration, length, rate, rng):
    if length / rate > duration:
        with pytest.raises(ValueError, match="lower their number or raise the rate"):
            sampling.timed_clip(duration, length, rate, rng)
        return
    times = sampling.timed_clip(duration, length, rate, rng)
    assert np.diff(times) == pytest.approx(np.full(length - 1, 1 / rate))
    assert times[0] >= 0
    assert times[-1] + 1 / rate <= duration + 1e-5


@quick
@given(st.integers(1, 40), st.floats(0.1, 5), st.floats(0, 10), seeds)
def test_a_clip_and_its_sound_share_their_middle(length, seconds, spare, rng):
    duration = max(length / 30, seconds) + spare
    times, start = sampling.clip_with_sound(duration, length, 30.0, seconds, rng)
    assert times[0] + length / 60 == pytest.approx(start + seconds / 2, abs=1e-5)
    assert start >= 0
    assert start + seconds <= duration + 1e-5
    assert times[0] >= 0
    assert times[-1] + 1 / 30 <= duration + 1e-5


def test_mmv_sound_begins_with_its_frames():
    times, start = sampling.clip_with_sound(60.0, 32, 10.0, 3.2, np.random.default_rng(0))
    assert start == pytest.approx(times[0])
    with pytest.raises(ValueError, match="the video has 1 s"):
        sampling.clip_with_sound(1.0, 8, 30.0, 2.0, np.random.default_rng(0))


# By motion


@quick
@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 40), st.booleans(), seeds)
def test_tuples_to_verify_are_spaced(longest, apart, spare, weighed, rng):
    frames = 2 * apart + 3 + spare
    magnitudes = rng.random(frames) if weighed else None
    a, b, c, d, e = sampling.verified_tuple(frames, rng, longest, apart, magnitudes).tolist()
    assert 0 <= a <= b - apart
    assert b < c < d <= e - apart
    assert e < frames
    assert d - b <= longest
    assert d - b == min(longest, frames - 1 - 2 * apart)


def test_tuples_to_verify_prefer_motion():
    moving = np.zeros(1000)
    moving[700:800] = 1
    tuples = draws(lambda rng: sampling.verified_tuple(1000, rng, magnitudes=moving), 40)
    assert all(t[0] > 700 - 121 and t[-1] < 800 + 121 for t in tuples)  # of 121 frames, some move
    with pytest.raises(ValueError, match="33 frames needed, 32 there"):
        sampling.verified_tuple(32, np.random.default_rng(0))


@quick
@given(st.integers(2, 9), st.integers(0, 9), seeds)
def test_tracks_are_frames_in_a_row(length, spare, rng):
    magnitudes = rng.random(length + spare)
    frames = sampling.tracked_frames(magnitudes, rng, length)
    assert len(frames) == length
    assert (np.diff(frames) == 1).all()
    assert 0 <= frames[0] <= frames[-1] <= length + spare


def test_a_video_that_just_holds_a_track():
    frames = sampling.tracked_frames(np.ones(29), np.random.default_rng(0))
    assert frames.tolist() == list(range(30))
    with pytest.raises(ValueError, match="a track of 30 frames: 30 frames needed, 29 there"):
        sampling.tracked_frames(np.ones(28), np.random.default_rng(0))


# Sound that fits and that does not


@quick
@given(st.floats(0, 3), st.floats(2.6, 9), seeds)
def test_hard_negatives_never_overlap_and_lie_inside_the_track_on_the_grid(begin, length, rng):
    end = begin + length
    start, other = sampling.hard_pair(begin, end, 1.0, rng)
    assert abs(other - start) >= 1.5 - 1e-5
    for time in (start, other):
        assert begin - 1e-5 <= time <= end - 1 + 1e-5
        assert time / 0.04 == pytest.approx(round(time / 0.04), abs=1e-6)


def test_windows_that_match_and_hard_negatives_start_equally_often_at_all_times():
    pairs = draws(lambda rng: sampling.hard_pair(0.0, 2.2, 0.5, rng, 0.1, 0.2), 4000)
    steps = [(round(a / 0.2), round(b / 0.2)) for a, b in pairs]
    allowed = [(a, b) for a in range(9) for b in range(9) if abs(a - b) >= 3]
    counts = [steps.count(pair) for pair in allowed]
    assert sum(counts) == 4000
    assert np.array(counts) / 4000 == pytest.approx([1 / len(allowed)] * len(allowed), abs=0.012)


def test_a_track_too_short_for_a_hard_negative_has_a_window_all_the_same():
    starts = draws(lambda rng: sampling.hard_pair(0.0, 2.4, 1.0, rng), 500)
    assert {other for _, other in starts} == {None}
    assert {round(start / 0.04) for start, _ in starts} == set(range(36))
    for begin, end in ((0.0, 0.9), (0.01, 1.02)):
        with pytest.raises(ValueError, match=r"no sound of 1 s on a grid of 0\.04 s lies between"):
            sampling.hard_pair(begin, end, 1.0, np.random.default_rng(0))


@quick
@given(st.integers(2, 20), st.integers(0, 40), st.integers(0, 10), seeds, st.data())
def test_misaligned_sound_shares_few_frames(length, spare, more, rng, data):
    shared = data.draw(st.integers(0, length - 1))
    nearest = length - shared
    frames = length + nearest + spare
    a, b = sampling.misaligned_starts(frames, rng, length, shared, nearest + more)
    assert nearest <= abs(a - b) <= nearest + more
    assert min(a, b) >= 0
    assert max(a, b) + length <= frames
    assert length - abs(a - b) <= shared


def test_misaligned_pairs_are_all_equally_likely():
    pairs = draws(lambda rng: sampling.misaligned_starts(7, rng, 3, 1, 3), 4000)
    allowed = [(a, b) for a in range(5) for b in range(5) if 2 <= abs(a - b) <= 3]
    counts = [pairs.count(pair) for pair in allowed]
    assert sum(counts) == 4000
    assert np.array(counts) / 4000 == pytest.approx([1 / len(allowed)] * len(allowed), abs=0.02)
    far = draws(lambda rng: sampling.misaligned_starts(302, rng), 300)
    apart = [abs(a - b) for a, b in far]
    assert min(apart) >= 65
    assert max(apart) <= 176
    with pytest.raises(ValueError, match="190 frames needed, 189 there"):
        sampling.misaligned_starts(189, np.random.default_rng(0))
    with pytest.raises(ValueError, match="are 65 apart or more, farthest=60"):
        sampling.misaligned_starts(302, np.random.default_rng(0), farthest=60)


@quick
@given(st.integers(20, 80), st.integers(0, 60), st.integers(1, 9), st.integers(0, 30), seeds)
def test_shifted_sound_lies_inside_and_within_its_range(frames, start, nearest, more, rng):
    farthest = nearest + more
    fits = [s for s in range(frames - 4) if nearest <= abs(s - start) <= farthest]
    if not fits:
        with pytest.raises(ValueError, match="lower nearest"):
            sampling.shifted_start(frames, start, rng, 5, nearest, farthest)
        return
    assert sampling.shifted_start(frames, start, rng, 5, nearest, farthest) in fits


def test_shifted_sound_comes_early_and_late():
    starts = draws(lambda rng: sampling.shifted_start(200, 100, rng), 1000)
    assert {abs(s - 100) for s in starts} == set(range(5, 51))
    assert np.mean(np.array(starts) < 100) == pytest.approx(0.5, abs=0.06)


@quick
@given(st.integers(1, 600_000), seeds)
def test_speech_is_cut_to_the_papers_lengths(samples, rng):
    if samples < 32_000:
        with pytest.raises(ValueError, match="32000 are needed; lower shortest"):
            sampling.speech_window(samples, rng)
        return
    first, length = sampling.speech_window(samples, rng)
    assert length == min(samples, 250_000)
    assert 0 <= first <= samples - length


# Captions


def talk(*ends):
    """Captions of one second each that end at these times."""
    return [Caption(f"c{i}", end - 1.0, float(end)) for i, end in enumerate(ends)]


def test_the_nearest_captions_span_the_least_time():
    captions = talk(1, 10, 12, 13, 20, 21, 40)
    assert sampling.nearest_captions(captions, 3, 1).tolist() == [3]
    assert sampling.nearest_captions(captions, 3, 3).tolist() == [1, 2, 3]
    assert sampling.nearest_captions(captions, 4, 3).tolist() == [3, 4, 5]
    assert sampling.nearest_captions(captions, 0, 3).tolist() == [0, 1, 2]
    assert sampling.nearest_captions(captions, 6, 2).tolist() == [5, 6]
    assert sampling.nearest_captions(captions[:2], 1, 4).tolist() == [0, 1, 1, 1]
    with pytest.raises(ValueError, match="caption 2 and 3 more of 2"):
        sampling.nearest_captions(captions[:2], 2, 4)


@quick
@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 6), st.data())
def test_nearest_captions_are_neighbours_with_the_chosen_one(gaps, count, data):
    captions = talk(*np.cumsum(gaps))
    chosen = data.draw(st.integers(0, len(captions) - 1))
    numbers = sampling.nearest_captions(captions, chosen, count).tolist()
    assert len(numbers) == count
    assert chosen in numbers
    assert numbers == [min(numbers[0] + i, numbers[-1]) for i in range(count)]
    assert 0 <= numbers[0] <= numbers[-1] < len(captions)
    assert len(set(numbers)) == min(count, len(captions))


@quick
@given(st.floats(0, 30), st.floats(0.1, 9), st.floats(0.5, 6), st.floats(6, 25), seeds)
def test_the_window_of_a_caption_is_near_it_and_inside(start, length, seconds, duration, rng):
    caption = Caption("said", start, start + length)
    begin = sampling.caption_window(caption, duration, rng, seconds)
    assert 0 <= begin <= duration - seconds + 1e-9
    if start + length <= duration:  # it meets the caption, which was widened to at most this
        assert begin < start + length + 5 + seconds
        assert begin + seconds > start - 5 - seconds


def test_short_captions_are_widened_to_five_seconds():
    said = Caption("said", 10.0, 11.0)
    starts = draws(lambda rng: sampling.caption_window(said, 60.0, rng, 3.2), 400)
    assert min(starts) == pytest.approx(8.0, abs=0.1)
    assert max(starts) == pytest.approx(13.0 - 3.2, abs=0.1)
    with pytest.raises(ValueError, match=r"a video of 3 s is shorter than 3\.2 s"):
        sampling.caption_window(said, 3.0, np.random.default_rng(0), 3.2)


def test_languages_are_joined_by_time():
    captions = [Caption("a", 0.0, 2.0), Caption("un", 0.0, 3.0, "fr"), Caption("b", 2.0, 4.0)]
    captions.append(Caption("deux", 3.0, 4.0, "fr"))
    assert sampling.captions_at(captions, 2.0, 4.0, "fr") == [1, 3]
    assert sampling.captions_at(captions, 0.0, 2.0) == [0, 1]
    assert sampling.captions_at(captions, 9.0, 10.0) == []


def test_short_captions_are_joined_to_their_neighbours():
    merged = sampling.merged_captions(talk(1, 3, 7, 9, 20))
    assert [(c.text, c.start, c.end) for c in merged] == [("c0 c1 c2", 0, 7), ("c3 c4", 8, 20)]
    assert sampling.merged_captions([]) == []
