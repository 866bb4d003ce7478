"""What the README shows is what there is, and its examples run."""

import ast
import importlib
import pathlib
import re

import media
import numpy as np
import pytest

import ssl_jax
from ssl_jax import command
from ssl_jax import config as configs
from ssl_jax.config import call
from ssl_jax.experiment import Experiment

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
TEXT = README.read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
METHODS = [line for line in TEXT.splitlines() if line.startswith("| [")]


def shown(name: str) -> str:
    """The README's file of this name: its block, and those that continue it."""
    return "".join(code for code in PYTHON if code.split()[1].strip(",") == name)


def test_the_readme_is_read_in_one_sitting():
    assert len(TEXT.splitlines()) <= 230


def test_two_commands_set_everything_up():
    commands = [line for line in TEXT.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert "ssl_jax.train --config=configs/quickstart.py" in commands[0]
    assert "pytest" in commands[1]


@pytest.mark.parametrize("page", [README, *sorted((ROOT / "docs").glob("*.md"))], ids=str)
def test_what_a_page_links_to_exists(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"(?:configs|ssl_jax|tests)/[\w/]+\.(?:py|md)", TEXT)))
)
def test_a_file_that_is_named_exists(path):
    assert (ROOT / path).is_file()


def rooms() -> list[tuple[str, str]]:
    """(folder or file, name) of the names that the last table lists for each of them."""
    rows = re.findall(r"(?m)^\| `ssl_jax/([\w./]+)`(.*?) \| (.*) \|$", TEXT)
    return [(place, n) for place, _, names in rows for n in re.findall(r"`(\w+)`", names)]


def test_the_evaluators_that_are_listed_are_those_that_there_are():
    listed = {name for place, name in rooms() if place == "evals/"}
    there = {file.stem for file in (ROOT / "ssl_jax/evals").glob("[!_]*.py")}
    assert listed == there - {"table", "running"}


def test_sources_augmentations_and_heads_that_are_listed_exist():
    known = {file.stem for file in (ROOT / "ssl_jax").rglob("*.py")}
    for file in ("ops/augment.py", "models/heads.py"):
        tree = ast.parse((ROOT / "ssl_jax" / file).read_text())
        known |= {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    assert len(rooms()) > 40
    assert not [name for _, name in rooms() if name not in known]


@pytest.mark.parametrize("row", METHODS, ids=lambda row: row[3:].partition("]")[0])
def test_a_number_of_the_methods_table_stands_in_a_config_of_its_row(row):
    _, _, where, *numbers, _ = row.split("|")
    names = re.findall(r"`([\w/]+\.py)(?::(\w+))?`", where)
    assert names
    text = ""
    for file, variant in names:
        source = (ROOT / "configs" / file).read_text()
        text += source
        assert not variant or f"def {variant}(" in source
    if "cluster_transfer" in where:  # the number of the two together is written once
        text += (ROOT / "configs/image/jigsaw_plus_imagenet.py").read_text()
    found = re.findall(r"\d+\.\d+", "".join(numbers))
    assert not [number for number in found if number not in text]


def test_every_method_has_a_row():
    there = {file.stem for file in (ROOT / "ssl_jax/methods").glob("*/[!_]*.py")}
    linked = {pathlib.Path(p).stem for p in re.findall(r"\((ssl_jax/methods/[^)]+)\)", TEXT)}
    assert linked - {"multitask", "finetune"} == there


@pytest.mark.parametrize(
    "line", re.findall(r"python -m ssl_jax\.((?:train|evaluate) +--config=(?!my_)[^\n`]*)", TEXT)
)
def test_a_command_that_is_shown_parses(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    program, *arguments = line.split()
    parsed = command.parse(program, arguments)
    assert set(parsed.only) <= set(parsed.config.evaluators)


@pytest.mark.parametrize("knob", sorted(set(re.findall(r"`(checkpoints\.\w+)", TEXT))))
def test_a_knob_that_is_named_exists(knob):
    config = configs.load("quickstart.py")
    configs.override(config, knob, 5 if knob != "checkpoints.keep_best" else "probe/pool")


@pytest.mark.parametrize("code", PYTHON)
def test_python_that_is_shown_compiles(code):
    ast.parse(code)


def test_the_config_for_own_videos_trains_on_them(tmp_path):
    """The README's config, its folder exchanged for one of videos written here."""
    (tmp_path / "videos").mkdir()
    for name in ("one", "two"):
        wave = media.noise(3.0, 16000)
        media.write(tmp_path / "videos" / f"{name}.mov", frames=75, wave=wave)
    code = shown("my_config.py").replace("/data/my_videos", str(tmp_path / "videos"))
    (tmp_path / "my_config.py").write_text(code)
    experiment = configs.build(configs.load(str(tmp_path / "my_config.py")))
    assert len(experiment.source) == 2
    example = experiment.method.views(experiment.source[0], np.random.default_rng(0))
    assert example["vision"].shape == (64, 64, 3)
    assert np.abs(example["audio"]).max() > 0.01


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The README's own files in a folder, importable."""
    for name in ("my_methods.py", "my_mirror.py", "my_evaluator.py"):
        (tmp_path / name).write_text(shown(name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_method_its_slow_copy_and_the_evaluator_run_as_shown(written, capsys):
    config = ssl_jax.load_config("my_mirror.py")
    assert isinstance(configs.build(config), Experiment)
    methods, evaluators = map(importlib.import_module, ("my_methods", "my_evaluator"))
    config.method = call(methods.SlowCopy, vision=config.method.vision)
    sources = {"train": config.source, "test": config.evaluators.ridge.test}
    config.evaluators["mean"] = call(evaluators.NearestMean, **sources)
    state = ssl_jax.fit(config, "runs/mirror")
    slow, online = (
        np.asarray(tree["head"]["linear"]["kernel"])
        for tree in (
            state.state["slow"]["params"],
            state.params,
        )
    )
    assert np.abs(slow - online).max() > 0
    assert "mean" in capsys.readouterr().out
    frozen = ssl_jax.load("runs/mirror")
    assert "slow" in frozen.variables
