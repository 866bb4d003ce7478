"""Batches are a pure function of (seed, number), whatever the machine."""

import dataclasses
import math

import numpy as np
import pytest

from ssl_jax.data.pipeline import Loading, record_batches, train_batches, train_dataset
from ssl_jax.data.record import Record


@dataclasses.dataclass(frozen=True)
class Numbers:
    size: int

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return Record(name=f"film {index}", index=index, num_frames=1, fps=1.0)


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


def test_every_epoch_has_every_record_once_and_draws_anew():
    batches = take(train_dataset(Numbers(12), views, 4, seed=1), 6)
    numbers = np.concatenate([b["number"] for b in batches])
    assert sorted(numbers[:12]) == sorted(numbers[12:]) == list(range(12))
    assert len({float(x) for b in batches for x in b["draw"]}) == 24
    other = take(train_dataset(Numbers(12), views, 4, seed=2), 6)
    assert not same(batches[0], other[0])


def test_worker_processes_change_nothing():
    dataset = train_dataset(Numbers(10), views, 4, seed=0)
    assert same(take(dataset, 2, loading=Loading(workers=1))[1], take(dataset, 2)[1])


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

    with pytest.raises(FileNotFoundError, match=r"film \d+ is gone"):
        take(train_dataset(Numbers(10), broken, 4, seed=0), 1)


def test_a_batch_that_processes_do_not_divide_and_an_empty_source_are_refused():
    with pytest.raises(ValueError, match="batch_size=6 must be a multiple of 4 processes"):
        train_dataset(Numbers(10), views, 6, 0, 0, 4)
    with pytest.raises(ValueError, match="empty"):
        train_dataset(Numbers(0), views, 4, 0)
