"""SyncNet: coefficients, losses, offsets, and windows that keep to the same time."""

import dataclasses

import jax
import jax.numpy as jnp
import media
import numpy as np
import pytest

from ssl_jax import apply
from ssl_jax.config import ConfigError
from ssl_jax.data.pipeline import Loading
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.shifted_audio import write_shifted
from ssl_jax.data.sources.files import FilesSource
from ssl_jax.evals.active_speaker import ActiveSpeaker
from ssl_jax.evals.sync_offset import SyncOffset
from ssl_jax.methods.audio.correspondence import Correspondence
from ssl_jax.methods.audio.synchronization import Synchronization
from ssl_jax.models.syncnet import LipNet, SpeechNet
from ssl_jax.objectives.synchronization import margin_pairs, which_window
from ssl_jax.ops.mfcc import mfcc
from ssl_jax.scores.average_precision import average_precision
from ssl_jax.scores.offset import confidence_by_frame, distances_by_offset, offset_of

RATE, FPS = 16000, 25.0


def test_coefficients_of_a_tone_are_those_of_python_speech_features():
    wave = (10000 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)).astype(np.int16)
    found = mfcc(jnp.asarray(wave / np.float32(32768)))
    assert found.shape == (99, 13)
    first = "21.114438 5.681629 -26.875597 -35.430714 -11.732062 20.284476 28.528107 5.113155 "
    first += "-21.981163 -24.607499 -2.415967 17.497134 15.656871"
    middle = "21.119067 8.162555 -24.478656 -33.606285 -10.400468 21.250422 29.273318 5.621208 "
    middle += "-21.439036 -24.127545 -1.649843 18.294404 16.419668"
    for frame, expected in ((0, first), (50, middle)):
        expected = np.array(expected.split(), float)
        np.testing.assert_allclose(found[frame], expected, rtol=1e-5, atol=5e-5)


def test_frames_of_a_wave_are_counted_with_the_last_filled_up():
    counts = [mfcc(jnp.zeros(samples)).shape[0] for samples in (3200, 3440, 400, 100)]
    assert counts == [19, 20, 1, 1]
    # The logarithm of float64's epsilon, which other tools take for silence.
    assert mfcc(jnp.zeros(3440))[0, 0] == pytest.approx(-36.0437, abs=1e-3)


def test_a_band_without_a_bin_is_refused():
    with pytest.raises(ConfigError, match=r"bands \[.*\] of 200 hold no bin"):
        mfcc(jnp.zeros(3440), bands=200)


@pytest.mark.parametrize(
    ("net", "shape", "count"),
    [(LipNet(), (1, 112, 112, 5), 11_275_136), (SpeechNet(), (1, 20, 12), 2_896_384)],
)
def test_networks_have_the_released_number_of_weights(net, shape, count):
    made = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros(shape), True))
    assert sum(int(np.prod(x.shape)) for x in jax.tree.leaves(made["params"])) == count


def test_margin_loss_of_two_matching_and_two_shifted_pairs():
    distance, same = jnp.array([5.0, 10.0, 25.0, 15.0]), jnp.array([1, 1, 0, 0])
    assert margin_pairs(distance, same, 20.0) == pytest.approx(18.75)
    small = jnp.array([0.5, 0.3, 0.9, 1.5])
    assert margin_pairs(small, same, 1.0) == pytest.approx(0.04375)


def test_the_own_window_is_found_by_its_direction():
    eye = jnp.eye(4)[None]
    loss, metrics = which_window(3 * eye, 0.1 * eye, jnp.float32(10), jnp.float32(-5))
    assert loss == pytest.approx(np.log(1 + 3 * np.exp(-10.0)), abs=1e-6)
    assert metrics["accuracy"] == 1.0
    same = jnp.ones((1, 4, 2))
    assert which_window(same, same, jnp.float32(10), jnp.float32(-5))[0] == pytest.approx(
        np.log(4), rel=1e-6
    )


def test_offset_of_delayed_audio_with_zeros_beyond_its_ends():
    video = np.eye(6)
    audio = np.roll(video, 1, axis=0)
    mean = distances_by_offset(video, audio, 2).mean(0)
    np.testing.assert_allclose(mean, [1.276142, 1.345178, 1.414214, 0.166667, 1.276142], atol=3e-6)
    offset, confidence = offset_of(mean)
    assert offset == -1
    assert confidence == pytest.approx(1.109476, abs=3e-6)


def test_a_video_that_lags_three_frames_has_the_offset_3():
    audio = np.random.default_rng(0).normal(size=(80, 16))
    mean = distances_by_offset(np.roll(audio, 3, axis=0), audio, 10).mean(0)
    assert offset_of(mean)[0] == 3


def clock(seconds: float, fps: float = FPS, lag: float = 0.0) -> Record:
    """A video whose brightness, and loudness `lag` seconds later, say what time it is."""
    count = round(seconds * fps)

    def frames(numbers):
        shades = (np.asarray(numbers) % 251).astype(np.uint8)
        return np.broadcast_to(shades[:, None, None, None], (len(shades), 8, 8, 3))

    def audio(start, end):
        times = np.arange(round(start * RATE), round(end * RATE)) / RATE - lag
        return (times / 100).astype(np.float32)

    return Record(
        "clock",
        0,
        count,
        fps,
        frames=frames,
        audio=audio,
        sample_rate=RATE,
        duration=count / fps,
    )


def method(**knobs) -> Synchronization:
    small = {"windows": 6, "stride": 3, "frames": 4, "short_side": 8, "crop": 8, "gain": 0.0}
    return Synchronization(LipNet(), SpeechNet(), **{**small, **knobs})


@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_windows_of_frames_and_of_audio_begin_at_the_same_times(fps):
    own, apart = method(), []
    for seed in range(40):
        example = own.views(clock(4.0, fps), np.random.default_rng(seed))
        assert example["vision"].shape == (19, 8, 8, 3)
        assert example["audio"].shape == (6, 3440)
        seen = example["vision"][:, 0, 0, 0][::3][:6] / fps  # the first frame of each window
        heard = example["audio"][:, 0] * 100
        np.testing.assert_allclose(np.diff(heard), 3 / FPS, atol=1e-4)
        apart.append(seen - heard)
    # A frame is shown from its own time to the next one's; the one in the middle is taken.
    assert -1 / fps + 0.5 / FPS - 1e-3 <= np.min(apart)
    assert np.max(apart) <= 0.5 / FPS + 1e-3


def test_windows_that_do_not_match_are_of_the_same_video_and_shifted_by_all_steps():
    own = method(criterion="margin", windows=5, margin=1.0)
    b = 200
    batch = {"vision": jnp.zeros((b, 16, 8, 8, 3), jnp.uint8), "audio": jnp.zeros((b, 5, 4))}
    shift = own.augment(batch, {}, jax.random.key(0))["shift"]
    assert set(np.asarray(shift).tolist()) == {1, 2, 3, 4}
    # Embeddings on a line: a window's own audio lies at its place, another one s places away.
    places = jnp.arange(5.0)[None, :, None]
    outputs = (places, places, None, None)
    loss, metrics = own.objective(outputs, {"shift": jnp.array([2])})
    away = np.array([3, 3, 2, 2, 2])  # of a roll by 2, around the end
    expected = (0 + np.maximum(1.0 - away, 0) ** 2).mean() / 4
    assert loss == pytest.approx(expected, abs=1e-6)
    assert metrics["accuracy"] == 1.0
    near = own.objective((0.1 * places, 0.1 * places, None, None), {"shift": jnp.array([1])})[0]
    away = 0.1 * np.array([4, 1, 1, 1, 1])
    assert near == pytest.approx(((1 - away) ** 2).mean() / 4, abs=1e-5)


def test_the_gain_is_within_its_share_and_the_same_for_all_windows():
    own = method(gain=0.1)
    batch = {"vision": jnp.zeros((50, 19, 8, 8, 3), jnp.uint8), "audio": jnp.ones((50, 6, 4))}
    made = np.asarray(own.augment(batch, {}, jax.random.key(0))["audio"])
    assert (made == made[:, :1, :1]).all()
    assert 0.9 <= made.min() < 0.93
    assert 1.07 < made.max() <= 1.1


def test_the_network_sees_in_training_what_evaluation_gives_it():
    own, record = method(), clock(4.0)
    example = own.views(record, np.random.default_rng(5))
    trained = own.prepare("vision", jnp.asarray(example["vision"])[None] / 255.0)
    assert trained.shape == (1, 6, 8, 8, 4)
    starts = example["vision"][:, 0, 0, 0][::3][:6] / FPS
    clips = own.clips(record, "vision", starts.tolist())["vision"]
    read = own.prepare("vision", jnp.asarray(clips) / 255.0)
    np.testing.assert_allclose(read[:, 0], trained[0], rtol=1e-5)
    sound = own.clips(record, "audio", [0.5, 1.0])["audio"]
    assert own.prepare("audio", jnp.asarray(sound)).shape == (2, 1, 20, 12)


def test_a_box_is_all_that_is_seen():
    def frames(numbers):
        picture = np.zeros((len(numbers), 8, 16, 3), np.uint8)
        picture[:, 4:, 8:] = 200
        return picture

    record = dataclasses.replace(clock(4.0), frames=frames)
    seen = method(box=(0.5, 0.5, 1.0, 1.0)).views(record, np.random.default_rng(0))["vision"]
    assert (seen == 200).all()
    with pytest.raises(ConfigError, match="top, left, bottom, right as shares"):
        method(box=(0.5, 0.5, 0.5, 1.0))


@dataclasses.dataclass
class Reader:
    """Stands for a network that reads the clock, in sines of several lengths."""

    method: Synchronization
    batch_size: int = 16
    loading: Loading = Loading()

    def maps(self, stream, inputs, layers):
        time = (
            inputs["vision"][:, 0, 0, 0, 0] / FPS
            if stream == "vision"
            else inputs["audio"][:, 0, 0] * 100
        )
        waves = np.asarray(time)[:, None] * 2 * np.pi / np.array([0.31, 0.77, 2.3])
        return {"fc7": np.concatenate([np.sin(waves), np.cos(waves)], axis=1)}


def test_shifts_are_found_to_a_frame_and_a_lag_of_the_sound_is_an_error():
    right = SyncOffset([clock(6.0)] * 3, averaged=(1, 25), most=8, records=0)
    found = dict(right.run(Reader(method())))
    assert found["within_one/1"] == found["within_one/25"] == 1.0
    assert found["within_one/constant"] == pytest.approx(3 / 9)
    assert found["confidence/25"] > 0.5
    late = SyncOffset([clock(6.0, lag=4 / FPS)] * 3, averaged=(25,), most=8, records=0)
    assert dict(late.run(Reader(method())))["within_one/25"] == 0.0


def test_who_speaks_is_found_by_the_moment():
    speaks = dataclasses.replace(clock(6.0), extra={"spans": "1 3.5"})
    real = speaks.frames

    def frames(numbers):
        """Beyond the span the lips move by themselves."""
        shown = real(np.asarray(numbers))
        within = (np.asarray(numbers) >= FPS) & (np.asarray(numbers) < 3.5 * FPS)
        other = real((37 * np.asarray(numbers) + 11) % 140)
        return np.where(within[:, None, None, None], shown, other)

    tracks = [dataclasses.replace(speaks, frames=frames)] * 2
    found = dict(ActiveSpeaker(tracks, most=8).run(Reader(method())))
    assert found["ap/chance"] == pytest.approx(2.5 / 6, abs=0.01)
    assert found["ap"] > 0.9
    # Somebody else is heard all the time.
    listens = dataclasses.replace(speaks, extra={"spans": "3.5 6"}, frames=frames)
    assert dict(ActiveSpeaker([listens], most=8).run(Reader(method())))["ap"] < 0.6


def test_spans_are_checked():
    silent = [dataclasses.replace(clock(6.0), extra={"spans": ""})]
    with pytest.raises(ConfigError, match="nobody speaks in any video"):
        list(ActiveSpeaker(silent, most=8).run(Reader(method())))
    for spans, message in (("1 x", "no pairs of seconds"), ("2 1", "ends before it begins")):
        wrong = [dataclasses.replace(clock(6.0), extra={"spans": spans})]
        with pytest.raises(ConfigError, match=message):
            list(ActiveSpeaker(wrong, most=8).run(Reader(method())))


def test_a_frames_confidence_is_the_median_less_its_own_distance():
    distances = np.array([[3.0, 1, 5], [4, 2, 6], [5, 0, 4]])
    # Mean distances 4, 1, 5; their median 4; the second shift fits best.
    assert confidence_by_frame(distances, 1).tolist() == [3, 2, 4]
    assert confidence_by_frame(distances, 3).tolist() == [2, 3, 2]


def test_average_precision_of_ava():
    target, score = np.array([1, 0, 1, 0, 1]), np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    assert average_precision(target, score, "step") == pytest.approx(0.755556, abs=1e-6)


def test_why_no_video_can_be_used_is_said():
    evaluator = SyncOffset([clock(1.0)], averaged=(1,), most=8)
    with pytest.raises(ConfigError, match=r"clock: 1\.00 s with audio are too short, 1\.18 s nee"):
        list(evaluator.run(Reader(method())))
    strict = Reader(method(), loading=Loading(on_error="raise"))
    with pytest.raises(MediaError, match=r"clock: 1\.00 s with audio are too short"):
        list(evaluator.run(strict))
    silent = dataclasses.replace(clock(6.0), audio=None)
    with pytest.raises(ConfigError, match=r"no video can be used.*clock: "):
        list(SyncOffset([silent], averaged=(1,), most=8).run(Reader(method())))
    many = SyncOffset([clock(3.0)], averaged=(100,), most=8)
    with pytest.raises(ConfigError, match="lower most or averaged, or see: clock: 46 frames are"):
        list(many.run(Reader(method())))
    with pytest.raises(ConfigError, match="is for Synchronization, this run is of Correspondence"):
        SyncOffset([clock(3.0)]).check(Reader(Correspondence(LipNet(), SpeechNet())))


def video(path, lag: float) -> str:
    """The clock as a file whose audio comes `lag` seconds late."""
    times = np.arange(6 * RATE) / RATE - lag
    return media.write(
        path,
        frames=150,
        draw=lambda number: np.full((16, 16, 3), number, np.uint8),
        codec="ffv1",
        pix_fmt="bgr0",  # every shade as it is
        wave=np.float32(times / 100)[None],
        rate=RATE,
    )


def test_the_shift_of_a_file_is_said_and_it_is_written_in_sync(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(apply, "load", lambda workdir: Reader(method()))
    early = video(tmp_path / "early.mkv", lag=4 / FPS)
    late = video(tmp_path / "late.mkv", lag=-3 / FPS)
    good = video(tmp_path / "good.mkv", lag=0.0)
    out = tmp_path / "out"
    apply.main(["sync", early, late, good, "--workdir=run", f"--output={out}"])
    lines = capsys.readouterr().out.splitlines()
    rate = "of 25 per second"
    assert f"{early}: the video leads its audio by 4 frames {rate} (0.160 s), conf" in lines[0]
    assert f"{late}: the video lags its audio by 3 frames {rate} (0.120 s), conf" in lines[1]
    assert f"{good}: the video is in sync, confidence" in lines[2]
    apply.main(["sync", *(str(out / f"{k}.mkv") for k in ("early", "late")), "--workdir=run"])
    assert capsys.readouterr().out.count("the video is in sync") == 2
    with pytest.raises(ConfigError, match=r"early\.mkv would be overwritten"):
        apply.main(["sync", early, "--workdir=run", f"--output={tmp_path}"])
    with pytest.raises(ConfigError, match=r"cannot write /proc/none/early\.mkv"):
        apply.main(["sync", early, "--workdir=run", "--output=/proc/none"])
    silent = media.write(tmp_path / "silent.mkv", frames=10)
    with pytest.raises(MediaError, match=r"silent\.mkv"):
        apply.main(["sync", silent, "--workdir=run"])


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("seconds", [0.16, -0.16])
def test_a_shifted_copy_has_every_frame(tmp_path, suffix, seconds):
    path = media.write(tmp_path / f"a.{suffix}", frames=60, wave=media.noise(2.4, RATE), rate=RATE)
    write_shifted(path, str(tmp_path / "b.mkv"), seconds)
    first, second = FilesSource((path, str(tmp_path / "b.mkv")))
    assert media.numbers_of(second.frames(list(range(60)))) == list(range(60))
    assert second.num_frames == 60
    heard = first.audio(0.5, 1.0)
    np.testing.assert_allclose(second.audio(0.5 + seconds, 1.0 + seconds), heard, atol=1e-3)
