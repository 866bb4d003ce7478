"""Configs: recorded calls, checked names and types, one-line errors."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest
import tiny

import ssl_jax
from ssl_jax import command, config
from ssl_jax.config import ConfigError, build, call


@dataclasses.dataclass(frozen=True)
class Knobs:
    rate: float
    steps: int = 3
    name: str = "a"
    flag: bool = False
    sizes: tuple[int, ...] = (1, 2)


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Knobs = Knobs(0.5)
    named: dict = dataclasses.field(default_factory=dict)


def test_call_writes_every_default_out_and_build_makes_the_object():
    recorded = call(Knobs, rate=1)
    assert recorded.to_dict() == {
        "call": "test_config:Knobs",
        "rate": 1.0,
        "steps": 3,
        "name": "a",
        "flag": False,
        "sizes": (1, 2),
    }
    assert build(recorded) == Knobs(rate=1.0)


def test_nested_objects_are_recorded_and_can_be_overridden():
    recorded = call(Outer, named={"x": call(Knobs, rate=0.1)})
    config.override(recorded, "inner.steps", 7)
    config.override(recorded, "named.x.sizes", (5, 6, 7))
    assert build(recorded) == Outer(Knobs(0.5, steps=7), {"x": Knobs(0.1, sizes=(5, 6, 7))})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rat": 1.0}, "no argument 'rat'; did you mean 'rate'"),
        ({}, "needs the argument 'rate'"),
        ({"rate": "fast"}, "rate is a float, got 'fast'"),
        ({"rate": 1.0, "steps": 1.5}, "steps is a int, got 1.5"),
        ({"rate": 1.0, "flag": 1}, "flag is a bool, got 1"),
    ],
)
def test_a_wrong_argument_is_an_error_in_the_config_file_itself(arguments, message):
    with pytest.raises(ConfigError, match=message):
        call(Knobs, **arguments)


def test_a_wrong_override_names_the_knob_and_what_was_meant():
    recorded = call(Outer)
    with pytest.raises(ConfigError, match=r"config.inner has no 'step'; did you mean 'steps'\?"):
        config.override(recorded, "inner.step", 1)
    with pytest.raises(ConfigError, match=r"config.inner.steps="):
        config.override(recorded, "inner.steps", "many")


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("checkpoints.every", r"did you mean 'every_minutes' or 'every_steps'\?"),
        ("checkpoints.keep_all", r"did you mean 'keep'\?"),
        ("batch", r"did you mean 'batch_size'\?"),
        ("optimizer.Learning", r"did you mean 'learning_rate'\?"),
        ("learning_rate", r"did you mean 'config.optimizer.learning_rate'\?"),
        ("width", r"'config.method.vision.width' or 'config.source.width'\?"),
        ("checkpoints.zzz", "it has every_minutes, every_steps, keep, keep_best, keep_every$"),
        ("steps.more", "config.steps has no 'more'$"),
    ],
)
def test_what_was_meant_begins_like_it_or_lies_further_inside(path, meant):
    with pytest.raises(ConfigError, match=meant):
        config.override(tiny.experiment(), path, 1)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"optimizer": {"name": "sgd"}}, r"Experiment.optimizer is a dict: write call\(Optimizer,"),
        ({"data": {}}, r"Experiment.data is a dict: write call\(Loading,"),
        ({"evaluators": {"a": {"k": 3}}}, r"evaluators.a is a dict: write call\(Evaluator,"),
        ({"dtype": {"name": "float32"}}, "dtype is a str, got"),
    ],
)
def test_a_dict_where_a_call_belongs_is_an_error_in_the_config_file_itself(knobs, message):
    with pytest.raises(ConfigError, match=message):
        tiny.experiment(**knobs)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("optimizer", {"name": "sgd"}, r"Experiment.optimizer is a dict: write call\(Optimizer,"),
        ("evaluators", {"a": {"k": 3}}, r"evaluators.a is a dict: write call\(Evaluator,"),
        ("optimizer.schedule", {"warmup": 3}, r"Optimizer.schedule is a dict: write call\("),
    ],
)
def test_a_dict_of_the_command_line_too(path, value, message):
    recorded = tiny.experiment()
    config.override(recorded, path, value)
    with pytest.raises(ConfigError, match=message):
        build(recorded)


def test_knobs_that_are_mappings_take_dicts():
    where = {"vision": "runs/a"}
    assert dict(build(tiny.experiment(init_from=where)).init_from) == where
    assert build(tiny.experiment(evaluators={})).evaluators == {}


def test_a_saved_config_reads_back_the_same(tmp_path):
    recorded = tiny.experiment(evaluators={"ridge": tiny.ridge()})
    config.save(recorded, tmp_path / "config.json")
    assert config.read(tmp_path / "config.json") == recorded
    assert build(config.read(tmp_path / "config.json")) == build(recorded)


def test_linen_modules_record_their_knobs_only():
    assert set(call(tiny.TinyTrunk)) == {"call", "width", "dtype"}


ROOT = pathlib.Path(__file__).parent.parent


def test_a_config_of_the_package_is_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = ssl_jax.load_config("image/simclr_cifar10.py:tiny")
    assert named.steps == 4
    assert named == config.load("configs/image/simclr_cifar10.py:tiny")
    assert named == config.load(f"{ROOT}/configs/image/simclr_cifar10.py:tiny")


def test_a_file_of_that_path_in_the_working_folder_comes_first(tmp_path, monkeypatch):
    (tmp_path / "image").mkdir()
    text = "from ml_collections import ConfigDict\n\n\ndef get_config(variant):\n"
    (tmp_path / "image" / "simclr_cifar10.py").write_text(
        f"{text}    return ConfigDict({{'own': variant}})\n"
    )
    monkeypatch.chdir(tmp_path)
    assert config.load("image/simclr_cifar10.py:big").own == "big"
    assert config.load("image/simclr_imagenet.py:tiny").steps == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("image/simclr_cifar.py", r"no config file .*; did you mean 'image/simclr_cifar10\.py'\?"),
        ("configs/vidoe/clip_order_ucf101.py", r"did you mean 'video/clip_order_ucf101\.py'\?"),
        ("zzz.py:tiny", r"no config file zzz\.py, here or among those of the package$"),
        ("image/simclr_cifar10", r"should be Python \(\.py\)"),
        ("image/simclr_imagenet.py:v3", r"unknown variant ':v3'; there is imagenet, v2, tiny"),
    ],
)
def test_an_unknown_config_or_variant_is_one_line_with_what_there_is(name, message):
    with pytest.raises(ConfigError, match=message):
        config.load(name)


def test_the_papers_run_goes_by_its_own_name_too():
    assert config.load("image/simclr_imagenet.py:imagenet") == config.load(
        "image/simclr_imagenet.py"
    )


def test_trunks_to_start_from_are_given_on_the_command_line_as_a_dict(tmp_path):
    arguments = command.parse(
        "train",
        [
            "--config=image/rotation_cifar10.py:tiny",
            f"--workdir={tmp_path}",
            "--config.init_from={'vision': 'runs/a'}",
        ],
    )
    assert dict(build(arguments.config).init_from) == {"vision": "runs/a"}


@pytest.mark.parametrize(
    ("target", "knobs", "message"),
    [
        ("ssl_jax.methods.image.jigsaw_plus:Gone", {}, "No module named"),
        ("ssl_jax.optim:Gone", {}, "has no attribute 'Gone'"),
        ("test_config:Knobs", {"rate": 1.0, "old": 2}, "unexpected keyword argument 'old'"),
    ],
)
def test_a_run_that_names_what_is_gone_costs_one_line(tmp_path, target, knobs, message):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"call": "test_config:Outer", "inner": {"call": target, **knobs}}))
    pattern = rf"config\.json asks for {target}: .*{message}.*; train again, or use the version"
    with pytest.raises(ConfigError, match=pattern):
        build(config.read(path), str(path))


@pytest.mark.slow
def test_an_installed_wheel_brings_the_configs_and_trains_one_from_an_empty_folder(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    zipfile.ZipFile(wheel).extractall(installed)
    empty.mkdir()
    train = [sys.executable, "-m", "ssl_jax.train", "--config=video/clip_order_ucf101.py:tiny"]
    knobs = ["--workdir=run", "--config.sharding.devices=1"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    subprocess.run([*train, *knobs], cwd=empty, env=environment, check=True)
    recorded = json.loads((empty / "run" / "config.json").read_text())
    assert recorded["steps"] == 4
    where = "import ssl_jax.config as c; print(c.installed())"
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=empty, env=environment, capture_output=True, text=True
    )
    assert found.stdout.strip() == str(installed / "ssl_jax" / "configs")
