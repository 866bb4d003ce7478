"""The loop: resumed equals uninterrupted, layouts agree, nothing saved is ever lost."""

import dataclasses
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ssl_jax import config as configs
from ssl_jax import train
from ssl_jax.config import ConfigError, call
from ssl_jax.data.pipeline import Loading, train_dataset
from ssl_jax.data.record import MediaError
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evaluate import evaluate
from ssl_jax.experiment import Checkpoints
from ssl_jax.methods.control import Control
from ssl_jax.training.checkpoint import Saver
from ssl_jax.training.trained import load

HERE = os.path.dirname(__file__)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of six steps: (workdir, final state)."""
    workdir = str(tmp_path_factory.mktemp("whole"))
    config = tiny.experiment(
        evaluators={"ridge": tiny.ridge(every=4)}, checkpoints=call(Checkpoints, every_steps=2)
    )
    return workdir, train.fit(config, workdir)


def test_a_run_leaves_numbers_pictures_and_a_table(whole):
    workdir, state = whole
    assert int(state.step) == 6
    lines = [json.loads(line) for line in read(workdir, "metrics.jsonl").splitlines()]
    losses = {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}
    assert list(losses) == [2, 4, 6]
    assert all(np.isfinite(list(losses.values())))
    assert any("ridge/pool" in line and line["step"] == 4 for line in lines)
    assert os.path.getsize(f"{workdir}/pictures/puzzles.png") > 1000
    table = read(workdir, "results.txt")
    assert "trained  random init  raw input" in table
    results = json.loads(read(workdir, "results.json"))
    assert set(results["trained"]) == set(results["random_init"]) >= {"ridge/input", "ridge/pool"}
    assert 0 < results["seconds"]["ridge"] < 600
    assert f"ridge ({results['seconds']['ridge']:.1f} s): read.stream=vision" in table


def test_resumed_equals_uninterrupted_bit_for_bit(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(train.Log, "advance", interrupt_at(3))
    with pytest.raises(train.Interrupted, match="saved at step 3"):
        train.fit(tiny.experiment(), str(tmp_path))
    monkeypatch.undo()
    assert checkpoints(tmp_path) == ["3"]
    resumed = train.fit(tiny.experiment(), str(tmp_path))
    assert tiny.distance(without_key(resumed), without_key(whole[1])) == 0.0
    steps = [json.loads(line)["step"] for line in read(tmp_path, "metrics.jsonl").splitlines()]
    assert steps == sorted(set(steps))


def checkpoints(workdir) -> list[str]:
    return sorted(os.listdir(os.path.join(workdir, "checkpoints")))


def read(workdir, name):
    with open(os.path.join(workdir, name)) as file:
        return file.read()


def interrupt_at(step):
    def advance(log, at, running):
        if at == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return advance


def without_key(state):
    return state.replace(key=jnp.zeros(()))


@pytest.mark.parametrize(
    "sharding",
    [{"devices": 1}, {"devices": 4, "rule": "fsdp", "smallest": 8}, {"devices": 2}],
    ids=["one device", "fsdp", "two devices"],
)
def test_every_layout_gives_the_same_training(whole, tmp_path, sharding):
    state = train.fit(tiny.experiment(sharding=call(Sharding, **sharding)), str(tmp_path))
    assert tiny.distance(without_key(state), without_key(whole[1])) < 2e-5
    if "rule" in sharding:
        split = [x for x in jax.tree.leaves(state.params) if not x.sharding.is_fully_replicated]
        assert split, "fsdp split nothing"


def test_a_checkpoint_of_four_devices_goes_on_under_fsdp_on_two(tmp_path):
    train.fit(tiny.experiment(steps=3), str(tmp_path / "four"))
    fsdp = call(Sharding, devices=2, rule="fsdp", smallest=8)
    config = tiny.experiment(steps=6, resume=str(tmp_path / "four"), sharding=fsdp)
    state = train.fit(config, str(tmp_path / "two"))
    straight = train.fit(tiny.experiment(steps=6), str(tmp_path / "straight"))
    assert tiny.distance(without_key(state), without_key(straight)) < 2e-5


def test_load_gives_features_in_two_lines(whole):
    frozen = load(whole[0])
    features = frozen.encode("vision", np.zeros((3, 8, 8, 3), np.uint8))
    assert {k: v.shape for k, v in features.items()} == {
        "input": (3, 8, 8, 3),
        "hidden": (3, 16),
        "pool": (3, 16),
    }
    trained = jax.device_get(whole[1].params["vision"]["Dense_0"]["kernel"])
    saved = jax.device_get(frozen.variables["params"]["vision"]["Dense_0"]["kernel"])
    assert np.array_equal(trained, saved)


def test_the_memory_for_features_is_the_runs(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    config = json.loads(read(whole[0], "config.json"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"eval_memory": 7}))
    assert load(tmp_path).memory == 7


def test_features_do_not_depend_on_the_batch_size(whole):
    frozen = load(whole[0])
    source = configs.build(tiny.ridge().test)
    few = frozen.features(source, "vision", ("input", "pool"))
    many = frozen.__class__(frozen.method, frozen.variables, frozen.mesh, 32).features(
        source, "vision", ("input", "pool")
    )
    assert few.indices.tolist() == list(range(10))
    assert few.labels.tolist() == [source[i].label for i in range(10)]
    assert few.layers["input"].shape == (10, 8 * 8 * 3)
    for name in few.layers:
        np.testing.assert_allclose(few.layers[name], many.layers[name], atol=1e-5)


def test_init_from_takes_the_trunk_and_nothing_else(whole, tmp_path, capsys):
    config = tiny.experiment(init_from=whole[0], steps=0)
    state = train.fit(config, str(tmp_path))
    assert f"init_from: vision from {whole[0]}" in capsys.readouterr().out
    same = jax.tree.map(np.array_equal, state.params["vision"], whole[1].params["vision"])
    assert all(jax.tree.leaves(same))
    head = state.params["head"]["kernel"]
    assert not np.array_equal(head, whole[1].params["head"]["kernel"])
    assert int(state.step) == 0


def test_evaluate_repeats_the_final_table(whole):
    config = tiny.experiment(evaluators={"ridge": tiny.ridge()})
    saved = json.loads(read(whole[0], "results.json"))["trained"]
    again = evaluate(config, whole[0])
    assert {k: again[k] for k in saved} == pytest.approx(saved)


def overwrite(path):
    with open(path, "wb") as file:
        file.write(b"broken")


def cut_in_half(path):
    os.truncate(path, os.path.getsize(path) // 2)


def empty(path):
    os.truncate(path, 0)


def flip_a_bit(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def files(folder, part=""):
    found = [os.path.join(f, name) for f, _, names in os.walk(folder) for name in names]
    return [path for path in found if part in path.removeprefix(str(folder))]


def restored(workdir, like):
    """What a run would go on from."""
    with Saver(workdir, Checkpoints()) as saver:
        return saver.restore(like.abstract(jax.tree.map(lambda leaf: leaf.sharding, like)))


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (overwrite, ""),
        (cut_in_half, ""),
        (empty, ""),
        (empty, "METADATA"),
        (os.remove, "METADATA"),
        (cut_in_half, "ocdbt.process"),
        (os.remove, "manifest"),
        (os.remove, "/d/"),
        (flip_a_bit, "/d/"),
        (empty, "checksums"),
    ],
)
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(whole, tmp_path, damage, part):
    workdir = tmp_path / "run"
    shutil.copytree(whole[0], workdir)
    hit = files(workdir / "checkpoints" / "6", part)
    assert hit
    for path in hit:
        damage(path)
    state = restored(workdir, whole[1])
    assert int(state.step) == 4
    assert checkpoints(workdir) == ["2", "4", "6.damaged"]


def test_a_run_goes_on_from_the_checkpoint_before_the_damaged_one(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    for path in files(tmp_path / "checkpoints" / "6"):
        overwrite(path)
    before = load(tmp_path).variables  # of step 4
    assert checkpoints(tmp_path) == ["2", "4", "6"]  # a reader changes nothing
    assert tiny.distance(before["params"], load(tmp_path, 4).variables["params"]) == 0.0
    state = train.fit(tiny.experiment(), str(tmp_path))
    assert tiny.distance(without_key(state), without_key(whole[1])) == 0.0
    assert checkpoints(tmp_path) == ["2", "4", "6", "6.damaged"]


def test_one_two_and_four_devices_and_both_rules_take_turns_in_one_run(whole, tmp_path):
    layouts = [
        {"devices": 1},
        {"devices": 4, "rule": "fsdp", "smallest": 8, "shape": (2, 2)},
        {"devices": 2},
    ]
    for steps, layout in zip((2, 4, 6), layouts, strict=True):
        sharding = call(Sharding, **layout)
        state = train.fit(tiny.experiment(steps=steps, sharding=sharding), str(tmp_path))
        kernel = state.params["vision"]["Dense_0"]["kernel"]
        assert len(kernel.sharding.device_set) == layout["devices"]
        shares = {shard.data.size / kernel.size for shard in kernel.addressable_shards}
        assert shares == {0.5 if "rule" in layout else 1.0}
    assert tiny.distance(without_key(state), without_key(whole[1])) < 2e-5


def full_at(steps, workdir):
    """A run whose saves of these steps find the disk full: (exit code, what it says of them)."""
    run = subprocess.run(
        [
            sys.executable,
            os.path.join(HERE, "training_process.py"),
            f"--config={HERE}/tiny_config.py",
            f"--workdir={workdir}",
            "--config.checkpoints.every_steps=2",
            "--config.evaluators={}",
        ],
        env={**os.environ, "FULL_AT": steps, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"},
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in run.stderr
    return run.returncode, [line for line in run.stderr.splitlines() if "could not" in line]


def test_a_full_disk_costs_checkpoints_but_not_the_run(whole, tmp_path):
    code, lines = full_at("2,4", tmp_path)
    assert code == 0, lines
    assert len(lines) == 2, lines
    for step, line in zip((2, 4), lines, strict=True):
        assert f"could not save step {step}: " in line
        assert "there is no checkpoint in" in line
    assert [name for name in checkpoints(tmp_path) if "tmp" not in name] == ["6"]
    assert tiny.distance(without_key(restored(tmp_path, whole[1])), without_key(whole[1])) == 0.0


def test_a_last_state_that_is_not_saved_is_an_error(tmp_path):
    code, lines = full_at("4,6", tmp_path)
    assert code == 4
    assert "the last good checkpoint, of step 2, is kept in" in lines[0]
    assert lines[-1].startswith("ssl_jax: could not save step 6 in ")
    assert lines[-1].endswith("run the same command: it resumes from what is saved")
    assert [name for name in checkpoints(tmp_path) if "tmp" not in name] == ["2"]


def test_numbers_that_cannot_be_written_do_not_end_the_run(tmp_path, monkeypatch, caplog):
    os.symlink("/dev/full", tmp_path / "metrics.jsonl")
    assert int(train.fit(tiny.experiment(steps=4, log_every=1), str(tmp_path)).step) == 4
    told = [r.getMessage() for r in caplog.records if "cannot write below" in r.getMessage()]
    assert told == [f"cannot write below {tmp_path}: No space left on device; training goes on"]


@pytest.mark.parametrize(
    ("knobs", "kept"),
    [
        ({"keep": 2}, ["7", "8"]),
        ({"keep": 1, "keep_every": 3}, ["3", "6", "8"]),
        ({"keep": 1, "keep_best": "probe/pool"}, ["4", "8"]),
        ({"keep": 2, "keep_best": "-probe/pool"}, ["2", "7", "8"]),
    ],
)
def test_what_is_kept(whole, tmp_path, knobs, kept):
    scores = [0.3, 0.1, 0.2, 0.9, 0.4, float("nan"), 0.5, 0.6]
    for steps in (range(1, 6), range(6, 9)):  # restarted in between
        with Saver(tmp_path, Checkpoints(**knobs)) as saver:
            for step in steps:
                saver.save(whole[1], step)
                saver.score(step, {"probe/pool": scores[step - 1]})
    assert checkpoints(tmp_path) == kept


@dataclasses.dataclass(frozen=True)
class Weight:
    """An evaluator that measures the weights."""

    every: int = 0

    def run(self, frozen):
        yield "size", float(jnp.abs(frozen.variables["params"]["head"]["kernel"]).sum())


def test_the_best_checkpoint_by_an_evaluator_is_saved_and_kept(tmp_path):
    saving = call(Checkpoints, every_steps=0, keep=1, keep_best="weight/size")
    config = tiny.experiment(evaluators={"weight": call(Weight, every=2)}, checkpoints=saving)
    train.fit(config, str(tmp_path))
    scores = json.loads(read(tmp_path, "scores.json"))["weight/size"]
    assert list(scores) == ["2", "4", "6"]
    assert max(scores, key=scores.get) == "2"  # as the weights decay
    assert checkpoints(tmp_path) == ["2", "6"]


def test_a_loss_that_is_not_finite_stops_with_the_step_and_keeps_what_is_saved(tmp_path):
    train.fit(tiny.experiment(steps=2), str(tmp_path))
    wild = call(tiny.MeanColour, vision=call(tiny.TinyTrunk), noise=float("inf"))
    message = (
        r"the loss of step 3 is nan \(batch number 2\); the last good checkpoint, of step 2, is "
    )
    with pytest.raises(FloatingPointError, match=message):
        train.fit(tiny.experiment(method=wild, steps=6), str(tmp_path))
    assert checkpoints(tmp_path) == ["2"]


def fragile_above(limit, monkeypatch):
    """The loss of batches that are brighter than this is not a number."""
    objective = tiny.MeanColour.objective

    def fragile(self, outputs, batch):
        loss, metrics = objective(self, outputs, batch)
        return jnp.where(batch["target"].mean() > limit, jnp.nan, loss), metrics

    monkeypatch.setattr(tiny.MeanColour, "objective", fragile)


def test_a_skipped_step_changes_nothing_but_its_number(monkeypatch):
    fragile_above(0.5, monkeypatch)
    experiment = configs.build(tiny.experiment(nonfinite="skip"))
    optimizer = experiment.optimizer.build(6)
    step = jax.jit(functools.partial(train.train_step, experiment.method, optimizer, experiment))
    dark, bright = (np.full((8, 8, 8, 3), value, np.uint8) for value in (9, 200))
    first, _ = step(train.starter(optimizer, experiment)(), {"vision": dark})
    second, metrics = step(first, {"vision": bright})
    assert np.isnan(metrics["loss"])
    assert int(second.step) == 2
    assert tiny.distance(without_key(second.replace(step=first.step)), without_key(first)) == 0.0
    third, metrics = step(second, {"vision": dark})
    assert np.isfinite(metrics["loss"])
    assert tiny.distance(third.params, second.params) > 0
    assert tiny.distance(third.state, second.state) > 0


def test_skipped_steps_are_counted_up_to_a_limit(tmp_path, monkeypatch):
    experiment = configs.build(tiny.experiment())
    batches = train_dataset(experiment.source, experiment.method.views, 8, experiment.seed)
    brightness = [batches[k]["vision"].mean() / 255 for k in range(6)]
    *_, limit, low, high = sorted(brightness)
    fragile_above((limit + low) / 2, monkeypatch)
    first, second = sorted(brightness.index(value) for value in (low, high))
    message = (
        rf"of step {second + 1} is nan \(batch number {second}\): more than nonfinite_limit=1 "
    )
    with pytest.raises(FloatingPointError, match=message):
        train.fit(tiny.experiment(nonfinite="skip", nonfinite_limit=1, log_every=1), str(tmp_path))
    lines = [json.loads(line) for line in read(tmp_path, "metrics.jsonl").splitlines()]
    assert [line["train/skipped"] for line in lines] == [float(k >= first) for k in range(second)]


def test_the_speed_is_told_and_chosen_steps_are_traced(tmp_path, capfd):
    config = tiny.experiment(steps=4, profile=(2, 3), peak_tflops=1e-6, log_every=4)
    train.fit(config, str(tmp_path))
    (line,) = [json.loads(line) for line in read(tmp_path, "metrics.jsonl").splitlines()]
    # Three dense layers; what the first passes back to the pixels is not computed.
    flops = 2 * 8 * (2 * 192 * 16 + 3 * (16 * 16 + 16 * 3))
    assert line["train/model_tflops_per_step"] == pytest.approx(flops / 1e12)
    rate = line["train/steps_per_second"]
    assert line["train/rows_per_second_per_device"] == pytest.approx(8 * rate / 4)
    assert line["train/mfu"] == pytest.approx(flops * rate / 4 / 1e6)
    assert [path for path in files(tmp_path / "profile") if path.endswith(".xplane.pb")]
    told = capfd.readouterr().err
    assert "a step: 8 rows, 113 KFLOP of the model, on 4 devices with a peak of 1 MFLOP/s" in told
    assert "MFU" in told


def test_a_video_that_breaks_is_named_and_what_was_trained_is_saved(tmp_path, monkeypatch):
    experiment = configs.build(tiny.experiment())
    numbers = train_dataset(
        experiment.source, lambda record, rng: {"n": np.int64(record.index)}, 8, experiment.seed
    )
    bad = int(numbers[2]["n"][0])  # every record comes once in the first three batches
    views = tiny.MeanColour.views

    def broken(self, record, rng):
        if record.index == bad:
            raise ValueError("too short")
        return views(self, record, rng)

    monkeypatch.setattr(tiny.MeanColour, "views", broken)
    stopping = call(Loading, on_error="raise")
    with pytest.raises(MediaError, match=f"synthetic video {bad}: too short"):
        train.fit(tiny.experiment(data=stopping), str(tmp_path))
    assert checkpoints(tmp_path) == ["2"]


def test_a_control_shuffles_the_named_target_among_rows(tmp_path):
    plain = train.fit(tiny.experiment(steps=2), str(tmp_path / "plain"))
    state = train.fit(tiny.experiment(control=("target",), steps=2), str(tmp_path))
    assert tiny.distance(state.params, plain.params) > 1e-6
    with pytest.raises(ValueError, match="no 'targets' in the augmented batch; it has vision"):
        train.fit(tiny.experiment(control=("targets",), steps=2), str(tmp_path / "b"))


def test_no_row_of_a_control_keeps_its_target_and_partners_are_any_row():
    batch = {"vision": jnp.arange(5.0).reshape(5, 1, 1, 1)}
    method = tiny.MeanColour(tiny.TinyTrunk(), noise=0.0)
    true = method.augment(batch, {}, jax.random.key(0))
    kept = {"target": 0, "vision": 0}
    for name in kept:
        shuffle = jax.jit(Control(method, (name,)).augment)
        for seed in range(60):
            shown = shuffle(batch, {}, jax.random.key(seed))
            kept[name] += int((shown[name] == true[name]).sum())
            assert np.array_equal(np.sort(shown[name], axis=0), true[name])
    assert kept["target"] == 0
    assert 30 < kept["vision"] < 90  # one of the five rows, on average


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 6}, "batch_size=6 must be a multiple of the 4 devices"),
        ({"sharding": call(Sharding, devices=64)}, "devices=64, but there are 8"),
        ({"sharding": call(Sharding, rule="both")}, "rule='both' must be one of replicate, fsdp"),
        ({"sharding": call(Sharding, shape=(3, 2))}, r"shape=\(3, 2\) takes 6 devices, .* are 8"),
        ({"sharding": call(Sharding, shape=(8,))}, r"shape=\(8,\) should be two numbers"),
        ({"micro_batches": 3}, "batch_size=8 must be a multiple of micro_batches=3"),
        ({"micro_batches": 4}, "batch_size / micro_batches=2 must be a multiple of the 4 devices"),
        ({"nonfinite": "ignore"}, "nonfinite='ignore' must be one of stop, skip"),
        ({"profile": (5, 2)}, r"profile=\(5, 2\) should be the first and last step"),
        ({"checkpoints": call(Checkpoints, keep_best="ridge/pool")}, "no evaluator of this name"),
        ({"resume": "nowhere"}, "resume=nowhere: no checkpoint there"),
        ({"init_from": "nowhere"}, "nowhere"),
    ],
)
def test_a_knob_that_cannot_work_is_one_line(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        train.fit(tiny.experiment(**changes), str(tmp_path))


def test_killed_in_mid_save_it_resumes_to_the_same_bits(whole, tmp_path):
    """A process that saves after every step is shot (SIGKILL) as soon as a save is under way."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tiny, conftest\n"
        "from ssl_jax.train import fit\nfrom ssl_jax.config import call\n"
        "from ssl_jax.experiment import Checkpoints\n"
        "fit(tiny.experiment(checkpoints=call(Checkpoints, every_steps=1)), sys.argv[2])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, HERE, str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    folder = tmp_path / "checkpoints"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        # One save is whole and the next has begun: its folder still has its temporary name.
        names = os.listdir(folder) if folder.is_dir() else []
        if "1" in names and any("tmp" in name for name in names):
            break
        time.sleep(0.001)
    assert process.poll() is None, "the run was over before it could be shot"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "1" in checkpoints(tmp_path)
    state = train.fit(tiny.experiment(), str(tmp_path))
    assert tiny.distance(without_key(state), without_key(whole[1])) == 0.0
