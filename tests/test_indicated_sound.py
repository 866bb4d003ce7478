"""Visually indicated sounds: the loss, windows, and the scores."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import media
import numpy as np
import pytest

from ssl_jax import apply
from ssl_jax.applying.sound import joined, window_starts
from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sources.files import FilesSource
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.predicted_sound import PredictedSound
from ssl_jax.features import Features
from ssl_jax.methods.audio.indicated_sound import IndicatedSound, loudness_change
from ssl_jax.models.alexnet import AlexNet
from ssl_jax.models.soft_argmax import SoftArgmaxTrunk
from ssl_jax.objectives.robust import log_distance
from ssl_jax.ops.augment import LUMA
from ssl_jax.scores.envelopes import correlation_in_time, own_ranks

FPS, RATE = 30.0, 16000


def test_the_loss_of_two_steps():
    true = jnp.array([[[0.1, 0.2], [0.0, 0.4]]])
    predicted = jnp.array([[[0.1, 0.2], [0.3, 0.0]]])
    loss, metrics = log_distance(predicted, true)
    assert loss == pytest.approx(-3.9088332019, rel=1e-6)
    assert metrics["distance"] == pytest.approx(0.25, rel=1e-6)

    def at(r):
        return log_distance(jnp.zeros((1, 1, 2)).at[0, 0, 0].set(r), jnp.zeros((1, 1, 2)))[0]

    both = jax.jit(jax.value_and_grad(at))
    found = [float(both(r)[0]) for r in (1e-9, 0.04, 1.0)]
    np.testing.assert_allclose(found, [-6.4377516497, -5.7446044692, 0.0015987214], rtol=1e-4)
    assert both(0.04)[1] == pytest.approx(25, rel=1e-5)


@pytest.mark.parametrize(
    ("method", "side", "trunk", "rest"),
    [
        # An LSTM on two times 4096 numbers and 42 outputs.
        (IndicatedSound(AlexNet()), 227, 0, 8_651_776 + 10_794),
        (
            IndicatedSound(
                SoftArgmaxTrunk(base="convs", convs=(), hidden=0),
                layer="places",
                cell="gru",
                hidden=64,
                colour=False,
            ),
            80,
            58_016,
            97_866 - 58_016,
        ),
    ],
)
def test_parameters_are_as_many_as_published(method, side, trunk, rest):
    images = jnp.zeros((1, 4 + method.colour, side, side, 3))
    made = jax.eval_shape(lambda: method.net.init(jax.random.key(0), {"vision": images}, False))
    sizes = {
        name: sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))
        for name, tree in made["params"].items()
    }
    vision = sizes.pop("vision")
    assert sum(sizes.values()) == rest
    assert vision == trunk or not trunk


def clock(seconds: float) -> Record:
    """Frames that show their number, and silence with a click at every fifth of a second."""
    count = round(seconds * FPS)

    def frames(numbers):
        shades = np.asarray(numbers, np.uint8) * 3
        return np.broadcast_to(shades[:, None, None, None], (len(shades), 8, 8, 3))

    def audio(start, end):
        samples = np.arange(round(start * RATE), round(end * RATE))
        return np.float32(0.5 * np.isin(samples, np.arange(60) * RATE // 5))

    return Record(
        "clock", 0, count, FPS, frames=frames, audio=audio, sample_rate=RATE, duration=seconds
    )


def small(**knobs) -> IndicatedSound:
    knobs = {"short_side": 8, "crop": 8, "seconds": 0.5, "steps": 2, "drawn": 1, **knobs}
    return IndicatedSound(SoftArgmaxTrunk(base="convs", convs=(), hidden=0), **knobs)


def test_every_step_is_heard_when_its_frame_is_seen():
    method, record = small(), clock(2.0)
    for seed in range(10):
        example = method.views(record, np.random.default_rng(seed))
        assert example["vision"].shape == (17, 8, 8, 3)
        assert example["envelopes"].shape == (30, 42)
        numbers = example["vision"][:, 0, 0, 0] // 3
        # The frame before the window, its own, and the one after it; there is none before 0.
        first = int(numbers[1])
        assert numbers.tolist() == np.clip(np.arange(first - 1, first + 16), 0, 59).tolist()
        loud = example["envelopes"].sum(1)
        clicks = [k for k in range(2 * first, 2 * first + 30) if k % 12 == 0]  # of 60 steps
        assert clicks
        for step in clicks:
            near = np.arange(step - 2 * first - 1, step - 2 * first + 2) % 30
            assert loud[near].max() > 2 * np.median(loud)


def test_the_window_whose_loudness_changes_is_taken():
    def audio(start, end):
        samples = np.arange(round(start * RATE), round(end * RATE)) / RATE
        return np.float32(np.sin(3000 * samples) * (samples > 2.0))  # silence, then a tone

    record = dataclasses.replace(clock(4.0), audio=audio)
    chosen = small(drawn=60).views(record, np.random.default_rng(0))["vision"][1, 0, 0, 0] / 3
    assert 1.5 < chosen / FPS < 2.0
    assert loudness_change(np.ones(1000, np.float32), 1000) == 0


def test_images_are_grey_frames_in_a_row_after_one_in_colour():
    frames = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 6, 4, 4, 3)), jnp.float32)
    found = small().prepare("vision", frames)
    assert found.shape == (1, 5, 4, 4, 3)
    np.testing.assert_allclose(found[:, 0], 2 * frames[:, 1] - 1, atol=1e-6)
    grey = np.asarray(frames) @ np.array(LUMA)
    for step in range(4):
        expected = 2 * np.moveaxis(grey[:, step : step + 3], 1, -1) - 1
        np.testing.assert_allclose(found[:, 1 + step], expected, atol=1e-5)
    plain = small(colour=False).prepare("vision", frames)
    np.testing.assert_array_equal(plain, found[:, 1:])
    changes = small(colour=False, differences=True).prepare("vision", frames)
    for channel, (one, other) in enumerate(((1, 0), (2, 0), (2, 1))):
        expected = plain[..., one] - plain[..., other]
        np.testing.assert_allclose(changes[..., channel], expected, atol=1e-6)


def test_knobs_that_give_no_whole_number_of_steps_are_refused():
    for knobs, message in (
        ({"seconds": 0.51}, "seconds=0.51 must be a multiple of 0.05"),
        ({"fps": 12.5, "steps": 1}, "must be whole"),
        ({"seconds": 0.03125, "fps": 16.0, "steps": 2}, "must be a multiple of 0.0625"),
    ):
        with pytest.raises(ConfigError, match=message):
            small(**knobs)
    with pytest.raises(MediaError, match=r"0\.50 s of audio are needed"):
        small().views(clock(0.3), np.random.default_rng(0))


def test_correlation_is_over_time_and_of_bands_that_do_something():
    rng = np.random.default_rng(0)
    true, predicted = rng.normal(size=(2, 5, 20, 3))
    true[:2, :, 1] = 0.3
    true[..., 2] = 0.1
    expected = [
        np.mean([np.corrcoef(predicted[i, :, 0], true[i, :, 0])[0, 1] for i in range(5)]),
        np.mean([np.corrcoef(predicted[i, :, 1], true[i, :, 1])[0, 1] for i in range(2, 5)]),
    ]
    assert correlation_in_time(predicted, true) == pytest.approx(np.mean(expected))
    assert correlation_in_time(3 * true + 1, true) == pytest.approx(1)
    assert correlation_in_time(np.ones_like(true), true) == 0
    assert np.isnan(correlation_in_time(true, np.ones_like(true)))
    late = np.roll(true, 2, axis=1)
    assert correlation_in_time(late, true) < 0.5
    assert correlation_in_time(late, true, 1) < 0.8
    assert correlation_in_time(late, true, 2) == pytest.approx(1)


def test_the_place_of_the_own_sound_among_those_of_its_group():
    rng = np.random.default_rng(1)
    true = rng.normal(size=(7, 6, 2))
    groups = np.array([0, 0, 0, 1, 1, 1, 1])
    places, sizes = own_ranks(true + 0.1 * rng.normal(size=true.shape), true, groups)
    assert places.tolist() == [0] * 7
    assert sizes.tolist() == [3, 3, 3, 4, 4, 4, 4]
    # Who knows only the group says nothing: all its sounds are ties.
    means = np.stack([true[groups == g].mean(0) for g in groups])
    assert own_ranks(means, true, groups)[0].tolist() == [1, 1, 1, 1.5, 1.5, 1.5, 1.5]


class Frozen:
    """Stands for a run that predicts the true envelopes, one step late."""

    batch_size = 4
    loading = None

    def __init__(self, method, source):
        self.method, self.source = method, source

    def features(self, source, stream, layers, clips, pool, average, facts):
        found = [facts(record) for record in source]
        made = {name: np.stack([one[name] for one in found]) for name in found[0]}
        late = np.roll(made["true"], 1, axis=2).reshape(len(source), clips, -1)
        n = np.arange(len(source))
        return Features({"envelopes": late}, -np.ones_like(n), n, 0 * n, made)


def test_what_is_said_of_predictions_that_are_a_step_late(monkeypatch):
    source = [dataclasses.replace(clock(2.0), index=i) for i in range(3)]
    method = small()
    record = source[0]
    waves = [np.float32(np.random.default_rng(i).normal(size=2 * RATE) * 0.1) for i in range(3)]
    for one, wave in zip(source, waves, strict=True):
        one.audio = lambda a, b, wave=wave: wave[round(a * RATE) : round(b * RATE)]
    monkeypatch.setattr(
        "ssl_jax.evals.predicted_sound.read_some",
        lambda source, read, *_: {"true": np.stack([read(one)["true"] for one in source])},
    )
    found = dict(PredictedSound(source, source, clips=2).run(Frozen(method, source)))
    true = np.concatenate([method.heard(one, method.times(one, "sound", 2)) for one in source])
    assert found["envelopes/shifted"] == pytest.approx(1)
    assert found["envelopes/correlation"] < 0.9
    late = np.roll(true, 1, axis=1)
    distance = np.sqrt(((late - true) ** 2).sum(-1)).mean()
    assert found["envelopes/distance"] == pytest.approx(distance, rel=1e-5)
    first = np.concatenate(
        [method.heard(one, method.times(one, "sound", 1)) for one in source]
    ).mean((0, 1))
    assert found["mean/distance"] == pytest.approx(
        np.sqrt(((true - first) ** 2).sum(-1)).mean(), rel=1e-5
    )
    assert found["chance/retrieval"] == pytest.approx(1 / 6)
    assert found["sounds"].dtype == np.uint8
    record.audio = lambda a, b: np.zeros(round((b - a) * RATE), np.float32)
    with pytest.raises(ConfigError, match="does nothing"):
        list(PredictedSound(source[:1], source[:1]).run(Frozen(method, source)))


class Listener:
    """Stands for a run that says of frames how bright they are, whatever they sound like."""

    batch_size = 4

    def __init__(self, method):
        self.method = method

    def features(self, source, stream, layers, pool, times):
        rows, n = [], []
        for one in source:
            with contextlib.suppress(MediaError):  # what is broken is left out
                rows.append(self.method.clips(one, stream, times(one))["vision"])
                n.append(one.index)
        layer, n = np.float32(np.concatenate(rows).mean(axis=(1, 2, 3, 4))[:, None]), np.array(n)
        return Features({"envelopes": layer}, -np.ones_like(n), n, 0 * n)

    def maps(self, stream, inputs, layers):
        return {"envelopes": inputs["vision"].mean(axis=(2, 3, 4)).mean(axis=1, keepdims=True)}


def test_a_silent_video_gets_the_audio_of_the_training_videos_that_look_like_it(
    tmp_path, monkeypatch, capsys
):
    def shade(value):
        return lambda number: np.full((16, 16, 3), value, np.uint8)

    paths = [
        media.write(
            tmp_path / f"{value}.mkv",
            frames=30,
            fps=30,
            draw=shade(value),
            wave=media.noise(1, RATE, seed=value),
        )
        for value in (20, 120, 220)
    ]
    # Of two that look alike one has no audio.
    mute = media.write(tmp_path / "mute.mkv", frames=30, fps=30, draw=shade(200))
    source = FilesSource((*paths, mute))
    monkeypatch.setattr(apply, "load", lambda workdir: Listener(small()))
    monkeypatch.setattr(apply, "training_source", lambda workdir: source)
    silent = media.write(
        tmp_path / "silent.mp4", frames=39, fps=30, draw=lambda k: shade(200 if k < 15 else 30)(k)
    )
    apply.main(["sound", silent, "--workdir=run", f"--output={tmp_path / 'out'}"])
    target = str(tmp_path / "out" / "silent.mkv")
    assert capsys.readouterr().out == f"{target}: 3 windows, audio of 2 of 3 records\n"
    (made,) = FilesSource((target,))
    assert made.num_frames == 39
    # The middle windows of the brightest and the darkest; the last begins 0.8 s after the start.
    for start, stop, record in ((0.01, 0.49, source[2]), (0.51, 0.79, source[0])):
        (begin,) = small().times(record, "sound", 1)
        offset = begin - (0.0 if start < 0.5 else 0.5)
        expected = record.audio(start + offset, stop + offset)
        heard = made.audio(start, stop)
        assert len(heard) == round((stop - start) * 44_100)
        # Resampled: as loud within each hundredth of a second, and not silent.
        parts = [np.array([p.std() for p in np.array_split(x, 20)]) for x in (expected, heard)]
        assert np.abs(parts[0] - parts[1]).max() < 0.1 * parts[0].mean()
    short = media.write(tmp_path / "short.mp4", frames=10, fps=30)
    with pytest.raises(MediaError, match=r"short\.mp4: lasts 0\.33 s, 0\.50 s are needed"):
        apply.main(["sound", short, "--workdir=run", f"--output={tmp_path / 'out'}"])
    with pytest.raises(ConfigError, match="exemplars=-1 must be at least 0"):
        list(apply.sound([silent], "run", exemplars=-1))


def test_windows_lie_one_after_the_other_and_the_last_ends_with_the_video():
    assert window_starts(clock(2.0), 0.5) == [0, 0.5, 1, 1.5]
    np.testing.assert_allclose(window_starts(clock(1.3), 0.5), [0, 0.5, 0.8])


def test_pieces_are_cut_where_the_next_begins_and_fade_at_joints():
    track = joined([np.full(44_100, x, np.float32) for x in (1.0, 2.0)], [0.0, 0.5], 1.5)
    assert len(track) == 66_150
    assert track[0] == track[22_049] == track[22_050] == track[66_149] == 0
    assert (track[300:21_700] == 1).all()
    assert (track[22_400:65_800] == 2).all()


@pytest.mark.parametrize("rate", [11025, 8000, 30720])
def test_audio_of_any_rate_gives_all_steps(rate):
    def audio(start, end):
        return np.zeros(round(end * rate) - round(start * rate), np.float32)

    record = dataclasses.replace(SyntheticSource(size=1, frames=32)[0], audio=audio)
    record.sample_rate = rate
    own = small(fps=16.0)
    assert own.heard(record, [0.0, 0.03125, 0.25]).shape[:2] == (3, 16)
