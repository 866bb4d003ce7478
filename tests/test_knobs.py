"""A knob takes what its annotation says, wherever its value comes from."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn
import pytest
import tiny
from ml_collections import ConfigDict

from ssl_jax import config
from ssl_jax.config import ConfigError
from ssl_jax.data.record import Source
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.knobs import above, at_least, fits, one_of, within


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, (3, -1), (2.0, True, None, "3")),
        (float, (2.0, 3, float("inf")), (True, None, "2")),
        (bool, (True,), (1, None)),
        (str, ("", "a"), (None, 3, ("a",))),
        (tuple[int, ...], ((), (1, 2)), (3, None, (1, 2.5), (1, None), [1])),
        (tuple[float, float], ((0, 1.5),), ((1.0,), (1.0, 2.0, 3.0), (1.0, "a"))),
        (Literal["crops", "clips"], ("crops",), ("crop", None)),
        (nn.Module | None, (None, nn.Dense(3)), (3, "dense")),
        (str | Mapping[str, str], ("", {"a": "b"}), (None, {"a": 3}, 3)),
        (Mapping[str, int], ({}, {"a": 1}), (None, {"a": None}, 3)),
        (Callable[[int], int], (len,), (3, None)),
        (Source, (SyntheticSource(size=1),), (None, 3)),
        (Any, (None, 3, "a"), ()),
    ],
)
def test_values_fit_annotations(hint, good, bad):
    assert [value for value in good if not fits(value, hint)] == []
    assert [value for value in bad if fits(value, hint)] == []


@pytest.mark.parametrize(
    ("knob", "value", "message"),
    [
        ("steps", None, "steps=None: Experiment takes a whole number"),
        ("optimizer.learning_rate", None, "optimizer.learning_rate=None: Optimizer takes a number"),
        ("optimizer", None, "optimizer=None: Experiment takes Optimizer"),
        ("evaluators", None, "evaluators=None: Experiment takes a mapping to Evaluator"),
        ("control", None, "control=None: Experiment takes a tuple of text"),
        ("source.size", None, "source.size=None: SyntheticSource takes a whole number"),
        ("method.vision", None, "method.vision=None: MeanColour takes Module"),
    ],
)
def test_none_is_refused_by_name_in_a_config_and_on_the_command_line(knob, value, message):
    written = tiny.experiment()
    *groups, last = knob.split(".")
    node = written
    for group in groups:
        node = node[group]
    with node.ignore_type():
        node[last] = value
    with pytest.raises(ConfigError, match=f"^{message}$"):
        config.build(written)
    with pytest.raises(ConfigError, match=rf"^config\.{knob}=None: it takes "):
        config.override(tiny.experiment(), knob, value)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("steps", 2.5),
        ("steps", True),
        ("optimizer", 3),
        ("control", "audio"),
        ("control", ("audio", 3)),
        ("sharding.shape", 3),
        ("init_from", 3),
    ],
)
def test_another_type_is_refused_by_name_on_the_command_line(knob, value):
    with pytest.raises(ConfigError, match=rf"^config\.{knob}=.*: it takes "):
        config.override(tiny.experiment(), knob, value)


def test_a_whole_number_is_a_number():
    written = tiny.experiment()
    config.override(written, "optimizer.learning_rate", 1)
    assert written.optimizer.learning_rate == 1.0
    assert isinstance(written.optimizer.learning_rate, float)


@dataclasses.dataclass(frozen=True)
class Ranged:
    count: int = 1
    share: float = 0.5
    rate: float = 0.1
    how: str = "mean"

    def __post_init__(self):
        at_least(self, 1, "count")
        within(self, 0, 1, "share")
        above(self, 0, "rate")
        one_of(self, "how", ("mean", "max"))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"count": 0}, "count=0 must be at least 1"),
        ({"share": 1.5}, "share=1.5 must be from 0 to 1"),
        ({"share": float("nan")}, "share=nan must be from 0 to 1"),
        ({"rate": 0.0}, "rate=0.0 must be above 0"),
        ({"rate": float("nan")}, "rate=nan must be above 0"),
        ({"how": "median"}, "how='median' must be one of mean, max"),
    ],
)
def test_a_knob_out_of_range_is_named_with_its_place(knobs, message):
    recorded = ConfigDict({"evaluators": {"mine": config.call(Ranged, **knobs)}})
    with pytest.raises(ConfigError, match=rf"^evaluators\.mine: {message}$"):
        config.build(recorded)
