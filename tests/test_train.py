"""The loop: resumed equals uninterrupted, layouts agree, nothing saved is ever lost."""

import json
import os
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
from ssl_jax.checkpoint import Checkpoints
from ssl_jax.config import ConfigError, call
from ssl_jax.data.pipeline import Loading, train_dataset
from ssl_jax.data.record import MediaError
from ssl_jax.evaluate import evaluate
from ssl_jax.frozen import load
from ssl_jax.sharding import Sharding

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
    def advance(log, at):
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


def test_init_from_takes_the_trunk_and_nothing_else(whole, tmp_path):
    config = tiny.experiment(init_from=whole[0], steps=0)
    state = train.fit(config, str(tmp_path))
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


def test_a_damaged_checkpoint_falls_back_to_the_one_before(whole, tmp_path):
    every = call(Checkpoints, every_steps=2)
    train.fit(tiny.experiment(steps=4, checkpoints=every), str(tmp_path))
    for folder, _, files in os.walk(tmp_path / "checkpoints" / "4"):
        for name in files:
            with open(os.path.join(folder, name), "wb") as file:
                file.write(b"broken")
    assert load(tmp_path).variables  # of step 2
    state = train.fit(tiny.experiment(checkpoints=every), str(tmp_path))
    assert tiny.distance(without_key(state), without_key(whole[1])) == 0.0
    assert checkpoints(tmp_path) == ["2", "4", "4.damaged", "6"]


def test_a_loss_that_is_not_finite_stops_with_the_step_and_keeps_what_is_saved(tmp_path):
    train.fit(tiny.experiment(steps=2), str(tmp_path))
    wild = call(tiny.MeanColour, vision=call(tiny.TinyTrunk), noise=float("inf"))
    with pytest.raises(FloatingPointError, match=r"the loss of step 3 is nan \(batch number 2\)"):
        train.fit(tiny.experiment(method=wild, steps=6), str(tmp_path))
    assert checkpoints(tmp_path) == ["2"]


def test_a_film_that_breaks_is_named_and_what_was_trained_is_saved(tmp_path, monkeypatch):
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
    with pytest.raises(MediaError, match=f"synthetic film {bad}: too short"):
        train.fit(tiny.experiment(data=stopping), str(tmp_path))
    assert checkpoints(tmp_path) == ["2"]


def test_a_control_shuffles_the_named_target_among_rows(tmp_path):
    plain = train.fit(tiny.experiment(steps=2), str(tmp_path / "plain"))
    state = train.fit(tiny.experiment(control=("target",), steps=2), str(tmp_path))
    assert tiny.distance(state.params, plain.params) > 1e-6
    with pytest.raises(ValueError, match="no 'targets' in the augmented batch; it has vision"):
        train.fit(tiny.experiment(control=("targets",), steps=2), str(tmp_path / "b"))


def test_refresh_sees_every_record_and_changes_the_state(tmp_path, monkeypatch):
    seen = []

    def refresh(self, params, state, sweep, key):
        seen.extend(len(batch["vision"]) for batch in sweep)
        return jax.tree.map(lambda x: 0 * x, params), state

    monkeypatch.setattr(tiny.MeanColour, "refresh", refresh)
    state = train.fit(tiny.experiment(refresh_every=4, steps=4), str(tmp_path))
    assert sum(seen) == 24
    assert all(float(jnp.abs(x).max()) == 0 for x in jax.tree.leaves(state.params))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 6}, "batch_size=6 must be a multiple of the 4 devices"),
        ({"sharding": call(Sharding, devices=64)}, "devices=64, but this machine has 8"),
        ({"sharding": call(Sharding, rule="both")}, "replicate or fsdp, not 'both'"),
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
        "from ssl_jax.checkpoint import Checkpoints\n"
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
