"""Multisensory features: companding, shapes, windows that are shifted, and activation maps."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Record
from ssl_jax.methods.audio.misalignment import Misalignment, MisalignmentNet
from ssl_jax.models.multisensory import Fusion, VideoStream, WaveStream, fit_time
from ssl_jax.objectives.synchronization import aligned_or_shifted
from ssl_jax.ops.companding import compand

KEY = jax.random.key(0)
RATE, FPS = 4000, 20.0


def test_companding_raises_what_is_soft():
    x = jnp.array([0.01, 0.1, 0.5, 1.0, 3.0])
    expected = [0.228477, 0.590991, 0.875703, 1.0, 1.0]
    np.testing.assert_allclose(compand(x), expected, atol=1e-6)
    np.testing.assert_allclose(compand(-x), -compand(x))
    assert not compand(jnp.zeros(3)).any()


def shapes_of(module, *inputs):
    def run():
        variables = module.init(KEY, *inputs, True)
        return module.apply(variables, *inputs, False), variables["params"]

    layers, params = jax.eval_shape(run)
    count = sum(math.prod(x.shape) for x in jax.tree.leaves(params))
    return {name: x.shape[1:] for name, x in layers.items()}, count


def test_the_streams_have_the_published_shapes():
    layers, count = shapes_of(VideoStream(), jnp.zeros((1, 125, 224, 224, 3)))
    assert layers["conv1"] == (63, 112, 112, 64)
    assert layers["block1"] == (63, 56, 56, 64)
    assert layers["block2"] == (32, 28, 28, 64)
    # Convolutions, and two numbers a channel of each of five BNs.
    assert count == 245 * 3 * 64 + 4 * 27 * 64 * 64 + 64 * 64 + 5 * 2 * 64
    layers, count = shapes_of(WaveStream(), jnp.zeros((1, 87588)))
    lengths = [layers[name] for name in ("conv1", "block1", "block2", "block3")]
    assert lengths == [(21897, 64), (1369, 128), (343, 128), (86, 256)]
    blocks = [(a + b) * 15 * b + (a * b) + 4 * b for a, b in ((64, 128), (128, 128), (128, 256))]
    assert count == 65 * 64 + 2 * 64 + sum(blocks)


@pytest.mark.parametrize(("stride", "side"), [(2, 7), (1, 14)])
def test_the_joined_streams_have_the_published_shapes(stride, side):
    maps = jnp.zeros((1, 32, 28, 28, 64)), jnp.zeros((1, 86, 256))
    layers, count = shapes_of(Fusion(last_stride=stride), *maps)
    assert layers["merged"] == (32, 28, 28, 128)
    assert layers["block4"] == (16, 14, 14, 256)
    assert layers["block6"] == (16, side, side, 512)
    assert layers["activation"] == (side, side, 1)
    widths = (128, 128, 128, 256, 256, 512, 512)
    blocks = sum(27 * (a + b) * b + 4 * b for a, b in itertools.pairwise(widths))
    # 1x1x1 around where channels change; the fifth block, where only the stride does not.
    around = 128 * 256 + 256 * 512
    merge = 3 * 256 * 128 + 192 * 512 + 512 * 128 + 2 * (128 + 512 + 128)
    assert count == blocks + around + merge + 513


def test_time_is_fitted_by_maxima_of_even_windows():
    x = np.random.default_rng(0).normal(size=(2, 86, 3)).astype(np.float32)
    found = fit_time(jnp.asarray(x), 32)
    for i in range(32):
        window = x[:, math.floor(i * 86 / 32) : math.ceil((i + 1) * 86 / 32)]
        np.testing.assert_array_equal(found[:, i], window.max(1))
    np.testing.assert_array_equal(fit_time(jnp.asarray(x[:, :2]), 4), x[:, [0, 0, 1, 1]])


def test_the_loss_without_a_clue_is_ln_2():
    loss, metrics = aligned_or_shifted(jnp.zeros(3), jnp.zeros(3))
    assert loss == pytest.approx(math.log(2))
    assert metrics["below_ln2"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["pairs"] == 0.5
    aligned, shifted = jnp.array([2.0, -1.0, 0.5]), jnp.array([-2.0, -3.0, 1.0])
    loss, metrics = aligned_or_shifted(aligned, shifted)
    by_hand = [math.log1p(math.exp(-x)) for x in (2, -1, 0.5)]
    by_hand += [math.log1p(math.exp(x)) for x in (-2, -3, 1)]
    assert loss == pytest.approx(np.mean(by_hand))
    assert metrics["below_ln2"] == pytest.approx(math.log(2) - np.mean(by_hand), abs=1e-6)
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert metrics["pairs"] == pytest.approx(2 / 3)


def test_the_mean_of_the_activation_map_is_the_answer_for_each_audio():
    narrow = {"width": 0.0625, "bn_momentum": 0.9}
    net = MisalignmentNet(VideoStream(**narrow), WaveStream(**narrow), Fusion(**narrow))
    rng = np.random.default_rng(0)
    batch = {
        "vision": jnp.asarray(rng.normal(size=(2, 4, 16, 16, 3)), jnp.float32),
        "audio": jnp.asarray(rng.normal(size=(2, 2, 2048)), jnp.float32),
    }
    variables = jax.jit(lambda: net.init(KEY, batch, True))()
    answers = jax.jit(lambda: net.apply(variables, batch, False))()
    assert answers.shape == (2, 2)
    joined = jax.jit(lambda pair: net.apply(variables, pair, False, method="joined"))
    for k in range(2):
        layers = joined({**batch, "audio": batch["audio"][:, k]})
        means = layers["activation"].mean((1, 2, 3))
        np.testing.assert_allclose(means, answers[:, k], rtol=1e-4, atol=1e-5)


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


def method(**knobs) -> Misalignment:
    small = {"frames": 6, "fps": FPS, "shared": 2, "farthest": 9, "short_side": 6, "crop": 6}
    trunks = {name: tiny.TinyTrunk() for name in ("vision", "audio", "fused")}
    return Misalignment(**{**trunks, **small, "sample_rate": RATE, **knobs})


@pytest.mark.parametrize("fps", [20.0, 40.0])
def test_one_audio_runs_with_the_clip_and_one_is_shifted_by_what_is_asked_for(fps):
    own, shifts = method(), []
    record = clock(2.0, fps, audio_span=(0.25, 1.8))
    for seed in range(200):
        made = own.views(record, np.random.default_rng(seed))
        assert made["audio"].shape == (2, 1200)
        assert (made["audio"] >= 1).all()  # never beyond the track
        begin, other = (made["audio"][:, 0] - 1) * 100
        middle = begin + (np.arange(6) + 0.5) / FPS
        shown = made["vision"][:, 0, 0, 0].astype(float) / fps
        assert (shown <= middle + 1e-3).all()
        assert (middle <= shown + 1 / fps + 1e-3).all()
        shifts.append(round((other - begin) * FPS))
    assert set(shifts) == {s for s in range(-9, 10) if abs(s) >= 4}
    with pytest.raises(MediaError, match=r"clock: lasts 0\.45 s with 0\.45 s of audio, 0\.50 s of"):
        own.views(clock(0.45), np.random.default_rng(0))


def test_every_other_frame_is_seen_of_as_long_a_clip():
    made = method(every=2, fps=FPS).views(clock(2.0), np.random.default_rng(0))
    assert made["audio"].shape == (2, 1200)
    begin = float((made["audio"][0, 0] - 1) * 100)
    expected = np.round(begin * FPS) + 1 + 2 * np.arange(3)  # the frames in the middle of each two
    np.testing.assert_array_equal(made["vision"][:, 0, 0, 0], expected)


def test_evaluation_reads_clips_with_the_audio_that_runs_with_them():
    own, record = method(), clock(2.0)
    times = own.times(record, "fused", 3)
    assert times == pytest.approx([0.0, 0.85, 1.7])
    clips = own.clips(record, "fused", times)
    assert clips["vision"][:, 0, 0, 0, 0].tolist() == [0, 17, 34]
    np.testing.assert_allclose((clips["audio"][:, 0] - 1) * 100, times, atol=1e-3)
    assert set(own.clips(record, "vision", times)) == {"vision"}
    assert set(own.clips(record, "audio", times)) == {"audio"}


def test_a_shift_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="shifts are 4 frames or more and at most farthest=3"):
        method(farthest=3)
