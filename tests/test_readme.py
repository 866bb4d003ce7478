"""What the README shows is what there is, and its examples run."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import media
import numpy as np
import pytest

from ssl_jax import command
from ssl_jax import config as configs

ROOT = pathlib.Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
NAMED = {code.split()[1]: code for code in PYTHON if code.startswith("# my_")}


def test_two_commands_set_everything_up():
    commands = [line for line in TEXT.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert "ssl_jax.train --config=configs/quickstart.py" in commands[0]
    assert "pytest" in commands[1]


def test_no_placeholder_is_left():
    texts = [TEXT, *(f.read_text() for f in (ROOT / "configs").rglob("*.py"))]
    assert not [text for text in texts if "RESULTS" in text]


def test_the_config_for_own_films_trains_on_them(tmp_path, monkeypatch):
    """The README's config, its folder exchanged for one of films written here."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "films").mkdir()
    for name in ("one", "two"):
        wave = media.noise(3.0, 16000)
        media.write(tmp_path / "films" / f"{name}.mov", frames=75, wave=wave)
    code = NAMED["my_config.py"].replace("/data/my_films", str(tmp_path / "films"))
    (tmp_path / "my_config.py").write_text(code)
    config = configs.load(str(tmp_path / "my_config.py"))
    experiment = configs.build(config)
    rng = np.random.default_rng(0)
    assert len(experiment.source) == 2
    example = experiment.method.views(experiment.source[0], rng)
    assert example["vision"].shape == (64, 64, 3)
    assert np.abs(example["audio"]).max() > 0.01


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"(?:configs|ssl_jax|tests)/[\w/]+\.(?:py|md)", TEXT)))
)
def test_a_file_that_is_named_exists(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize(
    "line",
    re.findall(r"python -m ssl_jax\.((?!launch)\w+ [^\n`]*--config=configs\S+[^\n`]*)", TEXT),
)
def test_a_command_that_is_shown_parses(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    program, *arguments = line.split()
    command.parse(program, arguments)


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
