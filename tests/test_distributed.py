"""Two real processes of two devices each: the run of one process, and what if one of them is lost.

A process that is killed leaves the other in the middle of a collective; every wait here has an end.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import tiny

from ssl_jax import train
from ssl_jax.config import call
from ssl_jax.evaluate import evaluate
from ssl_jax.experiment import Checkpoints
from ssl_jax.training.checkpoint import Saver
from ssl_jax.training.trained import load

HERE = os.path.dirname(__file__)
LONGEST = 300  # seconds; far more than needed, for busy machines
STEPS = 6


class Pair:
    """Two processes that train the tiny experiment together in one workdir."""

    def __init__(self, workdir, *extra, environments=({}, {})):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        common = {
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self.processes = [
            subprocess.Popen(
                [
                    sys.executable,
                    os.path.join(HERE, "training_process.py"),
                    f"--config={HERE}/tiny_config.py",
                    f"--workdir={workdir}",
                    "--distributed",
                    f"--coordinator=127.0.0.1:{port}",
                    "--num_processes=2",
                    f"--process_id={number}",
                    "--heartbeat_seconds=10",
                    "--config.sharding.devices=0",
                    "--config.checkpoints.every_steps=2",
                    "--config.log_every=1",
                    *extra,
                ],
                env={**os.environ, **common, **environment},
                cwd=HERE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number, environment in enumerate(environments)
        ]

    def wait(self):
        """[(exit code, stdout, stderr)] of both; whoever is not done in time is killed (SIGTERM
        would be taken for a notice of preemption)."""
        ends = []
        try:
            for process in self.processes:
                out, err = process.communicate(timeout=LONGEST)
                ends.append((process.returncode, out, err))
        finally:
            for process in self.processes:
                process.kill()
        return ends


def losses(workdir):
    with open(os.path.join(workdir, "metrics.jsonl")) as file:
        lines = [json.loads(line) for line in file]
    return {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}


def final(workdir, step=STEPS):
    with Saver(workdir) as saver:
        return saver.restore_variables(step)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process of four devices."""
    workdir = str(tmp_path_factory.mktemp("alone"))
    train.fit(tiny.experiment(log_every=1, checkpoints=call(Checkpoints, every_steps=2)), workdir)
    return workdir


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Two processes of two devices, not interrupted: (workdir, how they ended)."""
    workdir = str(tmp_path_factory.mktemp("together"))
    ends = Pair(workdir).wait()
    assert [code for code, _, _ in ends] == [0, 0], ends
    return workdir, ends


def test_two_processes_train_as_one_does(alone, together):
    workdir, _ = together
    one, two = losses(alone), losses(workdir)
    assert list(one) == list(two) == list(range(1, STEPS + 1))
    np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=1e-5)
    assert tiny.distance(final(alone), final(workdir)) < 2e-5


def test_the_first_process_alone_talks(together):
    _, ((_, first, _), (_, second, _)) = together
    assert "training on 4 cpu devices of 2 processes" in first
    assert "random init" in first
    assert "training" not in second
    assert "ridge" not in second


def test_evaluators_on_two_processes_give_what_one_process_gives(together):
    workdir, _ = together
    with open(os.path.join(workdir, "results.json")) as file:
        results = json.load(file)["trained"]
    again = evaluate(tiny.experiment(evaluators={"ridge": tiny.ridge()}), workdir)
    assert {name: again[name] for name in results} == pytest.approx(results, abs=1e-6)


def test_evaluate_on_two_processes_repeats_the_table_of_the_run(together, tmp_path):
    shutil.copytree(together[0], tmp_path / "run")
    results = tmp_path / "run" / "results.json"
    saved = json.loads(results.read_text())
    results.unlink()
    ends = Pair(tmp_path / "run", environments=({"EVALUATE": "1"},) * 2).wait()
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert "random init" in ends[0][1]
    assert "random init" not in ends[1][1]
    again = json.loads(results.read_text())
    for part in ("trained", "random_init"):
        assert again[part] == pytest.approx(saved[part], abs=1e-5)


@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_one_is_killed_the_other_ends_and_both_go_on_identically(together, tmp_path, victim):
    environments = [{}, {}]
    environments[victim] = {"DIE_AT": "5"}
    pair = Pair(tmp_path, environments=environments)
    pair.processes[victim].wait(LONGEST)
    begin = time.monotonic()
    ends = pair.wait()
    assert ends[victim][0] == -signal.SIGKILL
    code, _, err = ends[1 - victim]
    assert code not in (0, -signal.SIGKILL), err
    assert "lost contact with another" in err or "another task died" in err
    assert time.monotonic() - begin < 120  # the heartbeat is of 10 s; machines may be busy
    assert set(os.listdir(tmp_path / "checkpoints")) & {"2", "4"}
    ends = Pair(tmp_path).wait()
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert tiny.distance(final(tmp_path), final(together[0])) == 0.0


def test_what_one_host_cannot_read_all_leave_aside(together, tmp_path):
    shutil.copytree(together[0], tmp_path / "run")
    blind = ({}, {"BLIND_TO": str(STEPS)})
    ends = Pair(tmp_path / "run", environments=blind).wait()
    assert [code for code, _, _ in ends] == [0, 0], ends
    folders = set(os.listdir(tmp_path / "run" / "checkpoints"))
    assert {f"{STEPS}.damaged", str(STEPS)} <= folders  # and made again
    assert tiny.distance(final(tmp_path / "run"), final(together[0])) == 0.0


def test_another_runs_state_is_gone_on_with(together, tmp_path):
    shutil.copytree(together[0], tmp_path / "old")
    shutil.rmtree(tmp_path / "old" / "checkpoints" / str(STEPS))
    ends = Pair(tmp_path / "new", f"--config.resume={tmp_path / 'old'}").wait()
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert list(losses(tmp_path / "new")) == [5, 6]
    assert tiny.distance(final(tmp_path / "new"), final(together[0])) == 0.0


def refreshing(together):
    """Knobs of a run that begins with trunks of another one and refreshes before steps 1 and 4."""
    return {"init_from": together[0], "refresh_every": 3, "steps": 5}


def refreshing_pair(together, workdir, reads, **environment):
    """Two processes that train so, and note in the folder `reads` what they decode for it."""
    os.makedirs(reads, exist_ok=True)
    given = [f"--config.{name}={value}" for name, value in refreshing(together).items()]
    return Pair(workdir, *given, environments=({"REFRESH": str(reads), **environment},) * 2)


@pytest.fixture(scope="module")
def refreshed(together, tmp_path_factory):
    """Two processes, not interrupted: (workdir, the folder of what each decoded)."""
    workdir, reads = tmp_path_factory.mktemp("refreshed"), tmp_path_factory.mktemp("reads")
    ends = refreshing_pair(together, workdir, reads).wait()
    assert [code for code, _, _ in ends] == [0, 0], ends
    return workdir, reads


def test_trunks_of_another_run_and_refreshing_are_what_they_are_alone(
    together, refreshed, tmp_path, monkeypatch
):
    monkeypatch.setattr(tiny.MeanColour, "refresh", tiny.shifted)
    train.fit(tiny.experiment(log_every=1, **refreshing(together)), str(tmp_path))
    one, two = losses(tmp_path), losses(refreshed[0])
    np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=1e-5)
    assert tiny.distance(final(tmp_path, 5), final(refreshed[0], 5)) < 2e-5


def test_each_of_two_hosts_decodes_half_of_the_records_for_a_refresh(refreshed):
    first, second = (
        [json.loads(line) for line in (refreshed[1] / process).read_text().splitlines()]
        for process in ("0", "1")
    )
    assert len(first) == len(second) == 2  # refreshes
    for ours, theirs in zip(first, second, strict=True):
        assert len(ours) == len(theirs) == 12
        assert sorted(ours + theirs) == list(range(24))


def test_both_are_killed_between_a_refresh_and_the_next_save_and_go_on_identically(
    together, refreshed, tmp_path
):
    pair = refreshing_pair(together, tmp_path / "run", tmp_path / "reads", DIE_AFTER="3")
    codes = [code for code, _, _ in pair.wait()]
    assert all(codes), codes
    assert -signal.SIGKILL in codes  # the other may have learned of it a moment earlier
    saved = {name for name in os.listdir(tmp_path / "run" / "checkpoints") if name.isdigit()}
    assert saved == {"2"}
    assert len((tmp_path / "reads" / "0").read_text().splitlines()) == 2  # refreshed after step 3
    ends = refreshing_pair(together, tmp_path / "run", tmp_path / "reads").wait()
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert list(losses(tmp_path / "run")) == [1, 2, 3, 4, 5]
    assert tiny.distance(final(tmp_path / "run", 5), final(refreshed[0], 5)) == 0.0


def test_sigterm_to_one_stops_both_at_the_same_step_also_under_fsdp(tmp_path, monkeypatch):
    slowly = ({"PAUSE": "0.1"}, {"PAUSE": "0.1"})
    split = ("--config.sharding.rule=fsdp", "--config.sharding.smallest=8", "--config.steps=5000")
    pair = Pair(tmp_path / "two", *split, environments=slowly)
    folder = tmp_path / "two" / "checkpoints" / "2"
    deadline = time.monotonic() + LONGEST
    while not folder.is_dir() and time.monotonic() < deadline:
        time.sleep(0.05)
    pair.processes[1].send_signal(signal.SIGTERM)
    ends = pair.wait()
    assert [code for code, _, _ in ends] == [0, 0], ends
    stopped = max(int(n) for n in os.listdir(tmp_path / "two" / "checkpoints") if n.isdigit())
    for _, _, err in ends:
        assert f"stopped and saved at step {stopped}" in err
        assert "to resume: python -m ssl_jax.train --config=" in err

    def stop_here(log, step, running):
        if step == stopped:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(train.Log, "advance", stop_here)
    with pytest.raises(train.Interrupted):
        train.fit(tiny.experiment(steps=5000), str(tmp_path / "one"))
    one, two = final(tmp_path / "one", stopped), final(tmp_path / "two", stopped)
    assert tiny.distance(one, two) < 1e-4
    assert jax.tree.all(
        jax.tree.map(np.array_equal, load(tmp_path / "two").variables["params"], two["params"])
    )
