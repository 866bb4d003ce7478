"""Speech2Vid: coefficients, networks, windows and stills, what is learnt when, and the video."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import media
import numpy as np
import pytest
from PIL import Image

from ssl_jax import apply
from ssl_jax.applying.talk import windows_of
from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sources.files import FilesSource
from ssl_jax.data.sources.talking import TalkingSource
from ssl_jax.evals.talking_frames import TalkingFrames, errors
from ssl_jax.methods.audio.talking_face import TalkingFace, half_black
from ssl_jax.models.talking_face import Deblurring, FaceDecoder, FaceNet, SpeechEncoder
from ssl_jax.ops.htk_mfcc import htk_mfcc

RATE, FPS = 16000, 25.0


def test_coefficients_of_a_tone_are_those_of_the_recipe():
    wave = (10000 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)).astype(np.int16)
    found = htk_mfcc(jnp.asarray(wave / np.float32(32768)))
    assert found.shape == (98, 12)
    first = "2.255382 -18.323581 -24.840792 -7.442787 18.912359 24.276367 1.470864 -24.773335 "
    first += "-23.352162 4.220788 25.913215 18.388861"
    middle = "3.236182 -17.612434 -24.229025 -6.956112 19.116394 24.509049 1.838824 -24.008231 "
    middle += "-22.669336 5.035631 26.417059 18.526513"
    for frame, expected in ((0, first), (50, middle)):
        expected = np.array(expected.split(), float)
        np.testing.assert_allclose(found[frame], expected, rtol=1e-5, atol=1e-4)


def test_only_whole_frames_count_and_silence_has_coefficients():
    counts = [jax.eval_shape(htk_mfcc, jnp.zeros(n)).shape for n in (5600, 5840, 400)]
    assert counts == [(33, 12), (35, 12), (1, 12)]
    np.testing.assert_allclose(htk_mfcc(jnp.zeros(400)), 0, atol=1e-6)
    with pytest.raises(ConfigError, match="399 samples hold no frame of 400"):
        htk_mfcc(jnp.zeros(399))
    with pytest.raises(ConfigError, match=r"bands \[.*\] of 200 hold no bin"):
        htk_mfcc(jnp.zeros(400), bands=200)


@pytest.mark.parametrize(
    ("stills", "masked", "count"), [(1, False, 41_691_877), (5, True, 41_762_437)]
)
def test_networks_have_the_published_number_of_weights(stills, masked, count):
    own = TalkingFace(
        FaceNet(), SpeechEncoder(), FaceDecoder(), Deblurring(2, 4), stills, masked_target=masked
    )
    batch = {
        "vision": jnp.zeros((1, 112, 112, 3 * (stills + masked))),
        "audio": jnp.zeros((1, 35, 12)),
    }
    outputs, made = jax.eval_shape(lambda: own.net.init_with_output(jax.random.key(0), batch, True))
    assert {x.shape for x in outputs.values()} == {(1, 112, 112, 3)}
    made["params"].pop("deblurring")
    assert sum(int(np.prod(x.shape)) for x in jax.tree.leaves(made["params"])) == count


def small(**knobs) -> TalkingFace:
    size = {"width": 0.02, "embedding": 4}
    return TalkingFace(
        FaceNet(**size),
        SpeechEncoder(**size),
        FaceDecoder(width=0.02),
        Deblurring(2, 4),
        **{"size": 32, "stills": 2, **knobs},
    )


def clock(seconds: float) -> Record:
    """A video whose brightness and audio say what time it is."""
    count = round(seconds * FPS)

    def frames(numbers):
        shades = np.asarray(numbers, np.uint8)
        return np.broadcast_to(shades[:, None, None, None], (len(shades), 32, 32, 3))

    def audio(start, end):
        return np.float32(np.arange(round(start * RATE), round(end * RATE)) / RATE / 100)

    return Record(
        "clock", 0, count, FPS, frames=frames, audio=audio, sample_rate=RATE, duration=seconds
    )


def test_audio_is_centred_on_the_frame_and_stills_are_apart():
    own, targets = small(), []
    for seed in range(60):
        example = own.views(clock(2.0), np.random.default_rng(seed))
        target = int(example["target"][0, 0, 0])
        assert example["audio"].shape == (5840,)
        # 100 (t / 25 - 0.175) is the first column.
        np.testing.assert_allclose(example["audio"][0] * 100, target / FPS - 0.175, atol=1e-4)
        assert (np.abs(example["vision"][:, 0, 0, 0].astype(int) - target) > 5).all()
        targets.append(target)
    assert min(targets) <= 7
    assert max(targets) >= 42
    with pytest.raises(MediaError, match="none is more than apart=40 away"):
        small(apart=40).views(clock(1.0), np.random.default_rng(0))
    with pytest.raises(MediaError, match=r"0\.41 s of audio are needed"):
        own.views(clock(0.3), np.random.default_rng(0))


def test_evaluation_has_what_training_has():
    own, record = small(), clock(2.0)
    times = own.times(record, "face", 5)
    clips = own.clips(record, "face", times)
    assert clips["vision"].shape == (5, 2, 32, 32, 3)
    shades = clips["target"][:, 0, 0, 0]
    np.testing.assert_allclose(clips["audio"][:, 0] * 100, shades / FPS - 0.175, atol=0.041)
    assert (np.abs(clips["vision"][..., 0, 0, 0].astype(int) - shades[:, None]) > 5).all()
    alone = own.clips(record, "vision", times)["vision"]
    np.testing.assert_array_equal(alone[:, 0, 0, 0, 0], [record.frame_at(t) for t in times])
    heard = own.clips(record, "audio", times)["audio"]
    np.testing.assert_allclose(heard[:, 0] * 100, np.array(times) - 0.175, atol=1e-4)


def test_the_masked_frame_is_the_last_still():
    def frames(numbers):
        return np.full((len(numbers), 32, 32, 3), 7, np.uint8)

    record = dataclasses.replace(clock(2.0), frames=frames)
    found = small(masked_target=True).views(record, np.random.default_rng(0))["vision"]
    assert found.shape == (3, 32, 32, 3)
    assert (found[:2] == 7).all()
    assert (found[2, :16] == 7).all()
    assert not found[2, 16:].any()
    np.testing.assert_array_equal(half_black(jnp.asarray(found[:1]))[0], found[2])


def test_images_of_a_row_are_flipped_alike_and_sharpening_begins_late():
    own = small()
    images = np.random.default_rng(0).integers(0, 255, (40, 3, 4, 4, 3)).astype(np.uint8)
    images[:, 1:] = images[:, :1]
    made = {"vision": images[:, :2], "target": images[:, 2], "audio": np.zeros((40, 9))}
    batch = jax.tree.map(jnp.asarray, made)
    for step, begun in ((69, 0), (70, 1)):
        state = {"run": {"step": jnp.int32(step), "steps": jnp.int32(100)}}
        made = own.augment(batch, state, jax.random.key(0))
        assert (np.asarray(made["sharpen"]) == begun).all()
    np.testing.assert_array_equal(made["vision"][:, 0], made["target"])
    flipped = (np.asarray(made["target"]) == images[:, 0, :, ::-1]).all(axis=(1, 2, 3))
    kept = (np.asarray(made["target"]) == images[:, 0]).all(axis=(1, 2, 3))
    assert (flipped ^ kept).all()
    assert 8 < flipped.sum() < 32


def test_the_loss_is_of_the_sharpened_frame_too_once_that_began():
    outputs = {"generated": jnp.full((2, 4, 4, 3), 0.5), "sharpened": jnp.full((2, 4, 4, 3), 0.3)}
    target = jnp.zeros((2, 4, 4, 3), jnp.uint8)
    stills = jnp.concatenate([jnp.full((2, 4, 4, 3), 0.1), jnp.ones((2, 4, 4, 3))], axis=-1)
    for weight, expected in ((0.0, 0.5), (1.0, 0.8)):
        batch = {"vision": stills, "target": target, "sharpen": jnp.full(2, weight)}
        loss, metrics = small().objective(outputs, batch)
        assert loss == pytest.approx(expected, rel=1e-6)
        assert metrics["still"] == pytest.approx(0.1, rel=1e-6)


class Flat(nn.Module):
    """A trunk of a dense layer."""

    @nn.compact
    def __call__(self, x, train):
        return {"fc7": nn.Dense(3)(x.reshape(len(x), -1))}


class Unfolded(nn.Module):
    """A decoder of a dense layer."""

    @nn.compact
    def __call__(self, face, speech, train):
        both = jnp.concatenate([face["fc7"], speech["fc7"]], axis=-1)
        return nn.Dense(48)(both).reshape(-1, 4, 4, 3)


def test_the_second_network_adds_nothing_at_first_and_teaches_the_generator_nothing():
    net = TalkingFace(Flat(), Flat(), Unfolded(), Deblurring(2, 4)).net
    batch = {"vision": jnp.ones((2, 4, 4, 6)) / 3, "audio": jnp.ones((2, 5, 2))}
    params = jax.jit(lambda: net.init(jax.random.key(0), batch, True))()["params"]

    @jax.jit
    def both(params):
        made = net.apply({"params": params}, batch, False)
        return jnp.sum((made["sharpened"] - 0.3) ** 2), made

    gradient, made = jax.grad(both, has_aux=True)(params)
    np.testing.assert_array_equal(made["generated"], made["sharpened"])
    for name, tree in gradient.items():
        moved = any(np.any(np.asarray(x)) for x in jax.tree.leaves(tree))
        assert moved == (name == "deblurring")


def test_drawn_mouths_open_as_wide_as_the_voice_is_high():
    source = TalkingSource(size=4)
    for record in source:
        times = np.arange(50) / FPS + 0.5 / FPS
        opening = record.extra["opening"](times)
        assert opening.min() < 0.3
        assert opening.max() > 0.7
        mouth = record.frames(range(50))[:, 44, 32].astype(int)  # below the middle
        dark = (mouth == (40, 10, 20)).all(axis=1)
        assert opening[dark].min() > opening[~dark].min()
        assert dark.any()
        wave = record.audio(0.0, 2.0)
        spectra = np.abs(np.fft.rfft(wave.reshape(50, -1) * np.hanning(640), axis=1))
        centres = (spectra * np.fft.rfftfreq(640, 1 / RATE)).sum(1) / spectra.sum(1)
        assert np.corrcoef(centres, opening)[0, 1] > 0.9
    again = TalkingSource(size=4)[3]
    np.testing.assert_array_equal(again.frames([7]), source[3].frames([7]))
    assert (again.frames([7]) != source[2].frames([7])).any()


def test_errors_are_of_all_of_what_moves_and_of_the_rest():
    rng = np.random.default_rng(0)
    found, target = rng.uniform(size=(2, 3, 4, 4, 3))
    moving = rng.uniform(size=(3, 4, 4)) < 0.4
    away = np.abs(found - target)
    expected = {
        "l1": away.mean(),
        "moving": np.mean([away[i][moving[i]].mean(-1).sum() for i in range(3)]) * 3 / moving.sum(),
        "rest": away[~moving].mean(),
    }
    assert errors(found, target, moving) == pytest.approx(expected)
    assert set(errors(found, target, np.zeros_like(moving))) == {"l1", "rest"}


class Drawer:
    """Stands for a run that draws the first still, as bright as its audio is high."""

    batch_size = 16

    def __init__(self, method):
        self.method, self.variables = method, {}

    def inputs(self, source, stream, limit):
        made = [self.method.clips(one, stream, self.method.times(one, stream, 1)) for one in source]
        return {name: np.stack([one[name] for one in made]) for name in made[0]}, None

    def maps(self, stream, inputs, layers):
        shade = np.round((inputs["audio"][:, 0] * 100 + 0.175) * FPS) / 255
        frame = np.broadcast_to(shade[:, None, None, None], (len(shade), 32, 32, 3))
        return dict.fromkeys(layers, np.float32(frame))


def test_what_is_said_of_frames_that_are_right_where_the_audio_is():
    source = [clock(seconds) for seconds in (3.0, 4.0, 5.0)]
    evaluator = TalkingFrames(source, least=0.0)
    found = dict(evaluator.run(Drawer(small())))
    own = small()
    clips = [own.clips(one, "face", own.times(one, "face", 1)) for one in source]
    target, still = ([int(x[name].reshape(-1)[0]) for x in clips] for name in ("target", "vision"))
    for name, frames in (
        ("generated", target),
        ("sharpened", target),
        ("other_audio", np.roll(target, 1)),
        ("still", still),
    ):
        expected = np.abs(np.array(frames) - target).mean() / 255
        assert found[f"{name}/l1"] == pytest.approx(expected, abs=1e-6)
        assert found[f"{name}/moving"] == pytest.approx(expected, abs=1e-6)
    assert found["faces"].dtype == np.uint8
    with pytest.raises(ConfigError, match="is for TalkingFace, this run is of FaceNet"):
        evaluator.check(Drawer(FaceNet()))


def test_windows_of_an_audio_file_are_silent_before_and_after_it():
    wave = np.arange(1, 8001, dtype=np.float32)  # half a second
    found = windows_of(wave, small(), 0.5)
    assert found.shape == (12, 5840)
    assert not found[0, :2800].any()  # 0.175 s
    assert found[0, 2800] == 1
    assert found[5, 2800] == 1 + 5 * 640
    assert found[11, 2800 + 8000 - 11 * 640 - 1] == 8000
    assert not found[11, 2800 + 8000 - 11 * 640 :].any()
    assert windows_of(wave[:10], small(), 0.001).shape == (1, 5840)


class Speaker:
    """Stands for a run that makes the mean still brighter the louder a window's middle is."""

    batch_size = 8

    def __init__(self):
        self.method, self.variables = self, {}

    window_seconds, lead, sample_rate, stills, size = 0.365, 0.175, RATE, 2, 32

    def talk(self, variables, stills, waves):
        loud = jnp.abs(waves[:, 2500:3100]).max(axis=1)
        frame = stills.astype(jnp.float32).mean(0)
        return (frame + 100 * loud[:, None, None, None]).astype(jnp.uint8)


def test_a_person_says_what_an_audio_file_says(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(apply, "load", lambda workdir: Speaker())
    monkeypatch.setattr(apply, "check", lambda *_: None)
    for name, shade in (("a", 40), ("b", 60), ("c", 0)):
        Image.new("RGB", (48, 40), (shade,) * 3).save(tmp_path / f"{name}.png")
    image, other, third = (str(tmp_path / f"{name}.png") for name in "abc")
    t = np.arange(RATE) / RATE
    wave = (0.9 * np.sin(2 * np.pi * 300 * t) * (t > 0.5))[None]
    audio = media.write(tmp_path / "said.wav", frames=0, wave=wave)
    apply.main(["talk", image, other, f"--audio={audio}", "--workdir=run", f"--output={tmp_path}"])
    target = str(tmp_path / "said.mp4")
    assert capsys.readouterr().out == f"{target}: 25 frames of 2 images\n"
    (made,) = FilesSource((target,))
    assert (made.num_frames, made.fps) == (25, 25)
    shades = made.frames(list(range(25))).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(shades[:12], 50, atol=3)
    np.testing.assert_allclose(shades[14:], 140, atol=4)
    assert made.audio(0.1, 0.4).std() < 0.01
    assert made.audio(0.6, 0.9).std() == pytest.approx(0.9 / np.sqrt(2), rel=0.05)
    here = "--workdir=run"
    for argv, message in (
        ([image, here], "--audio=FILE missing"),
        ([image, other, third, f"--audio={audio}", here], "3 images; the run takes 2"),
        ([image, f"--audio={image}", here, f"--output={tmp_path / 'o'}"], "has no audio"),
    ):
        with pytest.raises((ConfigError, MediaError), match=message):
            apply.main(["talk", *argv])
