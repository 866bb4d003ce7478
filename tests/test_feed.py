"""Feed: batches in order on the devices, errors at their place, the wait for data."""

import threading

import jax
import numpy as np
import pytest

from ssl_jax.data.failures import Failures
from ssl_jax.data.pipeline import TrainBatches
from ssl_jax.data.record import MediaError
from ssl_jax.devices.sharding import Sharding
from ssl_jax.training.feed import AHEAD, Feed


class Batches(TrainBatches):
    """Counts up; `asked` is released whenever a batch is wanted; number `last` is broken."""

    def __init__(self, last=1000):
        self.last, self.made, self.closed = last, 0, False
        self.failures, self.asked = Failures(0.5), threading.Semaphore(0)

    def __next__(self):
        self.asked.release()
        if self.made == self.last:
            raise MediaError("video.mp4: is broken")
        self.made += 1
        return {"n": np.full(8, self.made - 1)}

    def close(self):
        self.closed = True


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def mesh():
    return Sharding(devices=4).mesh()


def test_batches_come_in_order_and_an_error_in_the_place_of_its_batch(mesh):
    batches = Batches(last=5)
    feed = Feed(batches, mesh)
    for number in range(5):
        fed = feed.next(None)
        assert fed.host["n"].tolist() == [number] * 8
        assert len(fed.placed["n"].sharding.device_set) == 4
        assert jax.device_get(fed.placed["n"]).tolist() == [number] * 8
    with pytest.raises(MediaError, match=r"video\.mp4"):
        feed.next(None)
    feed.close()
    assert batches.closed


def test_few_batches_lie_ready_and_closing_ends_the_thread(mesh):
    batches, before = Batches(), set(threading.enumerate())
    feed = Feed(batches, mesh)
    (thread,) = set(threading.enumerate()) - before
    feed.next(None)
    for _ in range(AHEAD + 2):  # one handed out, AHEAD in the queue, one in the hand
        assert batches.asked.acquire(timeout=60)
    assert batches.made <= AHEAD + 2
    assert not batches.asked.acquire(timeout=0.2)  # nobody asks for one more
    feed.close()
    assert not thread.is_alive()


@pytest.mark.parametrize(("idle", "share"), [(True, 0.75), (False, 0.0)])
def test_only_waiting_of_idle_devices_counts(mesh, idle, share):
    clock, batches = Clock(), Batches()
    feed = Feed(batches, mesh, clock)

    def three_seconds_pass():
        clock.now += 3
        return idle

    batches.asked.acquire(timeout=60)
    for _ in range(2):  # the second time only what passed since the first
        for _ in range(4):
            batches.asked.acquire(timeout=60)  # for the next one: so this one lies ready
            feed.next(three_seconds_pass)
            clock.now += 1  # the step
        assert feed.numbers() == {"wait": share, "failed": 0.0}
    feed.close()
