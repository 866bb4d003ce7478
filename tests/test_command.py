"""The command line: knobs, variants and the one line that a mistake costs."""

import os
import subprocess
import sys

import jax
import pytest

from ssl_jax import command, config
from ssl_jax.config import ConfigError
from ssl_jax.devices.hosts import Cluster

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
        (arguments("--config.steps=many"), "config.steps: "),
        (arguments("--config.steps"), "write --config.steps=VALUE"),
        (arguments("--worker=3"), "unknown argument --worker=3"),
        (arguments("--only=ridge"), "unknown argument --only=ridge"),
        (arguments("--config.dtype=bf16"), "dtype is float32 or bfloat16, not 'bf16'"),
        (arguments("--config.log_every=0"), "log_every=0 must be at least 1"),
        (arguments(config=__file__), "has no function get_config"),
        (arguments("--coordinator=a:1"), "--coordinator is of use with --distributed only"),
        (arguments("--process_id=0"), "--process_id is of use with --distributed only"),
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
        (arguments(config=f"{CONFIG}:huge"), "unknown variant ':huge'; there is tiny"),
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
    assert run.returncode == 2
    line = run.stderr.strip().splitlines()[-1]
    assert line.startswith("ssl_jax: ")
    assert message in line
    assert "Traceback" not in run.stderr
