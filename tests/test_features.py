"""Features that are kept, let go of, and laid in files."""

import dataclasses

import numpy as np
import pytest

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.record import Record
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals.knn import Knn
from ssl_jax.evals.running import Failures, run_evaluators
from ssl_jax.evaluator import Read
from ssl_jax.features import Gathered
from ssl_jax.frozen import Frozen


@dataclasses.dataclass(frozen=True)
class Counted:
    """A source that counts how often its records are asked for; hands them out by `order`."""

    source: SyntheticSource
    order: tuple[int, ...]
    asked: list[int] = dataclasses.field(default_factory=list, compare=False)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Record:
        self.asked.append(index)
        return self.source[self.order[index]]


@pytest.fixture(scope="module")
def frozen() -> Frozen:
    experiment = configs.build(configs.load("configs/image/rotation_cifar10.py:tiny"))
    return Frozen.of(experiment, Sharding(devices=1).mesh())


def counted(order, seed=0) -> Counted:
    return Counted(SyntheticSource(size=12, frames=1, height=16, width=16, seed=seed), order)


ONE_LAYER = {"stream": "vision", "layers": ("input",)}
SIZE = 3 * 16 * 16 * 3 * 4  # bytes of three records' pixels


def test_the_features_last_asked_for_are_kept_and_others_let_go(frozen):
    frozen = dataclasses.replace(frozen, memory=2 * SIZE, _cache={})
    a, b, c = (counted((0, 1, 2), seed) for seed in (1, 2, 3))
    for source in (a, b, a, c):  # b is the one that was asked for longest ago when c comes
        frozen.features(source, **ONE_LAYER)
    before = len(a.asked), len(b.asked)
    frozen.features(a, **ONE_LAYER)
    assert len(a.asked) == before[0]
    frozen.features(b, **ONE_LAYER)
    assert len(b.asked) > before[1]
    frozen.forget()
    frozen.features(a, **ONE_LAYER)
    assert len(a.asked) > before[0]


@pytest.mark.parametrize("average", [True, False])
def test_large_features_lie_in_a_file_and_are_the_same(frozen, average):
    source = counted((4, 0, 7, 2, 9))  # not in the order of the records' numbers
    small = frozen.features(source, "vision", average=average)
    large = dataclasses.replace(frozen, memory=SIZE, _cache={})
    found = large.features(source, "vision", average=average)
    assert found.bytes_in_memory == 0 < small.bytes_in_memory
    assert found.indices.tolist() == small.indices.tolist() == [0, 2, 4, 7, 9]
    assert (found.labels == small.labels).all()
    assert list(found.layers) == list(small.layers)
    for name, rows in small.layers.items():
        np.testing.assert_array_equal(found.layers[name], rows)
    read = len(source.asked)
    large.features(source, "vision", average=average)
    assert len(source.asked) == read


def test_evaluators_share_features_and_leave_none_behind(frozen):
    frozen = dataclasses.replace(frozen, _cache={})
    train, test = counted((0, 1, 2, 3, 4, 5)), counted((6, 7, 8))
    one, two = (Knn(train, test, read=Read(layers=("pool",)), k=k) for k in (1, 3))
    numbers = dict(run_evaluators(frozen, {"one": one, "two": two}, Failures()))
    assert {name.split("/")[0] for name in numbers} == {"one", "two"}
    assert sorted(train.asked) == [0, 1, 2, 3, 4, 5]
    assert not frozen._cache


def test_inputs_are_spread_over_the_source(frozen):
    images = SyntheticSource(size=10, frames=1, height=32, width=32)
    inputs, records = frozen.inputs(images, "vision", clips=2, limit=4)
    assert records.tolist() == [0, 2, 5, 7]
    assert inputs["vision"].shape[:2] == (4, 2)
    own = frozen.method.clips(images[7], "vision", frozen.method.times(images[7], "vision", 2))
    np.testing.assert_array_equal(inputs["vision"][3], own["vision"])
    assert frozen.inputs(images, "vision")[1].tolist() == list(range(10))
    with pytest.raises(ConfigError, match="no stream 'audio'"):
        frozen.inputs(images, "audio")


def test_rows_come_in_parts_and_fewer_than_expected():
    for memory in (0, 10**6):
        gathered = Gathered(7, memory)
        for numbers in ([5, 3], [], [4, 0]):
            numbers = np.array(numbers, np.int64)
            gathered.add({"index": numbers, "x": np.float32(numbers)[:, None] * [1, 10]})
        whole = gathered.sorted_by("index")
        assert isinstance(whole["x"], np.memmap) == (memory == 0)
        assert whole["index"].tolist() == [0, 3, 4, 5]
        assert whole["x"].tolist() == [[0, 0], [3, 30], [4, 40], [5, 50]]
