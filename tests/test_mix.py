"""Mix: every source by its weight, each one's records in turn, a pure function of the number."""

import collections
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_jax import config as configs
from ssl_jax.config import ConfigError, call
from ssl_jax.data.pipeline import train_dataset
from ssl_jax.data.sources.mix import Mix
from ssl_jax.data.sources.synthetic import SyntheticSource


def sources(*sizes):
    return tuple(
        SyntheticSource(size=size, frames=1, height=8, width=8, seed=seed)
        for seed, size in enumerate(sizes)
    )


def test_weights_hold_in_every_stretch_and_records_come_in_turn():
    mix = Mix(sources(6, 5), weights=(3, 1))
    assert len(mix) == 20  # the second, of five records, is seen once
    records = [mix[i] for i in range(20)]
    which = [r.extra["source"] for r in records]
    for first in range(0, 20, 4):
        assert sorted(which[first : first + 4]) == [0, 0, 0, 1]
    assert [r.index for r in records] == list(range(20))
    for number, source in enumerate(mix.sources):
        names = [r.name for r in records if r.extra["source"] == number]
        assert names == [source[i % len(source)].name for i in range(len(names))]
        labels = [r.label for r in records if r.extra["source"] == number]
        assert labels == [source[i % len(source)].label for i in range(len(labels))]
    assert records[1].frames([0]).shape == (1, 8, 8, 3)
    with pytest.raises(IndexError):
        mix[20]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.lists(st.floats(0.05, 1.0), min_size=4, max_size=4),
)
def test_every_record_is_seen_and_shares_are_those_of_the_weights(sizes, weights):
    weights = tuple(weights[: len(sizes)])
    mix = pickle.loads(pickle.dumps(Mix(sources(*sizes), weights)))
    assert mix == Mix(sources(*sizes), weights)
    drawn = [(r.extra["source"], r.name) for r in (mix[i] for i in range(len(mix)))]
    assert {d[0] for d in drawn} == set(range(len(sizes)))
    assert len(set(drawn)) == sum(sizes)
    counts = collections.Counter(number for number, _ in drawn)
    for number, weight in enumerate(weights):
        assert abs(counts[number] - len(mix) * weight / sum(weights)) <= 2 + len(mix) / 1000


def test_without_weights_every_record_comes_once():
    mix = Mix(sources(6, 3, 1))
    assert len(mix) == 10
    drawn = [(r.extra["source"], r.name) for r in (mix[i] for i in range(10))]
    assert len(set(drawn)) == 10


def test_a_mix_in_a_config_is_saved_read_and_overridden(tmp_path):
    config = call(
        Mix,
        sources=(call(SyntheticSource, size=4), call(Mix, sources=(call(SyntheticSource),))),
        weights=(3, 1),
    )
    configs.override(config, "sources.0.size", 6)
    mix = configs.build(config)
    assert mix == Mix((SyntheticSource(size=6), Mix((SyntheticSource(),))), (3, 1))
    configs.save(config, tmp_path / "config.json")
    assert configs.build(configs.read(tmp_path / "config.json")) == mix
    with pytest.raises(ConfigError, match=r"config\.sources has no '2'"):
        configs.override(config, "sources.2.size", 6)
    dataset = train_dataset(mix, lambda r, rng: {"n": np.int64(r.index)}, 4, seed=0)
    assert dataset[3]["n"].shape == (4,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sources": ()}, "at least one source"),
        ({"sources": sources(2, 2), "weights": (1,)}, r"weights=\(1,\): 2 sources need one each"),
        ({"sources": sources(2, 2), "weights": (1, 0)}, r"weights=\(1, 0\) must be positive"),
        ({"sources": sources(2, 2), "weights": (1, float("nan"))}, "must be positive"),
    ],
)
def test_bad_mixes_are_one_line(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Mix(**arguments)
