"""What is run on which machines, how it is quoted, and what is tried again."""

import contextlib
import os
import pathlib
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time

import pytest

from ssl_jax import launch
from ssl_jax.launching import machines, processes
from ssl_jax.launching.processes import LaunchError, together

TRAIN = ["python", "-m", "ssl_jax.train", "--workdir=/mnt/my runs/x", "--config.control=('audio',)"]


def printed(capsys, *arguments: str, command=TRAIN) -> list[list[str]]:
    """The lines of a dry run, as a shell would split them."""
    assert launch.main([*arguments, "--dry_run", "--", *command]) == 0
    return [shlex.split(line) for line in capsys.readouterr().out.splitlines()]


TPU = ["--on=tpu", "--name=n", "--zone=us-central2-b", "--type=v4-32", "--version=v2-alpha-tpuv4"]


def test_a_cloud_tpu_slice_is_made_and_the_command_run_on_every_host(capsys):
    create, ssh = printed(capsys, *TPU, "--spot", "--setup=pip install -q '.[tpu]'", "--folder=a b")
    assert " ".join(create) == (
        "gcloud compute tpus tpu-vm create n --zone=us-central2-b --accelerator-type=v4-32 "
        "--version=v2-alpha-tpuv4 --spot"
    )
    *start, remote = ssh
    assert " ".join(start) == ("gcloud compute tpus tpu-vm ssh n --zone=us-central2-b --worker=all")
    setup, folder, command = remote.removeprefix("--command=").split(" && ")
    assert setup == "pip install -q '.[tpu]'"
    assert shlex.split(folder) == ["cd", "a b"]
    assert shlex.split(command) == ["exec", *TRAIN, "--distributed"]


def test_a_slice_can_be_asked_for_through_a_queue(capsys):
    create, ssh = printed(capsys, *TPU, "--queued", "--project=p")
    assert " ".join(create) == (
        "gcloud compute tpus queued-resources create n --project=p --zone=us-central2-b "
        "--node-id=n --accelerator-type=v4-32 --runtime-version=v2-alpha-tpuv4"
    )
    assert ssh[:5] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh"]


def test_gke_runs_the_command_under_a_launcher_that_knows_an_eviction_from_an_end(capsys):
    (line,) = printed(
        capsys,
        "--on=gke",
        "--name=n",
        "--cluster=c",
        "--type=v5litepod-16",
        "--image=i",
        "--zone=z",
    )
    assert line[:3] == ["xpk", "workload", "create"]
    options = dict(option.removeprefix("--").split("=", 1) for option in line[3:] if "=" in option)
    command = options.pop("command")
    assert options == {
        "cluster": "c",
        "workload": "n",
        "tpu-type": "v5litepod-16",
        "num-slices": "1",
        "docker-image": "i",
        "max-restarts": "20",
        "termination-grace-period-seconds": "120",
        "zone": "z",
    }
    assert line[-1] == "--restart-on-user-code-failure"
    own, inner = command.split(" -- ")
    assert own == "python -m ssl_jax.launch --on=here --retries=0"
    assert shlex.split(inner) == [*TRAIN, "--distributed"]


def test_slurm_has_one_process_a_gpu(capsys):
    (line,) = printed(capsys, "--on=slurm", "--nodes=4", "--gpus=8", "--options=--account=a -t 60")
    start = (
        "srun --nodes=4 --ntasks-per-node=8 --gpus-per-node=8 --kill-on-bad-exit=1 "
        "--signal=TERM@120 --account=a -t 60"
    )
    assert line == [*start.split(), *TRAIN, "--distributed"]
    (line,) = printed(capsys, "--on=slurm", "--nodes=2", "--gpus=0", "--partition=cpu")
    assert line[:4] == ["srun", "--nodes=2", "--ntasks-per-node=1", "--partition=cpu"]


def test_ssh_tells_every_host_where_they_meet_and_which_it_is(capsys):
    lines = printed(capsys, "--on=ssh", "--hosts=me@a,b", "--folder=/x y")
    assert [line[-2] for line in lines] == ["me@a", "b"]
    for number, line in enumerate(lines):
        assert line[:6] == [*machines.SSH, "-tt"]
        folder, command = line[-1].split(" && ")
        assert shlex.split(folder) == ["cd", "/x y"]
        assert shlex.split(command) == [
            *["exec", *TRAIN, "--distributed", "--coordinator=a:8476", "--num_processes=2"],
            f"--process_id={number}",
        ]
    (alone,) = printed(capsys, "--on=ssh", "--hosts=a")
    assert shlex.split(alone[-1]) == ["exec", *TRAIN]


def test_distributed_is_said_once(capsys):
    (line,) = printed(capsys, "--on=slurm", "--nodes=1", command=[*TRAIN, "--distributed"])
    assert line.count("--distributed") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--on=moon", "--", "true"], "invalid choice: 'moon'"),
        (["--on"], "argument --on: expected one argument"),
        (["--", "true"], "required: --on"),
        (["--on=slurm", "--", "true"], "required: --nodes"),
        (["--on=ssh", "--hosts=a", "--zone=z", "--", "true"], "unrecognized arguments: --zone=z"),
        (["--on=here"], "write -- and then the command to run"),
    ],
)
def test_a_mistake_ends_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        launch.main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


# With programs that only say they are gcloud, srun and ssh.


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Puts a shell script on the path; it finds what it is called with in calls.txt."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HERE", str(tmp_path))
    monkeypatch.setattr(machines, "POLL", 0)

    def make(name: str, script: str) -> pathlib.Path:
        file = tmp_path / name
        file.write_text(f'#!/bin/sh\necho {name} "$@" >> "$HERE/calls.txt"\n{script}\n')
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return tmp_path / "calls.txt"

    return make


COUNT = 'echo x >> "$HERE/count"; n=$(wc -l < "$HERE/count")'


def test_a_job_that_fails_twice_is_started_three_times(fake, capfd):
    calls = fake("srun", f'{COUNT}; echo "run $n"; [ "$n" -ge 3 ] || exit 143')
    options = ["--on=slurm", "--nodes=1", "--gpus=0", "--wait=0"]
    assert launch.main([*options, "--retries=5", "--", "train"]) == 0
    assert len(calls.read_text().splitlines()) == 3
    out, err = capfd.readouterr()
    assert out.split() == ["run", "1", "run", "2", "run", "3"]
    assert "ended with code 143; try 2 of 6 in 0 s" in err


def test_retries_are_bounded(fake):
    calls = fake("srun", "exit 1")
    arguments = ["--on=slurm", "--nodes=1", "--wait=0", "--retries=2", "--", "train"]
    assert launch.main(arguments) == 1
    assert len(calls.read_text().splitlines()) == 3


@pytest.mark.parametrize("code", [2, 3, 130])
def test_a_mistake_divergence_and_ctrl_c_are_not_tried_again(fake, code):
    calls = fake("srun", f"exit {code}")
    assert launch.main(["--on=slurm", "--nodes=1", "--wait=0", "--", "train"]) == code
    assert len(calls.read_text().splitlines()) == 1


def test_a_run_that_saved_itself_and_ended_with_0_goes_on(fake):
    go_on = 'echo "ssl_jax: to go on: python -m ssl_jax.train" >&2'
    calls = fake("srun", f'{COUNT}; [ "$n" -ge 2 ] || {go_on}')
    assert launch.main(["--on=slurm", "--nodes=1", "--wait=0", "--", "train"]) == 0
    assert len(calls.read_text().splitlines()) == 2
    once = ["--on=here", "--retries=0", "--", "sh", "-c", go_on]
    assert launch.main(once) == processes.TRY_AGAIN


def test_the_line_that_tells_a_stopped_run_is_what_the_command_prints():
    source = pathlib.Path(launch.__file__).with_name("command.py").read_text()
    assert processes.UNFINISHED.decode() in source
    codes = "DONE, MISTAKE, DIVERGED, TRY_AGAIN, BY_CTRL_C = 0, 2, 3, 4, 130"
    assert codes in source


GCLOUD = """
state=$(cat "$HERE/state" 2>/dev/null)
case "$4" in
describe)
    [ -n "$state" ] || { echo "ERROR: (gcloud) NOT_FOUND: no such resource" >&2; exit 1; }
    echo "$state"; [ "$state" = CREATING ] && echo READY > "$HERE/state"; exit 0;;
create) echo CREATING > "$HERE/state";;
delete) rm "$HERE/state";;
ssh)
    case "$*" in *pkill*) exit 0;; esac
    COUNT; [ "$n" -ge 3 ] || { echo PREEMPTED > "$HERE/state"; exit 255; };;
esac
""".replace("COUNT", COUNT)


def test_a_preempted_slice_is_made_anew(fake, capfd):
    calls = fake("gcloud", GCLOUD)
    assert launch.main([*TPU, "--wait=0", "--", "train"]) == 0
    verbs = [line.split()[4] for line in calls.read_text().splitlines()]
    making, again = ["describe", "create", "describe", "describe"], ["describe", "delete"]
    cleared = ["ssh", "ssh"]  # first what ends processes that a lost connection left behind
    assert verbs == [*making, "ssh", *again, *making, *cleared, *again, *making, *cleared]
    kept = "the slice is kept, and paid for, until: gcloud compute tpus tpu-vm delete n"
    assert kept in capfd.readouterr().err


def test_a_slice_that_somebody_stopped_is_left_alone(fake, capfd):
    calls = fake("gcloud", "echo STOPPED")
    assert launch.main([*TPU, "--wait=0", "--", "train"]) == 2
    assert len(calls.read_text().splitlines()) == 1
    assert "slice n is STOPPED" in capfd.readouterr().err


def test_a_slice_that_cannot_be_had_is_asked_for_again(fake):
    no_room = 'echo "ERROR: (gcloud) RESOURCE_EXHAUSTED: no more capacity" >&2; exit 1'
    missing = 'echo "ERROR: (gcloud) NOT_FOUND: no such resource" >&2; exit 1'
    calls = fake("gcloud", f'case "$4" in create) {no_room};; *) {missing};; esac')
    assert launch.main([*TPU, "--wait=0", "--retries=2", "--", "train"]) == 1
    verbs = [line.split()[4] for line in calls.read_text().splitlines()]
    assert verbs == ["describe", "create"] * 3


def test_a_slice_that_is_lost_as_soon_as_made_is_not_made_for_ever(fake):
    script = GCLOUD.replace("echo CREATING", "echo FAILED")
    calls = fake("gcloud", script)
    assert launch.main([*TPU, "--wait=0", "--retries=1", "--", "train"]) == 4
    verbs = [line.split()[4] for line in calls.read_text().splitlines()]
    once = ["describe", "create", "describe"]
    assert verbs == [*once, "describe", "delete", *once]


SSH = """
for last; do :; done
sh -c "$last"
"""


def test_ssh_runs_on_every_host_at_once_and_quotes_survive(fake, tmp_path, capfd):
    fake("ssh", SSH)
    folder = tmp_path / "a b"
    folder.mkdir()
    code = (
        "import os, sys, time, pathlib; me = sys.argv[-1][-1]; pathlib.Path(me).touch()\n"
        "while not (os.path.exists('0') and os.path.exists('1')): time.sleep(0.01)\n"
        "print(f'{me}:', sys.argv[1], flush=True)"
    )
    odd = """it's "odd" $HOME; `true` && (x)"""
    arguments = ["--on=ssh", "--hosts=a,b", f"--folder={folder}", "--retries=0", "--"]
    assert launch.main([*arguments, sys.executable, "-c", code, odd]) == 0
    assert sorted(capfd.readouterr().out.splitlines()) == [f"0: {odd}", f"1: {odd}"]


STOPPABLE = """
import pathlib, signal, sys, time
me = sys.argv[-1][-1]
def stop(*_):
    pathlib.Path(me + ".saved").touch()
    sys.exit("saved" if me == "1" else 0)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(me).touch()
time.sleep(60)
"""


@pytest.mark.skipif(not shutil.which("pkill"), reason="needs procps")
def test_sigterm_reaches_what_ssh_has_started_on_other_hosts(fake, tmp_path):
    """Each `ssh` starts its command apart, as on another host: signals to `ssh` do not reach it."""
    once = 'case "$*" in *" b pkill"*) exit;; esac'  # both hosts are this machine
    fake("ssh", f'for last; do :; done\n{once}\nsetsid sh -c "$last" &\nwait $!')
    begin = [sys.executable, "-m", "ssl_jax.launch", "--on=ssh", "--hosts=a,b"]
    own = "--odd=(a+b)*[c]|$"  # would mean something else as a pattern
    command = [*begin, f"--folder={tmp_path}", "--", sys.executable, "-c", STOPPABLE, own]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while not all((tmp_path / name).exists() for name in "01") and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 1
    assert all((tmp_path / f"{name}.saved").exists() for name in "01")


@pytest.mark.skipif(not shutil.which("pkill"), reason="needs procps")
def test_what_is_ended_is_one_run_and_not_those_whose_names_begin_alike(tmp_path):
    script = tmp_path / "sleeper.py"
    script.write_text("import time; time.sleep(60)")
    own = [sys.executable, str(script), "--workdir=runs/x"]
    others = [[*own[:2], "--workdir=runs/x1"], ["sh", "-c", f"sleep 60; {shlex.join(own)}"]]
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(subprocess.Popen(c)) for c in (own, [*own, "-d"], *others)]
        for process in started:
            stack.callback(process.kill)
        for line in machines.Ssh("host").clear(own):
            assert subprocess.run(["sh", "-c", line[-1]], timeout=60, check=False).returncode == 0
        assert started[0].wait(10) == started[1].wait(10) == -signal.SIGTERM
        assert [process.poll() for process in started[2:]] == [None, None]


def test_when_one_host_fails_the_others_are_ended():
    began = time.monotonic()
    sleeper = ["sh", "-c", "exec sleep 60"]
    assert together([sleeper, ["sh", "-c", "exit 7"]], grace=0.2) == 7
    assert time.monotonic() - began < 10


def test_a_mistake_says_more_than_that_the_others_lost_touch():
    lost, mistaken = ["sh", "-c", "exit 4"], ["sh", "-c", "sleep 0.3; exit 2"]
    assert together([lost, mistaken]) == 2


def test_a_program_that_is_not_there():
    with pytest.raises(LaunchError, match="there is no program no-such-program"):
        together([["sleep", "60"], ["no-such-program"]])


def test_sigterm_is_passed_on_and_nothing_is_tried_again(tmp_path):
    """As in a pod that is evicted: the run saves itself, and the code says that there is more."""
    script = (
        "import signal, sys, time\n"
        "def stop(*_): print('saved\\nssl_jax: to go on: x', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop); print('ready', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-m", "ssl_jax.launch", "--on=here", "--wait=0", "--"]
    process = subprocess.Popen(
        [*command, sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert out == "saved\nssl_jax: to go on: x\n"
    assert process.returncode == 4


def test_help_lists_the_flags_of_the_engine_that_is_named(capsys):
    for arguments, listed in ((["--on=ssh", "--help"], True), (["--help"], False)):
        with pytest.raises(SystemExit) as end:
            launch.main(arguments)
        assert end.value.code == 0
        assert ("--hosts HOSTS" in capsys.readouterr().out) == listed
