"""What the README shows is what there is, and its examples run."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

from ssl_jax import command

ROOT = pathlib.Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
NAMED = {code.split()[1]: code for code in PYTHON if code.startswith("# my_")}


def test_two_commands_set_everything_up():
    commands = [line for line in TEXT.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert "ssl_jax.train --config=configs/quickstart.py" in commands[0]
    assert "pytest" in commands[1]


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"(?:configs|ssl_jax|tests)/[\w/]+\.(?:py|md)", TEXT)))
)
def test_a_file_that_is_named_exists(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize(
    "line", re.findall(r"python -m (ssl_jax\.\w+ [^\n`]*--config=configs\S+[^\n`]*)", TEXT)
)
def test_a_command_that_is_shown_parses(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    command.parse(line.split())


@pytest.mark.parametrize("code", PYTHON)
def test_python_that_is_shown_compiles(code):
    ast.parse(code)


def test_the_method_that_is_shown_trains_as_shown(tmp_path):
    for name in ("my_methods.py", "my_mirror.py"):
        (tmp_path / name).write_text(NAMED[name])
    shown = next(line for line in TEXT.splitlines() if "--config=my_mirror.py" in line)
    environment = {**os.environ, "XLA_FLAGS": ""}
    run = subprocess.run(
        [sys.executable, *shown.split()[1:]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "pretext" in run.stdout
    assert (tmp_path / "runs/mirror/results.json").is_file()
