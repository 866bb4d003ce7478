"""The command line: knobs, variants and the one line that a mistake costs."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys

import jax
import pytest
from ml_collections import ConfigDict

from ssl_jax import command, config
from ssl_jax.config import ConfigError
from ssl_jax.data.record import MediaError
from ssl_jax.devices.hosts import Cluster
from ssl_jax.launching import exit_codes
from ssl_jax.training.stop import Interrupted, SaveError

CONFIG = os.path.join(os.path.dirname(__file__), "tiny_config.py")


def arguments(*extra, config=CONFIG):
    return [f"--config={config}", "--workdir=w", *extra]


def test_overrides_reach_every_depth():
    parsed = command.parse(
        "evaluate",
        arguments(
            "--config.method.vision.width=8",
            "--config.optimizer.learning_rate=1",
            "--config.control=('target',)",
            "--config.dtype=bfloat16",
            "--only=ridge,knn",
        ),
    )
    assert parsed.config.method.vision.width == 8
    assert parsed.config.optimizer.learning_rate == 1.0
    assert parsed.config.control == ("target",)
    assert parsed.config.dtype == "bfloat16"
    assert (parsed.workdir, parsed.only, parsed.random_init) == ("w", ("ridge", "knn"), False)


def test_one_of_several_processes_says_where_the_others_are():
    assert command.parse("train", arguments()).cluster is None
    assert command.parse("train", arguments("--distributed")).cluster == Cluster()
    told = ("--coordinator=10.0.0.1:1234", "--num_processes=4", "--process_id=0")
    parsed = command.parse("evaluate", arguments("--distributed", *told, "--heartbeat_seconds=30"))
    assert parsed.cluster == Cluster("10.0.0.1:1234", 4, 0, 30)


def test_joining_nobody_is_one_line_with_a_hint():
    jax.devices()  # too late now to join
    with pytest.raises(ConfigError, match=r"--distributed: .*; give --coordinator=HOST:PORT") as e:
        Cluster().join()
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            arguments("--config.method.visoin.width=8"),
            "config.method has no 'visoin'; did you mean",
        ),
        (arguments("--config.steps=many"), "config.steps='many': it takes a whole number"),
        (arguments("--config.steps"), "write --config.steps=VALUE"),
        (arguments("--worker=3"), "unknown argument --worker=3"),
        (arguments("--only=ridge"), "unknown argument --only=ridge"),
        (arguments("--config.dtype=bf16"), "dtype='bf16' must be one of float32, bfloat16"),
        (arguments("--config.log_every=0"), "log_every=0 must be at least 1"),
        (arguments(config=__file__), "has no function get_config"),
        (arguments("--coordinator=a:1"), "--coordinator needs --distributed"),
        (arguments("--process_id=0"), "--process_id needs --distributed"),
        (["--config=x.py"], "the following arguments are required: --workdir"),
        (
            arguments("--config.optimizer.schedule=cosine"),
            "config.optimizer.schedule='cosine': it takes Schedule",
        ),
        (arguments("--config.optimizer.warmup_steps=3"), "config.optimizer has no 'warmup_steps'"),
        (
            arguments("--config.optimizer.schedule.warmup=-3"),
            "optimizer.schedule: warmup=-3 must be at least 0",
        ),
        (
            arguments("--distributed", "--coordinator=a:1", "--num_processes=2"),
            "--coordinator, --num_processes and --process_id go together",
        ),
        (
            arguments("--distributed", "--heartbeat_seconds=0"),
            "--heartbeat_seconds=0 must be at least 1",
        ),
        (arguments("--process_id=one"), "argument --process_id: invalid int value: 'one'"),
        (arguments(config="none.py"), "no config file none.py"),
        (arguments(config=f"{CONFIG}:huge"), "unknown variant ':huge'; there is small"),
    ],
)
def test_a_mistake_is_one_line(argv, message):
    with pytest.raises(ConfigError) as error:
        config.build(command.parse("train", argv).config)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("module", "extra", "message"),
    [
        ("train", ["--config.batch_size=6"], "batch_size=6 must be a multiple of the 4 devices"),
        ("train", ["--workdir=/proc/nothing"], "cannot write to workdir /proc/nothing"),
        ("evaluate", ["--only=rigde"], "no evaluator 'rigde'; did you mean 'ridge'?"),
        ("evaluate", [], "no checkpoint in"),
        ("train", ["--workdir=gs://bucket/run"], "mount the bucket (gcsfuse) and give the folder"),
    ],
)
def test_the_process_ends_with_one_line_and_code_2(tmp_path, module, extra, message):
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            f"ssl_jax.{module}",
            f"--config={CONFIG}",
            f"--workdir={tmp_path}",
            *extra,
        ],
        capture_output=True,
        text=True,
        cwd=os.path.dirname(CONFIG),
        check=False,
    )
    assert run.returncode == exit_codes.MISTAKE
    line = run.stderr.strip().splitlines()[-1]
    assert line.startswith("ssl_jax: ")
    assert message in line
    assert "Traceback" not in run.stderr


@dataclasses.dataclass(frozen=True)
class Picky:
    size: int

    def __post_init__(self):
        raise ValueError(f"size={self.size} is too small")


def test_a_constructors_value_error_is_a_mistake_in_the_config():
    picky = config.call(Picky, size=3)
    with pytest.raises(ConfigError, match=r"^size=3 is too small"):
        config.build(picky)
    with pytest.raises(ConfigError, match=r"^evaluators\.mine: size=3 is too small"):
        config.build(ConfigDict({"evaluators": {"mine": picky}}))


def interrupted(number: int) -> Interrupted:
    return Interrupted("stopped and saved at step 3", number)


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (ConfigError("steps=-1\nis negative"), 2, "ssl_jax: steps=-1 is negative\n"),
        (MediaError("a.mp4: cannot be read"), 2, "ssl_jax: a.mp4: cannot be read\n"),
        (FloatingPointError("the loss is NaN"), 3, "ssl_jax: the loss is NaN\n"),
        (SaveError("could not save step 3"), 4, "could not save step 3; free some space"),
        (OSError(errno.ENOSPC, "No space left"), 4, "No space left; free some space"),
        (interrupted(signal.SIGINT), 130, "ssl_jax: stopped and saved at step 3\n"),
        (interrupted(signal.SIGTERM), 0, "\nssl_jax: to resume: python -m ssl_jax.train '--a=b c'"),
        (KeyboardInterrupt(), 130, "ssl_jax: stopped; what was saved before is kept\n"),
        (ValueError("a bug of ours"), 1, "Traceback (most recent call last)"),
        (FileNotFoundError("of a library"), 1, "Traceback (most recent call last)"),
    ],
)
def test_the_class_of_an_error_says_how_the_process_ends(monkeypatch, capsys, error, code, shown):
    monkeypatch.setattr(sys, "argv", ["train.py", "--a=b c"])

    def main(argv):
        assert argv == ["--a=b c"]
        raise error

    with pytest.raises(SystemExit) as end:
        command.enter(main, "train")
    assert end.value.code == code
    err = capsys.readouterr().err
    assert shown in err
    assert ("Traceback" in err) == (code == exit_codes.FAILED)


def test_a_command_without_an_error_ends_with_what_it_returns(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["launch.py"])
    for returned, code in ((None, None), (4, 4)):
        with pytest.raises(SystemExit) as end:
            command.enter(lambda argv, returned=returned: returned, "launch")
        assert end.value.code == code
