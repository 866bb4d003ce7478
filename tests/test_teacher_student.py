"""SoundNet: its networks, the authors' weighting of the divergence, and labels from any teacher."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from sklearn.linear_model import LogisticRegression

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError, Record
from ssl_jax.methods.audio.teacher_student import TeacherStudent, TeacherStudentNet
from ssl_jax.models.soundnet import SoundNet
from ssl_jax.objectives.soft_labels import divergence
from ssl_jax.soft_labels import soft_labels, write_of
from ssl_jax.train import fit
from ssl_jax.training.trained import load


@pytest.mark.parametrize(
    ("depth", "head", "lengths", "count"),
    [
        (8, (8, 2, 0), (220501, 27562, 13782, 1722, 862, 432, 217, 54, 28, 15, 4), 14_352_713),
        (5, (16, 12, 4), (220501, 27562, 13782, 1722, 862, 107, 54, 4), 6_202_137),
    ],
)
def test_networks_have_the_released_lengths_and_numbers_of_weights(depth, head, lengths, count):
    trunk = SoundNet(depth=depth)
    net, wave = TeacherStudentNet(trunk, (1000, 401), head), jnp.zeros((1, 441_000))
    key = jax.random.key(0)
    outputs, made = jax.eval_shape(lambda: net.init_with_output(key, {"audio": wave}, False))
    layers = jax.eval_shape(lambda: trunk.init_with_output(key, wave, False)[0])
    found = [layers[name].shape[1] for name in sorted(layers, key=lambda n: -layers[n].shape[1])]
    assert (*found, outputs["teacher1"].shape[1]) == lengths
    assert [x.shape[2] for x in outputs.values()] == [1000, 401]
    assert sum(int(np.prod(x.shape)) for x in jax.tree.leaves(made["params"])) == count


def test_five_seconds_are_too_few_for_the_head_of_eight_layers():
    net = TeacherStudentNet(SoundNet(), (10,), (8, 2, 0))
    batch = {"audio": jnp.zeros((1, 110_250))}
    with pytest.raises(ConfigError, match="leaves 4 steps of the audio, fewer than the 8"):
        jax.eval_shape(lambda: net.init(jax.random.key(0), batch, True))


def test_divergence_of_two_distributions_as_it_is_and_as_the_authors_weigh_it():
    p, q = {"t": jnp.array([[[0.7, 0.2, 0.1]]])}, {"t": jnp.log(jnp.array([[[0.5, 0.3, 0.2]]]))}
    loss, metrics = divergence(q, p, "segments", 1.0)
    assert loss == pytest.approx(0.085123, abs=1e-6)
    assert metrics == {"divergence": pytest.approx(0.085123, abs=1e-6), "accuracy": 1.0}
    assert divergence(q, p, "elements", 1.0)[0] == pytest.approx(0.028374, abs=1e-6)


def test_a_student_that_knows_nothing_loses_what_the_authors_would():
    rng = np.random.default_rng(0)
    ids = {k: rng.integers(0, k, (3, 4)) for k in (1000, 401)}
    sure = {f"t{k}": jnp.asarray(np.eye(k, dtype=np.float32)[own]) for k, own in ids.items()}
    nothing = {name: jnp.zeros(p.shape) for name, p in sure.items()}
    loss, slopes = jax.jit(jax.value_and_grad(lambda q: divergence(q, sure)[0]))(nothing)
    assert loss == pytest.approx(2.731911, abs=1e-5)
    # 250 / 8 / 1000 of the ordinary gradient in each segment, a mean over three rows.
    expected = 0.03125 / 3 * (1 / 1000 - np.asarray(sure["t1000"]))
    np.testing.assert_allclose(slopes["t1000"], expected, rtol=1e-4, atol=1e-9)


def ramp(seconds: float, name: str = "ramp") -> Record:
    """A video whose frames say their number, and whose samples say their time."""

    def frames(numbers):
        shades = np.asarray(numbers, np.uint8)
        return np.broadcast_to(shades[:, None, None, None], (len(shades), 4, 4, 3))

    def audio(start, end):
        return (np.arange(round(start * 1000), round(end * 1000)) / 1000).astype(np.float32)

    count = round(seconds * 10)
    return Record(
        name, 0, count, 10.0, frames=frames, audio=audio, sample_rate=1000, duration=seconds
    )


def method(**knobs) -> TeacherStudent:
    small = {"sample_rate": 1000, "head": (4, 1, 1), "seconds": 8.0}
    return TeacherStudent(SoundNet(depth=5, width=0.0625), **{**small, **knobs})


def test_short_audio_is_repeated_and_its_labels_with_it():
    own = method(classes=3)
    assert own.segments == 1
    wave = own.clips(ramp(3.0), "audio", [0.0])["audio"][0]
    np.testing.assert_allclose(wave, np.arange(8000) % 3000 / 1000, atol=1e-6)
    assert own.segment_times(ramp(3.0), 1) == [pytest.approx(1.0)]  # of 4.0 in the repeated audio
    assert own.segment_times(ramp(20.0), 1) == [pytest.approx(4.0)]


def test_any_function_of_frames_is_a_teacher_and_its_labels_stay_with_their_records(tmp_path):
    path = str(tmp_path / "said" / "labels.npz")

    def teacher(frames):
        share = frames[:, 0, 0, :1] / 100.0
        return np.concatenate([share, 1 - share], axis=1)

    maker = method(classes=2)
    write_of(path, maker, [ramp(5.0)], teacher)
    own = method(soft_labels=(path,))
    example = own.views(ramp(5.0), np.random.default_rng(0))
    # The middle of 8 seconds is 4.0 s, frame 40.
    np.testing.assert_allclose(example["teacher1/target"], [[0.4, 0.6]])
    assert example["audio"].shape == (8000,)
    assert own.net.classes == (2,)
    with pytest.raises(MediaError, match=r"other: .* has no labels of this record"):
        own.views(ramp(5.0, "other"), np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"make it with python -m ssl_jax\.soft_labels"):
        method(soft_labels=(str(tmp_path / "none.npz"),)).views(ramp(5.0), np.random.default_rng(0))


def test_a_probe_of_a_run_is_a_teacher(tmp_path):
    teacher = tiny.experiment(steps=1)
    teacher.sharding.devices = 1
    fit(teacher, tmp_path / "teacher")
    student = configs.load("configs/audio/teacher_student_flickr.py:tiny")
    student.method.classes = 0
    student.method.soft_labels = (str(tmp_path / "labels.npz"),)
    student.source = teacher.source
    said, numbers = soft_labels(student, tmp_path / "teacher")
    source = configs.build(student).source
    frozen = load(tmp_path / "teacher")  # 0.5 s of the repeated audio is again its beginning
    features = frozen.features(source, "vision", ("pool",), times=lambda _: [0.0])
    x = features.layers["pool"].astype(float)
    x = (x - x.mean(0)) / x.std(0)
    probe = LogisticRegression(C=1 / (24 * 1e-3), tol=1e-8, max_iter=10_000)
    expected = probe.fit(x, features.labels).predict_proba(x)
    np.testing.assert_array_equal(numbers, np.arange(24))
    np.testing.assert_allclose(said[:, 0], expected, atol=2e-3)
    built = configs.build(student).method
    example = built.views(source[3], np.random.default_rng(0))
    np.testing.assert_array_equal(example["teacher1/target"], said[3])
    with pytest.raises(ConfigError, match="should be of a TeacherStudent"):
        soft_labels(teacher, tmp_path / "teacher")


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({}, "give soft_labels"),
        ({"classes": 2, "soft_labels": ("a.npz",)}, "give soft_labels"),
        ({"classes": 2, "head": (0, 1, 0)}, "a kernel and a stride of 1 or more"),
        ({"classes": 2, "weighting": "batch"}, "one of elements, segments"),
    ],
)
def test_what_cannot_be_learnt_is_refused(knobs, message):
    with pytest.raises(ConfigError, match=message):
        method(**knobs)


def test_a_file_of_other_segments_is_refused():
    own = method(classes=2)
    with pytest.raises(ConfigError, match="2 segments a record, the network answers for 1"):
        own.objective({"teacher1": jnp.zeros((3, 1, 2))}, {"teacher1/target": jnp.zeros((3, 2, 2))})
