"""Fine-tuning: what is learnt and taken over, what is judged, and how runs are fused."""

import dataclasses
import functools
import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from computed import Computed, features

from ssl_jax import config as configs
from ssl_jax import fuse, train
from ssl_jax.config import ConfigError, call
from ssl_jax.data.flow import flow_from_bytes, optical_flow
from ssl_jax.data.image import cover, ten_crops
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals.finetuned import Classification, Pose, Scores, SeveralClasses, sigmoid, softmax
from ssl_jax.methods.finetune import Finetune
from ssl_jax.methods.label_tasks import Joints, OneLabel, SeveralLabels
from ssl_jax.objectives.classification import several_classes
from ssl_jax.objectives.pose import joint_squares
from ssl_jax.optim import Optimizer
from ssl_jax.scores.average_precision import average_precision
from ssl_jax.training import start
from ssl_jax.training.checkpoint import TrainState
from ssl_jax.training.start import with_trunks


@dataclasses.dataclass(frozen=True)
class Lamps:
    """Pictures of noise in which one of three colours is brighter: the label."""

    size: int = 48
    seed: int = 0

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, index])
        label = int(rng.integers(3))
        picture = rng.integers(0, 120, (1, 8, 8, 3), dtype=np.uint8)
        picture[..., label] += 100

        def frames(numbers):
            return np.repeat(picture, len(numbers), axis=0)

        return Record(f"lamp {index}", index, 1, 1.0, frames=frames, label=label)


def lamps(**changes):
    method = call(
        Finetune,
        task=call(OneLabel, classes=3),
        vision=call(tiny.TinyTrunk),
        height=8,
        width=8,
        crop=8,
    )
    arguments = {
        "source": call(Lamps),
        "method": method,
        "optimizer": call(Optimizer, name="sgd", learning_rate=0.05),
        "steps": 30,
        "batch_size": 16,
        "sharding": call(Sharding, devices=1),
        "evaluators": {"test": call(Classification, test=call(Lamps, size=60, seed=1), clips=2)},
    }
    return tiny.experiment(**{**arguments, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    workdir = str(tmp_path_factory.mktemp("lamps"))
    train.fit(lamps(), workdir)
    return workdir


def results(workdir) -> dict:
    with open(os.path.join(workdir, "results.json")) as file:
        return json.load(file)


# Learning -----------------------------------------------------------------------------------------


def test_it_learns_what_can_be_told_and_nothing_from_shuffled_labels(run, tmp_path):
    learnt = results(run)["trained"]
    assert learnt["test/softmax"] == learnt["test/logits"] == learnt["test/one clip"] == 1
    assert learnt["test/softmax/per_class"] == 1
    assert "test/softmax/top5" not in learnt
    assert learnt["test/chance"] < 0.5
    train.fit(lamps(control=("target",)), str(tmp_path))
    # A third is chance; 60 pictures, each right or wrong, scatter by 0.061 about it.
    assert results(tmp_path)["trained"]["test/softmax"] < 1 / 3 + 4 * 0.061


def test_it_starts_from_the_trunk_of_another_run_and_learns_a_head_of_its_own(
    run, tmp_path, capsys
):
    pretext = str(tmp_path / "pretext")
    before = train.fit(tiny.experiment(steps=2, sharding=call(Sharding, devices=1)), pretext)
    config = lamps(
        source=call(SyntheticSource, size=24, frames=2, height=32, width=32),
        init_from=pretext,
        steps=0,
        evaluators={},
    )
    config.method.task.classes = 4
    after = train.fit(config, str(tmp_path / "finetuned"))
    assert f"init_from: vision from {pretext}\n" in capsys.readouterr().out
    for part in ("params", "state"):
        one, other = (
            state.params["vision"] if part == "params" else state.state["batch_stats"]["vision"]
            for state in (before, after)
        )
        assert all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))
    assert after.params["head"]["kernel"].shape == (16, 4)


@pytest.mark.parametrize(
    ("tuned", "pretext"),
    [
        ("finetune/cifar10.py", "image/rotation_cifar10.py"),
        ("finetune/cifar10.py:fashion", "image/rotation_cifar10.py:fashion"),
        ("finetune/voc2007.py", "image/rotation_imagenet.py"),
        ("finetune/flic.py", "video/order_prediction_ucf101.py"),
        ("finetune/ucf101.py:arrow_of_time", "video/arrow_of_time_ucf101.py"),
        ("finetune/ucf101.py:dense_prediction", "video/dense_prediction_ucf101.py"),
        ("finetune/ucf101.py:odd_one_out", "video/odd_one_out_ucf101.py"),
        ("finetune/ucf101.py:order_prediction", "video/order_prediction_ucf101.py"),
        ("finetune/ucf101.py:shuffle_and_learn", "video/shuffle_and_learn_ucf101.py"),
        ("finetune/hmdb51.py", "video/clip_order_ucf101.py"),
        ("finetune/hmdb51.py:frames", "video/cross_and_learn_ucf101.py"),
        ("finetune/hmdb51.py:differences", "video/cross_and_learn_ucf101.py"),
        ("finetune/hmdb51.py:flow_vgg", "video/cross_and_learn_ucf101.py:vgg"),
    ],
)
def test_the_trunk_of_a_config_is_that_of_the_run_it_starts_from(tuned, pretext):
    """Both files spell it out, so one could be changed without the other."""
    root = pathlib.Path(__file__).parent.parent / "configs"
    method, other = (
        configs.build(configs.load(f"{root}/{name}").method) for name in (tuned, pretext)
    )
    (stream,) = method.streams
    fields = (method.frames - 1, method.crop, method.crop, 2)
    clip = fields if stream == "flow" else (method.frames, method.crop, method.crop, 3)
    raw = jnp.zeros((1, *(clip if method.frames else clip[1:])), jnp.uint8)
    theirs_name = stream if stream in other.trunks else "vision"  # init_from says which

    def variables(trunk):
        return trunk.init(jax.random.key(0), method.inputs({stream: raw})[stream], train=False)

    own, theirs = (
        jax.eval_shape(functools.partial(variables, getattr(m, name)))
        for m, name in ((method, stream), (other, theirs_name))
    )
    for part, layers in own.items():
        assert layers.keys() <= theirs[part].keys()
        assert layers == {name: theirs[part][name] for name in layers}


def trunks(own: dict, other: dict, capsys, monkeypatch) -> tuple[dict, str]:
    """The trunk's weights after `init_from`, and what is said."""
    state = TrainState(jnp.zeros((), jnp.int32), jax.random.key(0), {"vision": own}, {}, {})
    experiment = configs.build(tiny.experiment(init_from="runs/x"))
    monkeypatch.setattr(start, "saved_variables", lambda run: {"params": {"vision": other}})
    after = with_trunks(state, experiment)
    return after.params["vision"], capsys.readouterr().out


def test_layers_that_are_not_needed_are_left_behind(capsys, monkeypatch):
    conv, fc6 = {"kernel": jnp.ones((2, 3))}, {"kernel": jnp.ones((9, 9))}
    own = {"conv1": {"kernel": jnp.zeros((2, 3))}}
    taken, said = trunks(own, {"conv1": conv, "fc6": fc6}, capsys, monkeypatch)
    assert said == "init_from: vision from runs/x, without vision/fc6\n"
    assert list(taken) == ["conv1"]
    assert (taken["conv1"]["kernel"] == 1).all()
    with pytest.raises(ConfigError, match=r"runs/x has no vision/fc6; it has conv1$"):
        trunks({**own, "fc6": fc6}, {"conv1": conv}, capsys, monkeypatch)
    message = r"vision/conv1/kernel is \(9, 9\) in runs/x, and \(2, 3\) in this config's trunk"
    with pytest.raises(ConfigError, match=message):
        trunks(own, {"conv1": fc6}, capsys, monkeypatch)


@pytest.mark.parametrize("still", [False, True])
def test_a_still_trunk_keeps_its_statistics_and_a_frozen_one_its_weights(still):
    method = configs.build(lamps().method)
    method = dataclasses.replace(method, still=still)
    raw = np.stack([Lamps()[i].frames([0])[0] for i in range(8)])
    batch = {"vision": jnp.asarray(raw), "target": jnp.array([Lamps()[i].label for i in range(8)])}
    key = jax.random.key(0)
    variables = method.init(key, batch, 8)
    params = variables.pop("params")
    optimizer = Optimizer(name="sgd", freeze=("vision",)).build(1)

    @jax.jit
    def step(params, state):
        gradients, (state, _) = jax.grad(method.loss, has_aux=True)(params, state, batch, key)
        return optimizer.update(gradients, optimizer.init(params), params)[0], state

    updates, state = step(params, variables)
    assert not any(jnp.any(u) for u in jax.tree.leaves(updates["vision"]))
    assert all(jnp.any(u) for u in jax.tree.leaves(updates["head"]))
    same = jax.tree.leaves(jax.tree.map(np.array_equal, variables, state))
    assert all(same) == still


def test_the_heads_answers_are_a_layer(run):
    from ssl_jax import load

    frozen = load(run)
    layers = frozen.encode("vision", seen(frozen.method, Lamps()[0], 3))
    assert list(layers) == ["input", "hidden", "pool", "head"]
    weights = frozen.variables["params"]["head"]
    expected = layers["pool"] @ np.asarray(weights["kernel"]) + np.asarray(weights["bias"])
    np.testing.assert_allclose(layers["head"], expected, atol=1e-5)


# Inputs and targets -------------------------------------------------------------------------------


def video(frames=30, height=20, width=30, **facts) -> Record:
    """Frame k is of brightness k at the left and 100 + k at the right."""

    def decode(numbers):
        shown = np.zeros((len(numbers), height, width, 3), np.uint8)
        shown += np.asarray(numbers, np.uint8)[:, None, None, None]
        shown[:, :, width // 2 :] += 100
        return shown

    return Record("video", 0, frames, 25.0, frames=decode, **facts)


def method(**knobs) -> Finetune:
    arguments = {"task": OneLabel(5), "vision": tiny.TinyTrunk(), "crop": 8}
    return Finetune(**{**arguments, "height": 10, "width": 15, **knobs})


def seen(method, record, count: int) -> np.ndarray:
    """Evenly spread evaluation inputs."""
    (stream,) = method.streams
    return method.clips(record, stream, method.times(record, stream, count))[stream]


def test_ten_clips_are_spread_over_the_video_and_cut_from_the_middle():
    clips = seen(method(frames=16), video(100), 10)
    assert clips.shape == (10, 16, 8, 8, 3)
    # VCOP's starts.
    assert clips[:, 0, 0, 0, 0].tolist() == [0, 9, 18, 28, 37, 46, 56, 65, 74, 84]
    assert clips[3, :, 0, 0, 0].tolist() == list(range(28, 44))
    # Of 15 columns the middle 8 are 3 to 10; the right half begins between columns 7 and 8.
    assert (clips[0, 0, 0, [0, 3], 0] == 0).all()
    assert (clips[0, 0, 0, [5, 7], 0] == 100).all()
    np.testing.assert_array_equal(clips, seen(method(frames=16), video(100), 10))


def test_short_videos_repeat_their_last_frame_in_training_too():
    short = video(5, label=2)
    clip = seen(method(frames=4, stride=2), short, 1)
    assert clip[0, :, 0, 0, 0].tolist() == [0, 2, 4, 4]
    example = method(frames=4, stride=2).views(short, np.random.default_rng(0))
    assert example["vision"][:, 0, 0, 0].tolist() == [0, 2, 4, 4]
    assert example["target"] == 2
    example = method().views(short, np.random.default_rng(0))
    assert example["vision"].shape == (10, 15, 3)


def test_ten_crops_of_every_frame_stand_together():
    picture = np.arange(4 * 6, dtype=np.uint8).reshape(1, 4, 6, 1)
    crops = ten_crops(picture, 2)[..., 0]
    assert crops[:5, 0, 0, 0].tolist() == [1 * 6 + 2, 0, 4, 12, 16]
    np.testing.assert_array_equal(crops[5:], crops[:5, :, :, ::-1])
    rows = seen(method(crops=10), video(25), 250)
    assert rows.shape == (250, 8, 8, 3)
    frames = rows.reshape(25, 10, 8, 8, 3)
    # Upper left, and the upper right mirrored: both are dark in the first column, or both bright.
    assert (frames[:, 1, 0, 0, 0] == np.arange(25)).all()
    assert (frames[:, 2, 0, -1, 0] == np.arange(25) + 100).all()
    assert (frames[:, 7, 0, 0, 0] == np.arange(25) + 100).all()
    clips = seen(method(frames=4, crops=10), video(), 20)
    assert clips.shape == (20, 4, 8, 8, 3)
    np.testing.assert_array_equal(clips[0], seen(method(frames=4), video(), 2)[0])
    # Fewer than ten are the first of them.
    np.testing.assert_array_equal(seen(method(crops=10), video(25), 3)[0], rows[12 * 10])


def test_frames_are_stretched_or_cut():
    stripes = np.zeros((1, 10, 30, 1), np.uint8)
    stripes[:, :, 10:20] = 200
    assert (cover(stripes, (5, 5)) == 200).all()
    assert cover(stripes, (20, 30)).shape == (1, 20, 30, 1)
    assert (cover(stripes[:, :, :10], (3, 7)) == 0).all()
    stretched, cut = (method(fit=fit, height=10, width=10, crop=10) for fit in ("stretch", "cut"))
    wide = video(1, height=10, width=30)
    assert seen(stretched, wide, 1)[0, 0, [3, 6], 0].tolist() == [0, 100]
    assert seen(stretched, wide, 1).shape == seen(cut, wide, 1).shape


def test_every_frame_of_a_clip_is_augmented_alike():
    still = np.random.default_rng(0).integers(0, 255, (1, 10, 15, 3), dtype=np.uint8)
    clips = jnp.asarray(np.broadcast_to(still, (6, 4, 10, 15, 3)))
    for knobs in ({"padding": 2}, {"area": (0.3, 1.0), "jitter": 0.5}):
        batch = {"vision": clips, "target": jnp.zeros(6, jnp.int32)}
        augment = jax.jit(method(frames=4, **knobs).augment)
        out = augment(batch, {}, jax.random.key(0))["vision"]
        assert out.shape == (6, 4, 8, 8, 3)
        np.testing.assert_allclose(out, jnp.broadcast_to(out[:, :1], out.shape), atol=1e-6)
        assert len(np.unique(np.asarray(out[:, 0]).reshape(6, -1), axis=0)) > 1


def test_differences_are_another_modality():
    motion = method(vision=None, difference=tiny.TinyTrunk(), frames=3)
    assert motion.trunks == ("difference",)
    assert set(motion.views(video(label=1), np.random.default_rng(0))) == {"difference", "target"}
    raw = {"difference": jnp.asarray(seen(motion, video(), 2))}
    found = motion.inputs(raw)["difference"]
    np.testing.assert_allclose(found, np.full((2, 8, 8, 6), 1 / 255), rtol=1e-5)
    centred = method(mean=(0.5,) * 3, std=(0.25,) * 3)
    assert centred.prepare("vision", jnp.ones((1, 1, 1, 3))).tolist() == [[[[2.0] * 3]]]


def noise(frames=12, height=24, width=36) -> Record:
    pixels = np.random.default_rng(0).integers(0, 255, (frames, height, width, 3), np.uint8)
    return Record(
        "noise", 0, frames, 25.0, frames=lambda k: pixels[np.asarray(k)], duration=0.4, label=1
    )


FIELDS = {"vision": None, "flow": tiny.TinyTrunk(), "frames": 3, "height": 24, "width": 24}
CUT = {**FIELDS, "fit": "cut", "crop": 16}


def test_flow_is_another_modality():
    motion, record = method(**CUT, bound=5.0), noise()
    assert motion.trunks == ("flow",)
    example = motion.views(record, np.random.default_rng(0))
    assert example["flow"].shape == (2, 24, 24, 2)
    assert example["target"] == 1
    fields = optical_flow(record.frames(np.arange(12)))[:, :, 6:30]  # the middle of 36 columns
    starts = np.abs(fields[:, None] - flow_from_bytes(example["flow"], 5.0)[None]).mean((2, 3, 4))
    first = int(starts[:, 0].argmin())
    inside = np.abs(fields[first]) < 5
    difference = np.abs(flow_from_bytes(example["flow"][0], 5.0) - fields[first])
    assert difference[inside].max() <= 10 / 255
    assert int(starts[:, 1].argmin()) == first + 1
    clips = seen(motion, record, 2)
    assert clips.shape == (2, 2, 16, 16, 2)
    made = motion.inputs({"flow": jnp.asarray(clips)})["flow"]
    assert made.shape == (2, 16, 16, 4)
    np.testing.assert_allclose(made.mean((1, 2)), np.zeros((2, 4)), atol=1e-3)


def test_mirrored_flow_is_negated_in_training_and_in_ten_crops():
    motion = method(**CUT, crops=10)
    rows = seen(motion, noise(), 10)
    assert rows.shape == (10, 2, 16, 16, 2)
    u, v = (rows[..., c].astype(int) for c in (0, 1))
    np.testing.assert_array_equal(u[5:], 256 - u[:5, :, :, ::-1])
    np.testing.assert_array_equal(v[5:], v[:5, :, :, ::-1])
    one = dataclasses.replace(motion, crops=1)
    np.testing.assert_array_equal(rows[0], seen(one, noise(), 1)[0])
    batch = {"flow": jnp.asarray(rows[:4]), "target": jnp.zeros(4, jnp.int32)}
    always = dataclasses.replace(one, flip=1.0, reverse=1.0)
    found = np.asarray(always.augment(batch, {}, jax.random.key(0))["flow"]).astype(int)
    # Mirrored, u is negated; backwards, both are: u twice.
    np.testing.assert_array_equal(found[..., 0], u[:4, ::-1, :, ::-1])
    np.testing.assert_array_equal(found[..., 1], 256 - v[:4, ::-1, :, ::-1])


def test_clips_are_mirrored_and_reversed_independently():
    shades = jnp.arange(12, dtype=jnp.uint8).reshape(1, 3, 1, 4, 1)
    clips = jnp.broadcast_to(shades, (64, 3, 4, 4, 3))
    batch = {"vision": clips, "target": jnp.zeros(64, jnp.int32)}
    half = method(frames=3, crop=4, height=4, width=4, reverse=0.5, flip=0.5)
    made = np.asarray(half.augment(batch, {}, jax.random.key(0))["vision"])[:, :, 0, :, 0]
    ways = {(bool(x[0, 0] > x[0, -1]), bool(x[0, 0] > x[-1, 0])) for x in made.astype(int)}
    assert len(ways) == 4


def test_clips_run_backwards_and_windows_follow_motion():
    clips = jnp.asarray(np.arange(3, dtype=np.uint8)[None, :, None, None, None])
    clips = jnp.broadcast_to(clips, (4, 3, 8, 8, 3))
    batch = {"vision": clips, "target": jnp.zeros(4, jnp.int32)}
    back = method(frames=3, reverse=1.0, flip=0.0).augment(batch, {}, jax.random.key(0))
    np.testing.assert_array_equal(back["vision"], clips[:, ::-1])

    def moves_at_the_end(numbers):
        step = np.where(np.asarray(numbers) > 17, 90 * (np.asarray(numbers) % 2), 7)
        return np.broadcast_to(step.astype(np.uint8)[:, None, None, None], (len(step), 10, 15, 3))

    record = Record("video", 0, 20, 25.0, frames=moves_at_the_end, duration=0.8, label=0)
    chosen = method(frames=3, candidates=20).views(record, np.random.default_rng(0))
    assert chosen["vision"].max() == 90


def test_targets_of_each_task():
    rng = np.random.default_rng(0)
    several = method(task=SeveralLabels(4))
    extra = {"labels": "0 2", "labels_no_difficult": "2"}
    assert several.views(video(extra=extra), rng)["target"].tolist() == [-1, -1, 1, -1]
    left_out = method(task=SeveralLabels(4, "left_out"))
    assert left_out.views(video(extra=extra), rng)["target"].tolist() == [0, -1, 1, -1]
    assert several.views(video(label=3), rng)["target"].tolist() == [-1, -1, -1, 1]
    pose = method(task=Joints(2), height=8, width=8, flip=0.0)
    extra = {"joints": lambda k: np.array([[15.0, k], [np.nan, 3.0]])}
    example = pose.views(video(extra=extra), np.random.default_rng(1))
    frame = int(example["vision"][0, 0, 0])
    np.testing.assert_allclose(example["target"][0], [15 / 30, frame / 20])
    assert np.isnan(example["target"][1]).all()


@pytest.mark.parametrize(
    ("task", "facts", "message"),
    [
        (OneLabel(5), {"label": 5}, "video: label 5 is none of the 5 classes"),
        (OneLabel(5), {}, "video: label -1 is none"),
        (SeveralLabels(3), {"extra": {"labels": "1 3"}}, "video: label 3 is none of the 3 classes"),
        (SeveralLabels(3), {}, "video: has no labels"),
        (Joints(3), {"extra": {"joints": np.zeros((30, 2, 2))}}, "video: has 2 joints, not 3"),
        (Joints(3), {}, "video: has no joints"),
    ],
)
def test_a_record_that_cannot_be_a_target_is_named(task, facts, message):
    knobs = {"height": 8, "width": 8, "flip": 0.0} if isinstance(task, Joints) else {}
    with pytest.raises(MediaError, match=message):
        method(task=task, **knobs).views(video(**facts), np.random.default_rng(0))


def test_knobs_that_do_not_go_together():
    for knobs, message in (
        ({"vision": None}, "give one trunk, vision, difference or flow"),
        ({"difference": tiny.TinyTrunk()}, "give one trunk"),
        ({"vision": None, "difference": tiny.TinyTrunk()}, "differences and flow need frames=2"),
        ({"reverse": 0.5}, "candidates and reverse are of clips: give frames"),
        ({**FIELDS, "padding": 2}, "flow takes plain crops"),
        ({**FIELDS, "task": Joints(2), "flip": 0.0}, "joints are of frames, not of flow"),
        ({"fit": "pad"}, "fit='pad' must be one of"),
        ({"pool": "sum"}, "pool='sum' must be one of"),
        ({"crops": 5}, "crops=5 must be one of 1, 10"),
        ({"area": (0.1,)}, "must be a smallest and a largest share"),
        ({"task": Joints(2)}, "joints would have to move with the image"),
    ):
        with pytest.raises(ValueError, match=message):
            method(**knobs)
    with pytest.raises(ValueError, match="must be one of negative, left_out"):
        SeveralLabels(3, "ignored")
    batch = {"vision": jnp.zeros((2, 8, 8, 3)), "target": jnp.zeros(2, jnp.int32)}
    with pytest.raises(ValueError, match="no layer 'conv9' in the trunk; it has hidden, pool"):
        jax.eval_shape(lambda: method(layer="conv9").init(jax.random.key(0), batch, 8))


def test_objectives_against_loops():
    rng = np.random.default_rng(0)
    logits, shown = rng.normal(size=(4, 3)).astype(np.float32), rng.integers(-1, 2, (4, 3))
    loss, metrics = several_classes(jnp.asarray(logits), jnp.asarray(shown, jnp.int32))
    terms = [
        (np.log1p(np.exp(-s * z)), (z > 0) == (s > 0))
        for z, s in zip(logits.ravel(), shown.ravel(), strict=True)
        if s
    ]
    np.testing.assert_allclose([loss, metrics["accuracy"]], np.mean(terms, axis=0), rtol=1e-5)
    places = jnp.array([[[0.5, 0.5], [np.nan, 0.1]], [[0.1, 0.2], [0.3, 0.4]]])
    predicted = places.at[0, 1].set(7.0) + jnp.array([0.3, 0.4])

    def of(predicted):
        return joint_squares(predicted, places)[0]

    assert of(predicted) == pytest.approx(0.25, rel=1e-5)
    assert joint_squares(predicted, places)[1]["distance"] == pytest.approx(0.5, rel=1e-5)
    gradient = jax.grad(of)(predicted)
    np.testing.assert_allclose(gradient[0, 1], 0)
    np.testing.assert_allclose(gradient[1, 1], [0.2, 0.8 / 3], rtol=1e-4)
    assert joint_squares(predicted[:1, 1:], places[:1, 1:])[0] == 0


# Judging ------------------------------------------------------------------------------------------


def judged(evaluator, labels, head) -> dict:
    frozen = Computed(((evaluator.test, features(labels, head=head)),))
    return dict(evaluator.run(frozen))


def test_the_mean_softmax_and_the_mean_logits_may_disagree():
    logits = np.array([[[10.0, 0.0], [0.0, 2.0], [0.0, 2.0]]])
    np.testing.assert_allclose(softmax(logits).mean(axis=1), [[0.412787, 0.587213]], atol=1e-6)
    found = judged(Classification("test", clips=3), [1], logits)
    assert (found["softmax"], found["logits"]) == (1, 0)
    assert found["one clip"] == pytest.approx(2 / 3)
    found = judged(Classification("test", clips=3), [0], logits)
    assert (found["softmax"], found["logits"]) == (0, 1)


def test_top_five_and_accuracy_per_class():
    # The right class is the first, the third, the sixth and the seventh.
    logits = np.tile(-np.arange(7.0), (4, 1, 1))
    found = judged(Classification("test", clips=1), [0, 2, 5, 6], logits)
    assert (found["softmax"], found["softmax/top5"]) == (0.25, 0.5)
    found = judged(Classification("test", clips=1), [0, 0, 0, 6], logits)
    assert (found["logits"], found["logits/per_class"], found["chance"]) == (0.75, 0.5, 0.75)


def test_labels_beyond_the_head_and_answers_that_are_no_numbers():
    logits = np.tile([2.0, 1.0, 0.0], (2, 1, 1))
    with pytest.raises(
        ConfigError, match="1 of 2 records have labels that are none of the head's 3"
    ):
        judged(Classification("test", clips=1), [0, 3], logits)
    # A record without a label is left out.
    assert judged(Classification("test", clips=1), [0, -1], logits)["softmax"] == 1
    logits[1, 0, 2] = np.nan
    with pytest.raises(FloatingPointError, match="first record 1; has training diverged"):
        judged(Classification("test", clips=1), [0, 1], logits)


class Labelled(tuple):
    """Records that can be a knob."""


def test_several_classes_by_mean_sigmoid_and_mean_logits():
    rng = np.random.default_rng(3)
    shown = rng.choice([-1, 0, 1], (12, 3))
    shown[:2] = 1
    records = Labelled(
        video(
            extra={
                "labels": np.flatnonzero(row >= 0),
                "labels_no_difficult": np.flatnonzero(row == 1),
            }
        )
        for row in shown
    )
    logits = rng.normal(scale=4, size=(12, 5, 3)).astype(np.float32)
    found = judged(SeveralClasses(records, clips=5), [-1] * 12, logits)
    assert np.abs(sigmoid(logits) - 1 / (1 + np.exp(-logits))).max() < 1e-6
    for name, values in (("sigmoid", sigmoid(logits.astype(float))), ("logits", logits)):
        scores = values.mean(axis=1)
        for kind, key in (("area", name), ("eleven", f"{name}/eleven")):
            each = [
                average_precision(s[s != 0] == 1, x[s != 0], kind)
                for s, x in zip(shown.T, scores.T, strict=True)
            ]
            assert found[key] == pytest.approx(np.mean(each))
    assert found["sigmoid"] != found["logits"]


def test_places_are_shares_of_each_picture():
    joints = np.array([[[6.0, 4.0], [6.0, 14.0]], [[12.0, 2.0], [np.nan, 3.0]]])
    records = Labelled(
        video(1, 20, width, extra={"joints": pose})
        for width, pose in zip((30, 60), joints, strict=True)
    )
    head = (joints / np.array([[[30, 20]], [[60, 20]]])).reshape(2, 1, 4)
    head[0, 0, 0] += 1 / 30  # a pixel beside the truth
    knobs = {"scale": "torso", "torso": (0, 1), "thresholds": (0.05, 0.15)}
    with pytest.raises(ValueError, match="the scale of person 1 is nan"):
        judged(Pose(records, **knobs), [-1] * 2, np.nan_to_num(head))
    one = Labelled(records[:1])
    found = judged(Pose(one, **knobs), [-1], head[:1])
    assert (found["head/PCK@0.05"], found["head/PCK@0.15"]) == (0.5, 1)
    with pytest.raises(ValueError, match="the head places 3 joints, test has 2"):
        judged(Pose(one, **knobs), [-1], np.zeros((1, 1, 6)))
    with pytest.raises(ValueError, match="give torso="):
        judged(Pose(one, scale="torso"), [-1], head[:1])


# Fusing -------------------------------------------------------------------------------------------


def scores(names, labels, softmax) -> Scores:
    softmax = np.array(softmax)
    return Scores(tuple(names), np.array(labels), softmax, np.log(softmax))


RGB = scores("abc", [0, 1, 1], [[0.6, 0.4], [0.6, 0.4], [0.9, 0.1]])
FLOW = scores("cab", [1, 0, 1], [[0.3, 0.7], [0.45, 0.55], [0.2, 0.8]])


def test_fusion_by_hand():
    # a: .525 and .475, b: .4 and .6, c: .6 and .4
    found = fuse.fuse({"rgb": RGB, "flow": FLOW})
    assert list(found) == ["rgb", "flow", "fused"]
    assert [found[name]["accuracy"] for name in found] == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    # a: .48 and .52, b: .28 and .72, c: .42 and .58
    found = fuse.fuse({"rgb": RGB, "flow": FLOW}, (1.0, 4.0))
    assert found["fused"]["accuracy"] == pytest.approx(2 / 3)
    assert found["fused"]["accuracy/per_class"] == pytest.approx(1 / 2)


def test_runs_that_do_not_belong_together():
    fewer = scores("ab", [0, 1], [[0.6, 0.4], [0.6, 0.4]])
    message = "rgb and flow were tested on different records: 1 and 0 are in one alone, such as c"
    with pytest.raises(ConfigError, match=message):
        fuse.fuse({"rgb": RGB, "flow": fewer})
    with pytest.raises(ConfigError, match="different classes or class numbers"):
        fuse.fuse({"rgb": RGB, "flow": dataclasses.replace(RGB, labels=1 - RGB.labels)})
    with pytest.raises(ConfigError, match="flow: some of its records have the same name"):
        fuse.fuse({"rgb": RGB, "flow": dataclasses.replace(RGB, names=("a", "b", "a"))})
    with pytest.raises(ConfigError, match="give one of at least 0 for each of 2 runs"):
        fuse.fuse({"rgb": RGB, "flow": FLOW}, (1.0, 2.0, 3.0))


def test_the_command_fuses_a_run_with_a_file(run, tmp_path, capsys):
    frozen_scores = fuse.scores_of(run)
    assert frozen_scores.names[:2] == ("lamp 0", "lamp 1")
    left = os.path.join(run, "scores.npz")
    other = str(tmp_path / "other.npz")
    wrong = np.roll(frozen_scores.softmax, 1, axis=1)
    fuse.write(dataclasses.replace(frozen_scores, softmax=wrong), other)
    fuse.main([run, other, "--weights=3,1"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == [run, other, "fused"]
    assert [float(line[2]) for line in lines] == [1.0, 0.0, 1.0]
    again = fuse.read(left)
    np.testing.assert_array_equal(again.softmax, frozen_scores.softmax)
    np.testing.assert_array_equal(again.labels, frozen_scores.labels)
    np.testing.assert_allclose(softmax(again.logits).argmax(axis=1), again.labels)
    broken = tmp_path / "broken.npz"
    broken.write_text("no scores")
    for argv, message in (
        ([run], "fusion takes two different runs or more"),
        ([run, run], "fusion takes two different runs or more"),
        ([run, "--weight=3"], "unknown argument --weight=3"),
        ([run, other, "--weights=a,b"], "--weights=a,b: write numbers"),
        ([run, other, "--weights=1"], "give one of at least 0 for each of 2 runs"),
        ([run, str(tmp_path)], f"no trained run in {tmp_path}"),
        ([run, str(broken)], "broken.npz: holds no scores"),
        ([run, other, "--evaluator=val"], f"{run}: say which, --evaluator=test"),
    ):
        with pytest.raises(ConfigError) as error:
            fuse.main(argv)
        assert message in str(error.value)
        assert "\n" not in str(error.value)
