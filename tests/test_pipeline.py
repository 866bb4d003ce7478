"""Batches are a pure function of (seed, number), whatever the machine."""

import dataclasses
import itertools
import math
import multiprocessing
import os
import signal
import time

import grain
import ml_dtypes
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.pipeline import Loading, stack, train_batches, train_dataset
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.record_batches import record_batches


@dataclasses.dataclass(frozen=True)
class Numbers:
    size: int

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return Record(name=f"video {index}", index=index, num_frames=1, fps=1.0)


def views(record, rng):
    return {"number": np.int64(record.index), "draw": np.float64(rng.random())}


def take(dataset, count, start=0, loading=Loading()):
    iterator = train_batches(dataset, loading, start)
    batches = [next(iterator) for _ in range(count)]
    iterator.close()
    return batches


def same(a, b):
    return all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_together_see_the_batches_of_one_in_order(processes):
    whole = take(train_dataset(Numbers(10), views, 8, seed=3), 5)
    parts = [
        take(train_dataset(Numbers(10), views, 8, 3, process, processes), 5)
        for process in range(processes)
    ]
    for number, batch in enumerate(whole):
        joined = {k: np.concatenate([part[number][k] for part in parts]) for k in batch}
        assert same(joined, batch)


def test_a_restart_at_batch_k_sees_batch_k_whatever_the_threads():
    dataset = train_dataset(Numbers(10), views, 4, seed=0)
    whole = take(dataset, 8)
    restarted = take(dataset, 3, start=5, loading=Loading(threads=1, prefetch=1))
    assert all(same(a, b) for a, b in zip(whole[5:], restarted, strict=True))
    assert same(dataset[6], whole[6])


@pytest.mark.parametrize(
    ("threads", "cores", "processes", "expected"),
    [(0, 4, 1, 4), (0, 64, 1, 16), (0, 64, 8, 8), (0, 4, 8, 1), (3, 64, 8, 3)],
)
def test_cores_are_shared_by_the_processes_that_read(
    monkeypatch, threads, cores, processes, expected
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    assert Loading(threads=threads).at_once(processes) == expected


def test_every_epoch_has_every_record_once_and_draws_anew():
    batches = take(train_dataset(Numbers(12), views, 4, seed=1), 6)
    numbers = np.concatenate([b["number"] for b in batches])
    assert sorted(numbers[:12]) == sorted(numbers[12:]) == list(range(12))
    assert len({float(x) for b in batches for x in b["draw"]}) == 24
    other = take(train_dataset(Numbers(12), views, 4, seed=2), 6)
    assert not same(batches[0], other[0])


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_change_nothing(workers):
    dataset = train_dataset(Numbers(10), views, 4, seed=0)
    batches = take(dataset, 3, start=2, loading=Loading(workers=workers))
    assert all(same(a, b) for a, b in zip(batches, take(dataset, 5)[2:], strict=True))


@dataclasses.dataclass(frozen=True)
class Broken:
    """Views that fail for every record; a class, as a worker must be able to unpickle it."""

    def __call__(self, record, rng):
        raise MediaError(f"{record.name}: is broken")


def test_an_error_in_a_worker_process_names_the_file():
    dataset = train_dataset(Numbers(10), Broken(), 4, seed=0)
    with pytest.raises(MediaError, match=r"video \d: is broken"):
        take(dataset, 1, loading=Loading(workers=1, on_error="raise"))


def test_a_killed_worker_process_ends_the_run_within_seconds():
    others = set(multiprocessing.active_children())
    batches = train_batches(
        train_dataset(Numbers(10), views, 4, seed=0), Loading(workers=1, prefetch=1)
    )
    try:
        next(batches)
        for worker in set(multiprocessing.active_children()) - others:
            os.kill(worker.pid, signal.SIGKILL)
        begin = time.monotonic()
        with pytest.raises(RuntimeError, match="worker processes that read the data died"):
            list(itertools.islice(batches, 50))  # those made before are handed out first
        assert time.monotonic() - begin < 60
    finally:
        batches.close()


@pytest.mark.parametrize(("size", "processes"), [(10, 1), (10, 3), (4, 4), (3, 4)])
def test_evaluation_reads_every_record_exactly_once(size, processes):
    seen = []
    for process in range(processes):
        batches = list(
            record_batches(
                Numbers(size), lambda r: {"n": np.int64(r.index)}, 4, Loading(), process, processes
            )
        )
        assert all(len(batch["n"]) == 4 for batch, _ in batches)
        seen += [n for batch, valid in batches for n in batch["n"][:valid]]
        assert len(batches) == math.ceil(math.ceil(size / processes) / 4)
    assert sorted(seen) == list(range(size))


def test_an_error_in_a_record_keeps_its_type_and_text():
    def broken(record, rng):
        raise FileNotFoundError(f"{record.name} is gone")

    with pytest.raises(FileNotFoundError, match=r"video \d+ is gone"):
        take(train_dataset(Numbers(10), broken, 4, seed=0), 1)


def test_a_batch_that_processes_do_not_divide_and_an_empty_source_are_refused():
    with pytest.raises(ConfigError, match="batch_size=6 must be a multiple of 4 processes"):
        train_dataset(Numbers(10), views, 6, 0, 0, 4)
    with pytest.raises(ConfigError, match="empty"):
        train_dataset(Numbers(0), views, 4, 0)


def test_rows_of_different_shapes_are_named():
    def uneven(record, rng):
        return {"wave": np.zeros(record.index + 1)}

    with pytest.raises(ValueError, match=r"'wave' in different shapes: \[\("):
        train_dataset(Numbers(10), uneven, 4, seed=0)[0]


def test_a_row_does_not_depend_on_what_the_rows_before_it_drew():
    def hungry(record, rng):
        rng.random(record.index * 7)
        return {"number": np.int64(record.index)}

    def after(record, rng):
        drawn = views(record, rng)
        rng.random(record.index * 7)
        rng.integers(5, dtype=np.uint32)  # leaves half a random number over
        return drawn

    plain = take(train_dataset(Numbers(10), views, 5, seed=0), 4)
    assert all(
        same(a, b)
        for a, b in zip(plain, take(train_dataset(Numbers(10), after, 5, 0), 4), strict=True)
    )
    order = take(train_dataset(Numbers(10), hungry, 5, seed=0), 4)
    assert all(np.array_equal(a["number"], b["number"]) for a, b in zip(plain, order, strict=True))


def test_rows_draw_the_same_by_every_method_and_also_after_rows_that_draw_nothing():
    def some(record, rng):
        assert isinstance(rng, np.random.Generator)
        drawn = record.index % 3 == 0
        state = rng.bit_generator.state["state"]["state"] if drawn else np.zeros(4, np.uint64)
        return {"number": np.int64(record.index), "state": state.copy()}

    plain = train_dataset(Numbers(10), views, 5, seed=0)[1]
    states = train_dataset(Numbers(10), some, 5, seed=0)[1]["state"]
    assert states.any()
    for draw, state, number in zip(plain["draw"], states, plain["number"], strict=True):
        bits = np.random.SFC64(0)
        bits.state = bits.state | {"state": {"state": state}, "has_uint32": 0, "uinteger": 0}
        assert number % 3 or np.random.Generator(bits).random() == draw


def test_a_batch_is_the_same_in_every_version():
    batch = train_dataset(Numbers(10), views, 4, seed=3)[2]
    assert batch["number"].tolist() == [3, 8, 3, 8]
    draws = [0.42784505977650855, 0.07520508297367512, 0.9184001404284767, 0.7895407737920361]
    np.testing.assert_allclose(batch["draw"], draws, rtol=1e-15)


@dataclasses.dataclass(frozen=True)
class BrokenAt:
    """Views that fail for one record; a class, as a worker must be able to unpickle it."""

    index: int

    def __call__(self, record, rng):
        if record.index == self.index:
            raise ValueError("is\nbroken")
        return {"number": np.int64(record.index)}


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_before_a_broken_one_are_delivered_and_then_one_line(workers):
    plain = train_dataset(Numbers(12), views, 4, seed=0)
    broken = int(plain[2]["number"][1])  # no earlier batch has this record
    loading = Loading(threads=4, workers=workers, on_error="raise")
    batches = train_batches(train_dataset(Numbers(12), BrokenAt(broken), 4, seed=0), loading)
    try:
        for number in range(2):
            assert np.array_equal(next(batches)["number"], plain[number]["number"])
        with pytest.raises(MediaError, match=rf"^video {broken}: is broken$"):
            next(batches)
    finally:
        batches.close()


def test_batches_are_elements_of_a_grain_pipeline():
    dataset = train_dataset(Numbers(10), views, 4, seed=0)
    sums = grain.MapDataset.source(dataset).map(lambda batch: int(batch["number"].sum()))
    assert sums[7] == dataset[7]["number"].sum()
    assert list(itertools.islice(sums.to_iter_dataset(), 3)) == [sums[k] for k in range(3)]


def test_an_error_of_the_source_itself_is_no_broken_record():
    class Misled(Numbers):
        def __getitem__(self, index):
            raise ValueError("the set is not what it should be")

    with pytest.raises(ValueError, match="the set is not") as caught:
        train_dataset(Misled(4), views, 4, seed=0)[0]
    assert not isinstance(caught.value, MediaError)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64, bool, ml_dtypes.bfloat16, "U2"])
def test_rows_are_stacked_as_numpy_does(dtype):
    rows = np.arange(24).reshape(4, 2, 3).astype(dtype)
    for examples in (rows, rows[:, ::-1], rows.transpose(0, 2, 1)):  # in one piece or not
        batch = stack([{"x": row} for row in examples])["x"]
        assert batch.dtype == rows.dtype
        assert batch.flags.writeable
        assert np.array_equal(batch, np.stack(list(examples)))
    mixed = stack([{"x": np.zeros(2, np.int32)}, {"x": np.full(2, 0.5, np.float32)}])["x"]
    assert mixed.tolist() == [[0, 0], [0.5, 0.5]]
