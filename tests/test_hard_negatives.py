"""AVTS: filterbanks, the margin, easy and hard negatives by the step, and clips in sync."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.record import Record
from ssl_jax.method import run_collection
from ssl_jax.methods.audio.hard_negatives import DenseHead, HardNegatives
from ssl_jax.objectives.synchronization import matches_within
from ssl_jax.ops.mfcc import log_filterbank, mfcc

KEY = jax.random.key(0)
RATE, FPS = 4800, 25.0


def log_filterbank_by_hand(wave, rate):
    """Frames of 20 ms every 10 ms, emphasised, 40 triangles on whole bins of 1024."""
    wave = np.concatenate([wave[:1], wave[1:] - 0.97 * wave[:-1]])
    size, step = round(0.02 * rate), round(0.01 * rate)
    frames = [wave[k : k + size] for k in range(0, len(wave) - size + 1, step)]
    power = [np.abs(np.fft.fft(frame, 1024)[:513]) ** 2 / 1024 for frame in frames]
    mels = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), 42)
    bins = [int(1025 * 700 * (10 ** (mel / 2595) - 1) / rate) for mel in mels]
    bank = np.zeros((40, 513))
    for j in range(40):
        for i in range(bins[j], bins[j + 1]):
            bank[j, i] = (i - bins[j]) / (bins[j + 1] - bins[j])
        for i in range(bins[j + 1], bins[j + 2]):
            bank[j, i] = (bins[j + 2] - i) / (bins[j + 2] - bins[j + 1])
    return np.log(np.array(power) @ bank.T)


@pytest.mark.parametrize("rate", [24000, 48000])
def test_a_second_has_99_frames_of_40_bands(rate):
    wave = (3000 * np.random.default_rng(0).standard_normal(rate)).astype(np.int16)
    found = log_filterbank(jnp.asarray(wave / np.float32(32768)), rate)
    assert found.shape == (99, 40)
    np.testing.assert_allclose(found, log_filterbank_by_hand(wave.astype(float), rate), atol=2e-3)
    # Of silence, the logarithm of float64's epsilon.
    assert log_filterbank(jnp.zeros(rate), rate).max() == pytest.approx(-36.0437, abs=1e-3)


@pytest.mark.parametrize(("rate", "empty"), [(48000, 56), (24000, 38)])
def test_bands_without_a_bin_are_refused(rate, empty):
    with pytest.raises(ConfigError, match=r"^filterbank: bands \[.*\] of 257 hold no bin") as error:
        log_filterbank(jnp.zeros(rate), rate, bands=257)
    assert len(str(error.value).partition("]")[0].split(",")) == empty
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=r"window=0.025 has 1200 samples, more than fft=512"):
        mfcc(jnp.zeros(48000), 48000)


def test_the_loss_of_two_matching_and_two_other_pairs():
    distance, match = jnp.array([0.5, 0.3, 0.9, 1.5]), jnp.array([1, 1, 0, 0])
    loss, metrics = matches_within(distance, match, jnp.array([0, 0, 0, 1]), 0.99)
    assert loss == pytest.approx(0.087025)
    assert metrics["accuracy"] == 0.75  # 0.5 is beyond half of the margin
    assert metrics["match"] == pytest.approx(0.4)
    assert metrics["easy"] == pytest.approx(0.9)
    assert metrics["hard"] == pytest.approx(1.5)
    none = matches_within(distance, match, jnp.zeros(4, int), 0.99)[1]
    assert none["hard"] == 0.0
    assert none["easy"] == pytest.approx(1.2)


def test_the_networks_have_the_published_number_of_weights():
    method = configs.build(configs.load("audio/hard_negatives_kinetics.py").method)
    batch = {"vision": jnp.zeros((1, 25, 224, 224, 3)), "audio": jnp.zeros((1, 99, 40))}
    made = jax.eval_shape(lambda: method.net.init(KEY, batch, train=True))["params"]
    count = {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in made.items()}
    assert count["vision"] == 11_490_240
    assert count["audio"] == 4_688_064
    assert count["vision_head"] == count["audio_head"] == 513 * 128 + 129 * 128


def method(**knobs) -> HardNegatives:
    small = {"frames": 5, "seconds": 0.2, "gap": 0.1, "short_side": 6, "crop": 4}
    sound = {"sample_rate": RATE, "fft": 128, "bands": 4}
    return HardNegatives(tiny.TinyTrunk(), tiny.TinyTrunk(), **{**small, **sound, **knobs})


def augmented(own: HardNegatives, step: int, has_hard=None, rows: int = 32):
    """Row i's own audio is i, that of another moment of its video i + 0.5."""
    audio = np.arange(rows, dtype=np.float32)[:, None, None] + np.float32([[[0.0], [0.5]]])
    batch = {
        "vision": jnp.zeros((rows, 5, 6, 6, 3), jnp.uint8),
        "audio": jnp.asarray(np.broadcast_to(audio, (rows, 2, 3))),
        "has_hard": jnp.ones(rows, jnp.int32) if has_hard is None else has_hard,
    }
    made = own.augment(batch, run_collection(step, 900), jax.random.fold_in(KEY, step))
    return {name: np.asarray(x) for name, x in made.items()}


@pytest.mark.parametrize(("step", "hard"), [(0, 0), (499, 0), (500, 4), (899, 4)])
def test_hard_negatives_join_at_their_step(step, hard):
    own = method(easy_steps=500)
    assert own.hard_share(step) == (0.25 if hard else 0.0)
    made = augmented(own, step)
    assert made["vision"].shape == (32, 5, 4, 4, 3)
    assert (made["target"].sum(), made["hard"].sum()) == (16, hard)
    assert not (made["target"] & made["hard"]).any()
    row = np.arange(32)
    is_own, is_later = (made["audio"][:, 0] == row + shift for shift in (0.0, 0.5))
    np.testing.assert_array_equal(is_own, made["target"] == 1)
    np.testing.assert_array_equal(is_later, made["hard"] == 1)
    # All others are whole windows of other rows, the first of these: what matches there.
    others = made["audio"][~is_own & ~is_later]
    assert (others == others[:, :1]).all()
    assert (others % 1 == 0).all()
    words = own.words({name: jnp.asarray(x) for name, x in made.items()})[""]
    assert words.count("the same video's at another time") == hard
    assert words.count("its own audio") == 16


def test_a_video_without_a_hard_negative_has_an_easy_one():
    made = augmented(method(hard=1.0), 7, has_hard=jnp.arange(32) % 2)
    assert made["target"].sum() == 16
    assert set(made["hard"][::2]) == {0}
    np.testing.assert_array_equal(made["hard"][1::2], 1 - made["target"][1::2])
    assert (made["audio"][::2, 0] % 1 == 0).all()


def clock(seconds: float, fps: float = FPS, audio_span=None) -> Record:
    """A video whose brightness and loudness say what time it is; silent beyond its track."""
    count = round(seconds * fps)

    def frames(numbers):
        shades = np.asarray(numbers).astype(np.uint8)
        return np.broadcast_to(shades[:, None, None, None], (len(shades), 6, 6, 3))

    def audio(start, end):
        times = np.arange(round(start * RATE), round(end * RATE)) / RATE
        first, last = audio_span or (0.0, seconds)
        inside = (times > first - 1e-6) & (times < last - 1e-6)
        return np.float32((1 + times / 100) * inside)

    track = {"audio": audio, "sample_rate": RATE, "duration": seconds, "audio_span": audio_span}
    return Record("clock", 0, count, fps, frames=frames, **track)


@pytest.mark.parametrize("fps", [25.0, 50.0])
def test_clips_and_their_audio_begin_together_and_nothing_is_padded(fps):
    own, starts = method(), []
    record = clock(1.6, fps, audio_span=(0.3, 1.5))
    for seed in range(100):
        made = own.views(record, np.random.default_rng(seed))
        assert made["audio"].shape == (2, 960)
        assert (made["audio"] >= 1).all()  # never beyond the track
        begin, other = (made["audio"][:, 0] - 1) * 100
        shown = made["vision"][:, 0, 0, 0].astype(float) / fps
        middle = begin + (np.arange(5) + 0.5) / FPS
        assert (shown <= middle + 1e-3).all()
        assert (middle <= shown + 1 / fps + 1e-3).all()
        assert abs(other - begin) >= 0.3 - 1e-3
        assert made["has_hard"] == 1
        starts.append([begin, other])
    steps = np.array(starts) / 0.04
    np.testing.assert_allclose(steps, steps.round(), atol=1e-2)


def test_in_a_short_track_there_is_no_other_moment():
    made = method().views(clock(0.48), np.random.default_rng(0))
    assert made["has_hard"] == 0
    np.testing.assert_array_equal(made["audio"][0], made["audio"][1])


def test_evaluation_reads_what_training_sees():
    own, record = method(crop=6), clock(1.6)
    made = own.views(record, np.random.default_rng(3))
    begin = float((made["audio"][0, 0] - 1) * 100)
    clips = own.clips(record, "vision", [begin, 0.4])["vision"]
    np.testing.assert_array_equal(clips[0], made["vision"])
    assert clips[1, :, 0, 0, 0].tolist() == [10, 11, 12, 13, 14]
    np.testing.assert_allclose(own.clips(record, "audio", [begin])["audio"], made["audio"][:1])


def test_embeddings_have_unit_length_or_start_within_the_margin():
    x = jax.random.normal(KEY, (16, 32))
    for normalize, low, high in ((True, 0.9999, 1.0001), (False, 0.0, 0.4)):
        head = DenseHead(32, normalize)
        lengths = np.linalg.norm(head.apply(head.init(KEY, x), x), axis=-1)
        assert low <= lengths.min() <= lengths.max() <= high
