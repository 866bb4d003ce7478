"""Arcade games: exact by index, picture and sound in step, silent about itself."""

import concurrent.futures
import dataclasses
import pickle
import subprocess
import sys
import zlib

import numpy as np
import pytest

from ssl_jax.data.record import MediaError
from ssl_jax.data.sources import arcade
from ssl_jax.data.sources.arcade import ArcadeSource

SMALL = ArcadeSource(
    games=("seaquest", "pong"),
    clips_per_game=4,
    seconds=0.5,
    height=42,
    width=32,
    clips_per_play=2,
)


@pytest.fixture
def fresh_cache(monkeypatch):
    """Nothing has been played yet."""
    monkeypatch.setattr(arcade, "_cache", type(arcade._cache)())
    return arcade._cache


class CountingEmulator:
    """Shows and sounds the number of the emulator frame."""

    count = 0

    def setInt(self, name, value): ...
    def setBool(self, name, value): ...
    def setFloat(self, name, value): ...
    def loadROM(self, path): ...

    def getMinimalActionSet(self):
        from ale_py import Action

        return [Action.NOOP, Action.FIRE]

    def game_over(self):
        return False

    def act(self, action):
        self.count += 1
        return float(self.count % 7 == 0)

    def getAudio(self):
        return np.full(512, self.count % 256, np.uint8)

    def getScreenRGB(self):
        return np.full((210, 160, 3), self.count % 256, np.uint8)


@pytest.fixture
def counting(monkeypatch, fresh_cache):
    """Plays with the CountingEmulator, at once."""
    monkeypatch.setattr("ale_py.ALEInterface", CountingEmulator)


def content(record):
    frames = record.frames(range(record.num_frames))
    return frames, record.audio(0.0, record.duration), record.extra["actions"]()


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(content(one), content(other), strict=True))


def test_record_says_what_it_holds(fresh_cache):
    record = SMALL[5]
    assert (record.label, record.extra["game"], record.extra["group"]) == (1, "pong", 1)
    assert (record.num_frames, record.fps, record.sample_rate) == (8, 15.0, 30720)
    assert record.duration == 0.5
    assert not fresh_cache  # nothing was played to know all this
    frames, wave, actions = content(record)
    assert (frames.shape, frames.dtype) == ((8, 42, 32, 3), np.uint8)
    assert (wave.shape, wave.dtype) == ((15360,), np.float32)
    assert actions.shape == record.extra["rewards"]().shape == (30,)
    assert np.abs(wave).max() <= 1
    assert abs(wave.mean()) < 1e-5
    assert len(np.unique(frames[0].reshape(-1, 3), axis=0)) > 2
    assert np.array_equal(record.frames([6, 0, 6]), frames[[6, 0, 6]])
    assert np.array_equal(record.audio(0.1, 0.35), wave[3072:10752])


def test_another_process_plays_the_same_in_another_order():
    code = (
        "import pickle, sys, zlib; source = pickle.load(sys.stdin.buffer);"
        "sums = lambda r: (zlib.crc32(r.frames(range(8))), zlib.crc32(r.audio(0.0, 0.5)));"
        "print([sums(source[i]) for i in (7, 0, 1)])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(SMALL), capture_output=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == b""
    here = {i: content(SMALL[i]) for i in (0, 1, 7)}
    sums = [tuple(zlib.crc32(here[i][k]) for k in (0, 1)) for i in (7, 0, 1)]
    assert run.stdout.decode().strip() == str(sums)


def test_splits_seeds_and_clips_differ():
    others = [
        SMALL[1],
        SMALL[2],
        dataclasses.replace(SMALL, split="test")[0],
        dataclasses.replace(SMALL, seed=1)[0],
    ]
    assert not any(same(SMALL[0], other) for other in others)


def test_stored_frames_are_every_nth_of_the_play():
    every = dataclasses.replace(SMALL, frame_skip=1)[3]
    fourth = SMALL[3]
    assert (every.num_frames, fourth.num_frames, every.fps) == (30, 8, 60.0)
    assert np.array_equal(fourth.frames(range(8)), every.frames(range(0, 30, 4)))
    assert np.array_equal(fourth.audio(0, 0.5), every.audio(0, 0.5))
    # Unscaled, a stored frame is the screen itself: few colours, none mixed.
    full = dataclasses.replace(SMALL, height=210, width=160)[3].frames([0])
    assert len(np.unique(full.reshape(-1, 3), axis=0)) < 30


def test_sound_of_a_frame_starts_with_the_frame(counting):
    source = dataclasses.replace(SMALL, seconds=1.0, clips_per_play=8, clips_per_game=8)
    for index in range(8):
        record = source[index]
        numbers = record.frames(range(record.num_frames))[:, 0, 0, 0].astype(int)
        assert np.array_equal(np.diff(numbers) % 256, [4] * 14)  # one in four, none lost
        heard = []
        for k in range(record.num_frames):
            sound = record.audio(k / record.fps, k / record.fps + 1 / 60)
            assert sound.shape == (512,)
            assert np.ptp(sound) == 0  # all of one emulator frame
            heard.append(sound[0] * 128 + record_level(record))
        np.testing.assert_allclose(heard, numbers, atol=1e-3)


def record_level(record):
    """Mean of the emulator's sound over the clip, from the numbers of its 60 frames."""
    first = int(record.frames([0])[0, 0, 0, 0])
    return np.mean((first + np.arange(60)) % 256)


def test_action_and_reward_labels():
    source = dataclasses.replace(SMALL, games=("seaquest",), label="action")
    for index in range(2):
        record = source[index]
        assert record.label == record.extra["actions"]()[15]
        assert 0 <= record.label < 18
        assert same(record, SMALL[index])  # the label is no part of the play
    paid = dataclasses.replace(source, games=("assault",), clips_per_play=8, label="reward")
    paid = dataclasses.replace(paid, clips_per_game=8)
    labels = [record.label for record in paid]
    assert labels == [int(record.extra["rewards"]().sum() > 0) for record in paid]
    assert set(labels) == {0, 1}


def test_scores_stand_where_they_are_said_to(fresh_cache):
    knobs = {"games": ("galaxian",), "clips_per_game": 4, "seconds": 6.0, "frame_skip": 1}
    plain, hidden = (
        ArcadeSource(height=210, width=160, hide_counters=hide, **knobs) for hide in (False, True)
    )
    with_score, others = [], []
    for index in range(4):
        boxes = plain[index].extra["overlays"]
        rows = np.zeros(210, bool)
        for top, _, bottom, _ in boxes:
            rows[round(top * 210) : round(bottom * 210)] = True
        frames = plain[index].frames(range(360))
        changed = (np.diff(frames[:, rows].astype(int), axis=0) != 0).any((1, 2, 3))
        scored = plain[index].extra["rewards"]()[1:] > 0
        # The game writes its score a frame or two after the emulator tells of it.
        soon = scored | np.roll(scored, 1) | np.roll(scored, 2)
        with_score += changed[soon].tolist()
        others += changed[~soon].tolist()
        without = hidden[index].frames(range(360))
        assert not without[:, rows].any()
        np.testing.assert_array_equal(without[:, ~rows], frames[:, ~rows])
        assert hidden[index].extra["overlays"] == ()
    assert np.sum(with_score) >= 2
    assert np.mean(with_score) > 0.25
    assert np.mean(others) < 0.02


def test_of_other_games_no_counters_are_known():
    record = ArcadeSource(games=("pong",), clips_per_game=1)[0]
    assert "overlays" not in record.extra


def test_an_action_is_held():
    source = dataclasses.replace(SMALL, seconds=4.0, clips_per_play=1, hold_min=9, hold_max=12)
    actions = source[0].extra["actions"]()
    changes = np.flatnonzero(np.diff(actions))
    assert len(changes) > 5
    assert np.diff(changes).min() >= 9


def test_quiet_clips_are_skipped():
    loud = dataclasses.replace(SMALL, games=("pong",), min_loudness=0.05)
    assert all(record.audio(0, 0.5).std() >= 0.0499 for record in loud)
    assert min(record.audio(0, 0.5).std() for record in SMALL) < 0.05
    with pytest.raises(MediaError, match=r"tetris.*min_loudness=0.05"):
        dataclasses.replace(loud, games=("tetris",))[0].frames([0])


def test_threads_share_one_play(monkeypatch, counting):
    played = []
    play = ArcadeSource._play
    monkeypatch.setattr(ArcadeSource, "_play", lambda *a: played.append(a[1]) or play(*a))
    source = dataclasses.replace(SMALL, games=("pong",))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        records = list(pool.map(lambda i: content(source[i % 4]), range(16)))
    assert sorted(played) == [0, 1]
    for i in range(4, 16):
        assert np.array_equal(records[i][1], records[i % 4][1])


def test_memory_is_bounded(monkeypatch, counting):
    source = dataclasses.replace(SMALL, games=("pong",), clips_per_game=6)
    expected = [content(record) for record in source]
    assert len(arcade._cache) == 3
    one_play = sum(clip.nbytes for clip in next(iter(arcade._cache.values())).result())
    monkeypatch.setattr(arcade, "CACHE_BYTES", int(1.5 * one_play))
    for i in (5, 0, 2):
        for a, b in zip(content(source[i]), expected[i], strict=True):
            assert np.array_equal(a, b)
    content(source[5])
    other = dataclasses.replace(source, seed=3)
    content(other[0])
    assert len(arcade._cache) == 1


def test_a_play_that_fails_can_be_tried_again(monkeypatch, fresh_cache):
    monkeypatch.setattr(ArcadeSource, "_play", lambda *a: 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            SMALL[0].frames([0])


def test_says_nothing_on_its_own(capfd, fresh_cache):
    SMALL[0].frames([0])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"games": ("seaqest",)}, "no game 'seaqest'; did you mean seaquest"),
        ({"games": ("combat",)}, "no game 'combat'"),  # carried, but the emulator can not play it
        ({"games": ()}, "games is empty"),
        ({"split": "val"}, "split='val'"),
        ({"label": "score"}, "label='score'"),
        ({"frame_skip": 0}, "frame_skip=0 must be at least 1"),
        ({"hold_min": 9, "hold_max": 8}, "hold_max=8 is below hold_min=9"),
    ],
)
def test_bad_knobs_are_named(knobs, message):
    with pytest.raises(ValueError, match=message) as caught:
        ArcadeSource(**knobs)
    assert "\n" not in str(caught.value)


def test_outside_of_a_clip():
    with pytest.raises(IndexError):
        SMALL[len(SMALL)]
    with pytest.raises(ValueError, match=r"pong.*lasts 0.5 s"):
        SMALL[4].audio(0.25, 0.75)


def test_without_ale_py(monkeypatch):
    arcade._games.cache_clear()
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(MediaError, match=r"pip install 'ssl_jax\[arcade\]'"):
        ArcadeSource()
