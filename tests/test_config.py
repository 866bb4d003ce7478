"""Configs: recorded calls, checked names and types, one-line errors."""

import dataclasses

import pytest
import tiny

from ssl_jax import config
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
    with pytest.raises(ConfigError, match=r"config.inner.steps: "):
        config.override(recorded, "inner.steps", "many")


def test_a_saved_config_reads_back_the_same(tmp_path):
    recorded = tiny.experiment(evaluators={"ridge": tiny.ridge()})
    config.save(recorded, tmp_path / "config.json")
    assert config.read(tmp_path / "config.json") == recorded
    assert build(config.read(tmp_path / "config.json")) == build(recorded)


def test_linen_modules_record_their_knobs_only():
    assert set(call(tiny.TinyTrunk)) == {"call", "width", "dtype"}


def test_a_missing_file_is_one_line():
    with pytest.raises(ConfigError, match=r"no config file nowhere\.py"):
        config.load("nowhere.py:tiny")
