"""What is run on which machines, how it is quoted, and what is tried again."""

import os
import pathlib
import shlex
import signal
import stat
import subprocess
import sys

import pytest

from ssl_jax import launch
from ssl_jax.config import ConfigError
from ssl_jax.launching import exit_codes, machines

TRAIN = ["python", "-m", "ssl_jax.train", "--workdir=/mnt/my runs/x", "--config.control=('audio',)"]
TPU = ["--on=tpu", "--name=n", "--zone=us-central2-b", "--type=v4-32", "--version=v2-alpha-tpuv4"]


def printed(capsys, *arguments: str, command=TRAIN) -> list[list[str]]:
    """The lines of a dry run, as a shell would split them."""
    assert launch.main([*arguments, "--dry_run", "--", *command]) == 0
    return [shlex.split(line) for line in capsys.readouterr().out.splitlines()]


def test_a_cloud_tpu_slice_is_created_and_the_command_run_on_every_host(capsys):
    setup = "pip install -q '.[tpu]'"
    create, ssh = printed(capsys, *TPU, "--options=--spot", f"--setup={setup}", "--folder=a b")
    assert " ".join(create) == (
        "gcloud compute tpus tpu-vm create n --zone=us-central2-b --accelerator-type=v4-32 "
        "--version=v2-alpha-tpuv4 --spot"
    )
    *start, remote = ssh
    assert " ".join(start) == "gcloud compute tpus tpu-vm ssh n --zone=us-central2-b --worker=all"
    first, folder, _, command = remote.removeprefix("--command=").split(" && ")
    assert (first, shlex.split(folder)) == (setup, ["cd", "a b"])
    assert shlex.split(command) == ["exec", *TRAIN, "--distributed"]


def test_gke_runs_the_command_under_a_launcher_that_knows_an_eviction_from_an_end(capsys):
    named = ["--name=n", "--cluster=c", "--type=v5litepod-16", "--image=i", "--options=--zone=z"]
    (line,) = printed(capsys, "--on=gke", *named)
    *start, whole = line
    assert " ".join(start) == (
        "xpk workload create --cluster=c --workload=n --tpu-type=v5litepod-16 --docker-image=i "
        "--max-restarts=20 --termination-grace-period-seconds=120 "
        "--restart-on-user-code-failure --zone=z"
    )
    own, inner = whole.removeprefix("--command=").split(" -- ")
    assert own == "python -m ssl_jax.launch --on=here --retries=0"
    assert shlex.split(inner) == [*TRAIN, "--distributed"]


def test_slurm_has_one_process_a_gpu(capsys):
    (line,) = printed(capsys, "--on=slurm", "--nodes=4", "--gpus=8", "--options=--account=a -t 60")
    start = (
        "srun --nodes=4 --ntasks-per-node=8 --gpus-per-node=8 --kill-on-bad-exit=1 "
        "--signal=TERM@120 --account=a -t 60"
    )
    assert line == [*start.split(), *TRAIN, "--distributed"]
    told = [*TRAIN, "--distributed"]
    (line,) = printed(capsys, "--on=slurm", "--nodes=2", "--gpus=0", command=told)
    assert line[:4] == ["srun", "--nodes=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    assert line.count("--distributed") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--on=moon", "--", "true"], "invalid choice: 'moon'"),
        (["--on"], "argument --on: expected one argument"),
        (["--", "true"], "required: --on"),
        (["--on=slurm", "--", "true"], "required: --nodes"),
        (["--on=slurm", "--nodes=1", "--zone=z", "--", "true"], "unrecognized .* --zone=z"),
        (["--on=here"], "write -- and then the command to run"),
        (["--on=here", "--retries=-1", "--", "true"], "--retries and --wait must be at least 0"),
        (["--on=here", "--", "no-such-program"], "there is no program no-such-program"),
    ],
)
def test_a_mistake_is_a_config_error(arguments, message):
    with pytest.raises(ConfigError, match=message):
        launch.main(arguments)


def test_help_lists_the_flags_of_the_machine_that_is_named(capsys):
    for arguments, listed in ((["--on=slurm", "--help"], True), (["--help"], False)):
        with pytest.raises(SystemExit) as end:
            launch.main(arguments)
        assert end.value.code == 0
        assert ("--nodes NODES" in capsys.readouterr().out) == listed


# With programs that only say they are gcloud and srun.


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Puts a shell script on the path; it appends what it is called with to calls.txt."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HERE", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(machines, "POLL", 0)

    def make(name: str, script: str) -> pathlib.Path:
        file = tmp_path / name
        file.write_text(f'#!/bin/sh\necho {name} "$@" >> "$HERE/calls.txt"\n{script}\n')
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return tmp_path / "calls.txt"

    return make


COUNT = 'echo x >> "$HERE/count"; n=$(wc -l < "$HERE/count")'
SRUN = ["--on=slurm", "--nodes=1", "--wait=0"]


def test_a_job_that_fails_twice_is_started_three_times(fake, capfd):
    calls = fake("srun", f'{COUNT}; echo "run $n"; [ "$n" -ge 3 ] || exit 143')
    assert launch.main([*SRUN, "--retries=5", "--", "train"]) == 0
    assert len(calls.read_text().splitlines()) == 3
    out, err = capfd.readouterr()
    assert out.split() == ["run", "1", "run", "2", "run", "3"]
    assert "ended with code 143; try 2 of 6 in 0 s" in err


def test_retries_are_bounded(fake):
    calls = fake("srun", "exit 1")
    assert launch.main([*SRUN, "--retries=2", "--", "train"]) == 1
    assert len(calls.read_text().splitlines()) == 3


@pytest.mark.parametrize("code", [2, 3, 130])
def test_a_mistake_divergence_and_ctrl_c_are_not_tried_again(fake, code):
    calls = fake("srun", f"exit {code}")
    assert launch.main([*SRUN, "--", "train"]) == code
    assert len(calls.read_text().splitlines()) == 1


def test_a_run_that_saved_itself_and_ended_with_0_is_resumed(fake):
    resume = f"echo '{exit_codes.RESUME}python -m ssl_jax.train' >&2"
    calls = fake("srun", f'{COUNT}; [ "$n" -ge 2 ] || {resume}')
    assert launch.main([*SRUN, "--", "train"]) == 0
    assert len(calls.read_text().splitlines()) == 2
    assert launch.main(["--on=here", "--retries=0", "--", "sh", "-c", resume]) == 4


GCLOUD = """
state=$(cat "$HERE/state" 2>/dev/null)
case "$4" in
describe)
    [ -n "$state" ] || { echo "ERROR: (gcloud) NOT_FOUND: no such resource" >&2; exit 1; }
    echo "$state"; [ "$state" = CREATING ] && echo READY > "$HERE/state"; exit 0;;
create) echo CREATING > "$HERE/state";;
delete) rm "$HERE/state";;
ssh)
    case "$*" in *kill*) exit 0;; esac
    COUNT; [ "$n" -ge 3 ] || { echo PREEMPTED > "$HERE/state"; exit 255; };;
esac
""".replace("COUNT", COUNT)


def test_a_preempted_slice_is_created_again(fake, capfd):
    calls = fake("gcloud", GCLOUD)
    assert launch.main([*TPU, "--wait=0", "--", "train"]) == 0
    verbs = [line.split()[4] for line in calls.read_text().splitlines()]
    making, again = ["describe", "create", "describe", "describe"], ["describe", "delete"]
    cleared = ["ssh", "ssh"]  # first what ends processes that a lost connection left behind
    assert verbs == [*making, "ssh", *again, *making, *cleared, *again, *making, *cleared]
    kept = "the slice is kept, and billed, until: gcloud compute tpus tpu-vm delete n"
    assert kept in capfd.readouterr().err


def test_a_slice_that_somebody_stopped_is_left_alone(fake):
    calls = fake("gcloud", "echo STOPPED")
    with pytest.raises(ConfigError, match="slice n is STOPPED"):
        launch.main([*TPU, "--wait=0", "--", "train"])
    assert len(calls.read_text().splitlines()) == 1


def test_a_slice_lost_as_soon_as_created_and_one_without_capacity_cost_one_try_each(fake):
    fake("gcloud", GCLOUD.replace("echo CREATING", "echo PREEMPTED"))
    assert launch.main([*TPU, "--wait=0", "--retries=1", "--", "train"]) == 4
    missing, full = ("echo 'ERROR: (gcloud) NOT_FOUND' >&2; exit 1", "echo 'no more capacity' >&2")
    calls = fake("gcloud", f'case "$4" in create) {full}; exit 7;; *) {missing};; esac')
    calls.unlink()
    assert launch.main([*TPU, "--wait=0", "--retries=2", "--", "train"]) == 7
    verbs = [line.split()[4] for line in calls.read_text().splitlines()]
    assert verbs == ["describe", "create"] * 3


# With real processes.

STOPPABLE = """
import signal, sys, time
def stop(*_): print('saved\\nssl_jax: to resume: x', flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, stop); print('ready', flush=True); time.sleep(60)
"""
# Each host runs its command apart, so that signals to gcloud itself do not reach it.
REMOTE = """
for last; do :; done
case "$4" in describe) echo READY; exit;; esac
setsid sh -c "${last#--command=}" & wait $!
"""


@pytest.mark.parametrize("where", [["--on=here"], TPU])
def test_sigterm_is_passed_on_and_nothing_is_tried_again(fake, where):
    """As in a pod that is evicted: the run saves itself, and the code says that there is more."""
    fake("gcloud", REMOTE)
    start = [sys.executable, "-m", "ssl_jax.launch", *where, "--wait=0", "--"]
    command = [*start, sys.executable, "-c", STOPPABLE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    assert out == "saved\nssl_jax: to resume: x\n"
    assert process.returncode == exit_codes.TRY_AGAIN
