"""What the README shows is what there is."""

import ast
import pathlib
import re

import pytest

from ssl_jax import command

ROOT = pathlib.Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)


def test_two_commands_set_everything_up():
    commands = [line for line in TEXT.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert "ssl_jax.train --config=configs/quickstart.py" in commands[0]
    assert "pytest" in commands[1]


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"(?:configs|ssl_jax|tests)/[\w/]+\.py", TEXT)))
)
def test_a_file_that_is_named_exists(path):
    assert (ROOT / path).is_file() or "my_" in path


@pytest.mark.parametrize(
    "line", re.findall(r"python -m ssl_jax\.\w+ [^\n`]*--config=\S+[^\n`]*", TEXT)
)
def test_a_command_that_is_shown_parses(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    module, *arguments = line.split("python -m ")[-1].split()
    if "my_" not in line:
        command.parse([module, *arguments])


@pytest.mark.parametrize("code", [code for language, code in BLOCKS if language == "python"])
def test_python_that_is_shown_compiles(code):
    ast.parse(code)
